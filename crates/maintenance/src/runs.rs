//! Orchestrator runs: a row opened at the start, every decision with its reason, closed in every
//! outcome.
//!
//! A run that was killed cannot close its row; it stops being [`seen`], and the next run closes
//! it ([`abandon_stale`]). Counters are counted from the decisions when a run is closed, so they
//! hold whatever was lost on the way; those of its jobs are looked up until the last one has
//! ended, and kept from then on ([`settle`]). Start at [`open`].

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use model::{Action, JobId, JobStatus};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row};

use crate::Error;
use crate::statement::{maybe, one, read, rows, run};

mod report;

pub use report::{Report, report};

const OPEN: &str = include_str!("../sql/runs/open.sql");
const SEEN: &str = include_str!("../sql/runs/seen.sql");
const RECORD: &str = include_str!("../sql/runs/record.sql");
const CLOSE: &str = include_str!("../sql/runs/close.sql");
const ABANDON: &str = include_str!("../sql/runs/abandon.sql");
const SETTLE: &str = include_str!("../sql/runs/settle.sql");
const LIST: &str = include_str!("../sql/runs/list.sql");
const DECISIONS: &str = include_str!("../sql/runs/decisions.sql");
const SUBMITTED: &str = include_str!("../sql/runs/submitted.sql");
const OF_TABLE: &str = include_str!("../sql/runs/of_table.sql");
const LIVE: &str = include_str!("../sql/runs/live.sql");
const REASONS: &str = include_str!("../sql/runs/reasons.sql");

/// Rows of one page at most.
pub const PAGE_MAX: u32 = 1_000;

/// Runs closed for others, or settled, in one statement.
const BATCH_MAX: i64 = 100;

/// A run's number; a later one is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub i64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Running,
    Completed,
    Failed,
    /// Its process died; another run closed it.
    Abandoned,
}

impl Status {
    /// Every value; the table's CHECK constraint lists the same.
    pub const ALL: &[Self] = &[
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Abandoned,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What a run decided about one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    Submit,
    Skip,
}

impl Choice {
    /// Every value; the table's CHECK constraint lists the same.
    pub const ALL: &[Self] = &[Self::Submit, Self::Skip];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Skip => "skip",
        }
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    #[serde(rename = "run_id")]
    pub id: RunId,
    pub status: Status,
    #[serde(serialize_with = "text")]
    pub started_at: Timestamp,
    #[serde(serialize_with = "maybe_text")]
    pub completed_at: Option<Timestamp>,
    /// The last sign of life.
    #[serde(serialize_with = "text")]
    pub seen_at: Timestamp,
    pub dry_run: bool,
    pub triggered_by: String,
    #[serde(flatten)]
    pub counts: Counts,
    pub error: Option<String>,
    /// What cut it short though nothing failed.
    pub note: Option<String>,
    /// What it went by: policy defaults, budget.
    pub payload: Value,
}

/// Tables are assessed = skipped + healthy + those a job was, or in a dry run would have been,
/// submitted for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub tables_assessed: u32,
    pub tables_skipped: u32,
    pub tables_healthy: u32,
    pub jobs_submitted: u32,
    /// Of those submitted, up to now.
    pub jobs_completed: u32,
    pub jobs_failed: u32,
}

/// A decision to record. Names as the table cache holds them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    #[serde(rename = "database_name")]
    pub database: String,
    #[serde(rename = "table_name")]
    pub table: String,
    #[serde(rename = "decision")]
    pub choice: Choice,
    /// One word.
    pub reason: String,
    /// For people.
    pub why: String,
    pub actions: Vec<Action>,
    #[serde(rename = "job_id")]
    pub job: Option<JobId>,
    pub score: Option<f64>,
}

/// A recorded decision, with what became of its job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decided {
    #[serde(rename = "run_id")]
    pub run: RunId,
    #[serde(rename = "database_name")]
    pub database: String,
    #[serde(rename = "table_name")]
    pub table: String,
    #[serde(rename = "decision")]
    pub choice: Choice,
    pub reason: String,
    pub why: String,
    /// In canonical order.
    pub actions: Vec<String>,
    #[serde(rename = "job_id")]
    pub job: Option<JobId>,
    pub job_status: Option<JobStatus>,
    pub job_error: Option<String>,
    pub score: Option<f32>,
    #[serde(serialize_with = "text")]
    pub decided_at: Timestamp,
}

/// How many tables a run decided about in one way for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    #[serde(rename = "decision")]
    pub choice: Choice,
    pub reason: String,
    pub tables: u64,
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Close {
    /// `None`: it completed.
    pub error: Option<String>,
    pub note: Option<String>,
    /// Added to the run's payload, an object.
    pub payload: Value,
}

