//! The demo in a small size, on the test server and on a Postgres of its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::Database;

use crate::program::{Background, run};

const SMALL: [&str; 7] = ["demo", "--output", "json", "--files", "80", "--rows", "50"];

#[track_caller]
fn check(report: &Value) {
    assert_eq!(report["success"], true, "{report}");
    assert_eq!(report["files_before"], 80);
    assert!(report["files_after"].as_u64().unwrap() <= 16, "{report}");
    assert!(
        report["delete_files_before"].as_u64().unwrap() > 0,
        "{report}"
    );
    assert_eq!(report["delete_files_after"], 0, "{report}");
    assert!(
        report["rows_before"].as_u64().unwrap() < 80 * 50,
        "nothing was deleted: {report}"
    );
    assert_eq!(report["rows_before"], report["rows_after"]);
    assert_eq!(report["fingerprint_before"], report["fingerprint_after"]);
    let writer = &report["writer"];
    assert!(writer["commits"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(writer["rows_written"], writer["rows_read"]);
    assert_eq!(writer["fingerprint_written"], writer["fingerprint_read"]);
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{report}"));
    let (deleted, updated) = (&report["rows_deleted"], &report["rows_updated"]);
    assert!(0 < number(updated), "nothing was updated: {report}");
    assert_eq!(number(deleted), 80 * 50 - number(&report["rows_before"]));
    let [first, second] = [0, 1].map(|job| &report["jobs"][job]);
    assert_eq!(
        (&first["status"], &second["status"]),
        (&"completed".into(), &"completed".into())
    );
    assert_eq!(
        first["results"][0]["result"]["deletes_applied"],
        number(deleted) + number(updated)
    );
    let result = |action: &str| {
        let results = second["results"].as_array().unwrap().iter();
        let mut of_it = results.filter(|result| result["action"] == action);
        of_it
            .next()
            .unwrap_or_else(|| panic!("{action} is missing in {report}"))["result"]
            .clone()
    };
    let (expired, purge) = (
        &result("expire_snapshots")["expired"],
        &result("purge_pending")["purge"],
    );
    assert!(
        number(&report["snapshots_before"]) <= number(&expired["snapshots"]),
        "{report}"
    );
    // Every data and delete file there was before, and what listed them.
    assert!(
        number(&purge["deleted"]) > 80 + number(&report["delete_files_before"]),
        "{report}"
    );
    assert_eq!((&purge["kept"], &purge["failed"]), (&0.into(), &0.into()));
    let disk = &report["disk"];
    for what in ["files", "bytes"] {
        let at = |time: &str| number(&disk[time][what]);
        assert!(
            at("before") < at("rewritten"),
            "rewriting frees nothing: {report}"
        );
        assert!(at("after") < at("before"), "{what}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_leaves_no_database_on_the_server_given() {
    testkit::binary("snowpack-worker");
    let database = Database::empty().await;
    check(
        &run(&SMALL, &[("SNOWPACK_DATABASE_URL", database.url())])
            .expect(0)
            .json(),
    );
    let client = database.client().await;
    let sql = "select count(*) from pg_database where datname like 'snowpack_demo_%'";
    testkit::until("the scratch database is gone", async || {
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    let sql = "select count(*) from pg_namespace where nspname = 'snowpack'";
    assert_eq!(
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0),
        0,
        "the database given was touched"
    );
}

#[test]
fn the_demo_starts_and_ends_a_postgres_of_its_own_and_keeps_files_when_asked() {
    testkit::binary("snowpack-worker");
    let keep = tempfile::tempdir().unwrap();
    let folder = keep.path().join("lake");
    let mut words = SMALL.to_vec();
    words.extend(["--keep", folder.to_str().unwrap()]);
    let report = run(&words, &[]).expect(0).json();
    check(&report);
    assert_eq!(report["kept"], folder.to_str().unwrap());
    assert!(folder.read_dir().unwrap().next().is_some());
    let read = testkit::oracle(
        "cli_tables",
        &json!({ "do": "count", "metadata_location": report["metadata_location"] }),
    );
    let rows = [&report["rows_before"], &report["writer"]["rows_written"]].map(Value::as_u64);
    let rows = rows.into_iter().map(Option::unwrap).sum::<u64>();
    assert_eq!(
        read,
        json!({ "rows": rows, "ids": rows }),
        "what PyIceberg reads"
    );
    let again = run(&words, &[])
        .expect(2)
        .complains(&["--keep", "not empty"]);
    assert_eq!(again.json()["success"], false);
}

#[test]
fn the_demo_tells_its_story_to_people() {
    testkit::binary("snowpack-worker");
    let told = run(&["demo", "--files", "40", "--rows", "20"], &[])
        .expect(0)
        .stdout;
    for what in [
        "Postgres",
        "40 small files in 8 partitions",
        "BEFORE",
        "EXPIRED AND PURGED",
        "small files",
        "Not a row was lost",
        "What only old snapshots needed is gone",
        "completed",
    ] {
        assert!(told.contains(what), "{what} is missing in\n{told}");
    }
}

/// A folder for temporary files that the user Postgres runs as can pass through.
fn scratch() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    folder
}

/// Processes whose command line names the folder.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let lines = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(folder)).collect()
}

async fn started(folder: &Path) -> Background {
    let settings = [("TMPDIR", folder.to_str().unwrap())];
    let demo = Background::start(&["demo", "--rows", "20000"], &settings);
    testkit::until("its Postgres runs", async || {
        std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .any(|entry| entry.path().join("data/postmaster.pid").exists())
    })
    .await;
    demo
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_demo_leaves_no_process_and_no_file() {
    let folder = scratch();
    let demo = started(folder.path()).await;
    demo.signal("INT");
    demo.ended().await.expect(1).complains(&["interrupted"]);
    assert_eq!(processes(folder.path()), Vec::<String>::new());
    assert_eq!(
        folder.path().read_dir().unwrap().count(),
        0,
        "files are left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_demo_that_was_killed() {
    let folder = scratch();
    let demo = started(folder.path()).await;
    demo.signal("KILL");
    demo.ended().await.expect(-1);
    testkit::until("its Postgres is gone", async || {
        processes(folder.path()).is_empty()
    })
    .await;
}
