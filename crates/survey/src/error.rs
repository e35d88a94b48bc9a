//! What can go wrong while a table is looked at.

use model::Advice;
use planner::{
    EngineError, LedgerError, dangling, expire, manifests, orphans, position_deletes, rewrite,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something this version does not do, and what.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Expire(#[from] expire::Refused),
    #[error(transparent)]
    Rewrite(#[from] rewrite::Refused),
    #[error(transparent)]
    Dangling(#[from] dangling::Refused),
    #[error(transparent)]
    Manifests(#[from] manifests::Refused),
    #[error(transparent)]
    PositionDeletes(#[from] position_deletes::Refused),
    #[error(transparent)]
    Orphans(#[from] orphans::Refused),
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
    Records(#[from] LedgerError),
}

impl Error {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Refused(_) => Advice::GiveUp,
            Self::Expire(refused) => refused.advice(),
            Self::Rewrite(refused) => refused.advice(),
            Self::Dangling(refused) => refused.advice(),
            Self::Manifests(refused) => refused.advice(),
            Self::PositionDeletes(refused) => refused.advice(),
            Self::Orphans(refused) => refused.advice(),
            Self::Storage { source, .. } => source.advice(),
            Self::Metadata { source, .. } => source.advice(),
            Self::Catalog { source, .. } => source.advice(),
            Self::Records(LedgerError::Replaced) => Advice::Stop,
            Self::Records(LedgerError::Failed { .. }) => Advice::RetryLater,
        }
    }
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        Self::failed(error.advice(), error)
    }
}
