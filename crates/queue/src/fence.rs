//! The fence: proof that one attempt owns one job, and how it is held around other writes.

use std::fmt;
use std::time::Duration;

use model::{AttemptId, JobId};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient, Transaction};

use crate::sql::{one, rows};
use crate::{Error, Queue, metrics};

/// Proof that one attempt owns one job. Only a claim makes one; [`Queue::finish`] and
/// [`Queue::hand_back`] take it, so nothing can be written after the end.
#[derive(Debug)]
pub struct Fence {
    job: JobId,
    attempt: AttemptId,
}

impl Fence {
    pub(crate) fn new(job: JobId, attempt: AttemptId) -> Self {
        Self { job, attempt }
    }

    pub fn job(&self) -> &JobId {
        &self.job
    }

    pub fn attempt(&self) -> &AttemptId {
        &self.attempt
    }

    /// What [`Queue::renew`] takes: a heartbeat extends a right, it does not have it.
    pub fn ids(&self) -> (JobId, AttemptId) {
        (self.job.clone(), self.attempt.clone())
    }

    /// The same right once more, for one purpose: the transaction that ended the attempt may have
    /// to be sent again, because it was rolled back or its answer was lost. The queue accepts one
    /// end of an attempt and refuses the others, so sending it twice is safe.
    #[must_use]
    pub fn for_retry(&self) -> Self {
        Self {
            job: self.job.clone(),
            attempt: self.attempt.clone(),
        }
    }
}

/// A guard waits this part of a lease for the row: renewals do not block it, and a takeover that
/// does would refuse it anyway.
const GUARD_LOCK_PART: u32 = 6;
/// The server ends a guard that is silent for this part of a lease, so that a frozen worker
/// holds nobody up.
const GUARD_IDLE_PART: u32 = 2;

impl Queue {
    /// Holds the queue row for the rest of the caller's transaction, so that a write to another
    /// table in it is a fenced one. [`Error::Replaced`] means write nothing.
    pub async fn hold(&self, tx: &Transaction<'_>, fence: &Fence) -> Result<(), Error> {
        self.hold_row(tx, fence).await
    }

    /// Opens a transaction that holds the row while something outside Postgres is written.
    /// Renewals pass it; claim, reset and hand-back by others do not get the row.
    pub async fn guard<'c>(
        &self,
        client: &'c mut Client,
        fence: &Fence,
        lease: Duration,
    ) -> Result<Guard<'c>, Error> {
        let doing = "open the guard";
        let fail = |source| Error::Database { doing, source };
        let transaction = client.transaction().await.map_err(fail)?;
        let idle = millis(lease / GUARD_IDLE_PART);
        let wait = millis(lease / GUARD_LOCK_PART);
        let limits = &self.sql().guard_limits;
        one(
            &transaction,
            doing,
            limits,
            &[(&idle, Type::TEXT), (&wait, Type::TEXT)],
        )
        .await?;
        self.hold_row(&transaction, fence).await?;
        Ok(Guard { transaction })
    }

    async fn hold_row<C: GenericClient + Sync>(
        &self,
        client: &C,
        fence: &Fence,
    ) -> Result<(), Error> {
        let held = rows(
            client,
            "hold the job's queue row",
            &self.sql().hold,
            &[
                (&fence.job.as_str(), Type::TEXT),
                (&fence.attempt.as_str(), Type::TEXT),
            ],
        )
        .await?;
        if held.is_empty() {
            metrics::refused(self.lane(), "hold");
            return Err(Error::Replaced);
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> String {
    // Zero would switch the limit off.
    format!("{}ms", duration.as_millis().max(1))
}

/// An open transaction that holds the job's queue row. Dropped without [`Guard::commit`], it is
/// rolled back.
pub struct Guard<'c> {
    transaction: Transaction<'c>,
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl<'c> Guard<'c> {
    /// For the swap (when the catalog lies in the same database), the ledger's marks and the
    /// action's result row; nothing slow.
    pub fn transaction(&self) -> &Transaction<'c> {
        &self.transaction
    }

    /// Ends the guard. [`Error::Unknown`] when the connection was lost while it was open: what was
    /// done outside may stand although the row was no longer held.
    pub async fn commit(self) -> Result<(), Error> {
        let doing = "commit the guard";
        self.transaction.commit().await.map_err(|source| {
            if pg::outcome_unknown(&source) {
                Error::Unknown { doing, source }
            } else {
                Error::Database { doing, source }
            }
        })
    }

    /// Gives the row back with nothing written.
    pub async fn rollback(self) -> Result<(), Error> {
        self.transaction
            .rollback()
            .await
            .map_err(|source| Error::Database {
                doing: "roll the guard back",
                source,
            })
    }
}

impl Error {
    /// Reads a failure inside a guard's transaction: a lost connection makes the outcome unknown.
    #[must_use]
    pub fn in_guard(self) -> Self {
        match self {
            Self::Database { doing, source } if pg::outcome_unknown(&source) => {
                Self::Unknown { doing, source }
            }
            other => other,
        }
    }
}
