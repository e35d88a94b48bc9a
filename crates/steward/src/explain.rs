//! Why a table was, or was not, maintained: everything a run would look at, and what runs decided.

use std::time::Duration;

use maintenance::candidates;
use maintenance::past::{self, Past};
use maintenance::runs::{self, Decided};
use model::TableName;
use model::health::Facts;
use pg::Pool;
use policy::{Assessment, Decision, Defaults, Effective, Options, Recommended};
use serde::Serialize;

use crate::Error;
use crate::judge::{self, Known};

/// Decisions of runs shown.
const DECISIONS: u32 = 10;

/// All there is to say about one table. Times are milliseconds since the epoch, by the database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    pub table: String,
    pub now_ms: i64,
    /// `None`: the table cache does not hold it.
    pub inventory: Option<Inventory>,
    /// How long ago the cache was read from the catalog.
    pub cache_age_seconds: Option<u64>,
    /// What applies, each value with its source; absent when the table could not be read.
    pub policy: Option<Effective>,
    pub health: Option<Health>,
    /// Why the last look at its health failed.
    pub health_error: Option<String>,
    pub history: History,
    /// What a run would decide now, if the budget allows.
    pub decision: Now,
    /// What runs decided, newest first.
    pub decisions: Vec<Decided>,
}

/// What the table cache says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inventory {
    /// The rule of the allowlist that let it in.
    pub rule: Option<String>,
    pub metadata_location: Option<String>,
    pub table_uuid: Option<String>,
    pub synced_at_ms: i64,
    pub stale: bool,
    /// Why its metadata could not be read the last time.
    pub error: Option<String>,
}

/// The newest facts, judged by what applies now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    pub assessed_at_ms: Option<i64>,
    pub facts: Facts,
    pub assessment: Assessment,
}

/// What happened to it before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct History {
    pub last_ended_ms: Option<i64>,
    pub last_completed_ms: Option<i64>,
    pub failures_in_a_row: u32,
    pub last_failure_ms: Option<i64>,
    pub locked_by: Option<String>,
    pub due_deletion_count: u64,
    pub put_off_since_ms: Option<i64>,
}

/// What would be decided now, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Now {
    pub decision: runs::Choice,
    pub reason: String,
    pub why: String,
    pub actions: Vec<Recommended>,
    pub options: Options,
    /// Predicted memory x time, when something would be submitted.
    pub cost_gb_hours: Option<f64>,
}

/// Explains one table. Entries of the cache older than `cache_age_max` are not believed.
pub async fn explain(
    pool: &Pool,
    defaults: &Defaults,
    cache_age_max: Duration,
    table: &TableName,
) -> Result<Explanation, Error> {
    let client = pool.get().await?;
    let now_ms = maintenance::settings::now_ms(&**client).await?;
    let age = candidates::age(&**client).await?;
    let candidate = candidates::one(&**client, table, cache_age_max).await?;
    let known = candidate
        .as_ref()
        .map(|candidate| judge::known(defaults, candidate));
    let uuid = known
        .as_ref()
        .and_then(|known| known.as_ref().ok()?.table_uuid());
    let past = past::of(&**client, &[(table, uuid)]).await?;
    let past = past.into_iter().next().unwrap_or_default();
    let decisions =
        runs::of_table(&**client, &table.database(), table.table(), None, DECISIONS).await?;
    let inventory = candidate.as_ref().map(|candidate| {
        let content = known
            .as_ref()
            .and_then(|known| Some(&known.as_ref().ok()?.content));
        Inventory {
            rule: content.map(|content| content.rule.clone()),
            metadata_location: content.and_then(|content| content.metadata_location.clone()),
            table_uuid: content.and_then(|content| content.table_uuid.clone()),
            synced_at_ms: candidate.synced_at.as_millisecond(),
            stale: candidate.stale,
            error: content.and_then(|content| content.error.clone()),
        }
    });
    let decision = match &known {
        None => left_alone("unknown", unknown(age)),
        Some(Err(unusable)) => left_alone(unusable.reason, unusable.why.clone()),
        Some(Ok(known)) => decide(known, &past, now_ms),
    };
    let known = known.and_then(Result::ok);
    Ok(Explanation {
        table: table.key(),
        now_ms,
        inventory,
        cache_age_seconds: age.map(|age| age.as_secs()),
        health_error: candidate.and_then(|candidate| candidate.health_error),
        health: known.as_ref().and_then(health),
        policy: known.map(|known| known.effective),
        history: history(past),
        decision,
        decisions,
    })
}

fn unknown(age: Option<Duration>) -> String {
    match age {
        None => "the table cache was never synced".to_owned(),
        Some(_) => "the table cache does not hold it: the catalog has no such table, or \
                    SNOWPACK_TABLES_INCLUDE and SNOWPACK_TABLES_EXCLUDE leave it out"
            .to_owned(),
    }
}

fn left_alone(reason: &str, why: String) -> Now {
    Now {
        decision: runs::Choice::Skip,
        reason: reason.to_owned(),
        why,
        actions: Vec::new(),
        options: Options::new(),
        cost_gb_hours: None,
    }
}

fn decide(known: &Known, past: &Past, now_ms: i64) -> Now {
    let history = known.history(past);
    let situation = known.situation(&history, now_ms);
    let decision = policy::decide(&situation);
    let reason = decision.word();
    match decision {
        Decision::Skip { why, .. } => left_alone(reason, why),
        Decision::Submit {
            actions,
            options,
            why,
        } => {
            let database = known.table.database();
            let wish = policy::wish(&database, known.table.table(), &situation, &actions);
            Now {
                decision: runs::Choice::Submit,
                reason: reason.to_owned(),
                why,
                actions,
                options,
                cost_gb_hours: Some(wish.cost_gb_hours),
            }
        }
    }
}

fn health(known: &Known) -> Option<Health> {
    let (facts, assessment) = known.health.as_ref()?;
    Some(Health {
        assessed_at_ms: known.assessed_at_ms,
        facts: facts.clone(),
        assessment: assessment.clone(),
    })
}

fn history(past: Past) -> History {
    History {
        last_ended_ms: past.last_ended_ms,
        last_completed_ms: past.last_completed_ms,
        failures_in_a_row: past.failures_in_a_row,
        last_failure_ms: past.last_failure_ms,
        locked_by: past.locked_by.map(|job| job.to_string()),
        due_deletion_count: past.due_deletion_count,
        put_off_since_ms: past.put_off_since_ms,
    }
}
