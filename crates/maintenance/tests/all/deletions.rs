//! Deletion in two phases: what is intended, listed and purged, all under the fence and on the
//! database's clock.

use maintenance::deletions::{
    self, Due, FILES_MAX, Fate, Intent, Listed, PendingFilter, Purged, PurgedBy, State,
};
use maintenance::{Error, ledger};
use model::JobId;
use queue::{Claimed, End};
use serde_json::{Value, json};

use crate::lane::{Lane, table};

const CATALOG: &str = "lakehouse";
const UUID: &str = "4e0c0000-0000-7000-8000-000000000001";
const HOUR_MS: i64 = 3_600_000;

/// Runs one write of an attempt in a transaction of its own.
macro_rules! write {
    ($lane:expr, $tx:ident, $write:expr) => {{
        let $tx = $lane.client.transaction().await.unwrap();
        let written = $write.await;
        if written.is_ok() {
            $tx.commit().await.unwrap();
        }
        written
    }};
}

async fn started(lane: &mut Lane) -> (JobId, Claimed) {
    let id = lane.submit("db.t").await;
    let claimed = lane.claim(&id).await;
    (id, claimed)
}

async fn list(lane: &mut Lane, claimed: &Claimed, files: &[(&str, Option<i64>)], grace_ms: i64) {
    let files: Vec<Listed<'_>> = files
        .iter()
        .map(|(path, size_bytes)| Listed {
            path,
            size_bytes: *size_bytes,
            modified_ms: None,
        })
        .collect();
    let (of, fence) = ((CATALOG, UUID), &claimed.fence);
    write!(
        lane,
        tx,
        deletions::list(&tx, fence, of, &files, ("expired", grace_ms))
    )
    .unwrap();
}

async fn due_after(lane: &Lane, after: Option<&str>, limit: u32) -> Vec<String> {
    let due = deletions::due(&lane.client, (CATALOG, UUID), after, limit).await;
    due.unwrap().into_iter().map(|due| due.path).collect()
}

async fn due(lane: &Lane) -> Vec<String> {
    due_after(lane, None, 100).await
}

