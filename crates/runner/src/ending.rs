//! The end of an attempt: what it means for the job, written in one transaction under the fence.

use std::time::{Duration, Instant};

use maintenance::ActionResult;
use model::{Action, ActionOutcome, Advice, JobStatus};
use policy::retry::{self, Attempts, Failure, Next};
use queue::{Claimed, End, Finished, HandBack, HandedBack};
use tracing::{info, warn};

use crate::actions::{At, Outcome};
use crate::attempt::{How, Runner};
use crate::beat::{Beat, Why};
use crate::steady::{steadily, unless_over};

/// An end is tried to be written for this many leases: it is fenced, so it is never wrong, and
/// past this somebody else has long had the job. Only a try that is on its way is waited for
/// longer, and that while the lease is renewed: it may wait for a lock.
const LEASES_OF_TRYING: u32 = 2;

/// A job that only a newer version can read is left alone for this long.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(30);

/// Ends one attempt.
#[derive(Debug)]
pub(crate) struct Ending<'a> {
    runner: &'a Runner,
    claimed: &'a Claimed,
    beat: &'a Beat,
    started: Instant,
    /// Actions without a good result, the one at which it ended included.
    pub(crate) remaining: Vec<Action>,
}

/// What is written.
#[derive(Debug)]
enum Last {
    Finish(End),
    HandBack(HandBack),
    /// Another attempt has the job: nothing.
    Nothing,
}

impl<'a> Ending<'a> {
    pub(crate) fn new(
        runner: &'a Runner,
        claimed: &'a Claimed,
        beat: &'a Beat,
        started: Instant,
    ) -> Self {
        Self {
            runner,
            claimed,
            beat,
            started,
            remaining: Vec::new(),
        }
    }

    /// Writes the end and says what became of the job.
    pub(crate) async fn settle(&self, outcome: Outcome) -> How {
        let last = self.last(&outcome);
        let rows = self.rows(&outcome, &last);
        let how = match &last {
            Last::Nothing => How::Replaced,
            Last::Finish(_) | Last::HandBack(_) => self.write(&last, &rows).await,
        };
        self.tell(how, &outcome);
        how
    }

    /// What the outcome means for the job.
    fn last(&self, outcome: &Outcome) -> Last {
        match outcome {
            Outcome::Done => Last::Finish(End::completed()),
            Outcome::HandBack => Last::HandBack(HandBack::shutdown()),
            Outcome::Unreadable(error) => Last::HandBack(HandBack {
                after: UNREADABLE_PAUSE,
                error: Some(error.clone()),
                ..HandBack::shutdown()
            }),
            Outcome::Replaced
            | Outcome::Stopped {
                why: Why::Lost | Why::Unsure,
                ..
            } => Last::Nothing,
            Outcome::Stopped {
                why: Why::Cancelled,
                ..
            } => Last::Finish(End::cancelled()),
            Outcome::Stopped {
                why: Why::Stalled | Why::Overdue,
                ..
            } => self.retry(Failure::Timeout, outcome),
            Outcome::Failed { advice, .. } => self.retry(Failure::Action(*advice), outcome),
        }
    }

    fn retry(&self, failure: Failure, outcome: &Outcome) -> Last {
        let count = |attempts: i32| u32::try_from(attempts).unwrap_or(0);
        let attempts = Attempts {
            count: count(self.claimed.attempt_count),
            max: count(self.claimed.max_attempts),
        };
        let backoff = &self.runner.config.backoff;
        let decision = retry::after(failure, attempts, backoff, rand::random());
        let error = self.error(outcome).unwrap_or_default();
        let job = self.claimed.fence.job();
        match decision.next {
            Next::Retry { after } => {
                info!(%job, error, ?after, why = decision.why, "to be tried again");
                Last::HandBack(match failure {
                    Failure::Timeout => HandBack::timeout(after, error),
                    Failure::Action(_) => HandBack::failed(after, error),
                })
            }
            Next::Fail(reason) => Last::Finish(End::failed(reason, error)),
            Next::Stop => Last::Nothing,
        }
    }

    /// Why the attempt ended badly.
    fn error(&self, outcome: &Outcome) -> Option<String> {
        match outcome {
            Outcome::Failed {
                at: Some(at),
                error,
                ..
            } => Some(format!("{}: {error}", at.action)),
            Outcome::Failed {
                at: None, error, ..
            }
            | Outcome::Unreadable(error) => Some(error.clone()),
            Outcome::Stopped { why, at } => {
                let what = match why {
                    Why::Stalled => {
                        format!(
                            "no progress for {} s",
                            self.runner.config.stall.as_secs_f64()
                        )
                    }
                    Why::Overdue => "the attempt took longer than it may".to_owned(),
                    Why::Lost | Why::Unsure => "the lease was lost".to_owned(),
                    Why::Cancelled => return None,
                };
                Some(at.map_or(what.clone(), |at| format!("{}: {what}", at.action)))
            }
            Outcome::Done | Outcome::HandBack | Outcome::Replaced => None,
        }
    }

    /// A failed row for the action that broke and, when the job ends by it, skipped rows for
    /// those behind it.
    fn rows(&self, outcome: &Outcome, last: &Last) -> Vec<ActionResult> {
        let at = match outcome {
            Outcome::Failed { at: Some(at), .. }
            | Outcome::Stopped {
                why: Why::Stalled | Why::Overdue,
                at: Some(at),
            } => *at,
            _ => return Vec::new(),
        };
        let mut rows = vec![self.failed(at, outcome)];
        if matches!(last, Last::Finish(_)) {
            let behind = self.remaining.iter().filter(|action| **action != at.action);
            rows.extend(behind.map(|action| ActionResult {
                action: *action,
                outcome: ActionOutcome::Skipped,
                error: None,
                message: Some(format!("not run: {} failed", at.action)),
                elapsed: Duration::ZERO,
                result: None,
            }));
        }
        rows
    }

