//! Runs made elsewhere, recorded whole when they are over.

use std::time::Duration;

use serde_json::Value;
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use super::{Choice, Counts, Decision, RunId, record};
use crate::Error;
use crate::statement::{Param, one, read};

const REPORT: &str = include_str!("../../sql/runs/report.sql");

/// What is told of a run made elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub dry_run: bool,
    pub triggered_by: String,
    /// How long it took.
    pub elapsed: Duration,
    /// `None`: it completed.
    pub error: Option<String>,
    pub note: Option<String>,
    pub payload: Value,
    /// Taken when there are no decisions to count.
    pub counts: Counts,
    /// At most one for each table.
    pub decisions: Vec<Decision>,
}

/// Records a run that is over, with its decisions.
pub async fn report(tx: &Transaction<'_>, told: &Report) -> Result<RunId, Error> {
    let counts = match told.decisions[..] {
        [] => told.counts,
        [..] => counted(&told.decisions),
    };
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let elapsed = told.elapsed.as_secs_f64();
    let names_jobs = told.decisions.iter().any(|made| made.job.is_some());
    let params: [Param<'_>; 13] = [
        (&told.dry_run, Type::BOOL),
        (&told.triggered_by, Type::TEXT),
        (&number(counts.tables_assessed), Type::INT4),
        (&number(counts.tables_skipped), Type::INT4),
        (&number(counts.tables_healthy), Type::INT4),
        (&number(counts.jobs_submitted), Type::INT4),
        (&number(counts.jobs_completed), Type::INT4),
        (&number(counts.jobs_failed), Type::INT4),
        (&told.error, Type::TEXT),
        (&told.note, Type::TEXT),
        (&told.payload, Type::JSONB),
        (&elapsed, Type::FLOAT8),
        (&names_jobs, Type::BOOL),
    ];
    let id = RunId(read(
        &one(tx, "record a run made elsewhere", REPORT, &params).await?,
        "run_id",
    )?);
    record(tx, id, &told.decisions).await?;
    Ok(id)
}

/// As a run of ours is counted when it is closed.
fn counted(decisions: &[Decision]) -> Counts {
    let count = |which: fn(&&Decision) -> bool| {
        u32::try_from(decisions.iter().filter(which).count()).unwrap_or(u32::MAX)
    };
    Counts {
        tables_assessed: count(|_| true),
        tables_skipped: count(|made| made.choice == Choice::Skip && made.reason != "healthy"),
        tables_healthy: count(|made| made.reason == "healthy"),
        jobs_submitted: count(|made| made.job.is_some()),
        ..Counts::default()
    }
}