async fn purge(lane: &mut Lane, claimed: &Claimed, files: &[(&str, Fate<'_>)]) -> u64 {
    let files: Vec<Purged<'_>> = files
        .iter()
        .map(|(path, fate)| Purged { path, fate: *fate })
        .collect();
    let fence = &claimed.fence;
    write!(lane, tx, deletions::purged(&tx, fence, UUID, &files)).unwrap()
}

fn intent(ids: &[i64]) -> Intent {
    let ids = ids
        .iter()
        .map(|id| json!({"snapshot-id": id, "manifest-list": format!("file:/t/{id}.avro")}));
    Intent {
        table_uuid: UUID.to_owned(),
        planned_location: "file:/t/metadata/1.json".to_owned(),
        ids: ids.collect::<Value>(),
        grace_ms: HOUR_MS,
    }
}

fn ids(of: &Value) -> Vec<i64> {
    let ids = of.as_array().unwrap().iter();
    ids.map(|id| id["snapshot-id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn an_intent_is_stored_once_and_settled_id_by_id() {
    let mut lane = Lane::new().await;
    let (_, claimed) = started(&mut lane).await;
    let (fence, asked) = (&claimed.fence, intent(&[1, 2, 9_007_199_254_740_993]));
    let first = write!(lane, tx, deletions::intend(&tx, fence, &asked)).unwrap();
    let again = write!(lane, tx, deletions::intend(&tx, fence, &asked)).unwrap();
    assert_eq!(first, again, "sent again after a lost answer");
    let other = write!(lane, tx, deletions::intend(&tx, fence, &intent(&[7]))).unwrap();
    let open = deletions::open_intents(&lane.client, UUID).await.unwrap();
    let found: Vec<i64> = open.iter().map(|open| open.id).collect();
    assert_eq!(found, [first, other], "oldest first");
    assert_eq!(open[0].intent, asked);
    assert_eq!(&open[0].attempt, claimed.fence.attempt());

    let left = [9_007_199_254_740_993];
    write!(lane, tx, deletions::settle(&tx, fence, first, &left)).unwrap();
    let open = deletions::open_intents(&lane.client, UUID).await.unwrap();
    assert_eq!(ids(&open[0].intent.ids), left);
    for _ in 0..2 {
        write!(lane, tx, deletions::settle(&tx, fence, first, &[])).unwrap();
    }
    let open = deletions::open_intents(&lane.client, UUID).await.unwrap();
    assert_eq!(open.len(), 1, "only the other is open");
    let after_close = write!(lane, tx, deletions::intend(&tx, fence, &asked)).unwrap();
    assert!(after_close > other, "what is closed is not reopened");
}

#[tokio::test]
async fn an_intents_attempt_is_over_once_the_queue_names_another_or_none() {
    let mut lane = Lane::new().await;
    let (id, claimed) = started(&mut lane).await;
    let fence = &claimed.fence;
    write!(lane, tx, deletions::intend(&tx, fence, &intent(&[1]))).unwrap();
    let state = async |lane: &Lane| {
        let open = deletions::open_intents(&lane.client, UUID).await.unwrap();
        (open[0].attempt_over, open[0].old)
    };
    assert_eq!(state(&lane).await, (false, false));
    lane.expire(&id).await;
    assert_eq!(state(&lane).await, (false, false), "nobody took it over");
    let second = lane.claim(&id).await;
    assert_eq!(state(&lane).await, (true, false));
    lane.finish(&second, &End::completed()).await.unwrap();
    assert_eq!(state(&lane).await, (true, false));
    let sql = "update snowpack.expiry_intents set created_at = created_at - interval '24 hours'";
    lane.client.batch_execute(sql).await.unwrap();
    assert_eq!(state(&lane).await, (true, true));
}

#[tokio::test]
async fn m11_i2_a_stale_attempt_writes_nothing_about_deletions() {
    let mut lane = Lane::new().await;
    let (id, stale) = started(&mut lane).await;
    list(&mut lane, &stale, &[("f/a", None)], 0).await;
    let open = write!(
        lane,
        tx,
        deletions::intend(&tx, &stale.fence, &intent(&[1]))
    )
    .unwrap();
    lane.expire(&id).await;
    lane.claim(&id).await;
    let (fence, of) = (&stale.fence, (CATALOG, UUID));
    let file = Listed {
        path: "f/b",
        size_bytes: None,
        modified_ms: None,
    };
    let fate = Purged {
        path: "f/a",
        fate: Fate::Deleted,
    };
    let refused = [
        write!(lane, tx, deletions::intend(&tx, fence, &intent(&[2]))).unwrap_err(),
        write!(lane, tx, deletions::settle(&tx, fence, open, &[])).unwrap_err(),
        write!(
            lane,
            tx,
            deletions::list(&tx, fence, of, &[file], ("expired", 0))
        )
        .unwrap_err(),
        write!(lane, tx, deletions::purged(&tx, fence, UUID, &[fate])).unwrap_err(),
    ];
    for refused in refused {
        let replaced = matches!(refused, Error::Queue(queue::Error::Replaced));
        assert!(replaced, "{refused:?}");
    }
    assert_eq!(due(&lane).await, ["f/a"]);
    let open = deletions::open_intents(&lane.client, UUID).await.unwrap();
    assert_eq!((open.len(), ids(&open[0].intent.ids)), (1, vec![1]));
}

#[tokio::test]
async fn a_file_is_due_when_its_grace_is_over_on_the_databases_clock() {
    let mut lane = Lane::new().await;
    let (_, claimed) = started(&mut lane).await;
    list(&mut lane, &claimed, &[("f/later", Some(5))], HOUR_MS).await;
    list(&mut lane, &claimed, &[("f/now", Some(7))], 0).await;
    assert_eq!(due(&lane).await, ["f/now"]);
    let sql = "select count(*) from snowpack.pending_deletions where path = 'f/later' \
               and delete_after = found_at + interval '1 hour'";
    assert_eq!(lane.count(sql).await, 1);
    let sql =
        "update snowpack.pending_deletions set delete_after = delete_after - interval '1 hour'";
    lane.client.batch_execute(sql).await.unwrap();
    let first = deletions::due(&lane.client, (CATALOG, UUID), None, 1)
        .await
        .unwrap();
    let want = Due {
        path: "f/later".to_owned(),
        size_bytes: Some(5),
        reason: "expired".to_owned(),
        modified_ms: None,
    };
    assert_eq!(first, [want]);
    assert_eq!(due_after(&lane, Some("f/later"), 10).await, ["f/now"]);
    let elsewhere = deletions::due(&lane.client, ("other", UUID), None, 10).await;
    assert_eq!(elsewhere.unwrap(), [], "each catalog has its own");
}

#[tokio::test]
async fn what_waits_stays_as_it_is_and_what_ended_waits_anew() {
    let mut lane = Lane::new().await;
    let (_, claimed) = started(&mut lane).await;
    let files = [
        ("f/deleted", Some(1)),
        ("f/kept", Some(1)),
        ("f/waits", Some(1)),
    ];
    list(&mut lane, &claimed, &files, 0).await;
    let fates = [
        ("f/deleted", Fate::Deleted),
        ("f/kept", Fate::Kept("it is needed")),
    ];
    assert_eq!(purge(&mut lane, &claimed, &fates).await, 2);
    assert_eq!(
        purge(&mut lane, &claimed, &fates).await,
        0,
        "they have ended"
    );
    assert_eq!(due(&lane).await, ["f/waits"]);

    let files = [
        ("f/deleted", Some(2)),
        ("f/kept", Some(2)),
        ("f/waits", Some(2)),
    ];
    let twice: Vec<_> = files.iter().chain(&files).copied().collect();
    list(&mut lane, &claimed, &twice, HOUR_MS).await;
    assert_eq!(due(&lane).await, ["f/waits"], "the others have a new grace");
    let sql = "select count(*) from snowpack.pending_deletions where state = 'pending' \
               and size_bytes = 2 and note is null and changed_at is null \
               and delete_after > now()";
    assert_eq!(lane.count(sql).await, 2);
}

#[tokio::test]
async fn a_file_listed_for_two_reasons_waits_for_the_longer_grace() {
    let mut lane = Lane::new().await;
    let (_, claimed) = started(&mut lane).await;
    for (path, hours) in [("f/short", 24), ("f/long", 72)] {
        let sql = "insert into snowpack.pending_deletions (catalog, table_uuid, path, reason, job_id, \
                   delete_after) values ($1, $2, $3, 'attempt', 'job', now() + $4 * interval '1 hour')";
        let hours = f64::from(hours);
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&CATALOG, &UUID, &path, &hours];
        lane.client.execute(sql, &params).await.unwrap();
    }
    // Listed again for the same reason, nothing changes.
    for hours in [48, 60] {
        let files = [("f/short", Some(1)), ("f/long", Some(1))];
        list(&mut lane, &claimed, &files, hours * HOUR_MS).await;
        let sql = "select string_agg(path || ' ' || reason || ' ' || \
                   round(extract(epoch from delete_after - now()) / 3600), ', ' order by path) \
                   from snowpack.pending_deletions where state = 'pending'";
        let waits: String = lane.client.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(waits, "f/long attempt 72, f/short expired 48");
    }
}

#[tokio::test]
async fn a_file_that_failed_is_due_again_after_a_pause_that_grows() {
    let mut lane = Lane::new().await;
    let (id, claimed) = started(&mut lane).await;
    list(&mut lane, &claimed, &[("f/a", Some(3))], 0).await;
    let pause = "select round(extract(epoch from delete_after - changed_at) / 60)::bigint \
                 from snowpack.pending_deletions";
    let mut pauses = Vec::new();
    for _ in 0..14 {
        let sql = "update snowpack.pending_deletions set delete_after = now()";
        lane.client.batch_execute(sql).await.unwrap();
        purge(&mut lane, &claimed, &[("f/a", Fate::Failed("no space"))]).await;
        assert_eq!(due(&lane).await, [""; 0]);
        pauses.push(lane.count(pause).await);
    }
    let want = [
        1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 1_440, 1_440, 1_440,
    ];
    assert_eq!(pauses, want, "minutes");
    let filter = PendingFilter::default();
    let shown = deletions::pending(&lane.client, &filter, None, 10)
        .await
        .unwrap();
    assert_eq!(shown[0].note.as_deref(), Some("no space"));
    assert_eq!((shown[0].failed_count, shown[0].due), (14, false));
    let by = deletions::purged_by(&lane.client, &id).await.unwrap();
    let want = PurgedBy {
        failed: 1,
        ..PurgedBy::default()
    };
    assert_eq!(by, want);
}

#[tokio::test]
async fn what_an_attempt_writes_is_nobody_elses_to_delete() {
    let mut lane = Lane::new().await;
    let (_, claimed) = started(&mut lane).await;
    list(&mut lane, &claimed, &[("f/a", None), ("f/b", None)], 0).await;
    let (fence, file) = (&claimed.fence, [("f/a", "data")]);
    write!(lane, tx, ledger::reserve(&tx, fence, UUID, &file)).unwrap();
    assert_eq!(due(&lane).await, ["f/b"]);
    let landed = ["f/a".to_owned()];
    write!(lane, tx, ledger::mark(&tx, fence, &landed)).unwrap();
    assert_eq!(
        due(&lane).await,
        ["f/a", "f/b"],
        "committed: the purge looks at the table"
    );
}

#[tokio::test]
async fn tables_that_had_a_name_are_found_by_it() {
    let mut lane = Lane::new().await;
    let (_, claimed) = started(&mut lane).await;
    let fence = &claimed.fence;
    for (uuid, grace_ms) in [("c", 0), ("a", 0), ("later", HOUR_MS), ("b", 0)] {
        for path in ["f/1", "f/2"] {
            let file = Listed {
                path,
                size_bytes: None,
                modified_ms: None,
            };
            let of = (CATALOG, uuid);
            write!(
                lane,
                tx,
                deletions::list(&tx, fence, of, &[file], ("expired", grace_ms))
            )
            .unwrap();
        }
    }
    let found = async |catalog: &str, name: &str| {
        let found = deletions::listed_under(&lane.client, catalog, &table(name)).await;
        found.unwrap()
    };
    assert_eq!(found(CATALOG, "db.t").await, ["a", "b", "c"]);
    assert_eq!(found(CATALOG, "db.u").await, [""; 0]);
    assert_eq!(found("other", "db.t").await, [""; 0]);
}

#[tokio::test]
async fn the_list_is_shown_by_table_and_file_by_file() {
    let mut lane = Lane::new().await;
    let (id, claimed) = started(&mut lane).await;
    let names: Vec<String> = (0..FILES_MAX).map(|n| format!("f/{n:04}")).collect();
    let files: Vec<(&str, Option<i64>)> =
        names.iter().map(|name| (name.as_str(), Some(10))).collect();
    list(&mut lane, &claimed, &files, 0).await;
    list(&mut lane, &claimed, &[("f/unknown", None)], HOUR_MS).await;
    let fates = [("f/0000", Fate::Deleted), ("f/0001", Fate::Kept("why"))];
    purge(&mut lane, &claimed, &fates).await;

    let filter = |state, name: Option<&str>| PendingFilter {
        state,
        table: name.map(table),
    };
    let pending = filter(State::Pending, Some("db.t"));
    let totals = deletions::totals(&lane.client, &pending, 10).await.unwrap();
    let [total] = totals.as_slice() else {
        panic!("{totals:?}")
    };
    let counted = (
        total.files,
        total.bytes,
        total.files_of_unknown_size,
        total.due,
    );
    assert_eq!(counted, (999, 9_980, 1, 998));
    assert_eq!(total.table, Some(("db".to_owned(), "t".to_owned())));
    assert!(total.due_first_at.is_some());
    let none = deletions::totals(&lane.client, &filter(State::Pending, Some("db.u")), 10).await;
    assert_eq!(none.unwrap(), []);

    let first = deletions::pending(&lane.client, &pending, None, 600)
        .await
        .unwrap();
    let after = first
        .last()
        .map(|file| (file.table_uuid.as_str(), file.path.as_str()));
    let second = deletions::pending(&lane.client, &pending, after, 600)
        .await
        .unwrap();
    assert_eq!((first.len(), second.len()), (600, 399));
    let kept = deletions::pending(&lane.client, &filter(State::Kept, None), None, 10)
        .await
        .unwrap();
    assert_eq!(
        (kept[0].path.as_str(), kept[0].note.as_deref()),
        ("f/0001", Some("why"))
    );
    assert_eq!(
        (&kept[0].job, kept[0].changed_by.as_ref()),
        (&id, Some(&id))
    );
    let deleted = filter(State::Deleted, None);
    let deleted = deletions::totals(&lane.client, &deleted, 10).await.unwrap();
    assert_eq!((deleted[0].files, deleted[0].bytes), (1, 10));
}

#[tokio::test]
async fn what_somebody_answers_for_is_no_orphan_and_a_jobs_orphans_are_counted() {
    let mut lane = Lane::new().await;
    let (id, claimed) = started(&mut lane).await;
    let fence = &claimed.fence;
    list(
        &mut lane,
        &claimed,
        &[("f/waits", None), ("f/purged", None)],
        0,
    )
    .await;
    purge(&mut lane, &claimed, &[("f/purged", Fate::Deleted)]).await;
    let written = [("f/open", "data"), ("f/landed", "data")];
    write!(lane, tx, ledger::reserve(&tx, fence, UUID, &written)).unwrap();
    let landed = ["f/landed".to_owned()];
    write!(lane, tx, ledger::mark(&tx, fence, &landed)).unwrap();
    let asked = ["f/waits", "f/purged", "f/open", "f/landed", "f/strange"].map(str::to_owned);
    let known = deletions::accounted(&lane.client, UUID, &asked).await;
    assert_eq!(known.unwrap(), ["f/waits", "f/open"]);
    // An attempt's file is its own whatever the table; the list is the table's.
    let known = deletions::accounted(&lane.client, "another", &asked).await;
    assert_eq!(known.unwrap(), ["f/open"]);

    let orphans = [("f/1", Some(3)), ("f/2", None), ("f/waits", Some(5))];
    let files = orphans.map(|(path, size_bytes)| Listed {
        path,
        size_bytes,
        modified_ms: Some(1_000),
    });
    let (of, why) = ((CATALOG, UUID), ("orphan", HOUR_MS));
    for _ in 0..2 {
        write!(lane, tx, deletions::list(&tx, fence, of, &files, why)).unwrap();
    }
    let counted = async |uuid: &str, job: &JobId| {
        let counted = deletions::orphans_by(&lane.client, uuid, job).await;
        counted.unwrap()
    };
    // What was freed before by an expiry waits longer now, as an orphan.
    assert_eq!(counted(UUID, &id).await, (3, 8));
    assert_eq!(counted("another", &id).await, (0, 0));
    assert_eq!(counted(UUID, &JobId::new("another")).await, (0, 0));
}
