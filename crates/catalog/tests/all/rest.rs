//! The REST catalog against a server that answers what a test wants: what is asked, how often, and
//! what a bad answer becomes.

use std::collections::BTreeMap;

use catalog::{Args, Catalog, Error, Kind, RestCatalog};
use metadata::{PartitionSpec, Schema, TableMetadata};
use model::{Advice, TableName};
use serde_json::{Value, json};
use storage::Storage;

use crate::stub::{Answer, Asked, Stub};

const SECRET: &str = "hunter2";
const MEMORY_BYTES: u64 = 64 << 20;

pub(crate) fn args(stub: &Stub) -> Args {
    Args {
        catalog_type: Kind::Rest,
        catalog_uri: Some(stub.uri.clone()),
        ..Args::sql("lake")
    }
}

pub(crate) async fn opened(args: &Args) -> Result<RestCatalog, Error> {
    let (storage, access) = (Storage::local(), storage::Args::default());
    RestCatalog::open(args, (&storage, &access), MEMORY_BYTES).await
}

pub(crate) async fn catalog(stub: &Stub) -> RestCatalog {
    opened(&args(stub)).await.unwrap()
}

/// A server of this configuration; everything else is asked of `answer`.
pub(crate) async fn server(
    config: Value,
    mut answer: impl FnMut(&Asked) -> Answer + Send + 'static,
) -> Stub {
    Stub::start(move |asked| {
        if asked.path.contains("/v1/config") {
            return Answer::Json(200, config.clone());
        }
        answer(asked)
    })
    .await
}

pub(crate) fn refusal(status: u16, kind: &str) -> Answer {
    let error = json!({"message": "as told", "type": kind, "code": status});
    Answer::Json(status, json!({ "error": error }))
}

/// What a server says of a table.
pub(crate) fn loaded() -> Value {
    let schema: Schema =
        serde_json::from_value(json!({"type": "struct", "schema-id": 0, "fields": [
        {"id": 1, "name": "id", "required": false, "type": "long"}]}))
        .unwrap();
    let uuid = "9c12d441-03fe-4693-9a96-a0705ddf69c1";
    let spec = PartitionSpec::unpartitioned();
    let made = TableMetadata::new(uuid, "file:///w/t", &schema, &spec, BTreeMap::new(), 1_000);
    let metadata: Value = serde_json::from_slice(&made.unwrap().to_json()).unwrap();
    json!({"metadata-location": "file:///w/t/metadata/00000-a.metadata.json", "metadata": metadata})
}

