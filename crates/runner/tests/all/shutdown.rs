//! A process that goes away commits or hands back, and loses no finished work.

use std::time::Duration;

use model::{ActionOutcome, EndReason, JobStatus};
use runner::{Config, How, Shutdown};

use crate::engine::Step;
use crate::rig::{REFUSED, REWRITE, Rig, Setup};

/// Sort key and cost of the job's place in the queue.
async fn place(rig: &Rig) -> (String, i32, i32, bool) {
    let sql = "select sort_key::text, attempt_count, hand_back_count, \
               claimed_at is null and not scheduled and visible_at <= now() \
               from snowpack.job_queue";
    let row = rig.client.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

#[tokio::test]
async fn m35_q30_i12_a_drained_attempt_commits_and_hands_back_the_rest() {
    let mut rig = Rig::new(&[Step::HoldThenCommit]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE, REFUSED]).await;
    let (sort_key, ..) = place(&rig).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    rig.shutdown.drain.cancel();
    rig.engine.go_on.notify_one();
    assert_eq!(running.await.unwrap().how, How::HandedBack);
    assert_eq!(
        place(&rig).await,
        (sort_key, 0, 1, true),
        "its age and its attempts are kept"
    );
    assert_eq!(rig.job(&job).await.status, JobStatus::Pending);
    assert_eq!(rig.outcomes(&job).await, [(REWRITE, ActionOutcome::Done)]);

    rig.shutdown = Shutdown::default();
    assert_eq!(
        rig.attempt(&job).await,
        How::Failed(EndReason::ActionFailed)
    );
    assert_eq!(rig.engine.executed(), 1, "what was done is not done again");
    let want = [
        (REWRITE, ActionOutcome::Done),
        (REFUSED, ActionOutcome::Failed),
    ];
    assert_eq!(rig.outcomes(&job).await, want);
    assert_eq!(rig.commits(&job).await, 1);
}

#[tokio::test]
async fn m35_an_engine_that_stops_at_a_drain_costs_no_attempt() {
    let mut rig = Rig::new(&[Step::Hang]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    rig.shutdown.drain.cancel();
    assert_eq!(running.await.unwrap().how, How::HandedBack);
    let (_, attempts, hand_backs, due) = place(&rig).await;
    assert_eq!((attempts, hand_backs, due), (0, 1, true));
    assert_eq!(rig.outcomes(&job).await, [], "nothing failed");

    rig.shutdown = Shutdown::default();
    assert_eq!(rig.attempt(&job).await, How::Completed);
}

#[tokio::test]
async fn m35_an_engine_that_does_not_stop_is_dropped() {
    let setup = Setup::default();
    let config = Config {
        stops_within: Duration::from_millis(20),
        ..setup.config
    };
    let mut rig = Rig::with(Setup { config, ..setup }, &[Step::Deaf]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    rig.shutdown.drain.cancel();
    rig.shutdown.stop.cancel();
    assert_eq!(running.await.unwrap().how, How::HandedBack);
    rig.shutdown = Shutdown::default();
    assert_eq!(rig.attempt(&job).await, How::Completed);
}

#[tokio::test]
async fn m35_nothing_is_committed_after_the_second_signal() {
    let mut rig = Rig::new(&[Step::HoldThenCommit]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    rig.shutdown.drain.cancel();
    rig.shutdown.stop.cancel();
    testkit::until("the engine is told", async || rig.engine.told_to_stop()).await;
    rig.engine.go_on.notify_one();
    assert_eq!(running.await.unwrap().how, How::HandedBack);
    assert_eq!(
        (rig.commits(&job).await, rig.outcomes(&job).await),
        (0, vec![])
    );
    let (_, attempts, hand_backs, due) = place(&rig).await;
    assert_eq!((attempts, hand_backs, due), (0, 1, true));
}

#[tokio::test]
async fn q27_hand_backs_without_a_cost_have_an_end() {
    let mut rig = Rig::new(&[]).await;
    let job = rig.submit(&crate::rig::submission(&[REWRITE])).await;
    rig.shutdown.drain.cancel();
    for number in 1..=25 {
        let how = rig.attempt(&job).await;
        if how != How::HandedBack {
            assert_eq!(how, How::Failed(EndReason::Exhausted));
            assert!(number > 20, "only after the cap of 20: {number}");
            rig.assert_nothing_is_live().await;
            return;
        }
    }
    panic!("a job was handed back for ever");
}
