//! Orchestrator runs: what was decided about every table, and why.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maintenance::runs::{self, Choice, Counts, Decided, Decision, Filter, Report, Run, RunId};
use model::{Action, JobId, JobStatus, TableName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::info;

use crate::auth::{Operator, Reader};
use crate::cursor;
use crate::extract::{Id, Limit, Object, Payload, Query};
use crate::problem::{Kind, Problem};
use crate::router::Refused;
use crate::state::Api;
use crate::time::Time;

/// Decisions of one run that may be told at once.
const DECISIONS_MAX: usize = 10_000;
/// Bytes of a text that is told.
const TEXT_BYTES_MAX: usize = 4_000;
/// Bytes of a reason, which is one word.
const REASON_BYTES_MAX: usize = 100;
/// A run takes no longer.
const ELAPSED_SECONDS_MAX: f64 = 604_800.0;

/// How many tables, how many jobs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = RunCounts)]
#[derive(Default)]
pub(crate) struct CountsBody {
    #[schema(maximum = 2_147_483_647)]
    tables_assessed: u32,
    #[schema(maximum = 2_147_483_647)]
    tables_skipped: u32,
    #[schema(maximum = 2_147_483_647)]
    tables_healthy: u32,
    #[schema(maximum = 2_147_483_647)]
    jobs_submitted: u32,
    /// Of those submitted, up to now
    #[schema(maximum = 2_147_483_647)]
    jobs_completed: u32,
    #[schema(maximum = 2_147_483_647)]
    jobs_failed: u32,
}

impl From<Counts> for CountsBody {
    fn from(counts: Counts) -> Self {
        Self {
            tables_assessed: counts.tables_assessed,
            tables_skipped: counts.tables_skipped,
            tables_healthy: counts.tables_healthy,
            jobs_submitted: counts.jobs_submitted,
            jobs_completed: counts.jobs_completed,
            jobs_failed: counts.jobs_failed,
        }
    }
}

impl From<CountsBody> for Counts {
    fn from(counts: CountsBody) -> Self {
        Self {
            tables_assessed: counts.tables_assessed,
            tables_skipped: counts.tables_skipped,
            tables_healthy: counts.tables_healthy,
            jobs_submitted: counts.jobs_submitted,
            jobs_completed: counts.jobs_completed,
            jobs_failed: counts.jobs_failed,
        }
    }
}

/// One run.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Run)]
pub(crate) struct RunBody {
    run_id: i64,
    /// running, completed, failed or abandoned
    status: String,
    started_at: Time,
    completed_at: Option<Time>,
    /// Its last sign of life
    seen_at: Time,
    dry_run: bool,
    triggered_by: String,
    tables_assessed: u32,
    tables_skipped: u32,
    tables_healthy: u32,
    jobs_submitted: u32,
    /// Of those submitted, up to now
    jobs_completed: u32,
    jobs_failed: u32,
    error: Option<String>,
    /// What cut it short though nothing failed
    note: Option<String>,
    /// What it went by: policy defaults, budget
    #[schema(value_type = Object)]
    payload: Value,
}

impl From<Run> for RunBody {
    fn from(run: Run) -> Self {
        let counts = run.counts;
        Self {
            run_id: run.id.0,
            status: run.status.as_str().to_owned(),
            started_at: run.started_at.into(),
            completed_at: run.completed_at.map(Time),
            seen_at: run.seen_at.into(),
            dry_run: run.dry_run,
            triggered_by: run.triggered_by,
            tables_assessed: counts.tables_assessed,
            tables_skipped: counts.tables_skipped,
            tables_healthy: counts.tables_healthy,
            jobs_submitted: counts.jobs_submitted,
            jobs_completed: counts.jobs_completed,
            jobs_failed: counts.jobs_failed,
            error: run.error,
            note: run.note,
            payload: run.payload,
        }
    }
}

/// What a run decided about one table.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Decision)]
pub(crate) struct DecisionBody {
    run_id: i64,
    database: String,
    table: String,
    /// submit or skip
    decision: String,
    /// One word
    reason: String,
    why: String,
    actions: Vec<String>,
    job_id: Option<String>,
    /// What became of the job
    #[schema(value_type = Option<String>)]
    job_status: Option<JobStatus>,
    job_error: Option<String>,
    score: Option<f32>,
    decided_at: Time,
}

impl From<Decided> for DecisionBody {
    fn from(made: Decided) -> Self {
        Self {
            run_id: made.run.0,
            database: made.database,
            table: made.table,
            decision: made.choice.as_str().to_owned(),
            reason: made.reason,
            why: made.why,
            actions: made.actions,
            job_id: made.job.map(|job| job.to_string()),
            job_status: made.job_status,
            job_error: made.job_error,
            score: made.score,
            decided_at: made.decided_at.into(),
        }
    }
}

/// One page of runs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Runs)]
pub(crate) struct RunsBody {
    runs: Vec<RunBody>,
    /// For the next page; absent on the last one
    next_cursor: Option<String>,
}

/// Which page of runs.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// Rows of a page, 1 to 500
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 100)]
    limit: Limit,
}

