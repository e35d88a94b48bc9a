//! The orchestrator as a process: exit codes, what it prints, signals, and its death.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use testkit::{Database, Process};
use tokio_postgres::Client;

const PROGRAM: &str = env!("CARGO_BIN_EXE_snowpack-orchestrator");

/// Tables that want a rewrite, as the cache and the newest health tell of them.
async fn sick_tables(count: u32) -> (Database, Client) {
    let database = Database::new().await;
    let client = database.client().await;
    let sql = format!(
        "insert into snowpack.table_cache_entries (database_name, table_name, payload) \
         select 'db', 't' || n, jsonb_build_object('table_uuid', 'u' || n) \
         from generate_series(1, {count}) n; \
         insert into snowpack.table_health (database_name, table_name, score, assessed_at, payload) \
         select 'db', 't' || n, 60, now(), jsonb_build_object('table_uuid', 'u' || n, \
         'metadata_location', 'm', 'format_version', 2, 'file_stats', jsonb_build_object( \
         'total_data_files', 100, 'total_size_bytes', 1000000, 'small_file_count', 90, \
         'compactable_file_count', 90, 'compactable_bytes', 900000, \
         'target_file_size_bytes', 536870912)) from generate_series(1, {count}) n; \
         update snowpack.table_cache_meta set last_synced_at = now()"
    );
    client.batch_execute(&sql).await.unwrap();
    (database, client)
}

/// No catalog, no storage: Postgres is all it is given.
fn settings(database: &Database) -> [(&str, &str); 2] {
    [
        ("SNOWPACK_DATABASE_URL", database.url()),
        ("SNOWPACK_ENROLMENT", "opt-out"),
    ]
}

fn run(database: &Database, words: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SNOWPACK_") {
            command.env_remove(name);
        }
    }
    let settings = settings(database);
    let command = command.args(words).envs(settings).stdin(Stdio::null());
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

