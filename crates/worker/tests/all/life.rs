//! A worker's ordinary life: claim, run, end; several workers; cancel.

use model::{EndReason, JobStatus};
use testkit::{Process, until};

use crate::lakehouse::{FILES, Lakehouse, admin, readiness};

/// A log line of a job that failed.
const JOB_FAILED: &str = "job_failed";

#[tokio::test]
async fn m18_a_worker_completes_a_job_and_leaves_nothing_of_it_in_the_queue() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    assert_eq!(before.files, FILES);
    let job = house.submit("events").await;
    house.work_off(&[], &[]).await;
    let done = house.job(&job).await;
    assert_eq!(
        (done.status, done.reason, done.error),
        (JobStatus::Completed, None, None)
    );
    assert_eq!(house.leftovers(&job).await, (1, 0));
    house.rewritten_once("events", &before).await;
}

/// Claims this worker has made.
async fn claims(worker: &Process) -> f64 {
    let page = testkit::get(admin(worker).await, "/metrics", &[]).await.1;
    let count = |line: &str| -> Option<f64> {
        let (name, value) = line.rsplit_once(' ')?;
        name.starts_with("snowpack_claim_seconds_count")
            .then(|| value.parse().unwrap())
    };
    page.lines().filter_map(count).sum()
}

#[tokio::test]
async fn q36_a_paused_lanes_worker_looks_and_takes_nothing_until_it_is_resumed() {
    let house = Lakehouse::new().await;
    house.table("events").await;
    let client = house.database.client().await;
    let queue = maintenance::queue();
    queue
        .pause(&client, "somebody", "moving house")
        .await
        .unwrap();
    let worker = house.worker(&[], &[]);
    readiness(&worker, 200).await;
    let before = claims(&worker).await;
    let job = house.submit("events").await;
    until("the worker has looked again", async || {
        before + 2.0 <= claims(&worker).await
    })
    .await;
    assert_eq!(house.attempts(&job).await, 0);
    assert_eq!(house.status(&job).await, JobStatus::Pending);
    queue.resume(&client).await.unwrap();
    queue.notify(&client).await.unwrap();
    house.becomes(&job, JobStatus::Completed).await;
    worker.signal("TERM");
    worker.ended_with(0, &[]).await;
}

#[tokio::test]
async fn an_idle_worker_is_woken_by_a_submission() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let worker = house.worker(&[], &[]);
    readiness(&worker, 200).await;
    let job = house.submit("events").await;
    house.becomes(&job, JobStatus::Completed).await;
    house.rewritten_once("events", &before).await;
    worker.signal("INT");
    worker.ended_with(0, &[]).await;
}

#[tokio::test]
async fn m07_each_of_many_jobs_is_claimed_by_one_of_two_workers() {
    let house = Lakehouse::new().await;
    let tables = ["a", "b", "c"];
    let mut jobs = Vec::new();
    for table in tables {
        let before = house.table(table).await;
        jobs.push((table, before, house.submit(table).await));
    }
    let workers = [0, 1].map(|_| house.worker(&[], &["--exit-when-idle"]));
    let mut claims = Vec::new();
    for worker in &workers {
        worker.ended_with(0, &[]).await;
        for line in worker
            .log()
            .lines()
            .filter(|line| line.contains("\"job_claimed\""))
        {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            claims.push(entry["job"].as_str().unwrap().to_owned());
        }
    }
    // A worker goes home when it finds nothing; the other one still ends what it holds.
    let mut want: Vec<String> = jobs.iter().map(|(_, _, job)| job.to_string()).collect();
    want.sort();
    claims.sort();
    assert_eq!(claims, want);
    for (table, before, job) in &jobs {
        assert_eq!(house.status(job).await, JobStatus::Completed);
        assert_eq!(house.leftovers(job).await, (1, 0));
        house.rewritten_once(table, before).await;
    }
}

#[tokio::test]
async fn a_worker_serves_its_pools_only() {
    let house = Lakehouse::new().await;
    let large = house
        .submit_with("large", |asked| asked.pool = "l".to_owned())
        .await;
    house
        .work_off(&[("SNOWPACK_WORKER_POOLS", "s,default")], &[])
        .await;
    assert_eq!(house.status(&large).await, JobStatus::Pending);
    house
        .work_off(&[("SNOWPACK_WORKER_POOLS", "default,l")], &[JOB_FAILED])
        .await;
    assert_eq!(house.status(&large).await, JobStatus::Failed);
}

#[tokio::test]
async fn max_jobs_ends_a_worker_after_so_many() {
    let house = Lakehouse::new().await;
    let before = house.table("one").await;
    let (one, two) = (house.submit("one").await, house.submit("two").await);
    house
        .worker(&[], &["--max-jobs=1"])
        .ended_with(0, &[])
        .await;
    assert_eq!(house.status(&one).await, JobStatus::Completed);
    assert_eq!(
        (house.status(&two).await, house.attempts(&two).await),
        (JobStatus::Pending, 0)
    );
    house.rewritten_once("one", &before).await;
}

#[tokio::test]
async fn a_job_on_a_table_that_is_gone_fails_with_its_name() {
    let house = Lakehouse::new().await;
    house.table("other").await;
    let job = house.submit("gone").await;
    house.work_off(&[], &[JOB_FAILED]).await;
    let job = house.job(&job).await;
    assert_eq!(
        (job.status, job.reason),
        (JobStatus::Failed, Some(EndReason::ActionFailed))
    );
    let error = job.error.unwrap();
    assert!(error.contains("db.gone"), "{error}");
}

#[tokio::test]
async fn m16_a_running_job_that_is_cancelled_stops_before_it_changes_the_table() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let job = house.submit("events").await;
    let hold = house.hold_ledger().await;
    let worker = house.worker(&[], &["--exit-when-idle"]);
    hold.holds().await;

    let mut client = house.database.client().await;
    let tx = client.transaction().await.unwrap();
    maintenance::cancel(&tx, &job).await.unwrap();
    tx.commit().await.unwrap();
    let lease = house.lease_ends(&job).await;
    maintenance::queue()
        .notify_cancel(&client, &job)
        .await
        .unwrap();
    // The renewal's answer is what tells the worker.
    until("the lease was renewed", async || {
        house.lease_ends(&job).await != lease
    })
    .await;
    hold.release().await;
    worker.ended_with(0, &[]).await;
    let job_after = house.job(&job).await;
    assert_eq!(job_after.status, JobStatus::Cancelled);
    assert_eq!(house.leftovers(&job).await, (0, 0));
    assert_eq!(house.look("events").await, before);
}

#[tokio::test]
async fn a_worker_whose_connections_are_cut_goes_on() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let worker = house.worker(&[], &[]);
    readiness(&worker, 200).await;
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
               where application_name like 'snowpack-worker%' and datname = current_database()";
    let client = house.database.client().await;
    let count: i64 = client.query_one(cut, &[]).await.unwrap().get(0);
    assert!(count > 0);
    let job = house.submit("events").await;
    house.becomes(&job, JobStatus::Completed).await;
    house.rewritten_once("events", &before).await;
    until("it is ready again", async || {
        let address = crate::lakehouse::admin(&worker).await;
        testkit::get(address, "/readyz", &[]).await.0 == 200
    })
    .await;
    worker.signal("TERM");
    worker
        .ended_with(
            0,
            &[
                "listen connection lost",
                "claim failed",
                "deadpool.postgres",
            ],
        )
        .await;
}