    fn failed(&self, at: At, outcome: &Outcome) -> ActionResult {
        let elapsed = at.started.elapsed();
        self.runner
            .metrics
            .action_ended(at.action, ActionOutcome::Failed, elapsed, None);
        ActionResult {
            action: at.action,
            outcome: ActionOutcome::Failed,
            error: Some(self.error(outcome).unwrap_or_default()),
            message: None,
            elapsed,
            result: None,
        }
    }

    async fn write(&self, last: &Last, rows: &[ActionResult]) -> How {
        let until = Instant::now() + self.runner.heart.lease() * LEASES_OF_TRYING;
        let written = async {
            let mut before = 0;
            if let (Last::Finish(end), []) = (last, rows) {
                let ends = &self.runner.ends;
                match ends
                    .ask((self.claimed.fence.for_retry(), end.clone()))
                    .await
                {
                    Some(Finished::Done) => return Ok(how(end)),
                    Some(Finished::Replaced) => return Ok(How::Replaced),
                    None => before = 1,
                }
            }
            steadily(until, |tries| self.write_once(last, rows, before + tries)).await
        };
        let over = async {
            tokio::time::sleep_until(until.into()).await;
            self.beat.signals().cancel.cancelled().await;
        };
        let error = match unless_over(written, over, Duration::ZERO).await {
            Some(Ok(how)) => return how,
            Some(Err(error)) if error.advice() == Advice::Stop => return How::Replaced,
            Some(Err(error)) => error.to_string(),
            None => "no answer in time".to_owned(),
        };
        warn!(job = %self.claimed.fence.job(), error, "the end could not be written");
        How::Replaced
    }

    async fn write_once(
        &self,
        last: &Last,
        rows: &[ActionResult],
        tries: u32,
    ) -> Result<How, maintenance::Error> {
        let doing = "write the attempt's end";
        let database = |source| maintenance::Error::Database { doing, source };
        let fence = &self.claimed.fence;
        let mut client = self.runner.client(doing).await?;
        let written = {
            let tx = (**client).transaction().await.map_err(database)?;
            match self.write_in(&tx, last, rows).await {
                Ok(how) => tx.commit().await.map_err(database).map(|()| how),
                Err(error) => Err(error),
            }
        };
        let told = match (&written, last) {
            // An earlier try may have got through without its answer.
            (Err(error), Last::Finish(end)) if tries > 0 && error.advice() == Advice::Stop => {
                let ended =
                    maintenance::jobs::ended_as(&**client, fence.job(), fence.attempt()).await?;
                if ended == Some(end.status) {
                    Ok(how(end))
                } else {
                    written
                }
            }
            (Err(error), Last::HandBack(_)) if tries > 0 && error.advice() == Advice::Stop => {
                Ok(How::HandedBack)
            }
            (Ok(How::HandedBack), Last::HandBack(back)) if back.after.is_zero() => {
                // Others look by themselves soon; this only tells them now.
                let _ = self.runner.queue.notify(&**client).await;
                written
            }
            _ => written,
        };
        if told.is_ok() {
            client.give_back();
        }
        told
    }

    async fn write_in(
        &self,
        tx: &pg::Transaction<'_>,
        last: &Last,
        rows: &[ActionResult],
    ) -> Result<How, maintenance::Error> {
        let fence = &self.claimed.fence;
        for row in rows {
            maintenance::actions::record(tx, fence, row).await?;
        }
        match last {
            Last::Finish(end) => {
                self.runner.queue.finish(tx, fence.for_retry(), end).await?;
                Ok(how(end))
            }
            Last::HandBack(back) => {
                match self
                    .runner
                    .queue
                    .hand_back(tx, fence.for_retry(), back)
                    .await?
                {
                    HandedBack::Waiting => Ok(How::HandedBack),
                    HandedBack::Ended(JobStatus::Cancelled, _) => Ok(How::Cancelled),
                    HandedBack::Ended(_, reason) => Ok(How::Failed(reason)),
                }
            }
            Last::Nothing => Ok(How::Replaced),
        }
    }

    /// One log line and one count for each end.
    fn tell(&self, how: How, outcome: &Outcome) {
        let (job, attempt) = (self.claimed.fence.job(), self.claimed.fence.attempt());
        let elapsed = self.started.elapsed();
        let seconds = elapsed.as_secs_f64();
        let error = self.error(outcome).unwrap_or_default();
        let status = match how {
            How::Completed => JobStatus::Completed,
            How::Cancelled => JobStatus::Cancelled,
            How::Failed(reason) => {
                warn!(event = "job_failed", %job, %attempt, %reason, error, seconds, "failed");
                self.runner.metrics.job_ended(JobStatus::Failed, elapsed);
                return;
            }
            How::HandedBack => {
                info!(event = "job_handed_back", %job, %attempt, error, seconds, "handed back");
                return;
            }
            How::Replaced => {
                warn!(event = "lease_lost", %job, %attempt, error, seconds, "lost the lease");
                return;
            }
        };
        info!(event = "job_completed", %job, %attempt, %status, seconds, "ended");
        self.runner.metrics.job_ended(status, elapsed);
    }
}

fn how(end: &End) -> How {
    match (end.status, end.reason) {
        (JobStatus::Cancelled, _) => How::Cancelled,
        (JobStatus::Failed, Some(reason)) => How::Failed(reason),
        _ => How::Completed,
    }
}