async fn statuses(client: &Client) -> Vec<String> {
    let sql = "select status from snowpack.orchestrator_runs order by run_id";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn jobs(client: &Client) -> i64 {
    let sql = "select count(*) from snowpack.jobs";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Holds every submission until rolled back.
async fn hold(database: &Database, client: &Client) -> Client {
    let holder = database.client().await;
    let lock = "begin; lock table snowpack.settings in access exclusive mode";
    holder.batch_execute(lock).await.unwrap();
    let sql = "select count(*) from pg_stat_activity where datname = current_database() \
               and wait_event_type = 'Lock'";
    assert_eq!(
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0),
        0
    );
    holder
}

async fn held(client: &Client) {
    testkit::until("the run waits to submit", async || {
        let sql = "select count(*) from pg_stat_activity where datname = current_database() \
                   and wait_event_type = 'Lock'";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn m25_one_run_submits_says_so_and_exits_0_without_any_catalog() {
    let (database, client) = sick_tables(3).await;
    let dry = run(&database, &["--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", stderr(&dry));
    let said = stdout(&dry);
    assert!(
        said.contains("would submit db.t1: rewrite_data_files (health"),
        "{said}"
    );
    assert!(said.contains("due        3, none submitted"), "{said}");
    assert_eq!(jobs(&client).await, 0);

    let real = run(&database, &["--jobs-max-per-run=2", "--output=json"]);
    assert_eq!(real.status.code(), Some(0), "{}", stderr(&real));
    let document: Value = serde_json::from_str(&stdout(&real)).unwrap();
    assert_eq!(document["run"]["status"], "completed");
    assert_eq!(document["run"]["jobs_submitted"], 2);
    assert_eq!(document["run"]["tables_skipped"], 1);
    assert_eq!(document["run"]["payload"]["budget"]["jobs_max"], 2);
    assert_eq!(
        document["reasons"][1]["reason"], "over_budget",
        "{document}"
    );
    assert_eq!(jobs(&client).await, 2);

    let text = stdout(&run(&database, &[]));
    assert!(text.contains("submitted  1"), "{text}");
    assert!(text.contains("left alone 2 locked"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn m28_a_failed_run_exits_1_and_its_row_says_why() {
    let (database, client) = sick_tables(1).await;
    let stale = "update snowpack.table_cache_meta set last_synced_at = now() - interval '2 h'";
    client.batch_execute(stale).await.unwrap();
    let failed = run(&database, &["--output=json"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        stderr(&failed).contains("at most 3600 s are allowed"),
        "{}",
        stderr(&failed)
    );
    let document: Value = serde_json::from_str(&stdout(&failed)).unwrap();
    assert_eq!(document["run"]["status"], "failed");
    assert_eq!(statuses(&client).await, ["failed"]);
    assert_eq!(
        run(&database, &["--cache-age-max-seconds=7300"])
            .status
            .code(),
        Some(0)
    );
    assert_eq!(
        run(&database, &["--cadence-hours=often"]).status.code(),
        Some(2)
    );
    let bad = run(&database, &["--triggered-by="]);
    assert_eq!(bad.status.code(), Some(2), "{}", stderr(&bad));
}

#[tokio::test(flavor = "multi_thread")]
async fn m28_a_killed_run_is_closed_by_the_next_which_does_its_work() {
    let (database, client) = sick_tables(5).await;
    let holder = hold(&database, &client).await;
    let killed = Process::start(PROGRAM, &settings(&database), &[]);
    held(&client).await;
    killed.signal("KILL");
    killed.ended().await;
    holder.batch_execute("rollback").await.unwrap();
    assert_eq!(statuses(&client).await, ["running"]);

    // Nobody knows yet that it is dead.
    assert_eq!(run(&database, &["--dry-run"]).status.code(), Some(0));
    assert_eq!(statuses(&client).await, ["running", "completed"]);
    let later = "update snowpack.orchestrator_runs set seen_at = seen_at - interval '10 minutes' \
                 where status = 'running'";
    client.batch_execute(later).await.unwrap();
    let next = run(&database, &[]);
    assert_eq!(next.status.code(), Some(0), "{}", stderr(&next));
    assert!(
        stderr(&next).contains("closed runs that were left open"),
        "{}",
        stderr(&next)
    );
    assert_eq!(
        statuses(&client).await,
        ["abandoned", "completed", "completed"]
    );
    assert_eq!(jobs(&client).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn m28_sigterm_closes_the_run_as_failed_and_exits_1() {
    let (database, client) = sick_tables(300).await;
    let holder = hold(&database, &client).await;
    let stopped = Process::start(PROGRAM, &settings(&database), &[]);
    held(&client).await;
    stopped.signal("TERM");
    stopped.mentions("draining").await;
    holder.batch_execute("rollback").await.unwrap();
    let said = "run 1 failed: stopped by a signal before the end";
    stopped.ended_with(1, &[said]).await;
    let sql = "select status, error, jobs_submitted from snowpack.orchestrator_runs";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "failed");
    assert_eq!(
        row.get::<_, String>(1),
        "stopped by a signal before the end"
    );
    let submitted = i64::from(row.get::<_, i32>(2));
    assert_eq!(submitted, jobs(&client).await);
    assert!(submitted < 300, "it went on to the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn m25_two_processes_at_once_make_one_live_job_for_each_table() {
    let (database, client) = sick_tables(120).await;
    let one = Process::start(PROGRAM, &settings(&database), &[]);
    let other = Process::start(PROGRAM, &settings(&database), &[]);
    one.ended_with(0, &[]).await;
    other.ended_with(0, &[]).await;
    assert_eq!(statuses(&client).await, ["completed", "completed"]);
    assert_eq!(jobs(&client).await, 120);
    let sql = "select count(distinct table_name) from snowpack.jobs";
    assert_eq!(
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0),
        120
    );
}
