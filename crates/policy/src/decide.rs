//! What to do with one table now, and why.

use std::collections::BTreeMap;

use model::health::Facts;
use model::{Action, JobId};
use serde::{Deserialize, Serialize};

use crate::Effective;
use crate::health::{Assessment, Recommended};

pub(crate) const HOUR_MS: f64 = 3_600_000.0;
pub(crate) const DAY_MS: f64 = 24.0 * HOUR_MS;

/// What happened to the table before. Times are milliseconds since the epoch, by the database.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// When its last job ended, however that went: the cadence counts from here. Jobs that only
    /// purged do not count, for a purge is not what the cadence is about.
    pub last_ended_ms: Option<i64>,
    pub last_completed_ms: Option<i64>,
    /// Jobs that failed since the last one that completed; cancelled ones do not count.
    pub failures_in_a_row: u32,
    pub last_failure_ms: Option<i64>,
    /// The live job that holds its lock.
    pub locked_by: Option<JobId>,
    /// Files whose deletion is due.
    pub due_deletion_count: u64,
    /// When the facts at hand were last found to be true: a look that found the table unchanged
    /// counts, a look that failed does not.
    pub assessed_at_ms: Option<i64>,
    /// Since its last job was submitted: when a run first put it off as over budget. What
    /// [`crate::rank`] ages it by.
    pub put_off_since_ms: Option<i64>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// `maintenance_enabled=false`, or nobody opted in.
    OptedOut,
    /// `compaction_skip`.
    SkipFlag,
    /// Never, or not since its last job.
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

impl Reason {
    pub const ALL: [Self; 10] = [
        Self::OptedOut,
        Self::SkipFlag,
        Self::NotAssessed,
        Self::Locked,
        Self::Quarantined,
        Self::RivalActive,
        Self::OutsideWindow,
        Self::NotDueYet,
        Self::Healthy,
        Self::OverBudget,
    ];

    /// The name in SQL, JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OptedOut => "opted_out",
            Self::SkipFlag => "skip_flag",
            Self::NotAssessed => "not_assessed",
            Self::Locked => "locked",
            Self::Quarantined => "quarantined",
            Self::RivalActive => "rival_active",
            Self::OutsideWindow => "outside_window",
            Self::NotDueYet => "not_due_yet",
            Self::Healthy => "healthy",
            Self::OverBudget => "over_budget",
        }
    }
}

/// Options of each action, as the planner reads them.
pub type Options = BTreeMap<Action, BTreeMap<String, String>>;

/// What to do, and why.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Submit {
        /// In canonical order, each action once.
        actions: Vec<Recommended>,
        /// What the policy asks of each action.
        options: Options,
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
