//! SIGTERM and SIGINT in every phase: what runs is committed or handed back, never lost.

use model::{JobId, JobStatus};
use testkit::{Process, SmallTable};

use crate::lakehouse::{Hold, Lakehouse, readiness};

/// What a worker says when a step does not answer although it has to go.
const DROPPED: &str = "dropped an engine that did not stop";

#[tokio::test]
async fn m35_an_idle_worker_ends_at_once() {
    let house = Lakehouse::new().await;
    for signal in ["TERM", "INT"] {
        let worker = house.worker(&[], &[]);
        readiness(&worker, 200).await;
        worker.signal(signal);
        worker.ended_with(0, &[]).await;
    }
}

#[tokio::test]
async fn m35_a_worker_told_to_stop_ends_the_commit_it_has_begun_and_takes_nothing_new() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let job = house.submit("events").await;
    let hold = house.hold_swap("events").await;
    let worker = house.worker(&[], &[]);
    hold.holds().await;
    worker.signal("TERM");
    readiness(&worker, 503).await;
    let late = house.submit("late").await;
    hold.release().await;
    worker.ended_with(0, &[]).await;
    assert_eq!(house.status(&job).await, JobStatus::Completed);
    assert_eq!(house.leftovers(&job).await, (1, 0));
    house.rewritten_once("events", &before).await;
    assert_eq!(
        (house.status(&late).await, house.attempts(&late).await),
        (JobStatus::Pending, 0)
    );
}

#[tokio::test]
async fn m35_q30_a_worker_told_to_stop_before_it_wrote_anything_hands_back() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let job = house.submit("events").await;
    let hold = house.hold_ledger().await;
    let worker = house.worker(&[], &[]);
    hold.holds().await;
    worker.signal("TERM");
    readiness(&worker, 503).await;
    hold.release().await;
    worker.ended_with(0, &[]).await;
    // Handed back for free, and due at once.
    assert_eq!(
        (house.status(&job).await, house.attempts(&job).await),
        (JobStatus::Pending, 0)
    );
    assert_eq!(house.look("events").await, before);
    house.work_off(&[], &[]).await;
    assert_eq!(house.status(&job).await, JobStatus::Completed);
    house.rewritten_once("events", &before).await;
}

#[tokio::test]
async fn m35_a_worker_told_to_stop_while_it_plans_hands_back() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let worker = house.worker(&[], &[]);
    readiness(&worker, 200).await;
    let hold = house.hold_catalog().await;
    let job = house.submit("events").await;
    hold.holds().await;
    assert_eq!(house.status(&job).await, JobStatus::Running);
    worker.signal("TERM");
    worker.logged("draining").await;
    hold.release().await;
    worker.ended_with(0, &[]).await;
    assert_eq!(
        (house.status(&job).await, house.attempts(&job).await),
        (JobStatus::Pending, 0)
    );
    assert_eq!(house.look("events").await, before);
}

#[tokio::test]
async fn m35_a_worker_told_to_stop_while_it_ends_a_job_completes_it() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let job = house.submit("events").await;
    let swap = house.hold_swap("events").await;
    let worker = house.worker(&[], &[]);
    swap.holds().await;
    let end = house.hold_end(&job).await;
    swap.release().await;
    end.holds().await;
    worker.signal("TERM");
    worker.logged("draining").await;
    end.release().await;
    worker.ended_with(0, &[]).await;
    assert_eq!(house.status(&job).await, JobStatus::Completed);
    assert_eq!(house.leftovers(&job).await, (1, 0));
    house.rewritten_once("events", &before).await;
}

#[tokio::test]
async fn m35_without_grace_even_a_begun_commit_is_handed_back() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let job = house.submit("events").await;
    let hold = house.hold_swap("events").await;
    let worker = house.worker(&[("SNOWPACK_GRACE_SECONDS", "0")], &[]);
    hold.holds().await;
    worker.signal("TERM");
    handed_back_at_once(&house, &worker, hold, &job, &before).await;
}

#[tokio::test]
async fn m35_a_second_signal_hands_back_at_once() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let job = house.submit("events").await;
    let hold = house.hold_swap("events").await;
    let worker = house.worker(&[("SNOWPACK_GRACE_SECONDS", "3600")], &[]);
    hold.holds().await;
    worker.signal("TERM");
    worker.logged("draining").await;
    worker.signal("TERM");
    handed_back_at_once(&house, &worker, hold, &job, &before).await;
}

/// The worker leaves the held step behind and hands back for free; the next one completes.
async fn handed_back_at_once(
    house: &Lakehouse,
    worker: &Process,
    hold: Hold,
    job: &JobId,
    before: &SmallTable,
) {
    worker.mentions(DROPPED).await;
    hold.release().await;
    worker.ended_with(0, &[DROPPED]).await;
    assert_eq!(
        (house.status(job).await, house.attempts(job).await),
        (JobStatus::Pending, 0)
    );
    assert_eq!(&house.look("events").await, before);
    house.work_off(&[], &[]).await;
    assert_eq!(house.status(job).await, JobStatus::Completed);
    house.rewritten_once("events", before).await;
}
