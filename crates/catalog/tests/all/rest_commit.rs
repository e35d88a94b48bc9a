//! What a REST server's answers to a commit become: landed, a conflict, refused, or unknown.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use catalog::{Catalog, Error, Prepared, RestCatalog};
use metadata::{Requirement, Update};
use model::Advice;
use serde_json::{Value, json};

use crate::rest::{catalog, chain, loaded, refusal, server, table};
use crate::stub::{Answer, Asked, Stub};

/// A catalog whose server answers loads well, and commits as `answer` says; and a commit.
async fn committing(
    config: Value,
    mut answer: impl FnMut() -> Answer + Send + 'static,
) -> (Stub, RestCatalog, Prepared) {
    let stub = server(config, move |asked| match asked.method.as_str() {
        "POST" => answer(),
        _ => Answer::Json(200, loaded()),
    })
    .await;
    let catalog = catalog(&stub).await;
    let base = catalog.load(&table()).await.unwrap();
    let updates = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    let updates = vec![Update::SetProperties { updates }];
    let prepared = catalog.prepare(&base, vec![], updates, None).await.unwrap();
    (stub, catalog, prepared)
}

fn commits(stub: &Stub) -> Vec<Asked> {
    let seen = stub.seen("/tables/t").into_iter();
    seen.filter(|asked| asked.method == "POST").collect()
}

#[tokio::test]
async fn a_commit_the_server_finds_stale_conflicts() {
    let (stub, catalog, prepared) =
        committing(json!({}), || refusal(409, "CommitFailedException")).await;
    let error = catalog.swap(&prepared, None).await.unwrap_err();
    assert!(
        matches!(&error, Error::Conflict { table: of, why } if *of == table() && why.contains("as told")),
        "{error}"
    );
    let body: Value = serde_json::from_str(&commits(&stub)[0].body).unwrap();
    assert_eq!(
        body,
        json!({
            "identifier": {"namespace": ["db"], "name": "t"},
            "requirements": [],
            "updates": [{"action": "set-properties", "updates": {"a": "1"}}],
        })
    );
}

#[tokio::test]
async fn a_commit_that_may_have_landed_is_unknown_and_not_repeated() {
    let answers: [fn() -> Answer; 4] = [
        || Answer::Later(503, 0),
        || refusal(500, "CommitStateUnknownException"),
        || Answer::Nothing,
        || Answer::Json(200, json!({"metadata-location": "x"})),
    ];
    for answer in answers {
        let (stub, catalog, prepared) = committing(json!({}), answer).await;
        let error = catalog.swap(&prepared, None).await.unwrap_err();
        assert!(matches!(error, Error::Unknown { .. }), "{error}");
        assert_eq!(error.advice(), Advice::FindOut);
        let commits = commits(&stub);
        assert_eq!(commits.len(), 1);
        assert_eq!(commits[0].header("idempotency-key"), None);
    }
}

#[tokio::test]
async fn a_server_that_knows_a_commit_again_is_sent_it_again() {
    let config = json!({"idempotency-key-lifetime": "PT30M"});
    for first in [|| Answer::Nothing, || Answer::Later(503, 0)] {
        let mut tried = 0;
        let answer = move || {
            tried += 1;
            if tried == 1 {
                return first();
            }
            Answer::Json(200, loaded())
        };
        let (stub, catalog, prepared) = committing(config.clone(), answer).await;
        catalog.swap(&prepared, None).await.unwrap();
        catalog.swap(&prepared, None).await.unwrap();
        let commits = commits(&stub);
        let keys: Vec<&str> = commits
            .iter()
            .map(|asked| asked.header("idempotency-key").unwrap())
            .collect();
        assert_eq!(keys.len(), 3);
        assert_eq!(keys[0], keys[1], "the same commit");
        assert_ne!(keys[0], keys[2], "another one");
        assert_eq!(commits[0].body, commits[1].body);
    }
}

#[tokio::test]
async fn a_commit_refused_after_a_lost_answer_is_unknown() {
    let mut tried = 0;
    let answer = move || {
        tried += 1;
        match tried {
            1 => Answer::Nothing,
            _ => refusal(409, "CommitFailedException"),
        }
    };
    let config = json!({"idempotency-key-lifetime": "PT30M"});
    let (stub, catalog, prepared) = committing(config, answer).await;
    let error = catalog.swap(&prepared, None).await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
    assert!(chain(&error).contains("409"), "{}", chain(&error));
    assert_eq!(commits(&stub).len(), 2);
}