const RUNS: &str = "runs";

/// List orchestrator runs, newest first
#[utoipa::path(get, path = "/orchestrator/runs", tag = "orchestrator", params(Page),
    responses((status = 200, description = "One page", body = RunsBody), Refused))]
pub(crate) async fn list(
    _: Reader,
    State(api): State<Arc<Api>>,
    Query(page): Query<Page>,
) -> Result<Json<RunsBody>, Problem> {
    let before = page.cursor.as_deref();
    let before = before.map(|cursor| cursor::read(RUNS, &(), cursor));
    let before: Option<RunId> = before.transpose()?;
    let limit = page.limit.0;
    let found = runs::list(&**api.pool.get().await?, before, limit).await?;
    let full = found.len() as u32 == limit;
    let last = found.last().filter(|_| full);
    let next_cursor = last.map(|run| cursor::write(RUNS, &(), &run.id));
    Ok(Json(RunsBody {
        runs: found.into_iter().map(RunBody::from).collect(),
        next_cursor,
    }))
}

/// How many tables were decided about in one way for one reason.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ReasonCount {
    /// submit or skip
    decision: String,
    reason: String,
    tables: u64,
}

/// One run with one page of its decisions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = RunWithDecisions)]
pub(crate) struct WholeRun {
    #[serde(flatten)]
    run: RunBody,
    /// Its decisions by reason, the most common first
    reasons: Vec<ReasonCount>,
    /// By table
    decisions: Vec<DecisionBody>,
    /// For the next page of decisions; absent on the last one
    next_cursor: Option<String>,
}

/// Which of its decisions to read.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// submit or skip
    #[param(value_type = Option<String>)]
    decision: Option<Choice>,
    /// One word, as decisions have it
    reason: Option<String>,
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// Rows of a page, 1 to 500
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 100)]
    limit: Limit,
}

const DECISIONS: &str = "decisions";

/// Read one run with its decisions
#[utoipa::path(get, path = "/orchestrator/runs/{run_id}", tag = "orchestrator",
    params(("run_id" = i64, Path, description = "The run's number"), Wanted),
    responses(
        (status = 200, description = "The run", body = WholeRun),
        (status = 404, description = "No such run"),
        Refused))]
