//! `snowpack retry --failed`: as many jobs as an outage leaves behind.

use serde_json::{Value, json};
use testkit::{Process, until};

use crate::program::Lake;

/// As many tables as an outage may hit.
const TABLES: i32 = 1_000;

/// Tables whose only job failed.
async fn outage(lake: &Lake, tables: i32) {
    let sql = "insert into snowpack.jobs (job_id, database_name, table_name, actions, dry_run, \
               status, reason, submitted_at, completed_at, submitted_by, request_hash) \
               select gen_random_uuid()::text, 'db', 't' || n, '{rewrite_data_files}', false, \
               'failed', 'action_failed', now() - n * interval '1 s', now(), 'test', 'v1:' \
               from generate_series(1, $1) n";
    let client = lake.database.client().await;
    client.execute(sql, &[&tables]).await.unwrap();
}

/// Tables with a live job, and live jobs that are one table's second.
async fn live(lake: &Lake) -> (i64, i64) {
    let sql = "select count(distinct table_name), count(*) - count(distinct table_name) \
               from snowpack.jobs join snowpack.job_queue using (job_id)";
    let row = lake.database.client().await.query_one(sql, &[]).await;
    let row = row.unwrap();
    (row.get(0), row.get(1))
}

#[track_caller]
fn retry(lake: &Lake, more: &[&str]) -> Value {
    let words = ["retry", "--failed", "--output", "json"];
    lake.run(&[&words[..], more].concat()).expect(0).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn q28_a_thousand_failed_jobs_are_submitted_again_once() {
    let lake = Lake::new().await;
    outage(&lake, TABLES).await;
    // Two at once share the work.
    let words = ["retry", "--failed", "--per-second", "1000"];
    let both =
        [0, 1].map(|_| Process::start(env!("CARGO_BIN_EXE_snowpack"), &lake.settings(), &words));
    for one in &both {
        one.ended_with(0, &[]).await;
    }
    assert_eq!(live(&lake).await, (i64::from(TABLES), 0));
    let kept = "select count(*) from snowpack.jobs as old join snowpack.jobs as new \
                on new.retry_of = old.job_id and new.table_name = old.table_name \
                where old.status = 'failed' and new.status = 'pending'";
    let client = lake.database.client().await;
    let row = client.query_one(kept, &[]).await.unwrap();
    assert_eq!(
        row.get::<_, i64>(0),
        i64::from(TABLES),
        "each beside the job it repeats"
    );
    let again = retry(&lake, &[]);
    assert_eq!(
        (&again["retried"], &again["left_alone"]),
        (&json!([]), &json!(TABLES))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn q28_a_bulk_retry_may_be_interrupted_and_goes_on() {
    let lake = Lake::new().await;
    outage(&lake, 40).await;
    let words = ["retry", "--failed", "--per-second", "2"];
    let first = Process::start(env!("CARGO_BIN_EXE_snowpack"), &lake.settings(), &words);
    until("some are submitted", async || live(&lake).await.0 > 2).await;
    first.signal("INT");
    assert_eq!(first.ended().await.code(), Some(1));
    assert!(
        first.log().contains("give the command again"),
        "{}",
        first.log()
    );
    let (begun, doubled) = live(&lake).await;
    assert!(begun < 40 && doubled == 0, "{begun}, {doubled}");

    let rest = retry(&lake, &["--per-second", "1000"]);
    assert_eq!(rest["retried"].as_array().unwrap().len() as i64, 40 - begun);
    assert_eq!(rest["left_alone"], begun);
    assert_eq!(live(&lake).await, (40, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn q28_only_a_tables_last_job_is_done_over_and_a_drain_stops_it() {
    let lake = Lake::new().await;
    outage(&lake, 4).await;
    let client = lake.database.client().await;
    // One of them is old, one's table did well since, one failed twice, one ran dry.
    let sql = "update snowpack.jobs set submitted_at = '2026-01-01Z' where table_name = 't1'; \
               insert into snowpack.jobs (job_id, database_name, table_name, actions, dry_run, \
               status, reason, submitted_at, completed_at, submitted_by, request_hash) values \
               (gen_random_uuid()::text, 'db', 't2', '{rewrite_data_files}', false, 'completed', \
               null, now(), now(), 'test', 'v1:'), \
               ('11111111-1111-4111-8111-111111111111', 'db', 't3', '{rewrite_data_files}', false, \
               'failed', 'action_failed', now(), now(), 'test', 'v1:'); \
               update snowpack.jobs set dry_run = true where table_name = 't4'";
    client.batch_execute(sql).await.unwrap();
    lake.run(&["drain", "on"]).expect(0);
    let drained = lake.run(&["retry", "--failed"]).expect(1);
    drained.complains(&["drained by cli:", "after 0 jobs"]);
    lake.run(&["drain", "off"]).expect(0);

    let told = retry(&lake, &["--since", "2026-01-02T00:00:00Z"]);
    let retried = told["retried"].as_array().unwrap();
    assert_eq!(retried.len(), 1, "{told}");
    assert_eq!(
        retried[0]["retry_of"],
        "11111111-1111-4111-8111-111111111111"
    );
    assert_eq!(told["left_alone"], 1, "{told}");
    assert_eq!(live(&lake).await, (1, 0));
}

#[test]
fn bulk_and_single_do_not_mix_and_a_rate_has_bounds() {
    let url = (
        "SNOWPACK_DATABASE_URL",
        "postgres://nobody@127.0.0.1:1/nothing",
    );
    for (words, why) in [
        (&["retry"][..], "--failed"),
        (
            &["retry", "0199d7a2-5b1e-7c3a-9f00-3c1f6a7d9e21", "--failed"],
            "cannot be used",
        ),
        (&["retry", "--failed", "--per-second", "0"], "1..=1000"),
        (&["retry", "--failed", "--since", "yesterday"], "--since"),
    ] {
        crate::program::run(words, &[url])
            .expect(2)
            .complains(&[why]);
    }
}
