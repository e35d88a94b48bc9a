//! What can go wrong in a pass.

use model::Advice;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Pool(#[from] pg::Error),
    #[error(transparent)]
    Maintenance(#[from] maintenance::Error),
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    #[error(transparent)]
    Metadata(#[from] metadata::Error),
    #[error("{doing}")]
    Database {
        doing: &'static str,
        #[source]
        source: tokio_postgres::Error,
    },
    /// The inventory was never read from the catalog.
    #[error("the table cache was never synced: nothing is known of any table")]
    NeverSynced,
    /// What is known of the tables may be wrong by now.
    #[error(
        "the table cache is {age_seconds} s old, at most {max_seconds} s are allowed: somebody may have opted out since"
    )]
    Stale { age_seconds: u64, max_seconds: u64 },
    /// Told to stop before the end.
    #[error("stopped by a signal before the end")]
    Stopped,
    /// Looking at one table took longer than it may.
    #[error("not assessed within {0} s")]
    Late(u64),
}

impl Error {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Pool(source) => source.advice(),
            Self::Maintenance(source) => source.advice(),
            Self::Catalog(source) => source.advice(),
            Self::Metadata(source) => source.advice(),
            Self::Database { source, .. } => pg::advice(source),
            Self::NeverSynced | Self::Stale { .. } | Self::Stopped | Self::Late(_) => {
                Advice::RetryLater
            }
        }
    }
}
