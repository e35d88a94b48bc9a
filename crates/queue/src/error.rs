//! What can go wrong with a queue's statement, and what the caller should do.

use model::{Advice, JobStatus};

/// Anything this crate fails with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The attempt is not the job's current one: stop silently, write nothing more.
    #[error("the attempt was replaced")]
    Replaced,
    /// The connection was lost while it mattered: find out before doing anything else.
    #[error("{doing}: the connection was lost, so it may or may not have happened")]
    Unknown {
        doing: &'static str,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("{doing}")]
    Database {
        doing: &'static str,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("get a connection")]
    Connection(#[from] pg::Error),
    #[error("take lock `{key}`: it changed hands on every try")]
    LockContended { key: String },
    #[error("a job cannot end as {0}")]
    NotTerminal(JobStatus),
    #[error("the queue answered `{0}`, which this program does not know")]
    UnknownAnswer(String),
}

impl Error {
    /// What the caller should do.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Replaced => Advice::Stop,
            Self::Unknown { .. } => Advice::FindOut,
            Self::Database { source, .. } => pg::advice(source),
            Self::Connection(error) => error.advice(),
            Self::LockContended { .. } => Advice::RetryLater,
            Self::NotTerminal(_) | Self::UnknownAnswer(_) => Advice::GiveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_attempt_is_told_to_stop() {
        assert_eq!(Error::Replaced.advice(), Advice::Stop);
        assert_eq!(
            Error::NotTerminal(JobStatus::Pending).advice(),
            Advice::GiveUp
        );
    }
}
