//! Pure plans of every action, and the two ports a plan is executed through.
//!
//! No I/O and no data files here: [`rewrite::plan`] is a function of facts. [`Engine`] executes one
//! plan (natively in `lake`; later Spark and Trino); [`Ledger`] is what an engine may ask of the
//! job it works for: reserve paths before they are written, commit while the attempt is current.

pub mod dangling;
mod deletion;
pub mod expire;
pub mod manifests;
mod option;
pub mod orphans;
mod port;
pub mod position_deletes;
pub mod purge;
mod report;
pub mod rewrite;
mod task;

pub use deletion::{Candidate, Due, Expiring, Fate, Intent, IntentId, OpenIntent, Purged, Reason};
pub use option::OptionDoc;
pub use port::{
    Attempt, Engine, EngineError, Ledger, LedgerError, Progress, Records, Reserved, Signals, Swap,
    SwapError, Unwatched,
};
pub use report::{
    ColumnChunks, Deletes, Expired, ManifestEntries, Orphans, Purge, Report, Spilled,
};
pub use task::{BadOption, Plan, Task};
