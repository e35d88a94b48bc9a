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
    /// Looking at one table took longer than it may.
    #[error("not assessed within {0} s")]
    Late(u64),
    #[error("{doing}")]
    Database {
        doing: &'static str,
        #[source]
        source: tokio_postgres::Error,
    },
}

impl Error {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Pool(source) => source.advice(),
            Self::Maintenance(source) => source.advice(),
            Self::Catalog(source) => source.advice(),
            Self::Metadata(source) => source.advice(),
            Self::Late(_) => Advice::RetryLater,
            Self::Database { source, .. } => pg::advice(source),
        }
    }
}
