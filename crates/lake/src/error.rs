//! What can go wrong while a table is read, rewritten or committed.

use model::Advice;

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Told to stop; nothing unfinished is visible.
    #[error("stopped before it was done")]
    Stopped,
    /// Another attempt has the job.
    #[error("the attempt was replaced")]
    Replaced,
    /// Something this version does not do, and what.
    #[error("{0}")]
    Refused(String),
    /// A group that is better left as it is, and why.
    #[error("{0}")]
    NotWorth(String),
    /// A data or delete file that is not what the table says it is.
    #[error("read {location}: {why}")]
    BadFile { location: String, why: String },
    #[error("{doing} {location}")]
    Parquet {
        doing: &'static str,
        location: String,
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// The folder for temporary files: full, or not to be written to.
    #[error("{doing} in {folder}")]
    Spill {
        doing: &'static str,
        folder: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{doing}")]
    Storage {
        doing: &'static str,
        #[source]
        source: storage::Error,
    },
    #[error("{doing}")]
    Metadata {
        doing: &'static str,
        #[source]
        source: metadata::Error,
    },
    #[error("{doing}")]
    Catalog {
        doing: &'static str,
        #[source]
        source: catalog::Error,
    },
    #[error(transparent)]
    Survey(#[from] survey::Error),
    #[error("{doing}")]
    Ledger {
        doing: &'static str,
        #[source]
        source: Source,
    },
    /// Rows in, deletes applied and rows out do not add up (I11). Nothing was committed.
    #[error("the counts do not add up, nothing was committed: {0}")]
    Counts(String),
    /// The table is not the one that was planned on.
    #[error("{0}")]
    OtherTable(String),
    /// The table moved on in a way that needs a new plan.
    #[error("plan again: {0}")]
    Moved(String),
    /// Every swap that was allowed lost against another writer.
    #[error("gave up after {attempts} commit attempts: {why}")]
    Contended { attempts: u32, why: String },
    /// The commit may have landed and could not be looked for.
    #[error("the outcome of the commit of snapshot {snapshot_id} is unknown")]
    Unknown {
        snapshot_id: i64,
        #[source]
        source: Source,
    },
    #[error("swap failed")]
    Swap {
        advice: Advice,
        #[source]
        source: Source,
    },
    /// A task of ours panicked or was lost: a bug.
    #[error("a rewrite task was lost: {0}")]
    Lost(String),
}

impl Error {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Stopped | Self::Contended { .. } | Self::Ledger { .. } | Self::Spill { .. } => {
                Advice::RetryLater
            }
            Self::Replaced => Advice::Stop,
            Self::Moved(_) => Advice::PlanAgain,
            Self::Unknown { .. } => Advice::FindOut,
            Self::Storage { source, .. } => source.advice(),
            Self::Metadata { source, .. } => source.advice(),
            Self::Catalog { source, .. } => source.advice(),
            Self::Survey(source) => source.advice(),
            Self::Swap { advice, .. } => *advice,
            Self::Refused(_)
            | Self::NotWorth(_)
            | Self::BadFile { .. }
            | Self::Parquet { .. }
            | Self::Counts(_)
            | Self::OtherTable(_)
            | Self::Lost(_) => Advice::GiveUp,
        }
    }

    /// The file that was looked for and is not there.
    pub(crate) fn missing(&self) -> Option<&str> {
        use metadata::Error::Storage as InMetadata;
        let source = match self {
            Self::Storage { source, .. } | Self::Survey(survey::Error::Storage { source, .. }) => {
                Some(source)
            }
            Self::Metadata { source, .. }
            | Self::Survey(survey::Error::Metadata { source, .. }) => match source {
                InMetadata(source) => Some(source),
                _ => None,
            },
            _ => None,
        };
        match source {
            Some(storage::Error::NotFound { location }) => Some(location),
            _ => None,
        }
    }

    /// True when a group is left out for this instead of failing the action.
    pub(crate) fn refuses(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl From<planner::LedgerError> for Error {
    fn from(error: planner::LedgerError) -> Self {
        match error {
            planner::LedgerError::Replaced => Self::Replaced,
            planner::LedgerError::Failed { doing, source } => Self::Ledger { doing, source },
        }
    }
}

impl From<Error> for planner::EngineError {
    fn from(error: Error) -> Self {
        match error {
            Error::Stopped => Self::Stopped,
            other => Self::failed(other.advice(), other),
        }
    }
}
