//! The ports: [`Engine`] executes plans, [`Ledger`] answers for the job the engine works for.

use std::fmt;

use async_trait::async_trait;
use model::{Advice, AttemptId, JobId, TableName};
use tokio_util::sync::CancellationToken;

use crate::{Plan, Report, Task};

/// Plans and executes actions on tables of one catalog.
#[async_trait]
pub trait Engine: Send + Sync + fmt::Debug {
    /// What would be done and why. Loads the table; changes nothing.
    async fn plan(&self, table: &TableName, task: &Task) -> Result<Plan, EngineError>;

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

/// What an engine asks of the job it works for. The holder of the fence implements it.
#[async_trait]
pub trait Ledger: Send + Sync + fmt::Debug {
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

    /// The database's clock in milliseconds since the epoch (I5).
    async fn now_ms(&self) -> Result<i64, LedgerError>;
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
    async fn swap(&self, within: &pg::Transaction<'_>) -> Result<(), SwapError>;
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
