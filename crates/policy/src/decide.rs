//! What to do with one table now, and why.

use model::JobId;
use model::health::Facts;
use serde::{Deserialize, Serialize};

use crate::Effective;
use crate::health::{Assessment, Recommended};

/// What happened to the table before. Times are milliseconds since the epoch, by the database.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// When its last job ended, and how that went.
    pub last_ended_ms: Option<i64>,
    pub last_completed_ms: Option<i64>,
    /// Jobs that failed since the last one that completed; cancelled ones do not count.
    pub failures_in_a_row: u32,
    pub last_failure_ms: Option<i64>,
    /// The live job that holds its lock.
    pub locked_by: Option<JobId>,
    /// Files whose deletion is due.
    pub due_deletion_count: u64,
    /// When the facts at hand were measured.
    pub assessed_at_ms: Option<i64>,
}

/// All that [`decide`] looks at.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    pub policy: &'a Effective,
    /// `None`: never assessed.
    pub health: Option<(&'a Facts, &'a Assessment)>,
    pub history: &'a History,
    pub now_ms: i64,
}

/// Why a table is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// `maintenance_enabled=false`, or nobody opted in.
    OptedOut,
    /// `compaction_skip`.
    SkipFlag,
    NotAssessed,
    Locked,
    /// Failed again and again: a growing pause.
    Quarantined,
    RivalActive,
    OutsideWindow,
    NotDueYet,
    Healthy,
    /// Worth doing, but others come first.
    OverBudget,
}

/// What to do, and why.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Submit {
        /// In canonical order.
        actions: Vec<Recommended>,
        /// For people.
        why: String,
    },
    Skip {
        reason: Reason,
        why: String,
    },
}

/// Decides about one table. Reads no clock and no database.
pub fn decide(situation: &Situation<'_>) -> Decision {
    let _ = situation;
    Decision::Skip {
        reason: Reason::NotAssessed,
        why: String::new(),
    }
}
