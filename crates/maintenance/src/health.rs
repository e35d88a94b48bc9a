//! Health over time: the newest assessment of each table, and every one that found something new.
//!
//! Owns `health_snapshots` (but for its retention) and `table_health`. Judges nothing: payloads are
//! written and read by `steward`. Start at [`store`].

use jiff::Timestamp;
use model::health::Facts;
use model::{Action, TableName};
use serde_json::Value;
use tokio_postgres::types::{self, Type};
use tokio_postgres::{GenericClient, Row};

use crate::Error;
use crate::statement::{maybe, one, read, rows, run};

const LATEST: &str = include_str!("../sql/health/latest.sql");
const STORE: &str = include_str!("../sql/health/store.sql");
const FAILED: &str = include_str!("../sql/health/failed.sql");
const HISTORY: &str = include_str!("../sql/health/history.sql");
const STALEST: &str = include_str!("../sql/health/stalest.sql");
const WORST: &str = include_str!("../sql/health/worst.sql");
const NOW: &str = include_str!("../sql/health/now.sql");

/// Rows a reader gets at once.
pub const PAGE_MAX: u32 = 500;
/// Bytes kept of why a look failed.
const ERROR_BYTES_MAX: usize = 4_000;

/// An assessment to be stored.
#[derive(Debug, Clone, Copy)]
pub struct Assessed<'a> {
    pub table: &'a TableName,
    pub facts: &'a Facts,
    /// 0 to 100.
    pub score: f64,
    pub needs_maintenance: bool,
    pub recommended: &'a [Action],
    /// Facts and judgement, as the API shows them.
    pub payload: &'a Value,
}

/// What became of an assessment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// A new row of history.
    New(i64),
    /// As the newest one: only the look was noted.
    Unchanged,
}

/// How one table was when somebody last looked.
#[derive(Debug, Clone, PartialEq)]
pub struct Latest {
    pub health_snapshot_id: Option<i64>,
    /// Absent while no look has succeeded, as are score, need and time.
    pub payload: Option<Value>,
    pub score: Option<f64>,
    pub needs_maintenance: Option<bool>,
    /// When it was last found to be different.
    pub assessed_at: Option<Timestamp>,
    /// When somebody last looked; absent when nobody ever did.
    pub checked_at: Option<Timestamp>,
    /// Why the last look failed, and how many failed in a row.
    pub error: Option<String>,
    pub failure_count: u32,
}

/// One row of history.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub id: i64,
    pub assessed_at: Timestamp,
    pub payload: Value,
    pub score: Option<f64>,
    pub needs_maintenance: Option<bool>,
}

/// A table that waits to be looked at, and its place in the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Stale {
    /// `Err`: the cache holds a name that is none.
    pub table: Result<TableName, String>,
    pub(crate) database_name: String,
    pub(crate) table_name: String,
    /// `-infinity`: nobody ever looked.
    pub(crate) checked_at: types::Timestamp<Timestamp>,
}