pub(crate) async fn get(
    _: Reader,
    State(api): State<Arc<Api>>,
    Id(id): Id,
    Query(wanted): Query<Wanted>,
) -> Result<Json<WholeRun>, Problem> {
    let id = RunId(id.parse().map_err(|_| {
        let why = format!("`{id}`: allowed is a whole number");
        Problem::field(Kind::BadRequest, "path.run_id", why)
    })?);
    let filter = (id, wanted.decision, &wanted.reason);
    let after = wanted.cursor.as_deref();
    let after = after.map(|cursor| cursor::read(DECISIONS, &filter, cursor));
    let asked = Filter {
        choice: wanted.decision,
        reason: wanted.reason.clone(),
        after: after.transpose()?,
        limit: wanted.limit.0,
    };
    let client = api.pool.get().await?;
    let run = runs::get(&**client, id).await?;
    let run = run.ok_or_else(|| Problem::new(Kind::NoSuchRun, format!("no run {id}")))?;
    let reasons = runs::reasons(&**client, id).await?;
    let made = runs::decisions(&**client, id, &asked).await?;
    let full = made.len() as u32 == wanted.limit.0;
    let last = made.last().filter(|_| full);
    let next_cursor =
        last.map(|last| cursor::write(DECISIONS, &filter, &(&last.database, &last.table)));
    let reasons = reasons.into_iter().map(|counted| ReasonCount {
        decision: counted.choice.as_str().to_owned(),
        reason: counted.reason,
        tables: counted.tables,
    });
    Ok(Json(WholeRun {
        run: run.into(),
        reasons: reasons.collect(),
        decisions: made.into_iter().map(DecisionBody::from).collect(),
        next_cursor,
    }))
}

/// A decision that was made elsewhere.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionTold {
    database: String,
    table: String,
    /// submit or skip
    #[schema(value_type = String)]
    decision: Choice,
    /// One word
    #[schema(min_length = 1, max_length = 100)]
    reason: String,
    /// For people
    #[serde(default)]
    #[schema(max_length = 4000)]
    why: String,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    actions: Vec<Action>,
    /// Of a submission
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    job_id: Option<String>,
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100)]
    score: Option<f64>,
}

/// A run that was made elsewhere and is over.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunTold {
    #[serde(default)]
    dry_run: bool,
    /// How long it took, up to now
    #[serde(default)]
    #[schema(minimum = 0, maximum = 604_800)]
    elapsed_seconds: f64,
    /// Why it failed; absent: it completed
    #[serde(default)]
    #[schema(max_length = 4000)]
    error: Option<String>,
    #[serde(default)]
    #[schema(max_length = 4000)]
    note: Option<String>,
    /// What it went by
    #[serde(default)]
    #[schema(value_type = Object)]
    payload: Map<String, Value>,
    /// Where no decisions are told; they are counted
    #[serde(default)]
    #[schema(value_type = Option<CountsBody>)]
    counts: Option<Object<CountsBody>>,
    /// One for each table at most
    #[serde(default)]
    #[schema(max_items = 10_000, value_type = Vec<DecisionTold>)]
    decisions: Vec<Object<DecisionTold>>,
}

/// Record a run made elsewhere
///
/// A run of Snowpack's own records itself. Nothing is submitted.
#[utoipa::path(post, path = "/orchestrator/runs", tag = "orchestrator", request_body = RunTold,
    responses(
        (status = 201, description = "It is recorded", body = RunBody,
            headers(("Location" = String, description = "The run"))),
        Refused))]
pub(crate) async fn record(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    payload: Payload,
) -> Result<Response, Problem> {
    let told = report(payload.json()?, caller.submitter())?;
    let mut client = api.pool.get().await?;
    let tx = (**client).transaction().await?;
    let id = runs::report(&tx, &told).await?;
    let run = runs::get(&tx, id).await?;
    tx.commit().await?;
    let run = run.ok_or_else(|| Problem::internal("a run just recorded is not there"))?;
    info!(run = %id, by = told.triggered_by, "a run made elsewhere was recorded");
    let location = HeaderValue::from_str(&format!("/orchestrator/runs/{id}"))
        .map_err(|_| Problem::internal("a run's number is no header"))?;
    let body = Json(RunBody::from(run));
    Ok((StatusCode::CREATED, [(LOCATION, location)], body).into_response())
}

