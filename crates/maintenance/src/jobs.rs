//! Jobs as they are read, cancelled and hidden.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use model::{Action, AttemptId, EndReason, JobId, JobStatus, TableName};
use queue::{Cancel, Fence};
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, Row, Transaction};

use crate::Error;
use crate::statement::{maybe, read, rows, run};

const GET: &str = include_str!("../sql/jobs/get.sql");
const LIST: &str = include_str!("../sql/jobs/list.sql");
const LIST_LIVE: &str = include_str!("../sql/jobs/list_live.sql");
const CANCEL_REQUESTED: &str = include_str!("../sql/jobs/cancel_requested.sql");
const ENDED_AS: &str = include_str!("../sql/jobs/ended_as.sql");
const HIDE: &str = include_str!("../sql/jobs/hide.sql");
const STORE_PLAN: &str = include_str!("../sql/jobs/store_plan.sql");

/// Rows of one page at most.
pub const PAGE_MAX: u32 = 500;

/// Options as asked, per action.
pub type Options = BTreeMap<Action, BTreeMap<String, String>>;

/// One job: its record and, while it is live, its place in the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: JobId,
    pub table: TableName,
    /// In canonical order, each once.
    pub actions: Vec<Action>,
    pub options: Options,
    pub dry_run: bool,
    pub status: JobStatus,
    /// Why it did not complete.
    pub reason: Option<EndReason>,
    pub error: Option<String>,
    /// The current attempt, or the last one of a job that ended.
    pub attempt: Option<AttemptId>,
    /// `{action: plan}`, for the actions planned so far. Only [`get`] brings it.
    pub plan: Option<Value>,
    pub submitted_by: String,
    pub idempotency_key: Option<String>,
    pub trace_context: Option<String>,
    pub attempt_timeout: Option<Duration>,
    /// The job this one repeats.
    pub retry_of: Option<JobId>,
    pub submitted_at: Timestamp,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
    /// Absent once the job has ended.
    pub queue: Option<QueueState>,
}

/// Where a live job stands in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueState {
    pub pool: String,
    pub priority: i16,
    pub attempt_count: i32,
    pub attempts_max: i32,
    /// Hand-backs that cost no attempt.
    pub hand_back_count: i32,
    /// Not due before this; of a claimed job the end of its lease.
    pub visible_at: Timestamp,
    pub claimed_by: Option<String>,
    pub cancel_requested: bool,
}

/// Which jobs to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub status: Option<JobStatus>,
    /// As [`TableName::database`] writes it.
    pub database: Option<String>,
    pub table: Option<TableName>,
    /// Submitted then or later.
    pub since: Option<Timestamp>,
    /// At most [`PAGE_MAX`].
    pub limit: u32,
    /// The last row of the page before: its time and id.
    pub before: Option<(Timestamp, JobId)>,
}

/// One job that is not hidden.
pub async fn get<C: GenericClient + Sync>(client: &C, id: &JobId) -> Result<Option<Job>, Error> {
    let row = maybe(client, "get a job", GET, &[(&id.as_str(), Type::TEXT)]).await?;
    row.as_ref().map(from_row).transpose()
}

/// Jobs that are not hidden, newest first, one page.
pub async fn list<C: GenericClient + Sync>(client: &C, filter: &Filter) -> Result<Vec<Job>, Error> {
    let sql = match filter.status {
        Some(JobStatus::Pending | JobStatus::Running) => LIST_LIVE,
        Some(JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled) | None => LIST,
    };
    let Some(found) = listed(client, "list jobs", sql, filter).await? else {
        return Ok(Vec::new());
    };
    found.iter().map(from_row).collect()
}

/// The rows `sql` lists under `filter`; `None` when its table is not of its database.
pub(crate) async fn listed<C: GenericClient + Sync>(
    client: &C,
    doing: &'static str,
    sql: &str,
    filter: &Filter,
) -> Result<Option<Vec<Row>>, Error> {
    let status = filter.status.map(JobStatus::as_str);
    let table = filter.table.as_ref().map(TableName::table);
    let of_table = filter.table.as_ref().map(TableName::database);
    let database = match (of_table, &filter.database) {
        (Some(one), Some(other)) if one != *other => return Ok(None),
        (one, other) => one.or_else(|| other.clone()),
    };
    let (at, id) = filter
        .before
        .as_ref()
        .map(|(at, id)| (*at, id.as_str()))
        .unzip();
    let limit = i64::from(filter.limit.min(PAGE_MAX));
    let params = [
        (&status as &(dyn ToSql + Sync), Type::TEXT),
        (&database, Type::TEXT),
        (&table, Type::TEXT),
        (&filter.since, Type::TIMESTAMPTZ),
        (&at, Type::TIMESTAMPTZ),
        (&id, Type::TEXT),
        (&limit, Type::INT8),
    ];
    rows(client, doing, sql, &params).await.map(Some)
}

/// Whether somebody asked to cancel the job of a claim. Fails with the queue's `Replaced` when the
/// attempt is not current.
pub async fn cancel_requested<C: GenericClient + Sync>(
    client: &C,
    fence: &Fence,
) -> Result<bool, Error> {
    let found = maybe(
        client,
        "look for a cancel",
        CANCEL_REQUESTED,
        &[
            (&fence.job().as_str(), Type::TEXT),
            (&fence.attempt().as_str(), Type::TEXT),
        ],
    )
    .await?;
    found.map_or(Err(queue::Error::Replaced.into()), |row| {
        read(&row, "cancel_requested")
    })
}

