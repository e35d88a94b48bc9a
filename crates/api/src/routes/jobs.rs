//! Jobs: as they are listed, read, cancelled and hidden.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use maintenance::{ActionRow, Error, Filter, Job, history};
use model::{Action, JobId, JobStatus, TableName};
use queue::Cancel;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::debug;

use crate::auth::{Operator, Reader};
use crate::cursor;
use crate::extract::{self, Limit, Query};
use crate::problem::{Kind, Problem};
use crate::router::Refused;
use crate::routes::submit::submitted_as;
use crate::state::Api;
use crate::time::{self, Time};

/// One job.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Job)]
pub(crate) struct JobBody {
    job_id: String,
    database: String,
    /// The table's name in its database
    table: String,
    /// In the order they run
    #[schema(value_type = Vec<String>)]
    actions: Vec<Action>,
    /// `{action: {option: value}}` as asked
    #[schema(value_type = Object)]
    options: maintenance::jobs::Options,
    dry_run: bool,
    /// pending, running, completed, failed or cancelled
    #[schema(value_type = String)]
    status: JobStatus,
    /// Why it did not complete
    reason: Option<String>,
    error: Option<String>,
    submitted_by: String,
    idempotency_key: Option<String>,
    submitted_at: Time,
    started_at: Option<Time>,
    completed_at: Option<Time>,
    attempt_id: Option<String>,
    /// The job this one tries again
    retry_of: Option<String>,
    /// While it is live
    queue: Option<QueueBody>,
}

/// Where a live job stands in the queue.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = QueueState)]
pub(crate) struct QueueBody {
    pool: String,
    priority: i16,
    attempt_count: i32,
    max_attempts: i32,
    hand_back_count: i32,
    /// Not due before this; of a claimed job the end of its lease
    visible_at: Time,
    claimed_by: Option<String>,
    cancel_requested: bool,
}

impl From<Job> for JobBody {
    fn from(job: Job) -> Self {
        Self {
            job_id: job.id.to_string(),
            database: job.table.database(),
            table: job.table.table().to_owned(),
            actions: job.actions,
            options: job.options,
            dry_run: job.dry_run,
            status: job.status,
            reason: job.reason.map(|reason| reason.to_string()),
            error: job.error,
            submitted_by: job.submitted_by,
            idempotency_key: job.idempotency_key,
            submitted_at: job.submitted_at.into(),
            started_at: job.started_at.map(Time),
            completed_at: job.completed_at.map(Time),
            attempt_id: job.attempt.map(|attempt| attempt.to_string()),
            retry_of: job.retry_of.map(|job| job.to_string()),
            queue: job.queue.map(|queue| QueueBody {
                pool: queue.pool,
                priority: queue.priority,
                attempt_count: queue.attempt_count,
                max_attempts: queue.attempts_max,
                hand_back_count: queue.hand_back_count,
                visible_at: queue.visible_at.into(),
                claimed_by: queue.claimed_by,
                cancel_requested: queue.cancel_requested,
            }),
        }
    }
}

/// What one action of a job did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ActionResult)]
pub(crate) struct ResultBody {
    #[schema(value_type = String)]
    action: Action,
    attempt_id: String,
    /// done, nothing_to_do, failed or skipped
    outcome: String,
    success: bool,
    message: Option<String>,
    error: Option<String>,
    elapsed_seconds: f64,
    created_at: Time,
    /// Counts, bytes, the snapshot
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
}

impl From<ActionRow> for ResultBody {
    fn from(row: ActionRow) -> Self {
        let result = row.result;
        Self {
            action: result.action,
            attempt_id: row.attempt.to_string(),
            outcome: result.outcome.to_string(),
            success: result.outcome.success(),
            message: result.message,
            error: result.error,
            elapsed_seconds: result.elapsed.as_secs_f64(),
            created_at: row.created_at.into(),
            result: result.result,
        }
    }
}

/// One job with what its actions planned and did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = JobWithResults)]
pub(crate) struct WholeJob {
    #[serde(flatten)]
    job: JobBody,
    /// `{action: plan}`, for the actions planned so far
    #[schema(value_type = Option<Object>)]
    plan: Option<Value>,
    /// Oldest first; an action that ran again has a row for each attempt
    results: Vec<ResultBody>,
}