fn refused(path: impl Into<String>, why: impl Into<String>) -> Problem {
    Problem::field(Kind::BadRequest, path, why)
}

fn report(told: RunTold, triggered_by: String) -> Result<Report, Problem> {
    if !(0.0..=ELAPSED_SECONDS_MAX).contains(&told.elapsed_seconds) {
        let allowed = format!("allowed is a number from 0 to {ELAPSED_SECONDS_MAX}");
        return Err(refused("body.elapsed_seconds", allowed));
    }
    for (name, text) in [("error", &told.error), ("note", &told.note)] {
        bounded(
            &format!("body.{name}"),
            text.as_deref().unwrap_or_default(),
            TEXT_BYTES_MAX,
        )?;
    }
    if told.counts.is_some() && !told.decisions.is_empty() {
        return Err(refused(
            "body.counts",
            "decisions are counted; leave it out",
        ));
    }
    let counts = told.counts.map(|Object(counts)| Counts::from(counts));
    if let Some(counts) = counts {
        let most = i32::MAX.unsigned_abs();
        let all = [
            counts.tables_assessed,
            counts.tables_skipped,
            counts.tables_healthy,
            counts.jobs_submitted,
            counts.jobs_completed,
            counts.jobs_failed,
        ];
        if all.iter().any(|count| most < *count) {
            return Err(refused(
                "body.counts",
                format!("allowed are numbers to {most}"),
            ));
        }
    }
    if DECISIONS_MAX < told.decisions.len() {
        let why = format!(
            "{} of them: at most {DECISIONS_MAX} are taken",
            told.decisions.len()
        );
        return Err(refused("body.decisions", why));
    }
    let mut seen = BTreeSet::new();
    let decisions = told.decisions.into_iter().enumerate();
    let decisions = decisions.map(|(at, Object(made))| decision(at, made, &mut seen));
    Ok(Report {
        dry_run: told.dry_run,
        triggered_by,
        elapsed: Duration::try_from_secs_f64(told.elapsed_seconds).unwrap_or_default(),
        error: told.error,
        note: told.note,
        payload: Value::Object(told.payload),
        counts: counts.unwrap_or_default(),
        decisions: decisions.collect::<Result<_, _>>()?,
    })
}

fn decision(
    at: usize,
    made: DecisionTold,
    seen: &mut BTreeSet<TableName>,
) -> Result<Decision, Problem> {
    let path = |field: &str| format!("body.decisions[{at}].{field}");
    let table = TableName::from_columns(&made.database, &made.table)
        .map_err(|bad| refused(path("table"), bad.to_string()))?;
    bounded(&path("reason"), &made.reason, REASON_BYTES_MAX)?;
    bounded(&path("why"), &made.why, TEXT_BYTES_MAX)?;
    if made.reason.is_empty() {
        return Err(refused(path("reason"), "it is empty"));
    }
    if let Some(job) = &made.job_id {
        bounded(&path("job_id"), job, REASON_BYTES_MAX)?;
        if made.decision != Choice::Submit {
            return Err(refused(path("job_id"), "only a submission has a job"));
        }
    }
    if made
        .score
        .is_some_and(|score| !(0.0..=100.0).contains(&score))
    {
        return Err(refused(path("score"), "allowed is a number from 0 to 100"));
    }
    let decision = Decision {
        database: table.database(),
        table: table.table().to_owned(),
        choice: made.decision,
        reason: made.reason,
        why: made.why,
        actions: BTreeSet::from_iter(made.actions).into_iter().collect(),
        job: made.job_id.map(JobId::new),
        score: made.score,
    };
    if !seen.insert(table) {
        return Err(refused(path("table"), "the table has a decision already"));
    }
    Ok(decision)
}

fn bounded(path: &str, text: &str, bytes_max: usize) -> Result<(), Problem> {
    if bytes_max < text.len() {
        return Err(refused(
            path,
            format!("at most {bytes_max} bytes are taken"),
        ));
    }
    Ok(())
}
