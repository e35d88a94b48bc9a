//! Pure decisions that carry their reason: how healthy a table is, what applies to it, what to do
//! about it and when, who goes first, and whether a failed attempt is tried again.
//!
//! Reads no clock, no database and no random source; whoever asks brings the facts. Start at
//! [`decide()`].

mod cost;
mod decide;
mod effective;
#[cfg(test)]
mod fixtures;
mod health;
mod options;
pub mod property;
mod rank;
pub mod retry;
mod window;

pub use cost::{JOB_GB_HOURS, REWRITE_GB_HOURS_PER_GB, cost};
pub use decide::{
    Decision, History, Options, QUARANTINE, QUARANTINED_FROM_FAILURES, RIVAL_ACTIVE_HOURS, Reason,
    Situation, decide,
};
pub use effective::{
    Defaults, Effective, Enrolment, Properties, Source, Sourced, Unknown, Unreadable, effective,
};
pub use health::{Assessment, Recommended, Term, assess};
pub use property::{PROPERTIES, PropertyDoc, steers};
pub use rank::{AGEING_HOURS, Budget, PURGE_BENEFIT, Ranking, Wish, rank, wish};
pub use window::{BadWindow, Window};
