//! Postgres: pool, TLS, migrations, SQLSTATE reading, LISTEN. Knows no table of any lane.

mod args;
mod error;
mod listen;
mod migrate;
mod pool;

pub use args::Args;
pub use error::{Error, advice, outcome_unknown};
pub use listen::{Heard, Listener};
pub use migrate::{Migration, Migrated, migrate, schema_state};
pub use pool::{Client, Pool};
pub use tokio_postgres::Transaction;
