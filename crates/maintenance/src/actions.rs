//! One row per action executed: what it did, or why it failed.

use std::time::Duration;

use jiff::Timestamp;
use model::{Action, ActionOutcome, AttemptId, JobId};
use queue::Fence;
use serde_json::Value;
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row, Transaction};

use crate::Error;
use crate::statement::{read, rows, run};

const RECORD: &str = include_str!("../sql/actions/record.sql");
const LIST: &str = include_str!("../sql/actions/list.sql");

/// How one action of one attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionResult {
    pub action: Action,
    pub outcome: ActionOutcome,
    /// Why it failed; set for `failed` and for nothing else.
    pub error: Option<String>,
    /// One line for people.
    pub message: Option<String>,
    pub elapsed: Duration,
    /// The result object: counts, bytes, the snapshot.
    pub result: Option<Value>,
}

/// A recorded result.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionRow {
    pub attempt: AttemptId,
    pub created_at: Timestamp,
    pub result: ActionResult,
}

/// Records a result while the attempt is proven current. Once per action and attempt: what is
/// recorded already stays as it is, so a caller that lost the answer may call again.
///
/// Says whether the row is new. Fails with the queue's `Replaced` when the fence is gone.
pub async fn record(
    tx: &Transaction<'_>,
    fence: &Fence,
    result: &ActionResult,
) -> Result<bool, Error> {
    crate::queue().hold(tx, fence).await?;
    insert(tx, fence.job(), fence.attempt(), result).await
}

pub(crate) async fn insert(
    tx: &Transaction<'_>,
    job: &JobId,
    attempt: &AttemptId,
    result: &ActionResult,
) -> Result<bool, Error> {
    let seconds = result.elapsed.as_secs_f32();
    let inserted = run(
        tx,
        "record an action",
        RECORD,
        &[
            (&job.as_str(), Type::TEXT),
            (&attempt.as_str(), Type::TEXT),
            (&result.action.as_str(), Type::TEXT),
            (&result.outcome.as_str(), Type::TEXT),
            (&result.outcome.success(), Type::BOOL),
            (&result.error, Type::TEXT),
            (&result.message, Type::TEXT),
            (&seconds, Type::FLOAT4),
            (&result.result, Type::JSONB),
        ],
    )
    .await?;
    Ok(inserted == 1)
}

/// Every result of a job, oldest first.
pub async fn list<C: GenericClient + Sync>(
    client: &C,
    job: &JobId,
) -> Result<Vec<ActionRow>, Error> {
    let found = of_jobs(client, &[job.as_str()]).await?;
    from_rows(job, &found)
}

/// The rows of several jobs, each with its `job_id`; those of one oldest first.
pub(crate) async fn of_jobs<C: GenericClient + Sync>(
    client: &C,
    jobs: &[&str],
) -> Result<Vec<Row>, Error> {
    rows(client, "list actions", LIST, &[(&jobs, Type::TEXT_ARRAY)]).await
}

pub(crate) fn from_rows(job: &JobId, found: &[Row]) -> Result<Vec<ActionRow>, Error> {
    found.iter().map(|row| from_row(job, row)).collect()
}

pub(crate) fn from_row(job: &JobId, row: &Row) -> Result<ActionRow, Error> {
    let unreadable = |column, value: &str| Error::Unreadable {
        job: job.clone(),
        column,
        value: value.to_owned(),
    };
    let action: String = read(row, "action")?;
    let outcome: String = read(row, "outcome")?;
    let seconds: f32 = read(row, "elapsed_seconds")?;
    Ok(ActionRow {
        attempt: AttemptId::new(read::<String>(row, "attempt_id")?),
        created_at: read(row, "created_at")?,
        result: ActionResult {
            action: action.parse().map_err(|_| unreadable("action", &action))?,
            outcome: ActionOutcome::parse(&outcome)
                .ok_or_else(|| unreadable("outcome", &outcome))?,
            error: read(row, "error")?,
            message: read(row, "message")?,
            elapsed: Duration::try_from_secs_f32(seconds).unwrap_or_default(),
            result: read(row, "result")?,
        },
    })
}