impl WholeJob {
    /// `database.table`, for the log.
    pub(crate) fn table(&self) -> String {
        format!("{}.{}", self.job.database, self.job.table)
    }
}

/// One page of jobs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Jobs)]
pub(crate) struct JobsBody {
    jobs: Vec<JobBody>,
    /// For the next page; absent on the last one
    next_cursor: Option<String>,
}

/// Which jobs to list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// pending, running, completed, failed or cancelled
    #[param(value_type = Option<String>)]
    status: Option<JobStatus>,
    /// As jobs have it: levels joined by dots
    database: Option<String>,
    /// The table's full name, `database.table`
    table: Option<String>,
    /// Submitted then or later, as in 2026-01-31T00:00:00Z
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Moment>,
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// Rows of a page, 1 to 500
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 100)]
    limit: Limit,
}

/// List jobs, newest first
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(Wanted),
    responses((status = 200, description = "One page", body = JobsBody), Refused))]
pub(crate) async fn list(
    _: Reader,
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<JobsBody>, Problem> {
    let jobs = maintenance::list(&**api.pool.get().await?, &wanted.filter(LISTING)?).await?;
    Ok(Json(JobsBody {
        next_cursor: wanted.next(LISTING, jobs.len(), jobs.last()),
        jobs: jobs.into_iter().map(JobBody::from).collect(),
    }))
}

/// This listing's name in its cursors.
const LISTING: &str = "jobs";

impl Wanted {
    /// What the tables are asked, for the page behind the cursor.
    pub(crate) fn filter(&self, listing: &str) -> Result<Filter, Problem> {
        let place = |cursor| place(listing, &self.wish(), cursor);
        Ok(Filter {
            status: self.status,
            database: self.database.clone(),
            table: self.table.as_deref().map(table_name).transpose()?,
            since: self.since.map(|Moment(at)| at),
            limit: self.limit.0,
            before: self.cursor.as_deref().map(place).transpose()?,
        })
    }

    /// The cursor behind the last row of a full page.
    pub(crate) fn next(&self, listing: &str, rows: usize, last: Option<&Job>) -> Option<String> {
        let last = last.filter(|_| rows == self.limit.0 as usize)?;
        let place = (last.submitted_at.as_microsecond(), &last.id);
        Some(cursor::write(listing, &self.wish(), &place))
    }

    /// All that decides which rows there are.
    fn wish(&self) -> impl Serialize {
        let since = self.since.map(|Moment(at)| at.to_string());
        let (database, table) = (self.database.clone(), self.table.clone());
        (self.status, database, table, since)
    }
}

/// A point in time, as a caller writes it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Moment(Timestamp);

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let at = text.parse().ok().and_then(|at| time::storable(at).ok());
        at.map(Self)
            .ok_or_else(|| format!("`{text}`: allowed is a time, as in 2026-01-31T00:00:00Z"))
    }
}

/// The row a page ended with. Postgres keeps microseconds, and so does the cursor.
fn place(
    listing: &str,
    wish: &impl Serialize,
    cursor: &str,
) -> Result<(Timestamp, JobId), Problem> {
    let (at, id): (i64, JobId) = cursor::read(listing, wish, cursor)?;
    let at = time::of_microseconds(at);
    let at = at.map_err(|why| Problem::field(Kind::BadCursor, "query.cursor", why))?;
    Ok((at, id))
}

fn table_name(text: &str) -> Result<TableName, Problem> {
    text.parse().map_err(|bad: model::BadTableName| {
        Problem::field(Kind::BadRequest, "query.table", bad.to_string())
    })
}

/// Read one job, with what its actions planned and did
#[utoipa::path(get, path = "/jobs/{job_id}", tag = "jobs",
    params(("job_id" = String, Path, description = "As submission gave it")),
    responses(
        (status = 200, description = "The job", body = WholeJob),
        (status = 404, description = "No such job, or it is hidden"),
        Refused))]
