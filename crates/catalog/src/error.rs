//! What can go wrong at a catalog.

use model::{Advice, TableName};

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("table {0} does not exist")]
    NoSuchTable(TableName),
    #[error("namespace {0} does not exist")]
    NoSuchNamespace(String),
    #[error("table {0} exists already")]
    TableExists(TableName),
    /// A requirement is not met or another writer swapped first.
    #[error("commit of {table} conflicts: {why}")]
    Conflict { table: TableName, why: String },
    /// The swap may have landed.
    #[error("outcome of the commit of {table} is unknown")]
    Unknown {
        table: TableName,
        #[source]
        source: Source,
    },
    #[error("{doing}")]
    Failed {
        doing: String,
        advice: Advice,
        #[source]
        source: Source,
    },
    /// Not supported, and why.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Conflict { .. } => Advice::PlanAgain,
            Self::Unknown { .. } => Advice::FindOut,
            Self::Failed { advice, .. } => *advice,
            Self::NoSuchTable(_)
            | Self::NoSuchNamespace(_)
            | Self::TableExists(_)
            | Self::Unsupported(_) => Advice::GiveUp,
        }
    }
}
