//! Postgres: pool, TLS, migrations, SQLSTATE reading, LISTEN. Knows no table of any lane.
//!
//! Start at [`Pool::connect`]. The only table it owns is `{schema}.schema_migrations`.

mod args;
mod client;
mod error;
mod listen;
mod migrate;
mod pool;
mod tls;

pub use args::{Args, ListenArgs};
pub use client::Client;
pub use error::{Error, advice, outcome_unknown};
pub use listen::{Heard, Listener};
pub use migrate::{Migrated, Migration, State, migrate, schema_state, statements};
pub use pool::Pool;
pub use tokio_postgres::Transaction;
