//! The control plane's work: inventory sync, health sync, orchestration, dry runs.
//!
//! Brings facts to `policy` and its decisions to `maintenance`; judges nothing itself, sees no
//! Arrow. Every pass may be killed at any moment and run twice at once.

mod args;
pub mod dry_run;
mod error;
pub mod explain;
pub mod health;
pub mod inventory;
mod judge;
pub mod orchestrate;
pub mod retention;
pub mod start;

pub use args::{BudgetArgs, CacheAgeArgs, Enrolment, OrchestrateArgs, PolicyArgs};
pub use error::Error;
