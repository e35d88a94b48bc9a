//! The SQL catalog keeps the suite's promises, and shares its rows with PyIceberg.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/pyiceberg.rs"]
mod pyiceberg;
#[path = "all/sql.rs"]
mod sql;
