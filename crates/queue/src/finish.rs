//! The end of an attempt: finished for good, or handed back to wait for another.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{EndReason, JobId, JobStatus};
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use crate::sql::rows;
use crate::{Error, Fence, Queue, metrics};

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Completed, failed or cancelled.
    pub status: JobStatus,
    /// None for a completed job.
    pub reason: Option<EndReason>,
    pub error: Option<String>,
}

impl End {
    pub fn completed() -> Self {
        Self {
            status: JobStatus::Completed,
            reason: None,
            error: None,
        }
    }

    pub fn failed(reason: EndReason, error: impl Into<String>) -> Self {
        Self {
            status: JobStatus::Failed,
            reason: Some(reason),
            error: Some(error.into()),
        }
    }

    pub fn cancelled() -> Self {
        let reason = Some(EndReason::Cancelled);
        Self {
            status: JobStatus::Cancelled,
            reason,
            error: None,
        }
    }
}

/// What became of one item of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    Done,
    /// The attempt was not current: nothing was written for it.
    Replaced,
}

/// How an attempt gives its job back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandBack {
    /// Zero: due at once, in its old place. Otherwise the backoff, which moves it back.
    pub after: Duration,
    /// False on shutdown: the attempt is not used up (bounded by the queue).
    pub counts: bool,
    /// Why the job ends if this was its last attempt.
    pub reason: EndReason,
    pub error: Option<String>,
}

impl HandBack {
    /// The worker was asked to stop: due at once and free of charge.
    pub fn shutdown() -> Self {
        let reason = EndReason::Exhausted;
        Self {
            after: Duration::ZERO,
            counts: false,
            reason,
            error: None,
        }
    }

    /// A failure that may pass: the attempt counts.
    pub fn failed(after: Duration, error: impl Into<String>) -> Self {
        let reason = EndReason::Exhausted;
        Self {
            after,
            counts: true,
            reason,
            error: Some(error.into()),
        }
    }

    /// The watchdog or the attempt's deadline stopped it: the attempt counts.
    pub fn timeout(after: Duration, error: impl Into<String>) -> Self {
        Self {
            reason: EndReason::Timeout,
            ..Self::failed(after, error)
        }
    }
}

/// What became of a job that was handed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandedBack {
    /// It waits for the next attempt.
    Waiting,
    /// It may not run again: cancelled, out of attempts, or past its deadline.
    Ended(JobStatus, EndReason),
}

impl Queue {
    /// Ends the attempt and the job: terminal record, queue row gone, lock released. Waits for
    /// whoever has the row, within a limit; [`Error::Replaced`] means that nothing was written.
    pub async fn finish(&self, tx: &Transaction<'_>, fence: Fence, end: &End) -> Result<(), Error> {
        let answers = self.finish_all(tx, vec![(fence, end.clone())]).await?;
        match answers.first() {
            Some((_, Finished::Done)) => Ok(()),
            _ => Err(Error::Replaced),
        }
    }

    /// The same for a batch, item by item: replaced ones are reported, the others take effect.
    pub async fn finish_all(
        &self,
        tx: &Transaction<'_>,
        ended: Vec<(Fence, End)>,
    ) -> Result<Vec<(JobId, Finished)>, Error> {
        if let Some((_, end)) = ended.iter().find(|(_, end)| !end.status.terminal()) {
            return Err(Error::NotTerminal(end.status));
        }
        let jobs: Vec<&str> = ended
            .iter()
            .map(|(fence, _)| fence.job().as_str())
            .collect();
        let attempts: Vec<&str> = ended
            .iter()
            .map(|(fence, _)| fence.attempt().as_str())
            .collect();
        let statuses: Vec<&str> = ended.iter().map(|(_, end)| end.status.as_str()).collect();
        let reasons: Vec<Option<&str>> = ended
            .iter()
            .map(|(_, end)| end.reason.map(EndReason::as_str))
            .collect();
        let errors: Vec<Option<&str>> = ended.iter().map(|(_, end)| end.error.as_deref()).collect();
        let done = rows(
            tx,
            "finish jobs",
            &self.sql().finish,
            &[
                (&jobs, Type::TEXT_ARRAY),
                (&attempts, Type::TEXT_ARRAY),
                (&statuses, Type::TEXT_ARRAY),
                (&reasons, Type::TEXT_ARRAY),
                (&errors, Type::TEXT_ARRAY),
            ],
        )
        .await?;
        let done: BTreeSet<String> = done.iter().map(|row| row.get(0)).collect();
        Ok(ended
            .iter()
            .map(|(fence, end)| {
                let finished = if done.contains(fence.attempt().as_str()) {
                    metrics::finished(self.lane(), end);
                    Finished::Done
                } else {
                    metrics::refused(self.lane(), "finish");
                    Finished::Replaced
                };
                (fence.job().clone(), finished)
            })
            .collect())
    }

    /// Gives the job back: it waits for another attempt, or ends if it may not have one.
    pub async fn hand_back(
        &self,
        tx: &Transaction<'_>,
        fence: Fence,
        how: &HandBack,
    ) -> Result<HandedBack, Error> {
        let answer = rows(
            tx,
            "hand a job back",
            &self.sql().hand_back,
            &[
                (&fence.job().as_str(), Type::TEXT),
                (&fence.attempt().as_str(), Type::TEXT),
                (&how.after.as_secs_f64(), Type::FLOAT8),
                (&how.counts, Type::BOOL),
                (&how.reason.as_str(), Type::TEXT),
                (&how.error, Type::TEXT),
            ],
        )
        .await?;
        let Some(row) = answer.first() else {
            metrics::refused(self.lane(), "hand_back");
            return Err(Error::Replaced);
        };
        let Some(status) = row.get::<_, Option<String>>("status") else {
            metrics::handed_back(self.lane(), how.counts);
            return Ok(HandedBack::Waiting);
        };
        let reason: String = row.get("reason");
        let status = JobStatus::parse(&status).ok_or(Error::UnknownAnswer(status))?;
        let reason = EndReason::parse(&reason).ok_or(Error::UnknownAnswer(reason))?;
        metrics::ended(self.lane(), reason.as_str(), 1);
        Ok(HandedBack::Ended(status, reason))
    }
}
