//! What to do with one table now, and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use model::health::Facts;
use model::{Action, JobId};
use serde::{Deserialize, Serialize};

use crate::effective::{Effective, Enrolment, Unreadable};
use crate::health::{Assessment, Recommended};
use crate::retry::Backoff;
use crate::window::written;
use crate::{options, property};

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
    /// Since its last job was submitted, whatever that job did: when a run first put it off as over
    /// budget. What [`crate::rank`] ages it by; a turn that did not end the waiting would put the
    /// table first for ever.
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

impl Decision {
    /// One word: a reason's name, or `due` for a submission.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Submit { .. } => "due",
            Self::Skip { reason, .. } => reason.as_str(),
        }
    }

    /// For people.
    pub fn why(&self) -> &str {
        match self {
            Self::Submit { why, .. } | Self::Skip { why, .. } => why,
        }
    }
}

/// A job that fails once is tried again at its table's cadence; from the second in a row on the
/// table is left alone for a day, two, four, at most a week, so that a table nobody mends costs a
/// job a week. One that completes ends it.
pub const QUARANTINED_FROM_FAILURES: u32 = 2;
pub const QUARANTINE: Backoff = Backoff {
    base: Duration::from_hours(24),
    cap: Duration::from_hours(7 * 24),
};
/// A table another maintainer rewrote so recently is its.
pub const RIVAL_ACTIVE_HOURS: f64 = 24.0;

type Refusal = (Reason, String);