pub(crate) async fn get(
    _: Reader,
    State(api): State<Arc<Api>>,
    extract::Job(id): extract::Job,
) -> Result<Json<WholeJob>, Problem> {
    Ok(Json(whole(&api.pool.get().await?, &id).await?))
}

/// One job with all that is known of it, wherever it is kept by now.
pub(crate) async fn whole(client: &pg::Client, id: &JobId) -> Result<WholeJob, Problem> {
    let (mut job, results) = if let Some(job) = maintenance::get(&***client, id).await? {
        (job, maintenance::actions::list(&***client, id).await?)
    } else {
        let past = history::get(&***client, id).await?;
        let (past, results) = past.ok_or_else(|| Error::NoSuchJob(id.clone()))?;
        (past.job, results)
    };
    Ok(WholeJob {
        plan: job.plan.take(),
        job: job.into(),
        results: results.into_iter().map(ResultBody::from).collect(),
    })
}

/// Hide a job that has ended
#[utoipa::path(delete, path = "/jobs/{job_id}", tag = "jobs",
    params(("job_id" = String, Path, description = "As submission gave it")),
    responses(
        (status = 204, description = "It is hidden"),
        (status = 404, description = "No such job, or it is hidden already"),
        (status = 409, description = "It is live: cancel it first"),
        Refused))]
pub(crate) async fn delete(
    _: Operator,
    State(api): State<Arc<Api>>,
    extract::Job(id): extract::Job,
) -> Result<StatusCode, Problem> {
    let mut client = api.pool.get().await?;
    let tx = (**client).transaction().await?;
    maintenance::delete(&tx, &id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What became of a wish to cancel.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Cancelled {
    job_id: String,
    /// True: it is cancelled. False: it runs, and stops at its next safe point
    cancelled: bool,
}

/// Cancel a job
///
/// A pending job ends at once (200), a running one at its next safe point (202).
#[utoipa::path(post, path = "/jobs/{job_id}/cancel", tag = "jobs",
    params(("job_id" = String, Path, description = "As submission gave it")),
    responses(
        (status = 200, description = "It is cancelled", body = Cancelled),
        (status = 202, description = "It will be", body = Cancelled),
        (status = 404, description = "No such job"),
        (status = 409, description = "It has ended already"),
        Refused))]
pub(crate) async fn cancel(
    _: Operator,
    State(api): State<Arc<Api>>,
    extract::Job(id): extract::Job,
) -> Result<(StatusCode, Json<Cancelled>), Problem> {
    let mut client = api.pool.get().await?;
    let tx = (**client).transaction().await?;
    let done = maintenance::cancel(&tx, &id).await?;
    tx.commit().await?;
    // The worker's heartbeat brings it too: a lost wake-up only delays it.
    if let Err(error) = maintenance::queue().notify_cancel(&**client, &id).await {
        debug!(%error, "the worker will see the cancellation at its next heartbeat");
    }
    let cancelled = done == Cancel::AtOnce;
    let status = if cancelled {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let job_id = id.to_string();
    Ok((status, Json(Cancelled { job_id, cancelled })))
}

/// Try a failed or cancelled job again
///
/// A new job does the same work on behalf of the caller; the old one stays as it ended.
#[utoipa::path(post, path = "/jobs/{job_id}/retry", tag = "jobs",
    params(("job_id" = String, Path, description = "As submission gave it")),
    responses(
        (status = 202, description = "The new job", body = WholeJob,
            headers(("Location" = String, description = "The new job"),
                ("Retry-After" = u64, description = "When to look again"))),
        (status = 404, description = "No such job"),
        (status = 409, description = "It is live, did well, or another job holds the table"),
        Refused))]
pub(crate) async fn retry(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    extract::Job(id): extract::Job,
) -> Result<Response, Problem> {
    let by = caller.submitter();
    let mut client = api.pool.get().await?;
    let tx = (**client).transaction().await?;
    let submitted = maintenance::retry(&tx, &id, &by).await?;
    tx.commit().await?;
    submitted_as(&client, &submitted, &by).await
}
