//! Words everybody shares: ids, table names, actions in canonical order, statuses and transitions,
//! health facts.
//!
//! No I/O, no async, no clock, no SQL. Every enum that Postgres also knows has `ALL` and
//! `as_str`; a test compares both with the CHECK constraints.

mod action;
mod advice;
pub mod health;
mod id;
mod status;
mod table;

pub use action::{Action, UnknownAction};
pub use advice::Advice;
pub use id::{AttemptId, JobId};
pub use status::{ActionOutcome, EndReason, Event, JobStatus};
pub use table::{BadTableName, TableName};