#[tokio::test]
async fn a_server_that_says_when_to_come_again_is_asked_again_then() {
    let mut answers = vec![Answer::Json(200, loaded()), Answer::Later(429, 1)];
    let (stub, catalog, prepared) = committing(json!({}), move || answers.pop().unwrap()).await;
    let begun = Instant::now();
    catalog.swap(&prepared, None).await.unwrap();
    // It was heard and not done: no harm in asking again.
    assert_eq!(commits(&stub).len(), 2);
    assert!(Duration::from_secs(1) <= begun.elapsed(), "{begun:?}");
}

/// What the server says of the table after another commit.
fn moved() -> Value {
    let mut answer = loaded();
    answer["metadata-location"] = "file:///w/t/metadata/00001-b.metadata.json".into();
    answer
}

#[tokio::test]
async fn a_commit_whose_outcome_the_server_does_not_know_is_unknown_whatever_the_status() {
    for status in [400, 409, 500] {
        let refuse = move || refusal(status, "CommitStateUnknownException");
        let (_stub, catalog, prepared) = committing(json!({}), refuse).await;
        let error = catalog.swap(&prepared, None).await.unwrap_err();
        assert!(matches!(error, Error::Unknown { .. }), "{status}: {error}");
    }
}

#[tokio::test]
async fn a_commit_refused_as_bad_conflicts_if_the_table_is_another_by_now() {
    for status in [400, 422] {
        for stale in [true, false] {
            let mut committed = false;
            let stub = server(json!({}), move |asked| {
                if asked.method == "POST" {
                    committed = true;
                    return refusal(status, "ValidationException");
                }
                let now = if committed && stale {
                    moved()
                } else {
                    loaded()
                };
                Answer::Json(200, now)
            })
            .await;
            let catalog = catalog(&stub).await;
            let base = catalog.load(&table()).await.unwrap();
            let prepared = catalog.prepare(&base, vec![], vec![], None).await.unwrap();
            let error = catalog.swap(&prepared, None).await.unwrap_err();
            let conflict = matches!(error, Error::Conflict { .. });
            assert_eq!(conflict, stale, "{status}: {error:?}");
            let want = if stale {
                Advice::PlanAgain
            } else {
                Advice::GiveUp
            };
            assert_eq!(error.advice(), want);
            assert!(chain(&error).contains("ValidationException"));
        }
    }
}

#[tokio::test]
async fn an_answer_that_does_not_show_what_was_committed_leaves_it_unknown() {
    let snapshot = json!({"snapshot-id": 7, "sequence-number": 1, "timestamp-ms": 2_000,
        "manifest-list": "file:///w/t/metadata/snap-7.avro", "summary": {"operation": "append"},
        "schema-id": 0});
    let add: Update =
        serde_json::from_value(json!({"action": "add-snapshot", "snapshot": snapshot})).unwrap();
    let with_it = || {
        let mut answer = moved();
        answer["metadata"]["snapshots"] = json!([snapshot]);
        answer["metadata"]["last-sequence-number"] = 1.into();
        answer
    };
    let another = || {
        let mut answer = with_it();
        answer["metadata"]["table-uuid"] = "00000000-03fe-4693-9a96-a0705ddf69c1".into();
        answer
    };
    let remove = Update::RemoveSnapshots {
        snapshot_ids: vec![7],
    };
    for (before, update, answer, landed) in [
        (loaded(), &add, with_it(), true),
        (loaded(), &add, moved(), false),
        (loaded(), &add, another(), false),
        (with_it(), &remove, moved(), true),
        (with_it(), &remove, with_it(), false),
    ] {
        let said = answer.clone();
        let stub = server(json!({}), move |asked| {
            let post = asked.method == "POST";
            Answer::Json(200, if post { said.clone() } else { before.clone() })
        })
        .await;
        let catalog = catalog(&stub).await;
        let base = catalog.load(&table()).await.unwrap();
        let updates = vec![update.clone()];
        let prepared = catalog.prepare(&base, Vec::<Requirement>::new(), updates, None);
        let swapped = catalog.swap(&prepared.await.unwrap(), None).await;
        match swapped {
            Ok(_) => assert!(landed, "{answer}"),
            Err(error) => {
                assert!(matches!(error, Error::Unknown { .. }), "{error}");
                assert!(!landed, "{}", chain(&error));
            }
        }
    }
}
