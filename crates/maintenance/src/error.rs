//! What can go wrong at the maintenance tables.

use model::{Action, Advice, JobId, JobStatus, TableName};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A submission without any action.
    #[error("no action was asked for")]
    NoActions,
    /// Options for an action that was not asked for.
    #[error("options for {0}, which was not asked for")]
    StrayOptions(Action),
    /// A field of a submission that cannot be used.
    #[error("submission: {field} {why}")]
    BadSubmission {
        field: &'static str,
        why: &'static str,
    },
    /// Another live job holds the table's lock.
    #[error("table {table} is locked by job {holder}")]
    Locked { table: TableName, holder: JobId },
    /// New jobs are refused.
    #[error("new jobs are refused: drained by {by}{}", reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Draining { by: String, reason: Option<String> },
    /// The key was used for something else.
    #[error("idempotency key `{key}` was used for other work by job {job}")]
    IdempotencyMismatch { key: String, job: JobId },
    #[error("no job {0}")]
    NoSuchJob(JobId),
    /// It ended already, so it cannot be cancelled.
    #[error("job {job} is {status} already")]
    Ended { job: JobId, status: JobStatus },
    /// Only a job that has ended can be deleted.
    #[error("job {job} is {status}; cancel it first")]
    Live { job: JobId, status: JobStatus },
    /// A job that is not tried again, and why.
    #[error("job {job} {why}")]
    NotRetried { job: JobId, why: &'static str },
    /// A path that another attempt reserved.
    #[error("{0} of the paths belong to another attempt")]
    PathTaken(u64),
    /// A row holds what this version does not know; a newer one wrote it.
    #[error("job {job}: column {column} holds `{value}`, which this version does not know")]
    Unreadable {
        job: JobId,
        column: &'static str,
        value: String,
    },
    /// Another run took this one for dead and closed it.
    #[error("run {0} is closed already")]
    RunClosed(crate::runs::RunId),
    /// As [`Error::Unreadable`], of an orchestrator run.
    #[error("run {run}: column {column} holds `{value}`, which this version does not know")]
    UnreadableRun {
        run: crate::runs::RunId,
        column: &'static str,
        value: String,
    },
    /// A row names a table in a way no name is written.
    #[error(transparent)]
    BadName(#[from] model::BadTableName),
    #[error("table_cache_meta has no row; migrate the database again")]
    NoInventory,
    #[error(transparent)]
    Queue(#[from] queue::Error),
    #[error("{doing}")]
    Database {
        doing: &'static str,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("{doing}")]
    Pool {
        doing: &'static str,
        #[source]
        source: pg::Error,
    },
}

impl Error {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Queue(source) => source.advice(),
            Self::Database { source, .. } => pg::advice(source),
            Self::Pool { source, .. } => source.advice(),
            Self::Locked { .. } | Self::Draining { .. } => Advice::RetryLater,
            Self::RunClosed(_) => Advice::Stop,
            Self::NoActions
            | Self::Unreadable { .. }
            | Self::UnreadableRun { .. }
            | Self::BadName(_)
            | Self::NoInventory
            | Self::StrayOptions(_)
            | Self::BadSubmission { .. }
            | Self::IdempotencyMismatch { .. }
            | Self::NoSuchJob(_)
            | Self::Ended { .. }
            | Self::Live { .. }
            | Self::NotRetried { .. }
            | Self::PathTaken(_) => Advice::GiveUp,
        }
    }
}
