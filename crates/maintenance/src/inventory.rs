//! The table cache: which tables there are, with what steers their maintenance.
//!
//! Readers always see one whole set. [`begin`] to [`swap`] are the steps of whoever brings the next
//! one: compare with what is known, stage what differs, swap it in.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use model::TableName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, Row};

use crate::Error;
use crate::statement::{maybe, read, rows};

mod next;

pub use next::{
    Base, Change, Known, Next, Outcome, Swap, begin, databases, gone, known, note, stage, swap,
};

const GET: &str = include_str!("../sql/inventory/get.sql");
const LIST: &str = include_str!("../sql/inventory/list.sql");
const LIST_BELOW: &str = include_str!("../sql/inventory/list_below.sql");
const STATUS: &str = include_str!("../sql/inventory/status.sql");

/// Entries of one page at most.
pub const PAGE_MAX: u32 = 500;

/// One table of the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub table: TableName,
    /// `snowpack.maintenance_enabled` of the table, else of its database; absent when neither says
    /// it, or the table says something unreadable.
    pub maintenance_enabled: Option<bool>,
    pub content: Content,
    /// When the table was last seen in a listing of its namespace that did not fail.
    pub synced_at: Timestamp,
    /// Of the newest assessment, if there is one: 0 is worst.
    pub score: Option<f32>,
}

/// What the last sync read of a table. Absent is what it never could read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format_version: Option<u8>,
    /// Milliseconds since the epoch, as the table's metadata says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_updated_ms: Option<i64>,
    /// Those that steer maintenance.
    pub properties: BTreeMap<String, String>,
    /// Those of its database that steer maintenance.
    pub database_properties: BTreeMap<String, String>,
    /// The rule that let the table in.
    pub rule: String,
    /// Why its metadata could not be read the last time; the rest is from before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Content {
    /// Reads a payload. One that another version wrote in another shape says so in `error`.
    fn parse(payload: Option<Value>) -> Self {
        let parsed = payload.map(serde_json::from_value).transpose();
        match parsed {
            Ok(content) => content.unwrap_or_default(),
            Err(error) => Self {
                error: Some(format!("the cached entry cannot be read: {error}")),
                ..Self::default()
            },
        }
    }
}

/// Which entries to list, by database and table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    pub database: Option<String>,
    pub maintenance_enabled: Option<bool>,
    /// Only tables that say nothing readable of it.
    pub unset: bool,
    /// Only tables whose newest score is below.
    pub health_below: Option<f32>,
    /// The last entry of the page before.
    pub after: Option<TableName>,
    /// At most [`PAGE_MAX`].
    pub limit: u32,
}

/// How the cache stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// When a set was last swapped in; absent before the first.
    pub last_synced_at: Option<Timestamp>,
    /// Since then, by the database's clock.
    pub age: Option<Duration>,
    /// The last try, whatever became of it.
    pub attempted_at: Option<Timestamp>,
    pub outcome: Option<Outcome>,
    /// Why the last try was not swapped in.
    pub error: Option<String>,
    pub failed_namespaces: Vec<FailedNamespace>,
    pub table_count: i64,
    pub unreadable_count: i64,
    /// How long the last try took.
    pub elapsed: Option<Duration>,
}

/// A namespace that could not be listed: its old entries were kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedNamespace {
    pub namespace: String,
    pub error: String,
    /// When its entries were last seen.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// One table, if the cache knows it.
pub async fn get<C: GenericClient + Sync>(
    client: &C,
    table: &TableName,
) -> Result<Option<Entry>, Error> {
    let (database, name) = (table.database(), table.table());
    let params = [(&database as &_, Type::TEXT), (&name as &_, Type::TEXT)];
    let found = maybe(client, "find a table in the cache", GET, &params).await?;
    found.as_ref().map(entry).transpose()
}

/// One page of entries, by database and table.
pub async fn list<C: GenericClient + Sync>(
    client: &C,
    filter: &Filter,
) -> Result<Vec<Entry>, Error> {
    let after = filter.after.as_ref();
    let (database, table) = after.map(|one| (one.database(), one.table())).unzip();
    let limit = i64::from(filter.limit.min(PAGE_MAX));
    let mut params = vec![
        (&filter.database as &(dyn ToSql + Sync), Type::TEXT),
        (&filter.maintenance_enabled, Type::BOOL),
        (&database, Type::TEXT),
        (&table, Type::TEXT),
        (&limit, Type::INT8),
        (&filter.unset, Type::BOOL),
    ];
    let mut sql = LIST;
    if let Some(below) = &filter.health_below {
        params.push((below, Type::FLOAT4));
        sql = LIST_BELOW;
    }
    let found = rows(client, "list the table cache", sql, &params).await?;
    found.iter().map(entry).collect()
}

/// How the cache stands, and how old it is.
pub async fn status<C: GenericClient + Sync>(client: &C) -> Result<Status, Error> {
    let doing = "look at the table cache";
    let Some(row) = maybe(client, doing, STATUS, &[]).await? else {
        return Err(Error::NoInventory);
    };
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
    let outcome: Option<String> = read(&row, "outcome")?;
    let failed: Value = read(&row, "failed_namespaces")?;
    Ok(Status {
        last_synced_at: read(&row, "last_synced_at")?,
        age: read::<Option<f64>>(&row, "age_seconds")?.map(seconds),
        attempted_at: read(&row, "attempted_at")?,
        outcome: outcome.as_deref().and_then(Outcome::parse),
        error: read(&row, "error")?,
        failed_namespaces: serde_json::from_value(failed).unwrap_or_default(),
        table_count: read(&row, "table_count")?,
        unreadable_count: read(&row, "unreadable_count")?,
        elapsed: read::<Option<f32>>(&row, "elapsed_seconds")?.map(|s| seconds(f64::from(s))),
    })
}

fn entry(row: &Row) -> Result<Entry, Error> {
    let (database, table): (String, String) =
        (read(row, "database_name")?, read(row, "table_name")?);
    Ok(Entry {
        table: TableName::from_columns(&database, &table)?,
        maintenance_enabled: read(row, "maintenance_enabled")?,
        content: Content::parse(read(row, "payload")?),
        synced_at: read(row, "synced_at")?,
        score: read(row, "score")?,
    })
}
