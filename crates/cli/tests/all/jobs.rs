//! Migrating, and jobs from the terminal: submit, jobs, job, cancel, pause, resume.

use serde_json::Value;
use testkit::Database;

use crate::program::{Background, Lake, run};

const JSON: [&str; 2] = ["--output", "json"];

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_changes_nothing() {
    let database = Database::empty().await;
    let settings = [("SNOWPACK_DATABASE_URL", database.url())];
    run(&["jobs"], &settings)
        .expect(1)
        .complains(&["snowpack migrate"]);
    let first = run(&["migrate", "--output", "json"], &settings)
        .expect(0)
        .json();
    assert_eq!(first["version"], maintenance::SCHEMA_VERSION);
    assert!(!first["applied"].as_array().unwrap().is_empty(), "{first}");
    let second = run(&["migrate", "--output", "json"], &settings)
        .expect(0)
        .json();
    assert_eq!(
        (
            &second["version"],
            second["applied"].as_array().unwrap().len()
        ),
        (&first["version"], 0)
    );
    assert!(
        run(&["migrate"], &settings)
            .expect(0)
            .stdout
            .contains("already")
    );
    assert!(
        run(&["jobs"], &settings)
            .expect(0)
            .stdout
            .contains("no jobs")
    );
}

#[track_caller]
fn submit(lake: &Lake, table: &str, more: &[&str]) -> Value {
    let words = [&["submit", table, "rewrite_data_files"], &JSON[..], more].concat();
    lake.run(&words).expect(0).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_listed_shown_and_cancelled() {
    let lake = Lake::new().await;
    let printed = lake
        .run(&[
            "submit",
            "db.events",
            "rewrite_data_files",
            "-o",
            "min-input-files=2",
        ])
        .expect(0)
        .stdout;
    let id = printed.trim();
    let other = submit(&lake, "db.other", &["--priority", "-2"]);

    let listed = lake.run(&["jobs", "--output", "json"]).expect(0).json();
    let ids: Vec<&str> = listed["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["job_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [other["job_id"].as_str().unwrap(), id], "newest first");
    let of_table = lake
        .run(&[
            "jobs",
            "--table",
            "db.events",
            "--status",
            "pending",
            "--output",
            "json",
        ])
        .expect(0)
        .json();
    assert_eq!(of_table["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(
        lake.run(&["jobs", "--limit", "1", "--output", "json"])
            .json()["jobs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert!(lake.run(&["jobs"]).expect(0).stdout.contains(id));

    let job = lake.run(&["job", id, "--output", "json"]).expect(0).json();
    assert_eq!(job["status"], "pending");
    assert_eq!(job["table"], "db.events");
    assert_eq!(job["options"]["rewrite_data_files"]["min-input-files"], "2");
    assert_eq!(job["results"].as_array().unwrap().len(), 0);

    let cancelled = lake
        .run(&["cancel", id, "--output", "json"])
        .expect(0)
        .json();
    assert_eq!(cancelled["cancelled"], true);
    let job = lake.run(&["job", id, "--output", "json"]).expect(0).json();
    assert_eq!(
        (&job["status"], &job["reason"]),
        (&"cancelled".into(), &"cancelled".into())
    );
    lake.run(&["cancel", id])
        .expect(1)
        .complains(&[id, "cancelled already"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_not_there_is_named() {
    let lake = Lake::new().await;
    let id = "0199d7a2-5b1e-7c3a-9f00-3c1f6a7d9e21";
    lake.run(&["job", id]).expect(1).complains(&[id]);
    lake.run(&["cancel", id]).expect(1).complains(&[id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gives_the_same_job_and_refuses_other_work() {
    let lake = Lake::new().await;
    let first = submit(&lake, "db.events", &["--idempotency-key", "nightly"]);
    let again = submit(&lake, "db.events", &["--idempotency-key", "nightly"]);
    assert_eq!(
        (&first["new"], &again["new"]),
        (&true.into(), &false.into())
    );
    assert_eq!(first["job_id"], again["job_id"]);
    let words = [
        "submit",
        "db.other",
        "rewrite_data_files",
        "--idempotency-key",
        "nightly",
    ];
    lake.run(&words)
        .expect(1)
        .complains(&["nightly", first["job_id"].as_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_job_of_a_table_is_refused_naming_the_first() {
    let lake = Lake::new().await;
    let first = submit(&lake, "db.events", &[]);
    lake.run(&["submit", "db.events", "rewrite_data_files"])
        .expect(1)
        .complains(&["db.events", first["job_id"].as_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_lane_hands_out_nothing_until_it_is_resumed() {
    let lake = Lake::new().await;
    lake.make("db.events", 1);
    let paused = lake
        .run(&["pause", "--reason", "moving house", "--output", "json"])
        .expect(0)
        .json();
    assert_eq!(
        (&paused["lane"], &paused["paused"]),
        (&"snowpack".into(), &true.into())
    );
    let maintain = ["maintain", "db.events", "rewrite_data_files"];
    lake.run(&maintain)
        .expect(1)
        .complains(&["paused", "moving house", "snowpack resume"]);
    assert_eq!(
        lake.run(&["jobs", "--output", "json"]).json()["jobs"]
            .as_array()
            .unwrap()
            .len(),
        0,
        "nothing is left"
    );
    assert_eq!(
        lake.run(&["resume", "snowpack", "--output", "json"])
            .expect(0)
            .json()["paused"],
        false
    );
    lake.run(&maintain).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_shows_every_change_until_it_is_interrupted() {
    let lake = Lake::new().await;
    let watch = Background::start(&["jobs", "--watch", "--output", "json"], &lake.settings());
    let seen = |text: &str| watch.stdout().lines().any(|line| line.contains(text));
    testkit::until("the empty list is shown", async || seen(r#"{"jobs":[]}"#)).await;
    let job = submit(&lake, "db.events", &[]);
    let id = job["job_id"].as_str().unwrap();
    testkit::until("the job is shown", async || seen(id) && seen("pending")).await;
    lake.run(&["cancel", id]).expect(0);
    testkit::until("its end is shown", async || seen("cancelled")).await;
    watch.signal("INT");
    let shown = watch.ended().await.expect(0).stdout;
    assert_eq!(shown.lines().count(), 3, "one line a change: {shown}");
}
