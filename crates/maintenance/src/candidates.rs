//! The tables an orchestrator run looks at: the inventory with each table's newest health, in
//! pages by name.
//!
//! The documents come as text: of most tables nobody reads more than the properties.

use std::time::Duration;

use jiff::Timestamp;
use model::TableName;
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row};

use crate::Error;
use crate::statement::{maybe, read, rows};

const PAGE: &str = include_str!("../sql/candidates/page.sql");
const AGE: &str = include_str!("../sql/candidates/age.sql");

/// One table of the inventory.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// As the columns hold it.
    pub database: String,
    pub table: String,
    /// The inventory's document of it, as JSON; absent when it never could be read.
    pub content: Option<String>,
    /// Its entry is older than the limit: its namespace could not be listed.
    pub stale: bool,
    pub synced_at: Timestamp,
    /// The newest health document, as JSON; absent when it was never assessed.
    pub health: Option<String>,
    /// When its health was last found to be so.
    pub assessed_at_ms: Option<i64>,
    /// Why the last look at its health failed.
    pub health_error: Option<String>,
}

/// One page by name; `after` is the last one of the page before. An entry older than `stale_after`
/// is marked.
pub async fn page<C: GenericClient + Sync>(
    client: &C,
    after: Option<&(String, String)>,
    limit: u32,
    stale_after: Duration,
) -> Result<Vec<Candidate>, Error> {
    ask(client, after, None, limit, stale_after).await
}

/// One table; `None` when the inventory does not hold it.
pub async fn one<C: GenericClient + Sync>(
    client: &C,
    table: &TableName,
    stale_after: Duration,
) -> Result<Option<Candidate>, Error> {
    let name = (table.database(), table.table().to_owned());
    let found = ask(client, None, Some(&name), 1, stale_after).await?;
    Ok(found.into_iter().next())
}

async fn ask<C: GenericClient + Sync>(
    client: &C,
    after: Option<&(String, String)>,
    named: Option<&(String, String)>,
    limit: u32,
    stale_after: Duration,
) -> Result<Vec<Candidate>, Error> {
    let (database, table) = after.map(|(database, table)| (database, table)).unzip();
    let (only_database, only_table) = named.map(|(database, table)| (database, table)).unzip();
    let (limit, seconds) = (i64::from(limit), stale_after.as_secs_f64());
    let params = [
        (
            &database as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        ),
        (&table, Type::TEXT),
        (&limit, Type::INT8),
        (&seconds, Type::FLOAT8),
        (&only_database, Type::TEXT),
        (&only_table, Type::TEXT),
    ];
    let found = rows(client, "read a page of tables", PAGE, &params).await?;
    found.iter().map(from_row).collect()
}

fn from_row(row: &Row) -> Result<Candidate, Error> {
    Ok(Candidate {
        database: read(row, "database_name")?,
        table: read(row, "table_name")?,
        content: read(row, "content")?,
        stale: read(row, "stale")?,
        synced_at: read(row, "synced_at")?,
        health: read(row, "health")?,
        assessed_at_ms: read(row, "assessed_ms")?,
        health_error: read(row, "health_error")?,
    })
}

/// How long ago the inventory was last read from the catalog; `None`: never.
pub async fn age<C: GenericClient + Sync>(client: &C) -> Result<Option<Duration>, Error> {
    let Some(row) = maybe(client, "read the inventory's age", AGE, &[]).await? else {
        return Ok(None);
    };
    let seconds: Option<f64> = read(&row, "age_seconds")?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()))
}