/// How a job ended, when it was `attempt` that ended it. An attempt that lost the answer to its
/// own finish asks this.
pub async fn ended_as<C: GenericClient + Sync>(
    client: &C,
    job: &JobId,
    attempt: &AttemptId,
) -> Result<Option<JobStatus>, Error> {
    let found = maybe(
        client,
        "look how the job ended",
        ENDED_AS,
        &[(&job.as_str(), Type::TEXT), (&attempt.as_str(), Type::TEXT)],
    )
    .await?;
    let Some(row) = found else { return Ok(None) };
    read_status(job, &row).map(Some)
}

/// Adds the plan of one action to the job while the attempt is proven current. A later attempt's
/// plan replaces an earlier one's.
pub async fn store_plan(
    tx: &Transaction<'_>,
    fence: &Fence,
    action: Action,
    plan: &Value,
) -> Result<(), Error> {
    crate::queue().hold(tx, fence).await?;
    run(
        tx,
        "store the plan",
        STORE_PLAN,
        &[
            (&fence.job().as_str(), Type::TEXT),
            (&action.as_str(), Type::TEXT),
            (plan, Type::JSONB),
        ],
    )
    .await
    .map(drop)
}

/// Cancels a job: a pending one at once, a running one at its next safe point. A job that ended
/// already is refused with its status. Wake the lane after the commit: the worker hears sooner.
pub async fn cancel(tx: &Transaction<'_>, id: &JobId) -> Result<Cancel, Error> {
    match crate::queue().cancel(tx, id).await? {
        Cancel::NotLive => match get(tx, id).await? {
            Some(job) => Err(Error::Ended {
                job: id.clone(),
                status: job.status,
            }),
            None => Err(Error::NoSuchJob(id.clone())),
        },
        done => Ok(done),
    }
}

/// Hides a job that has ended, kept or archived. A live one is refused.
pub async fn delete(tx: &Transaction<'_>, id: &JobId) -> Result<(), Error> {
    let hidden = run(tx, "delete a job", HIDE, &[(&id.as_str(), Type::TEXT)]).await?;
    // The second look only where the first found nothing: a job may be archived in between.
    if hidden == 1 || crate::history::hide(tx, id).await? {
        return Ok(());
    }
    match get(tx, id).await? {
        Some(job) => Err(Error::Live {
            job: id.clone(),
            status: job.status,
        }),
        None => Err(Error::NoSuchJob(id.clone())),
    }
}

pub(crate) fn read_status(job: &JobId, row: &Row) -> Result<JobStatus, Error> {
    let status: String = read(row, "status")?;
    JobStatus::parse(&status).ok_or_else(|| Error::Unreadable {
        job: job.clone(),
        column: "status",
        value: status,
    })
}

pub(crate) fn from_row(row: &Row) -> Result<Job, Error> {
    let id = JobId::new(read::<String>(row, "job_id")?);
    let (table, actions, options) = asked(&id, row)?;
    let reason: Option<String> = read(row, "reason")?;
    let unreadable = |column, value: String| Error::Unreadable {
        job: id.clone(),
        column,
        value,
    };
    Ok(Job {
        table,
        actions,
        options,
        dry_run: read(row, "dry_run")?,
        status: read_status(&id, row)?,
        reason: reason
            .map(|reason| EndReason::parse(&reason).ok_or_else(|| unreadable("reason", reason)))
            .transpose()?,
        error: read(row, "error")?,
        attempt: read::<Option<String>>(row, "attempt_id")?.map(AttemptId::new),
        plan: read(row, "plan")?,
        submitted_by: read(row, "submitted_by")?,
        idempotency_key: read(row, "idempotency_key")?,
        trace_context: read(row, "trace_context")?,
        attempt_timeout: attempt_timeout(row)?,
        retry_of: read::<Option<String>>(row, "retry_of")?.map(JobId::new),
        submitted_at: read(row, "submitted_at")?,
        started_at: read(row, "started_at")?,
        completed_at: read(row, "completed_at")?,
        queue: queue_state(row)?,
        id,
    })
}

/// What the job was to do, and to which table.
pub(crate) fn asked(id: &JobId, row: &Row) -> Result<(TableName, Vec<Action>, Options), Error> {
    let unreadable = |column, value: String| Error::Unreadable {
        job: id.clone(),
        column,
        value,
    };
    let (database, table): (String, String) =
        (read(row, "database_name")?, read(row, "table_name")?);
    let table = TableName::from_columns(&database, &table)
        .map_err(|bad| unreadable("table_name", bad.name))?;
    let names: Vec<String> = read(row, "actions")?;
    let mut actions = names
        .iter()
        .map(|name| {
            name.parse()
                .map_err(|_| unreadable("actions", name.clone()))
        })
        .collect::<Result<Vec<Action>, Error>>()?;
    actions.sort_unstable();
    actions.dedup();
    let options: Value = read(row, "options")?;
    let options = serde_json::from_value(options.clone())
        .map_err(|_| unreadable("options", options.to_string()))?;
    Ok((table, actions, options))
}

/// How long one attempt may take.
pub(crate) fn attempt_timeout(row: &Row) -> Result<Option<Duration>, Error> {
    let seconds = read::<Option<i32>>(row, "attempt_timeout_seconds")?;
    Ok(seconds.map(|seconds| Duration::from_secs(u64::from(seconds.unsigned_abs()))))
}

fn queue_state(row: &Row) -> Result<Option<QueueState>, Error> {
    let Some(visible_at) = read(row, "visible_at")? else {
        return Ok(None);
    };
    Ok(Some(QueueState {
        pool: read(row, "pool")?,
        priority: read(row, "priority")?,
        attempt_count: read(row, "attempt_count")?,
        attempts_max: read(row, "max_attempts")?,
        hand_back_count: read(row, "hand_back_count")?,
        visible_at,
        claimed_by: read(row, "claimed_by")?,
        cancel_requested: read(row, "cancel_requested")?,
    }))
}
