//! Who goes first when there is more to do than may be done at once.

use std::collections::BTreeMap;

use model::Action;
use serde::{Deserialize, Serialize};

use crate::cost::{JOB_GB_HOURS, cost};
use crate::decide::{Situation, since_hours, tenths};
use crate::health::Recommended;

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

/// So long a wait counts as much as one step of priority.
pub const AGEING_HOURS: f64 = 24.0;
/// Points of health a purge is worth; it costs next to nothing.
pub const PURGE_BENEFIT: f64 = 1.0;
/// Below this, costs are the same.
const COST_MIN: f64 = JOB_GB_HOURS;

/// Ranks by benefit over cost, with ageing so that none starves, and cuts at the budget.
/// `live_jobs` are those the lane runs or queues already.
///
/// Priority goes first, one step better for every [`AGEING_HOURS`] waited, without end; among
/// equals, what heals most for its cost. So all that can ever be ahead of a wish has begun to wait
/// at most seven days after it, and the first in line is granted in every run that may submit
/// anything: after eight days a wish waits for no more runs than there are tables ahead of it.
///
/// What does not fit into what is left of the GB-hours lets smaller ones pass. A wish larger than
/// a whole run's would never fit: it goes when it is first in line and has waited a day, and alone.
pub fn rank(wishes: &[Wish], budget: &Budget, live_jobs: u32) -> Ranking {
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_by(|a, b| {
        let (one, other) = (&wishes[*a], &wishes[*b]);
        one.class()
            .cmp(&other.class())
            .then_with(|| other.worth().total_cmp(&one.worth()))
            .then_with(|| other.waited().total_cmp(&one.waited()))
            .then_with(|| (&one.database, &one.table, a).cmp(&(&other.database, &other.table, b)))
    });
    let mut purse = Purse {
        budget,
        live_jobs,
        granted_count: 0,
        by_database: BTreeMap::new(),
        gb_hours: 0.0,
        alone: None,
    };
    let mut ranking = Ranking::default();
    for (place, index) in order.into_iter().enumerate() {
        let wish = &wishes[index];
        match purse.refuses(wish, place) {
            None => {
                purse.pay(wish);
                ranking.granted.push(index);
            }
            Some(why) => {
                let (place, of) = (place + 1, wishes.len());
                let why = format!("{why}; place {place} of {of}");
                ranking.refused.push((index, why));
            }
        }
    }
    ranking
}

impl Wish {
    /// Smaller goes first.
    fn class(&self) -> i64 {
        i64::from(self.priority).saturating_sub((self.waited() / AGEING_HOURS) as i64)
    }

    /// What it heals for its cost.
    fn worth(&self) -> f64 {
        let benefit = if self.benefit.is_nan() {
            0.0
        } else {
            self.benefit
        };
        benefit / self.cost().max(COST_MIN)
    }

    /// One nobody could predict counts as larger than any budget.
    fn cost(&self) -> f64 {
        if self.cost_gb_hours.is_nan() {
            f64::INFINITY
        } else {
            self.cost_gb_hours.max(0.0)
        }
    }

    fn waited(&self) -> f64 {
        self.waiting_hours.max(0.0)
    }
}

/// What is spent of a run's budget.
struct Purse<'a> {
    budget: &'a Budget,
    live_jobs: u32,
    granted_count: u32,
    by_database: BTreeMap<&'a str, u32>,
    gb_hours: f64,
    /// The one wish larger than a run's GB-hours.
    alone: Option<&'a Wish>,
}

impl<'a> Purse<'a> {
    /// Why a wish is not granted.
    fn refuses(&self, wish: &Wish, place: usize) -> Option<String> {
        let granted = self.granted_count;
        if let Some(alone) = self.alone {
            return Some(format!(
                "this run is for {}.{} alone, predicted to cost more than a run's GB-hours",
                alone.database, alone.table
            ));
        }
        if let Some(max) = self.budget.running_max
            && self.live_jobs.saturating_add(granted) >= max
        {
            return Some(format!(
                "{} jobs wait or run already and {granted} more were granted, at most {max} may",
                self.live_jobs
            ));
        }
        if let Some(max) = self.budget.jobs_max
            && granted >= max
        {
            return Some(format!("a run submits at most {max} jobs"));
        }
        if let Some(max) = self.budget.jobs_per_database_max
            && self.of_database(wish) >= max
        {
            let database = &wish.database;
            return Some(format!(
                "a run submits at most {max} jobs for database {database}"
            ));
        }
        self.budget
            .gb_hours_max
            .and_then(|max| self.too_costly(wish, place, max))
    }

    fn too_costly(&self, wish: &Wish, place: usize, max: f64) -> Option<String> {
        let cost = wish.cost();
        if cost <= max {
            let left = (max - self.gb_hours).max(0.0);
            return (cost > left).then(|| {
                format!(
                    "predicted to cost {cost:.4} GB-hours, {left:.4} of the run's {max} are left"
                )
            });
        }
        let first = place == 0 && wish.waited() >= AGEING_HOURS;
        (max <= 0.0 || !first).then(|| {
            format!(
                "predicted to cost {cost:.4} GB-hours, more than a whole run's {max}: goes alone, when \
                 it is first in line and has waited {AGEING_HOURS} h (waited {} h)",
                tenths(wish.waited())
            )
        })
    }

    fn of_database(&self, wish: &Wish) -> u32 {
        let count = self.by_database.get(wish.database.as_str());
        count.copied().unwrap_or_default()
    }

    fn pay(&mut self, wish: &'a Wish) {
        self.granted_count += 1;
        *self.by_database.entry(&wish.database).or_default() += 1;
        self.gb_hours += wish.cost();
        if self
            .budget
            .gb_hours_max
            .is_some_and(|max| wish.cost() > max)
        {
            self.alone = Some(wish);
        }
    }
}

/// The wish of a table whose decision is to submit `actions`.
pub fn wish(
    database: &str,
    table: &str,
    situation: &Situation<'_>,
    actions: &[Recommended],
) -> Wish {
    let history = situation.history;
    let waiting_hours = history
        .put_off_since_ms
        .map_or(0.0, |since_ms| since_hours(situation.now_ms, since_ms));
    Wish {
        database: database.to_owned(),
        table: table.to_owned(),
        benefit: benefit(situation, actions),
        cost_gb_hours: cost(
            situation.health.map(|(facts, _)| facts),
            situation.policy,
            history.due_deletion_count,
            actions,
        ),
        waiting_hours,
        priority: situation.policy.priority.value,
    }
}

/// The points of health these actions win back.
fn benefit(situation: &Situation<'_>, actions: &[Recommended]) -> f64 {
    let of = |wanted: &Recommended| -> f64 {
        let terms = situation
            .health
            .iter()
            .flat_map(|(_, assessment)| &assessment.terms)
            .filter(|term| term.action == wanted.action);
        let purge = if wanted.action == Action::PurgePending {
            PURGE_BENEFIT
        } else {
            0.0
        };
        terms.map(|term| term.lost).sum::<f64>() + purge
    };
    actions.iter().map(of).sum()
}

#[cfg(test)]
mod tests;
