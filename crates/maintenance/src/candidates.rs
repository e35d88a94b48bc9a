//! The tables an orchestrator run looks at: the inventory with each table's newest health, in
//! pages by name.
//!
//! The documents come as text: of most tables nobody reads more than the properties.

use std::time::Duration;

use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

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
    /// The newest health document, as JSON; absent when it was never assessed.
    pub health: Option<String>,
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
    let (database, table) = after.map(|(database, table)| (database, table)).unzip();
    let (limit, seconds) = (i64::from(limit), stale_after.as_secs_f64());
    let params = [
        (
            &database as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        ),
        (&table, Type::TEXT),
        (&limit, Type::INT8),
        (&seconds, Type::FLOAT8),
    ];
    let found = rows(client, "read a page of tables", PAGE, &params).await?;
    found
        .iter()
        .map(|row| {
            Ok(Candidate {
                database: read(row, "database_name")?,
                table: read(row, "table_name")?,
                content: read(row, "content")?,
                stale: read(row, "stale")?,
                health: read(row, "health")?,
                assessed_at_ms: read(row, "assessed_ms")?,
                health_error: read(row, "health_error")?,
            })
        })
        .collect()
}

/// How long ago the inventory was last read from the catalog; `None`: never.
pub async fn age<C: GenericClient + Sync>(client: &C) -> Result<Option<Duration>, Error> {
    let Some(row) = maybe(client, "read the inventory's age", AGE, &[]).await? else {
        return Ok(None);
    };
    let seconds: Option<f64> = read(&row, "age_seconds")?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()))
}
