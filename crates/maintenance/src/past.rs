//! What happened to tables before: their last jobs, locks, and deletions that are due.
//!
//! For many tables at once, a few index looks for each. Judges nothing; `policy` does.

use model::{JobId, TableName};
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row, Transaction};

use crate::Error;
use crate::statement::{maybe, one, read, rows};

const OF: &str = include_str!("../sql/past/of.sql");
const NEWEST: &str = include_str!("../sql/past/newest.sql");
const LIVE: &str = include_str!("../sql/past/live.sql");

/// Tables asked about at once at most.
pub const TABLES_MAX: usize = 1_000;

/// Jobs of one table that are looked at: no streak of failures is counted further.
const JOBS_MAX: i64 = 50;
/// Of these, the newest are looked at first, and the others where none of them ended well.
const JOBS_NEWEST: i64 = 4;

/// Due files of one table that are counted at most.
const DUE_MAX: i64 = 1_000;

/// What happened to one table. Times are milliseconds since the epoch, by the database.
///
/// Archived jobs count as kept ones do; dry runs are left out everywhere. The cadence leaves out jobs that only purged; waiting does not:
/// whatever was submitted was the table's turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// The newest job, live or ended; [`unchanged`] compares with it.
    pub last_job: Option<JobId>,
    pub last_ended_ms: Option<i64>,
    pub last_completed_ms: Option<i64>,
    /// Jobs that failed since the last one that completed; cancelled ones do not count.
    pub failures_in_a_row: u32,
    /// Of those failures, or of a few before them.
    pub last_failure_ms: Option<i64>,
    /// The live job that holds the table's lock.
    pub locked_by: Option<JobId>,
    /// Files whose deletion is due and that no attempt has reserved.
    pub due_deletion_count: u64,
    /// Since its last job of any kind was submitted: when a run first put it off as over budget.
    pub put_off_since_ms: Option<i64>,
}

/// The past of tables, in the order given, at most [`TABLES_MAX`]. The second of each pair is
/// the table's UUID, under which its deletions wait; without it none are found.
pub async fn of<C: GenericClient + Sync>(
    client: &C,
    tables: &[(&TableName, Option<&str>)],
) -> Result<Vec<Past>, Error> {
    assert!(tables.len() <= TABLES_MAX, "{} tables", tables.len());
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let databases: Vec<String> = tables.iter().map(|(name, _)| name.database()).collect();
    let names: Vec<&str> = tables.iter().map(|(name, _)| name.table()).collect();
    let keys: Vec<String> = tables.iter().map(|(name, _)| name.key()).collect();
    let uuids: Vec<Option<&str>> = tables.iter().map(|(_, uuid)| *uuid).collect();
    let params = [
        (
            &databases as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT_ARRAY,
        ),
        (&names, Type::TEXT_ARRAY),
        (&keys, Type::TEXT_ARRAY),
        (&uuids, Type::TEXT_ARRAY),
        (&JOBS_MAX, Type::INT8),
        (&DUE_MAX, Type::INT8),
        (&JOBS_NEWEST, Type::INT8),
    ];
    let found = rows(client, "read the past of tables", OF, &params).await?;
    found.iter().map(from_row).collect()
}

/// True when `seen` is still the table's newest job but for `own`. Asked in the transaction that
/// submitted `own`, which holds the table's lock: whoever submitted in between has let go of it,
/// and is seen.
pub async fn unchanged(
    tx: &Transaction<'_>,
    table: &TableName,
    seen: Option<&JobId>,
    own: &JobId,
) -> Result<bool, Error> {
    let params = [
        (
            &table.database() as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        ),
        (&table.table(), Type::TEXT),
        (&own.as_str(), Type::TEXT),
    ];
    let row = maybe(tx, "look for a newer job of the table", NEWEST, &params).await?;
    let newest: Option<String> = row.map(|row| read(&row, "job_id")).transpose()?;
    Ok(newest.as_deref() == seen.map(JobId::as_str))
}

/// Jobs that wait or run, counted up to `most`.
pub async fn live_count<C: GenericClient + Sync>(client: &C, most: u32) -> Result<u32, Error> {
    let most = i64::from(most);
    let row = one(client, "count live jobs", LIVE, &[(&most, Type::INT8)]).await?;
    Ok(u32::try_from(read::<i64>(&row, "jobs")?).unwrap_or(u32::MAX))
}

fn from_row(row: &Row) -> Result<Past, Error> {
    let job = |column| Ok::<_, Error>(read::<Option<String>>(row, column)?.map(JobId::new));
    Ok(Past {
        last_job: job("last_job_id")?,
        last_ended_ms: read(row, "ended_ms")?,
        last_completed_ms: read(row, "completed_ms")?,
        failures_in_a_row: u32::try_from(read::<i64>(row, "failures")?).unwrap_or(u32::MAX),
        last_failure_ms: read(row, "failed_ms")?,
        locked_by: job("holder")?,
        due_deletion_count: read::<i64>(row, "files")?.unsigned_abs(),
        put_off_since_ms: read(row, "put_off_ms")?,
    })
}
