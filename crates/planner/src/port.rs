//! The ports: [`Engine`] executes plans, [`Ledger`] answers for the job the engine works for.

use std::fmt;

use async_trait::async_trait;
use model::{Advice, AttemptId, JobId, TableName};
use tokio_util::sync::CancellationToken;

use crate::{
    Candidate, Due, Intent, IntentId, OpenIntent, Orphans, Plan, Purge, Purged, Reason, Report,
    Task,
};

/// Plans and executes actions on tables of one catalog.
#[async_trait]
pub trait Engine: Send + Sync + fmt::Debug {
    /// What would be done and why. Loads the table; changes nothing.
    async fn plan(
        &self,
        table: &TableName,
        task: &Task,
        records: &dyn Records,
        progress: &dyn Progress,
    ) -> Result<Plan, EngineError>;

    /// What earlier attempts of `job` already committed for this action ("was it applied"),
    /// so that a retry reports it instead of doing it again.
    async fn committed(
        &self,
        table: &TableName,
        task: &Task,
        job: &JobId,
    ) -> Result<Option<Report>, EngineError>;

    /// Executes one plan to its end, committing through [`Ledger::commit`]. The report covers
    /// what earlier attempts of the job committed of the action too, also when nothing is left.
    async fn execute(&self, plan: &Plan, attempt: &Attempt<'_>) -> Result<Report, EngineError>;
}

/// Who asks, and what an engine may use while it works.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    pub job: &'a JobId,
    pub attempt: &'a AttemptId,
    pub ledger: &'a dyn Ledger,
    pub progress: &'a dyn Progress,
    pub signals: &'a Signals,
    /// What this action may hold in memory at once, in bytes.
    pub memory_bytes: u64,
}

/// How an engine is told to stop.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Stop now: cancelled, lease lost or timed out. Nothing may be committed any more.
    pub cancel: CancellationToken,
    /// The worker is going away: commit if all that is missing is the commit, else stop.
    pub drain: CancellationToken,
}

/// Where an engine tells how far it is. Every call also feeds the watchdog.
pub trait Progress: Send + Sync + fmt::Debug {
    /// Work units (rows x columns) known in all.
    fn total(&self, units: u64);
    /// Work units done since the last call.
    fn advance(&self, units: u64);
    /// Bytes moved or a commit step made: nothing to show, but alive.
    fn alive(&self);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn total(&self, _: u64) {}
    fn advance(&self, _: u64) {}
    fn alive(&self) {}
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Told to stop; nothing of what was unfinished is visible in the table.
    #[error("stopped before it was done")]
    Stopped,
    #[error("{source}")]
    Failed {
        advice: Advice,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl EngineError {
    pub fn failed(
        advice: Advice,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed {
            advice,
            source: source.into(),
        }
    }

    pub fn advice(&self) -> Advice {
        match self {
            Self::Stopped => Advice::RetryLater,
            Self::Failed { advice, .. } => *advice,
        }
    }
}

/// A file an attempt is about to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// Full location.
    pub path: String,
    /// `data`, `deletes`, `manifest`, `manifest_list` or `metadata`.
    pub kind: &'static str,
}

/// What is known of a table beside the table itself. Reading it needs no fence.
#[async_trait]
pub trait Records: Send + Sync + fmt::Debug {
    /// The database's clock in milliseconds since the epoch (I5).
    async fn now_ms(&self) -> Result<i64, LedgerError>;

    /// Expiries of the table nobody has settled yet, oldest first.
    async fn open_intents(&self, table_uuid: &str) -> Result<Vec<OpenIntent>, LedgerError>;

    /// At most `limit` files of the table whose grace is over, by path, those after `after`.
    async fn due(
        &self,
        table_uuid: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Due>, LedgerError>;

    /// The UUIDs of all tables that had this name when files of theirs were listed that are due
    /// now: also of those that are gone, or have another name by now.
    async fn listed_under(&self, table: &TableName) -> Result<Vec<String>, LedgerError>;

    /// Those of `paths` that an attempt wrote and did not commit, or that wait for their deletion.
    async fn accounted(
        &self,
        table_uuid: &str,
        paths: &[String],
    ) -> Result<Vec<String>, LedgerError>;
}

/// What an engine asks of the job it works for. The holder of the fence implements it.
#[async_trait]
pub trait Ledger: Records {
    /// Records files under the fence *before* they are written, so that a crash leaks nothing.
    async fn reserve(&self, table_uuid: &str, files: &[Reserved]) -> Result<(), LedgerError>;

    /// Runs `swap` while the attempt is proven current. In the same transaction marks `landed`
    /// as committed and, with `report`, writes the action's result row (the action's last commit).
    async fn commit(
        &self,
        swap: &dyn Swap,
        landed: &[String],
        report: Option<&Report>,
    ) -> Result<(), SwapError>;

    /// Stores what an expiry is about to do, under the fence.
    async fn intend(&self, intent: &Intent) -> Result<IntentId, LedgerError>;

    /// Lists files for deletion, for a reason and after so many milliseconds, under the fence. One
    /// that waits already stays as it is.
    async fn list(
        &self,
        table_uuid: &str,
        files: &[Candidate],
        why: (Reason, i64),
    ) -> Result<(), LedgerError>;

    /// Leaves only the ids `open` in an intent, under the fence; none closes it. With `report`,
    /// the action's result row is written in the same transaction.
    async fn settle(
        &self,
        intent: IntentId,
        open: &[i64],
        report: Option<&Report>,
    ) -> Result<(), LedgerError>;

    /// Records what became of files that were due, under the fence.
    async fn purged(&self, table_uuid: &str, files: &[Purged]) -> Result<(), LedgerError>;

    /// What was listed as orphans of the table for this job, over all its attempts; how many are left
    /// is not known here.
    async fn orphans_so_far(&self, table_uuid: &str) -> Result<Orphans, LedgerError>;

    /// What was recorded with [`Ledger::purged`] for this job, over all its attempts.
    async fn purged_so_far(&self) -> Result<Purge, LedgerError>;
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The fence is gone: another attempt has the job.
    #[error("the attempt was replaced")]
    Replaced,
    #[error("{doing}")]
    Failed {
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The one step that makes a change visible.
#[async_trait]
pub trait Swap: Send + Sync {
    /// Swaps. `within` is the guard's transaction: a catalog in the same database swaps in it.
    /// There is none when no queue fences the work.
    async fn swap(&self, within: Option<&pg::Transaction<'_>>) -> Result<(), SwapError>;
}

#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// Somebody else committed first: validate on the new base and try again.
    #[error("conflict: {0}")]
    Conflict(String),
    /// It may have landed: reload and look; delete nothing.
    #[error("outcome unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The fence is gone: another attempt has the job.
    #[error("the attempt was replaced")]
    Replaced,
    /// It certainly did not land.
    #[error("swap failed")]
    Failed {
        advice: Advice,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