/// Opens a run: its number, and the database's clock in milliseconds since the epoch.
pub async fn open<C: GenericClient + Sync>(
    client: &C,
    dry_run: bool,
    triggered_by: &str,
    payload: &Value,
) -> Result<(RunId, i64), Error> {
    let params = [
        (
            &dry_run as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::BOOL,
        ),
        (&triggered_by, Type::TEXT),
        (payload, Type::JSONB),
    ];
    let row = one(client, "open a run", OPEN, &params).await?;
    Ok((RunId(read(&row, "run_id")?), read(&row, "started_ms")?))
}

/// A sign of life. Fails with [`Error::RunClosed`] when the run was taken for dead.
pub async fn seen<C: GenericClient + Sync>(client: &C, id: RunId) -> Result<(), Error> {
    let moved = run(client, "say that a run lives", SEEN, &[(&id.0, Type::INT8)]).await?;
    if moved == 1 {
        Ok(())
    } else {
        Err(Error::RunClosed(id))
    }
}

/// Records decisions. At most one for each table of a run: a second one is refused.
pub async fn record<C: GenericClient + Sync>(
    client: &C,
    id: RunId,
    decisions: &[Decision],
) -> Result<(), Error> {
    if decisions.is_empty() {
        return Ok(());
    }
    let document = json!(decisions);
    let params = [
        (
            &id.0 as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::INT8,
        ),
        (&document, Type::JSONB),
    ];
    run(client, "record decisions", RECORD, &params)
        .await
        .map(drop)
}

/// Closes a run and counts its decisions. Fails with [`Error::RunClosed`] when it is closed.
pub async fn close<C: GenericClient + Sync>(
    client: &C,
    id: RunId,
    how: &Close,
) -> Result<(), Error> {
    let status = match how.error {
        None => Status::Completed,
        Some(_) => Status::Failed,
    };
    let params = [
        (
            &id.0 as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::INT8,
        ),
        (&status.as_str(), Type::TEXT),
        (&how.error, Type::TEXT),
        (&how.note, Type::TEXT),
        (&how.payload, Type::JSONB),
    ];
    match run(client, "close a run", CLOSE, &params).await? {
        0 => Err(Error::RunClosed(id)),
        _ => Ok(()),
    }
}

/// Closes runs that nobody has seen for `after`: their process was killed or cut off. Which.
pub async fn abandon_stale<C: GenericClient + Sync>(
    client: &C,
    after: Duration,
) -> Result<Vec<RunId>, Error> {
    let seconds = after.as_secs_f64();
    let params = [
        (
            &seconds as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::FLOAT8,
        ),
        (&BATCH_MAX, Type::INT8),
    ];
    let found = rows(client, "close abandoned runs", ABANDON, &params).await?;
    let mut ids = found
        .iter()
        .map(|row| read(row, "run_id").map(RunId))
        .collect::<Result<Vec<_>, Error>>()?;
    ids.sort_unstable();
    Ok(ids)
}

/// Keeps the counters of runs whose jobs have all ended; how many runs were looked at.
pub async fn settle<C: GenericClient + Sync>(client: &C) -> Result<u64, Error> {
    run(client, "settle runs", SETTLE, &[(&BATCH_MAX, Type::INT8)]).await
}

/// Jobs of a run that have not ended.
pub async fn live_jobs<C: GenericClient + Sync>(client: &C, id: RunId) -> Result<u64, Error> {
    let row = one(
        client,
        "count a run's live jobs",
        LIVE,
        &[(&id.0, Type::INT8)],
    )
    .await?;
    Ok(read::<i64>(&row, "jobs")?.unsigned_abs())
}

/// Runs, newest first, one page; `before` is the last one of the page before.
pub async fn list<C: GenericClient + Sync>(
    client: &C,
    before: Option<RunId>,
    limit: u32,
) -> Result<Vec<Run>, Error> {
    let none: Option<i64> = None;
    let before = before.map(|id| id.0);
    let limit = i64::from(limit.min(PAGE_MAX));
    let params = [
        (
            &none as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::INT8,
        ),
        (&before, Type::INT8),
        (&limit, Type::INT8),
    ];
    let found = rows(client, "list runs", LIST, &params).await?;
    found.iter().map(run_from).collect()
}

/// One run.
pub async fn get<C: GenericClient + Sync>(client: &C, id: RunId) -> Result<Option<Run>, Error> {
    let none: Option<i64> = None;
    let params = [
        (
            &id.0 as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::INT8,
        ),
        (&none, Type::INT8),
        (&1_i64, Type::INT8),
    ];
    let row = maybe(client, "get a run", LIST, &params).await?;
    row.as_ref().map(run_from).transpose()
}

/// Which decisions of a run to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub choice: Option<Choice>,
    pub reason: Option<String>,
    /// Database and table of the last one of the page before.
    pub after: Option<(String, String)>,
    /// At most [`PAGE_MAX`].
    pub limit: u32,
}

