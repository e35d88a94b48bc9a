//! Cancelling a running job.

use model::{ActionOutcome, Advice, EndReason, JobStatus};
use runner::How;

use crate::engine::Step;
use crate::rig::{REFUSED, REWRITE, Rig};

#[tokio::test]
async fn m16_q52_a_running_action_is_stopped_at_the_next_beat() {
    let mut rig = Rig::new(&[Step::Hang]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    rig.cancel(&job).await;
    rig.heart.nudge();
    assert_eq!(running.await.unwrap().how, How::Cancelled);
    let ended = rig.job(&job).await;
    assert_eq!(
        (ended.status, ended.reason),
        (JobStatus::Cancelled, Some(EndReason::Cancelled))
    );
    assert_eq!(
        (rig.commits(&job).await, rig.outcomes(&job).await),
        (0, vec![])
    );
    rig.assert_nothing_is_live().await;
}

#[tokio::test]
async fn m16_a_cancelled_job_does_not_start_its_next_action() {
    let mut rig = Rig::new(&[Step::HoldThenCommit]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE, REFUSED]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    // No beat brings it: the attempt looks by itself before it goes on.
    rig.cancel(&job).await;
    rig.engine.go_on.notify_one();
    assert_eq!(running.await.unwrap().how, How::Cancelled);
    assert_eq!(rig.outcomes(&job).await, [(REWRITE, ActionOutcome::Done)]);
    assert_eq!(rig.commits(&job).await, 1);
    rig.assert_nothing_is_live().await;
}

#[tokio::test]
async fn q52_an_attempt_that_is_done_first_completes() {
    let mut rig = Rig::new(&[Step::HoldThenCommit]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    rig.cancel(&job).await;
    rig.engine.go_on.notify_one();
    assert_eq!(running.await.unwrap().how, How::Completed);
    assert_eq!(rig.job(&job).await.status, JobStatus::Completed);
    rig.assert_nothing_is_live().await;
}

#[tokio::test]
async fn q53_a_cancel_raced_with_the_end_leaves_one_legal_outcome() {
    let mut rig = Rig::new(&[]).await;
    for _ in 0..40 {
        let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        let running = rig.start(claimed);
        let tx = rig.client.transaction().await.unwrap();
        let cancelled = maintenance::cancel(&tx, &job).await;
        tx.commit().await.unwrap();
        rig.heart.nudge();
        let how = running.await.unwrap().how;
        let ended = rig.job(&job).await;
        let want = match how {
            How::Completed => JobStatus::Completed,
            How::Cancelled => JobStatus::Cancelled,
            other => panic!("{other:?} after {cancelled:?}"),
        };
        assert_eq!(ended.status, want, "{cancelled:?}");
        assert!(cancelled.is_ok() || how == How::Completed, "{cancelled:?}");
        let committed = rig.commits(&job).await;
        assert!(
            committed == 1 || how == How::Cancelled,
            "{committed} commits, {how:?}"
        );
        rig.assert_nothing_is_live().await;
    }
}

#[tokio::test]
async fn q53_a_cancel_raced_with_a_failure_always_cancels() {
    let mut rig = Rig::new(&[]).await;
    for _ in 0..40 {
        rig.engine.script(&[Step::Fail(Advice::RetryLater)]);
        let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        let running = rig.start(claimed);
        rig.cancel(&job).await;
        rig.heart.nudge();
        let how = running.await.unwrap().how;
        assert!(matches!(how, How::Cancelled | How::HandedBack), "{how:?}");
        assert_eq!(rig.job(&job).await.status, JobStatus::Cancelled, "{how:?}");
        rig.assert_nothing_is_live().await;
    }
}