/// The newest assessment; `None` when nobody ever looked at the table.
pub async fn latest<C: GenericClient + Sync>(
    client: &C,
    table: &TableName,
) -> Result<Option<Latest>, Error> {
    let (database, table) = (table.database(), table.table());
    let params: [crate::statement::Param<'_>; 2] = [(&database, Type::TEXT), (&table, Type::TEXT)];
    let row = maybe(client, "read the newest assessment", LATEST, &params).await?;
    row.as_ref().map(latest_from).transpose()
}

/// Stores an assessment. One that equals the newest only moves its time of the last look, unless
/// `always`.
pub async fn store<C: GenericClient + Sync>(
    client: &C,
    assessed: &Assessed<'_>,
    always: bool,
) -> Result<Stored, Error> {
    let (table, facts) = (assessed.table, assessed.facts);
    let score = assessed.score as f32;
    let recommended: Vec<&str> = assessed.recommended.iter().map(|a| a.as_str()).collect();
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let files = &facts.file_stats;
    let small_file_pct = files.small_file_pct as f32;
    let row = one(
        client,
        "store an assessment",
        STORE,
        &[
            (&table.database(), Type::TEXT),
            (&table.table(), Type::TEXT),
            (&assessed.payload, Type::JSONB),
            (&always, Type::BOOL),
            (&facts.table_uuid, Type::TEXT),
            (&facts.metadata_location, Type::TEXT),
            (&score, Type::FLOAT4),
            (&assessed.needs_maintenance, Type::BOOL),
            (&recommended, Type::TEXT_ARRAY),
            (&count(files.total_data_files), Type::INT8),
            (&count(files.total_delete_files), Type::INT8),
            (&count(files.total_size_bytes), Type::INT8),
            (&count(files.small_file_count), Type::INT8),
            (&small_file_pct, Type::FLOAT4),
            (&count(facts.snapshot_count), Type::INT8),
            (&count(facts.manifest_count), Type::INT8),
            (&count(facts.total_records), Type::INT8),
        ],
    )
    .await?;
    let new: Option<i64> = read(&row, "new")?;
    Ok(new.map_or(Stored::Unchanged, Stored::New))
}

/// Notes that a look failed, and why.
pub async fn failed<C: GenericClient + Sync>(
    client: &C,
    table: &TableName,
    error: &str,
) -> Result<(), Error> {
    let error = &error[..error.floor_char_boundary(ERROR_BYTES_MAX)];
    let (database, table) = (table.database(), table.table());
    let params: [crate::statement::Param<'_>; 3] = [
        (&database, Type::TEXT),
        (&table, Type::TEXT),
        (&error, Type::TEXT),
    ];
    run(client, "note a failed assessment", FAILED, &params)
        .await
        .map(drop)
}

/// A table's history, newest first, below `before` (time and id of the last one seen).
pub async fn history<C: GenericClient + Sync>(
    client: &C,
    table: &TableName,
    before: Option<(Timestamp, i64)>,
    limit: u32,
) -> Result<Vec<Snapshot>, Error> {
    let (at, id) = before.unzip();
    let limit = i64::from(limit.min(PAGE_MAX));
    let found = rows(
        client,
        "read health over time",
        HISTORY,
        &[
            (&table.database(), Type::TEXT),
            (&table.table(), Type::TEXT),
            (&at, Type::TIMESTAMPTZ),
            (&id, Type::INT8),
            (&limit, Type::INT8),
        ],
    )
    .await?;
    found
        .iter()
        .map(|row| {
            Ok(Snapshot {
                id: read(row, "health_snapshot_id")?,
                assessed_at: read(row, "assessed_at")?,
                payload: read(row, "payload")?,
                score: read::<Option<f32>>(row, "score")?.map(f64::from),
                needs_maintenance: read(row, "needs_maintenance")?,
            })
        })
        .collect()
}

/// The cache's tables that nobody looked at since `since`, the one that waited longest first.
pub async fn stalest<C: GenericClient + Sync>(
    client: &C,
    since: Timestamp,
    after: Option<&Stale>,
    limit: u32,
) -> Result<Vec<Stale>, Error> {
    let at = after.map(|last| last.checked_at);
    let database = after.map(|last| last.database_name.as_str());
    let table = after.map(|last| last.table_name.as_str());
    let limit = i64::from(limit.min(PAGE_MAX));
    let found = rows(
        client,
        "list the stalest tables",
        STALEST,
        &[
            (&since, Type::TIMESTAMPTZ),
            (&at, Type::TIMESTAMPTZ),
            (&database, Type::TEXT),
            (&table, Type::TEXT),
            (&limit, Type::INT8),
        ],
    )
    .await?;
    let stale = |row: &Row| {
        let database_name: String = read(row, "database_name")?;
        let table_name: String = read(row, "table_name")?;
        let table = TableName::from_columns(&database_name, &table_name);
        Ok(Stale {
            table: table.map_err(|error| error.to_string()),
            checked_at: read(row, "checked_at")?,
            database_name,
            table_name,
        })
    };
    found.iter().map(stale).collect()
}

/// The cache's tables with their newest assessments, the worst first.
pub async fn worst<C: GenericClient + Sync>(
    client: &C,
    database: Option<&str>,
    limit: u32,
) -> Result<Vec<(String, Latest)>, Error> {
    let limit = i64::from(limit.min(PAGE_MAX));
    let params: [crate::statement::Param<'_>; 2] = [(&database, Type::TEXT), (&limit, Type::INT8)];
    let found = rows(client, "list tables by health", WORST, &params).await?;
    let named = |row: &Row| {
        let database: String = read(row, "database_name")?;
        let table: String = read(row, "table_name")?;
        Ok((format!("{database}.{table}"), latest_from(row)?))
    };
    found.iter().map(named).collect()
}

/// The database's clock, for what is compared with its times.
pub async fn now<C: GenericClient + Sync>(client: &C) -> Result<Timestamp, Error> {
    read(&one(client, "read the clock", NOW, &[]).await?, "now")
}

fn latest_from(row: &Row) -> Result<Latest, Error> {
    Ok(Latest {
        health_snapshot_id: read(row, "health_snapshot_id")?,
        payload: read(row, "payload")?,
        score: read::<Option<f32>>(row, "score")?.map(f64::from),
        needs_maintenance: read(row, "needs_maintenance")?,
        assessed_at: read(row, "assessed_at")?,
        checked_at: read(row, "checked_at")?,
        error: read(row, "error")?,
        failure_count: read::<i32>(row, "failure_count")?.unsigned_abs(),
    })
}