/// Decisions of a run by table, one page.
pub async fn decisions<C: GenericClient + Sync>(
    client: &C,
    id: RunId,
    filter: &Filter,
) -> Result<Vec<Decided>, Error> {
    let (database, table) = filter.after.clone().unzip();
    let limit = i64::from(filter.limit.min(PAGE_MAX));
    let choice = filter.choice.map(Choice::as_str);
    let params = [
        (
            &id.0 as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::INT8,
        ),
        (&choice, Type::TEXT),
        (&filter.reason, Type::TEXT),
        (&database, Type::TEXT),
        (&table, Type::TEXT),
        (&limit, Type::INT8),
    ];
    let found = rows(client, "list a run's decisions", DECISIONS, &params).await?;
    found.iter().map(decided_from).collect()
}

/// What a run submitted, or in a dry run would have, the most wanted first.
pub async fn submitted<C: GenericClient + Sync>(
    client: &C,
    id: RunId,
    limit: u32,
) -> Result<Vec<Decided>, Error> {
    let limit = i64::from(limit);
    let params = [
        (
            &id.0 as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::INT8,
        ),
        (&limit, Type::INT8),
    ];
    let found = rows(client, "list what a run submitted", SUBMITTED, &params).await?;
    found.iter().map(decided_from).collect()
}

/// Decisions about one table, newest first, one page; `before` is the last run of the one before.
pub async fn of_table<C: GenericClient + Sync>(
    client: &C,
    database: &str,
    table: &str,
    before: Option<RunId>,
    limit: u32,
) -> Result<Vec<Decided>, Error> {
    let before = before.map(|id| id.0);
    let limit = i64::from(limit.min(PAGE_MAX));
    let params = [
        (
            &database as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        ),
        (&table, Type::TEXT),
        (&before, Type::INT8),
        (&limit, Type::INT8),
    ];
    let found = rows(client, "list a table's decisions", OF_TABLE, &params).await?;
    found.iter().map(decided_from).collect()
}

/// A run's decisions by reason, the most common first.
pub async fn reasons<C: GenericClient + Sync>(
    client: &C,
    id: RunId,
) -> Result<Vec<ReasonCount>, Error> {
    let found = rows(
        client,
        "count a run's reasons",
        REASONS,
        &[(&id.0, Type::INT8)],
    )
    .await?;
    found
        .iter()
        .map(|row| {
            Ok(ReasonCount {
                choice: choice_from(id, row)?,
                reason: read(row, "reason")?,
                tables: read::<i64>(row, "tables")?.unsigned_abs(),
            })
        })
        .collect()
}

fn run_from(row: &Row) -> Result<Run, Error> {
    let id = RunId(read(row, "run_id")?);
    let status: String = read(row, "status")?;
    let count = |column| read::<i32>(row, column).map(i32::unsigned_abs);
    Ok(Run {
        id,
        status: named(Status::ALL, Status::as_str, &status).ok_or(Error::UnreadableRun {
            run: id,
            column: "status",
            value: status,
        })?,
        started_at: read(row, "started_at")?,
        completed_at: read(row, "completed_at")?,
        seen_at: read(row, "seen_at")?,
        dry_run: read(row, "dry_run")?,
        triggered_by: read(row, "triggered_by")?,
        counts: Counts {
            tables_assessed: count("tables_assessed")?,
            tables_skipped: count("tables_skipped")?,
            tables_healthy: count("tables_healthy")?,
            jobs_submitted: count("jobs_submitted")?,
            jobs_completed: count("jobs_completed")?,
            jobs_failed: count("jobs_failed")?,
        },
        error: read(row, "error")?,
        note: read(row, "note")?,
        payload: read(row, "payload")?,
    })
}

fn decided_from(row: &Row) -> Result<Decided, Error> {
    let run = RunId(read(row, "run_id")?);
    let status: Option<String> = read(row, "job_status")?;
    Ok(Decided {
        run,
        database: read(row, "database_name")?,
        table: read(row, "table_name")?,
        choice: choice_from(run, row)?,
        reason: read(row, "reason")?,
        why: read(row, "why")?,
        actions: read(row, "actions")?,
        job: read::<Option<String>>(row, "job_id")?.map(JobId::new),
        job_status: status
            .map(|status| {
                JobStatus::parse(&status).ok_or(Error::UnreadableRun {
                    run,
                    column: "job_status",
                    value: status,
                })
            })
            .transpose()?,
        job_error: read(row, "job_error")?,
        score: read(row, "score")?,
        decided_at: read(row, "decided_at")?,
    })
}

fn choice_from(run: RunId, row: &Row) -> Result<Choice, Error> {
    let choice: String = read(row, "decision")?;
    named(Choice::ALL, Choice::as_str, &choice).ok_or(Error::UnreadableRun {
        run,
        column: "decision",
        value: choice,
    })
}

fn named<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|value| name(*value) == text)
}

fn text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn maybe_text<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}
