//! What can go wrong with Postgres, and what each SQLSTATE asks the caller to do.

use model::Advice;
use tokio_postgres::error::SqlState;

/// Anything this crate fails with. No variant holds a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the database url cannot be read: {why}; write \
         postgres://user:password@host:port/database and percent-encode special characters"
    )]
    BadUrl { why: &'static str },
    #[error("the url to listen at cannot be read: {why}; write one as of the database, or `off`")]
    BadListenUrl { why: &'static str },
    #[error("connect to Postgres at {place}")]
    Connect {
        /// `host:port, database name`.
        place: String,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("wait for a connection to Postgres at {place}: none of the {max} became free in time")]
    PoolEmpty { place: String, max: usize },
    #[error("load the system's certificates for TLS: {why}")]
    Certificates { why: String },
    #[error("{doing}")]
    Database {
        doing: &'static str,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error("migration {number} ({name}) of schema {schema}")]
    Migration {
        schema: String,
        number: i32,
        name: String,
        #[source]
        source: tokio_postgres::Error,
    },
    #[error(
        "migration {number} ({name}) of schema {schema} was applied with other text; \
         a released migration is never edited"
    )]
    ChangedMigration {
        schema: String,
        number: i32,
        name: String,
    },
    #[error("migrations of schema {schema} are not numbered 1, 2, 3, ..: found {number}")]
    MisnumberedMigration { schema: String, number: i32 },
    #[error(
        "schema {schema} is at version {version} and needs a program that knows version \
         {oldest} or later; this one knows {known}"
    )]
    SchemaTooNew {
        schema: String,
        version: i32,
        oldest: i32,
        known: i32,
    },
    #[error("schema name `{0}` must be a lower-case identifier of at most 40 characters")]
    BadSchemaName(String),
}

impl Error {
    /// What the caller should do.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Connect { source, .. }
            | Self::Database { source, .. }
            | Self::Migration { source, .. } => advice(source),
            Self::PoolEmpty { .. } => Advice::RetryLater,
            Self::BadUrl { .. }
            | Self::BadListenUrl { .. }
            | Self::Certificates { .. }
            | Self::ChangedMigration { .. }
            | Self::MisnumberedMigration { .. }
            | Self::SchemaTooNew { .. }
            | Self::BadSchemaName(_) => Advice::GiveUp,
        }
    }
}

/// Whole classes of SQLSTATE that pass by themselves: connection (08), resources (53),
/// operator intervention (57P), transaction rollback (40).
const PASSING_CLASSES: [&str; 4] = ["08", "53", "57P", "40"];
/// Of `transaction_timeout`, since Postgres 17; it ends the connection.
const TRANSACTION_TIMEOUT: &str = "25P04";

/// What the caller of a failed statement should do about it.
pub fn advice(error: &tokio_postgres::Error) -> Advice {
    let Some(code) = error.code() else {
        return if connection_lost(error) {
            Advice::RetryLater
        } else {
            Advice::GiveUp
        };
    };
    let passing = PASSING_CLASSES
        .iter()
        .any(|class| code.code().starts_with(class))
        || *code == SqlState::LOCK_NOT_AVAILABLE
        || *code == SqlState::QUERY_CANCELED
        // A server that was demoted or not promoted yet: the next connection finds another.
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        || code.code() == TRANSACTION_TIMEOUT
        // A disk or network file system that fails may be back with the next try.
        || *code == SqlState::IO_ERROR;
    if passing {
        Advice::RetryLater
    } else {
        Advice::GiveUp
    }
}

/// True when a statement or COMMIT may have taken effect although it reported failure:
/// the connection was lost, or the server ended it, before the answer came.
pub fn outcome_unknown(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        None => connection_lost(error),
        Some(code) => {
            code.code().starts_with("08")
                || code.code().starts_with("57P")
                || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
                || code.code() == TRANSACTION_TIMEOUT
                || *code == SqlState::TRANSACTION_RESOLUTION_UNKNOWN
        }
    }
}

/// No answer from the server at all: the socket broke, timed out or was closed.
fn connection_lost(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || io_source(error)
}

fn io_source(error: &tokio_postgres::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.is::<std::io::Error>() {
            return true;
        }
        source = inner.source();
    }
    false
}