/// Decides about one table. Reads no clock and no database.
///
/// What bars everything comes first, in this order: the skip flag, enrolment, a live job,
/// quarantine, the window. Then what bars all but a purge: the cadence, no assessment, a rival,
/// health. Deletions that are due are submitted in spite of these, as `purge_pending` alone: every
/// file is checked again before it goes, and what waits only costs.
pub fn decide(situation: &Situation<'_>) -> Decision {
    let bars: [fn(&Situation<'_>) -> Option<Refusal>; 5] =
        [skip_flag, opted_out, locked, quarantined, outside_window];
    if let Some((reason, mut why)) = bars.iter().find_map(|bar| bar(situation)) {
        let due = situation.history.due_deletion_count;
        if due > 0 {
            let _ = write!(why, "; meanwhile waits: {}", files_due(due));
        }
        return Decision::Skip { reason, why };
    }
    match (worth_doing(situation), purge(situation)) {
        (Ok((mut actions, why)), purge) => {
            actions.extend(purge);
            submit(situation, actions, why)
        }
        (Err((_, but)), Some(purge)) => {
            let why = format!("{}; nothing else for now: {but}", purge.reasons.join(", "));
            submit(situation, vec![purge], why)
        }
        (Err((reason, why)), None) => Decision::Skip { reason, why },
    }
}

fn submit(situation: &Situation<'_>, actions: Vec<Recommended>, why: String) -> Decision {
    let mut by_action: BTreeMap<Action, Vec<String>> = BTreeMap::new();
    for Recommended { action, reasons } in actions {
        by_action.entry(action).or_default().extend(reasons);
    }
    let options = by_action
        .keys()
        .map(|action| {
            let options = options::of(*action, situation.policy, situation.now_ms);
            (*action, options)
        })
        .filter(|(_, options)| !options.is_empty())
        .collect();
    let actions = by_action
        .into_iter()
        .map(|(action, reasons)| Recommended { action, reasons })
        .collect();
    Decision::Submit {
        actions,
        options,
        why,
    }
}

fn skip_flag(situation: &Situation<'_>) -> Option<Refusal> {
    let policy = situation.policy;
    // A flag nobody can read holds the table too: somebody meant something by it.
    if let Some(found) = policy.unreadable(property::COMPACTION_SKIP) {
        return Some((Reason::SkipFlag, unread(found)));
    }
    let why = format!(
        "compaction_skip=true on the {}",
        policy.compaction_skip.source.as_str()
    );
    policy
        .compaction_skip
        .value
        .then_some((Reason::SkipFlag, why))
}

fn opted_out(situation: &Situation<'_>) -> Option<Refusal> {
    let policy = situation.policy;
    // Enrolling a table whose owner may have said no is not ours to guess.
    if let Some(found) = policy.unreadable(property::MAINTENANCE_ENABLED) {
        return Some((Reason::OptedOut, unread(found)));
    }
    let source = policy.maintenance_enabled.source.as_str();
    let why = match (policy.maintenance_enabled.value, policy.enrolment) {
        (Some(true), _) | (None, Enrolment::OptOut) => return None,
        (Some(false), _) => format!("snowpack.maintenance_enabled=false on the {source}"),
        (None, Enrolment::OptIn) => {
            "snowpack.maintenance_enabled is set on neither table nor database, and enrolment is \
             opt-in"
                .to_owned()
        }
    };
    Some((Reason::OptedOut, why))
}

fn unread(found: &Unreadable) -> String {
    format!(
        "{}=`{}` on the {} cannot be read (allowed: {}); left alone until it can",
        found.property,
        found.value,
        found.source.as_str(),
        found.allowed
    )
}

fn locked(situation: &Situation<'_>) -> Option<Refusal> {
    let holder = situation.history.locked_by.as_ref()?;
    Some((Reason::Locked, format!("job {holder} is at work on it")))
}

fn quarantined(situation: &Situation<'_>) -> Option<Refusal> {
    let history = situation.history;
    let failures = history.failures_in_a_row;
    let beyond = failures
        .saturating_add(1)
        .checked_sub(QUARANTINED_FROM_FAILURES)?;
    let pause = QUARANTINE.ceiling(beyond);
    let since_ms = history.last_failure_ms.or(history.last_ended_ms)?;
    let until_ms = since_ms.saturating_add(pause.as_millis() as i64);
    let why = format!(
        "its last {failures} jobs failed, the last at {}: left alone for {} until {}",
        written(since_ms),
        hours(pause.as_secs_f64() / 3_600.0),
        written(until_ms)
    );
    (situation.now_ms < until_ms).then_some((Reason::Quarantined, why))
}

fn outside_window(situation: &Situation<'_>) -> Option<Refusal> {
    // One that nobody can read may be closed.
    if let Some(found) = situation.policy.unreadable(property::WINDOW) {
        return Some((Reason::OutsideWindow, unread(found)));
    }
    let window = &situation.policy.window;
    let pattern = window.value.as_ref()?;
    if pattern.is_open(situation.now_ms) {
        return None;
    }
    let opens = match pattern.opens_at_ms(situation.now_ms) {
        Some(at_ms) => format!("opens at {}", written(at_ms)),
        None => "does not open any more".to_owned(),
    };
    let why = format!(
        "outside its window `{pattern}` ({}), which {opens}",
        window.source.as_str()
    );
    Some((Reason::OutsideWindow, why))
}

/// What is recommended, if now is the time for it, and a sentence about it.
fn worth_doing(situation: &Situation<'_>) -> Result<(Vec<Recommended>, String), Refusal> {
    // First, for a table a job has just left is not measured anew either.
    if let Some(refusal) = not_due_yet(situation) {
        return Err(refusal);
    }
    let (facts, assessment) = assessed(situation)?;
    if let Some(refusal) = rival_active(situation, facts) {
        return Err(refusal);
    }
    let score = assessment.score;
    let reasons: Vec<&str> = assessment
        .recommended
        .iter()
        .flat_map(|recommended| recommended.reasons.iter().map(String::as_str))
        .collect();
    if assessment.recommended.is_empty() {
        return Err((Reason::Healthy, nothing_to_do(assessment)));
    }
    let why = format!("health {score:.0} of 100: {}", reasons.join("; "));
    Ok((assessment.recommended.clone(), why))
}

/// Names what loses most, for people who wonder why nothing is done about it.
fn nothing_to_do(assessment: &Assessment) -> String {
    let score = assessment.score;
    let worst = assessment
        .terms
        .iter()
        .filter(|term| term.lost > 0.0)
        .max_by(|a, b| a.lost.total_cmp(&b.lost));
    let but =
        worst.map(|term| format!("; {} loses {}: {}", term.name, tenths(term.lost), term.why));
    format!(
        "health {score:.0} of 100, nothing to do{}",
        but.unwrap_or_default()
    )
}

/// The assessment, unless a job changed the table after it.
fn assessed<'a>(situation: &Situation<'a>) -> Result<(&'a Facts, &'a Assessment), Refusal> {
    let history = situation.history;
    let refuse = |why: String| Err((Reason::NotAssessed, why));
    let Some(health) = situation.health else {
        return refuse("its health was never measured".to_owned());
    };
    match (history.assessed_at_ms, history.last_ended_ms) {
        (Some(assessed_ms), Some(ended_ms)) if assessed_ms < ended_ms => refuse(format!(
            "its health was last measured at {}, before its last job ended at {}",
            written(assessed_ms),
            written(ended_ms)
        )),
        _ => Ok(health),
    }
}

fn rival_active(situation: &Situation<'_>, facts: &Facts) -> Option<Refusal> {
    let rival = facts.rival.as_ref()?;
    let ago = since_hours(situation.now_ms, rival.at_ms);
    let why = format!(
        "{} rewrote it {} ago (snapshot {}); a table with another maintainer is left alone for {}",
        rival.name,
        hours(ago),
        rival.snapshot_id,
        hours(RIVAL_ACTIVE_HOURS)
    );
    (ago < RIVAL_ACTIVE_HOURS).then_some((Reason::RivalActive, why))
}

fn not_due_yet(situation: &Situation<'_>) -> Option<Refusal> {
    let cadence = &situation.policy.maintenance_cadence_hours;
    let ended_ms = situation.history.last_ended_ms?;
    let due_ms = ended_ms.saturating_add((cadence.value * HOUR_MS) as i64);
    let why = format!(
        "its last job ended {} ago; every {} ({}), so due at {}",
        hours(since_hours(situation.now_ms, ended_ms)),
        hours(cadence.value),
        cadence.source.as_str(),
        written(due_ms)
    );
    (situation.now_ms < due_ms).then_some((Reason::NotDueYet, why))
}

fn purge(situation: &Situation<'_>) -> Option<Recommended> {
    let due = situation.history.due_deletion_count;
    (due > 0).then(|| Recommended {
        action: Action::PurgePending,
        reasons: vec![files_due(due)],
    })
}

fn files_due(count: u64) -> String {
    match count {
        1 => "1 file whose deletion is due".to_owned(),
        _ => format!("{count} files whose deletion is due"),
    }
}

/// Never negative: what a clock set back makes of the past is now.
pub(crate) fn since_hours(now_ms: i64, then_ms: i64) -> f64 {
    now_ms.saturating_sub(then_ms).max(0) as f64 / HOUR_MS
}

/// A length of time for people.
fn hours(hours: f64) -> String {
    if hours < 1.0 {
        format!("{:.0} min", hours * 60.0)
    } else if hours < 48.0 {
        format!("{} h", tenths(hours))
    } else {
        format!("{} days", tenths(hours / 24.0))
    }
}

/// At most one decimal.
pub(crate) fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;
