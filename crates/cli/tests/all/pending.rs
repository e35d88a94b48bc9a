//! Files that wait are shown with their dates, until a job of the table has deleted them.

use serde_json::Value;

use crate::program::Lake;

#[track_caller]
fn pending(lake: &Lake, more: &[&str]) -> Value {
    let words = [&["pending", "--output", "json"], more].concat();
    lake.run(&words).expect(0).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_files_are_shown_until_a_job_deletes_them() {
    let lake = Lake::new().await;
    let rows = lake.make("db.events", 6)["rows"].clone();
    assert!(
        lake.run(&["pending"])
            .expect(0)
            .stdout
            .contains("no file waits")
    );
    lake.run(&["maintain", "db.events", "rewrite_data_files"])
        .expect(0);
    let expire = [
        "maintain",
        "db.events",
        "expire_snapshots",
        "--option",
        "older_than=2999-01-01T00:00:00Z",
        "--output",
        "json",
    ];
    let planned = lake.run(&[
        "plan",
        "db.events",
        "expire_snapshots",
        expire[3],
        expire[4],
    ]);
    let planned = planned.expect(0).stdout;
    for what in ["6 snapshots expired", "24 h", "named by a branch or tag"] {
        assert!(planned.contains(what), "{what} is missing in\n{planned}");
    }
    let document = lake.run(&expire).expect(0).json();
    let expired = &document["actions"][0]["result"]["expired"];
    assert_eq!(expired["snapshots"], 6, "{document}");
    shown(&lake, expired);
    deleted(&lake, expired).await;
    assert_eq!(
        lake.read("db.events")["rows"],
        rows,
        "a row was lost, added or changed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_wait_and_are_deleted_unless_they_were_written_again() {
    let lake = Lake::new().await;
    let rows = lake.make("db.events", 3)["rows"].clone();
    let [lost, again] = ["lost.parquet", "again.parquet"].map(|name| lake.stray("db.events", name));
    let find = ["maintain", "db.events", "remove_orphan_files"];
    let found = lake.run(&find).expect(0).stdout;
    assert!(
        found.contains("2 orphan files (20 B) to be deleted"),
        "{found}"
    );
    let waiting = pending(&lake, &["db.events"]);
    let reasons = waiting["files"].as_array().unwrap().iter();
    let reasons: Vec<&Value> = reasons.map(|file| &file["reason"]).collect();
    assert_eq!(reasons, ["orphan", "orphan"], "{waiting}");
    // They are on the list: the next search finds nothing.
    let none = lake.run(&find).expect(0).stdout;
    assert!(none.contains("no file is an orphan"), "{none}");

    std::fs::write(&again, "by another import").unwrap();
    let sql = "update snowpack.pending_deletions set delete_after = now()";
    let client = lake.database.client().await;
    client.execute(sql, &[]).await.unwrap();
    lake.run(&["maintain", "db.events", "purge_pending"])
        .expect(0);
    assert!(!lost.exists() && again.exists());
    let kept = pending(&lake, &["db.events", "--state", "kept"]);
    assert!(
        kept["files"][0]["path"]
            .as_str()
            .unwrap()
            .ends_with("again.parquet"),
        "{kept}"
    );
    assert_eq!(lake.read("db.events")["rows"], rows);
}

#[track_caller]
fn shown(lake: &Lake, expired: &Value) {
    let waiting = pending(lake, &[]);
    let total = &waiting["tables"][0];
    assert_eq!(
        (&total["table"], &total["files"], &total["due"]),
        (&"db.events".into(), &expired["files"], &0.into()),
        "{waiting}"
    );
    let one = pending(lake, &["db.events", "--limit", "2"]);
    assert_eq!(one["files"].as_array().unwrap().len(), 2);
    assert_eq!(one["files"][0]["reason"], "expired");
    let text = lake.run(&["pending", "db.events"]).expect(0).stdout;
    for what in ["FIRST DUE", "REASON", "expired", ".parquet"] {
        assert!(text.contains(what), "{what} is missing in\n{text}");
    }
}

async fn deleted(lake: &Lake, expired: &Value) {
    let purge = ["maintain", "db.events", "purge_pending"];
    let early = lake.run(&purge).expect(0).stdout;
    assert!(early.contains("nothing_to_do"), "{early}");
    let sql = "update snowpack.pending_deletions set delete_after = now()";
    let client = lake.database.client().await;
    client.execute(sql, &[]).await.unwrap();
    assert_eq!(pending(lake, &[])["tables"][0]["due"], expired["files"]);
    let done = lake.run(&purge).expect(0).stdout;
    assert!(done.contains("files deleted"), "{done}");
    let left = pending(lake, &[]);
    assert_eq!(left["tables"].as_array().unwrap().len(), 0, "{left}");
    let gone = pending(
        lake,
        &["db.events", "--state", "deleted", "--limit", "1000"],
    );
    assert_eq!(gone["tables"][0]["files"], expired["files"], "{gone}");
    assert!(gone["files"][0]["changed_at"].is_string(), "{gone}");
}
