//! The demo in a small size, on the test server and on a Postgres of its own.

use serde_json::Value;
use testkit::Database;

use crate::program::run;

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
    let job = &report["jobs"][0];
    assert_eq!(job["status"], "completed");
    assert_eq!(
        job["results"][0]["result"]["deletes_applied"],
        80 * 50 - report["rows_before"].as_u64().unwrap()
    );
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
        "small files",
        "Not a row was lost",
        "completed",
    ] {
        assert!(told.contains(what), "{what} is missing in\n{told}");
    }
}
