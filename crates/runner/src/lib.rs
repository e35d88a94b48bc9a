//! One attempt's life, for the worker and the command line alike: heartbeat, watchdog, actions in
//! order, results, finish.
//!
//! Sees no data file and decides nothing: a [`planner::Engine`] plans and executes, `policy` says
//! what becomes of a failure. Start at [`Runner::run`]; [`Heart`] keeps the leases meanwhile.

mod actions;
mod attempt;
mod batch;
mod beat;
mod budget;
mod ending;
mod error;
mod heart;
mod ledger;
mod memory;
mod metrics;
mod purge;
mod records;
mod steady;
mod writes;

pub use attempt::{Config, Ended, How, Runner, Shutdown};
pub use beat::{Beat, Limits, Why};
pub use budget::{MEMORY_BYTES_MIN, memory_bytes};
pub use error::Error;
pub use heart::Heart;
pub use memory::{Memory, Permit};
pub use metrics::Metrics;
pub use records::PoolRecords;