pub(crate) fn table() -> TableName {
    "db.t".parse().unwrap()
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn a_token_is_fetched_with_the_credential_and_once_more_when_it_is_refused() {
    let mut given = 0;
    let stub = Stub::start(move |asked| {
        if asked.path == "/v1/oauth/tokens" {
            given += 1;
            return Answer::Json(200, json!({"access_token": format!("token-{given}")}));
        }
        match asked.header("authorization") {
            Some("Bearer token-1") if asked.path.contains("/v1/config") => {
                Answer::Json(200, json!({}))
            }
            Some("Bearer token-2") if asked.path.contains("/db/") => Answer::Json(200, loaded()),
            _ => refusal(401, "NotAuthorizedException"),
        }
    })
    .await;
    let args = Args {
        catalog_credential: Some(format!("me:{SECRET}&:more")),
        catalog_scope: Some("PRINCIPAL_ROLE:ALL".to_owned()),
        ..args(&stub)
    };
    let catalog = opened(&args).await.unwrap();
    catalog.load(&table()).await.unwrap();
    catalog.load(&table()).await.unwrap();
    let fetches = stub.seen("/tokens");
    assert_eq!(fetches.len(), 2, "{fetches:?}");
    assert_eq!(
        fetches[0].body,
        format!(
            "grant_type=client_credentials&client_id=me&client_secret={SECRET}%26%3Amore\
             &scope=PRINCIPAL_ROLE%3AALL"
        )
    );
    assert_eq!(
        fetches[0].header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    // Refused with the first token, taken with the second, and then that is known.
    assert_eq!(stub.seen("/tables/t").len(), 3);
    let error = catalog.load(&"other.t".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.advice(), Advice::GiveUp, "{error}");
    assert_eq!(stub.seen("/tokens").len(), 3, "a new one is tried once");
}

#[tokio::test]
async fn a_token_server_elsewhere_that_is_busy_is_asked_again() {
    let mut busy = true;
    let tokens = Stub::start(move |_| {
        if std::mem::take(&mut busy) {
            return Answer::Later(503, 0);
        }
        Answer::Json(200, json!({"access_token": "told"}))
    })
    .await;
    let stub = server(json!({}), |_| Answer::Nothing).await;
    let args = Args {
        catalog_credential: Some(SECRET.to_owned()),
        catalog_oauth2_uri: Some(format!("{}/realm/token", tokens.uri)),
        ..args(&stub)
    };
    opened(&args).await.unwrap();
    let asked = tokens.seen("/realm/token");
    assert_eq!(asked.len(), 2);
    let form = format!("grant_type=client_credentials&client_secret={SECRET}&scope=catalog");
    assert_eq!(asked[1].body, form);
    let asked = stub.seen("/v1/config");
    assert_eq!(asked[0].header("authorization"), Some("Bearer told"));
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn a_token_that_was_given_is_sent_as_it_is() {
    let stub = server(json!({}), |asked| match asked.header("authorization") {
        Some("Bearer abc") => Answer::Json(200, loaded()),
        _ => refusal(401, "NotAuthorizedException"),
    })
    .await;
    for (token, tried) in [("abc", true), ("abd", false)] {
        let args = Args {
            catalog_token: Some(token.to_owned()),
            ..args(&stub)
        };
        let catalog = opened(&args).await.unwrap();
        assert_eq!(catalog.load(&table()).await.is_ok(), tried);
    }
    assert_eq!(stub.seen("/tables/t").len(), 2, "there is no other token");
}

#[tokio::test]
async fn every_page_of_a_listing_is_asked_for() {
    let stub = server(json!({}), |asked| {
        let name = |name: &str| json!({"namespace": ["db"], "name": name});
        let body = match asked.path.split_once("pageToken=").unwrap().1 {
            "" => json!({"identifiers": [name("c"), name("b")], "next-page-token": "n&xt"}),
            "n%26xt" => json!({"identifiers": [name("a"), name("")], "next-page-token": "3"}),
            "3" => json!({"identifiers": [name("d")], "next-page-token": null}),
            other => panic!("{other}"),
        };
        Answer::Json(200, body)
    })
    .await;
    let listed = catalog(&stub).await.tables(&["db".to_owned()]).await;
    let listed = listed.unwrap().into_iter();
    let names: Vec<String> = listed.map(|one| one.name.table().to_owned()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(stub.seen("pageSize=1000").len(), 3);
}

#[tokio::test]
async fn a_name_in_an_address_is_encoded_and_its_levels_are_parted_as_the_server_says() {
    let name = TableName::new(["a.b", "c/d"], "größe %2F").unwrap();
    let odd = "gr%C3%B6%C3%9Fe%20%252F";
    for (config, path, parent) in [
        (
            json!({}),
            "/v1/namespaces/a.b%1Fc%2Fd",
            "parent=a.b%1Fc%2Fd",
        ),
        (
            json!({"overrides": {"namespace-separator": "%2E", "prefix": "ws%3A1/x"}}),
            "/v1/ws%3A1/x/namespaces/a.b%2Ec%2Fd",
            "parent=a.b.c%2Fd",
        ),
    ] {
        let stub = server(config, |asked| {
            if asked.path.contains("/tables/") {
                return Answer::Json(200, loaded());
            }
            let children = match asked.path.split("parent=").nth(1) {
                None => json!([["a.b"]]),
                Some(parent) if parent.starts_with("a.b&") => json!([["a.b", "c/d"]]),
                Some(_) => json!([]),
            };
            Answer::Json(200, json!({ "namespaces": children }))
        })
        .await;
        let catalog = catalog(&stub).await;
        catalog.load(&name).await.unwrap();
        let asked = stub.seen("/tables/");
        assert_eq!(asked[0].path, format!("{path}/tables/{odd}?snapshots=all"));
        let namespaces = catalog.namespaces().await.unwrap();
        assert_eq!(namespaces, [vec!["a.b"], vec!["a.b", "c/d"]]);
        assert_eq!(stub.seen(parent).len(), 1, "{parent}");
    }
}

#[tokio::test]
async fn the_warehouse_and_the_prefix_of_its_configuration_are_part_of_the_address() {
    let config = json!({"defaults": {"prefix": "no"}, "overrides": {"prefix": "lakes/w1"}});
    let stub = server(config, |_| Answer::Json(200, loaded())).await;
    let args = Args {
        catalog_uri: Some(format!("{}/api/v1/", stub.uri)),
        catalog_warehouse: Some("w 1".to_owned()),
        ..args(&stub)
    };
    let catalog = opened(&args).await.unwrap();
    catalog.load(&table()).await.unwrap();
    assert_eq!(stub.seen("config")[0].path, "/api/v1/config?warehouse=w+1");
    let path = "/api/v1/lakes/w1/namespaces/db/tables/t?snapshots=all";
    let asked = stub.seen("/tables/t");
    assert_eq!(asked[0].path, path);
    let delegation = asked[0].header("x-iceberg-access-delegation");
    assert_eq!(delegation, Some("vended-credentials"));
}

#[tokio::test]
async fn a_server_that_stays_busy_is_given_up_and_may_be_tried_later() {
    let stub = server(json!({}), |_| Answer::Later(503, 0)).await;
    let error = catalog(&stub).await.load(&table()).await.unwrap_err();
    assert_eq!(error.advice(), Advice::RetryLater, "{error}");
    assert_eq!(stub.seen("/tables/t").len(), 5);
}

#[tokio::test]
async fn an_answer_longer_than_the_memory_is_refused() {
    let mut answer = loaded();
    answer["config"] = json!({"long": "x".repeat(MEMORY_BYTES as usize / 4)});
    let stub = server(json!({}), move |_| Answer::Json(200, answer.clone())).await;
    let error = catalog(&stub).await.load(&table()).await.unwrap_err();
    assert_eq!(error.advice(), Advice::GiveUp);
    let text = chain(&error);
    assert!(text.contains("longer than 8388608 bytes"), "{text}");
    // Asked with little room first.
    assert_eq!(stub.seen("/tables/t").len(), 2);
}

#[tokio::test]
async fn a_document_that_takes_more_than_the_memory_is_refused() {
    let mut answer = loaded();
    answer["metadata"]["many"] = vec![json!({}); 1_500_000].into();
    let stub = server(json!({}), move |_| Answer::Json(200, answer.clone())).await;
    let error = catalog(&stub).await.load(&table()).await.unwrap_err();
    assert_eq!(error.advice(), Advice::GiveUp);
    assert!(chain(&error).contains("more memory"), "{}", chain(&error));
}

#[tokio::test]
async fn an_address_that_leads_nowhere_is_no_catalog_without_tables() {
    let stub = server(json!({}), |_| {
        Answer::Json(404, json!({"detail": "Not Found"}))
    })
    .await;
    let catalog = catalog(&stub).await;
    let namespace = ["db".to_owned()];
    for error in [
        catalog.namespaces().await.unwrap_err(),
        catalog.tables(&namespace).await.unwrap_err(),
        catalog.namespace_properties(&namespace).await.unwrap_err(),
        catalog.load(&table()).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Failed { .. }), "{error:?}");
        assert!(chain(&error).contains("404"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn an_absent_or_wrong_server_is_told_at_the_start_and_without_the_secrets() {
    let refuses = Stub::start(|asked| {
        if asked.path.contains("/tokens") {
            let said = json!({"error": "invalid_client", "error_description": "unknown client"});
            return Answer::Json(401, said);
        }
        refusal(401, "NotAuthorizedException")
    })
    .await;
    let gone = Stub::start(|_| Answer::Nothing).await;
    let absent = Args {
        catalog_uri: Some("http://127.0.0.1:1".to_owned()),
        ..args(&gone)
    };
    for (args, words, advice) in [
        (
            args(&refuses),
            "invalid_client: unknown client",
            Advice::GiveUp,
        ),
        (args(&gone), "no token is to be had", Advice::RetryLater),
        (absent, "cannot be reached", Advice::RetryLater),
    ] {
        let args = Args {
            catalog_credential: Some(format!("me:{SECRET}")),
            ..args
        };
        let error = opened(&args).await.unwrap_err();
        let text = chain(&error);
        assert!(text.contains(words), "{text}");
        assert!(text.contains("SNOWPACK_CATALOG_URI"), "{text}");
        assert_eq!(error.advice(), advice, "{text}");
        assert!(!format!("{text} {error:?} {args:?}").contains(SECRET));
    }
}

#[tokio::test]
async fn secrets_are_in_no_debug_text() {
    let stub = Stub::start(|asked| {
        let mut answer = loaded();
        answer["access_token"] = SECRET.into();
        answer["config"] = json!({"s3.access-key-id": "AKIA", "s3.secret-access-key": SECRET});
        answer["storage-credentials"] = json!([{"prefix": "file:", "config": answer["config"]}]);
        match asked.header("authorization") {
            Some(_) => refusal(403, "ForbiddenException"),
            None => Answer::Json(200, answer),
        }
    })
    .await;
    let plain = catalog(&stub).await;
    let loaded = plain.load(&table()).await.unwrap();
    for args in [
        Args {
            catalog_token: Some(SECRET.to_owned()),
            ..args(&stub)
        },
        Args {
            catalog_credential: Some(SECRET.to_owned()),
            ..args(&stub)
        },
    ] {
        let error = opened(&args).await.unwrap_err();
        let text = format!("{error:?} {} {args:?} {plain:?} {loaded:?}", chain(&error));
        assert!(text.contains("403") && !text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn a_server_may_not_lead_to_files_of_this_machine_unless_a_place_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let root = format!("file://{}", folder.path().display());
    let file = format!("{root}/secret");
    std::fs::write(folder.path().join("secret"), "hunter2").unwrap();
    let stub = server(json!({}), |asked| {
        let mut answer = loaded();
        if asked.path.contains("keyed") {
            answer["config"] = json!({"s3.access-key-id": "a", "s3.secret-access-key": "b"});
        }
        Answer::Json(200, answer)
    })
    .await;
    let within = |locations: &str| storage::Args {
        locations: Some(locations.to_owned()),
        ..storage::Args::default()
    };
    for (access, admitted) in [
        (storage::Args::default(), false),
        (within(""), false),
        (within(&root), true),
        (storage::Args::at(&root), true),
    ] {
        let own = Storage::new(&access).unwrap();
        let catalog = RestCatalog::open(&args(&stub), (&own, &access), MEMORY_BYTES).await;
        let catalog = catalog.unwrap();
        for name in ["db.t", "db.keyed"] {
            let table = catalog.load(&name.parse().unwrap()).await.unwrap();
            let read = table.storage.read(&file).await;
            assert_eq!(read.is_ok(), admitted, "{access:?} {name} {read:?}");
        }
    }
}
