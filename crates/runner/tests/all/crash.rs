//! A worker that dies between any two of its steps loses nothing and does nothing twice.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use model::{ActionOutcome, JobId, JobStatus};
use queue::Claimed;
use runner::How;

use crate::engine::{Lies, Step};
use crate::rig::{Quiet, REWRITE, Rig, Setup};

/// More awaits than an attempt has.
const CUTS_MAX: usize = 400;
/// Fewer than its round trips.
const CUTS_MIN: usize = 15;

/// Drops the work at its `left`-th wait, as a process that dies there would.
struct CutAt<F> {
    work: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for CutAt<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.work.as_mut().poll(cx).map(Some)
    }
}

/// Lets the lease run out and claims, unless the job has ended. What was sent before the cut may
/// still take effect, and a claim passes over a row that it holds.
async fn next_attempt(rig: &Rig, job: &JobId) -> Option<Claimed> {
    let mut claimed = None;
    testkit::until("the job is claimed again or has ended", async || {
        claimed = if rig.expire(job).await {
            rig.try_claim(job).await
        } else {
            None
        };
        claimed.is_some() || rig.job(job).await.status.terminal()
    })
    .await;
    claimed
}

/// Runs attempts cut at every wait in turn, each followed by one that is left alone.
async fn cut_everywhere(lies: Lies) {
    let mut rig = Rig::with(
        Setup {
            lies,
            ..Setup::default()
        },
        &[],
    )
    .await;
    for cut in 0..CUTS_MAX {
        let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
        let work = rig.runner.run(claimed, &rig.shutdown, Arc::new(Quiet));
        let ended = CutAt {
            work: Box::pin(work),
            left: cut,
        }
        .await;
        if let Some(claimed) = next_attempt(&rig, &job).await {
            assert_eq!(rig.run(claimed).await, How::Completed, "cut at {cut}");
        }
        let status = rig.job(&job).await.status;
        assert_eq!(status, JobStatus::Completed, "cut at {cut}");
        assert_eq!(rig.commits(&job).await, 1, "cut at {cut}: one effect");
        let outcomes = rig.outcomes(&job).await;
        assert_eq!(
            outcomes,
            [(REWRITE, ActionOutcome::Done)],
            "cut at {cut}: one result"
        );
        rig.assert_nothing_is_live().await;
        // Every file is the table's or waits for deletion: nothing leaks.
        maintenance::ledger::sweep(&rig.client, "lakehouse", 100)
            .await
            .unwrap();
        let left = rig
            .count("select count(*) from snowpack.attempt_files")
            .await;
        assert_eq!(left, 0, "cut at {cut}: files of nobody");
        if ended.is_some() {
            assert!(
                cut > CUTS_MIN,
                "only {cut} cuts: an attempt has more waits than that"
            );
            return;
        }
    }
    panic!("an attempt has more than {CUTS_MAX} waits");
}

#[tokio::test]
async fn a_worker_killed_between_any_two_steps_loses_nothing_with_the_table_here() {
    cut_everywhere(Lies::Here).await;
}

#[tokio::test]
async fn a_worker_killed_between_any_two_steps_loses_nothing_with_the_table_elsewhere() {
    cut_everywhere(Lies::Elsewhere).await;
}

#[tokio::test]
async fn m10_a_worker_killed_after_its_swap_is_not_repeated() {
    let mut rig = Rig::new(&[Step::CommitThenHang]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let killed = rig.start(claimed);
    rig.engine.reached().await;
    rig.engine.reached().await;
    killed.abort();
    assert!(killed.await.unwrap_err().is_cancelled());
    assert!(rig.expire(&job).await, "the job is still live");
    assert_eq!(rig.attempt(&job).await, How::Completed);
    assert_eq!((rig.engine.executed(), rig.commits(&job).await), (1, 1));
}
