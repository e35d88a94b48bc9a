//! The fleet in a few numbers, and whether a table is part of it: what probes and scrapes read.

use std::time::Duration;

use model::TableName;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use crate::Error;
use crate::statement::{maybe, one, read, rows};

const CACHE_AGE: &str = include_str!("../sql/overview/cache_age.sql");
const HORIZON: &str = include_str!("../sql/overview/horizon.sql");
const KNOWN: &str = include_str!("../sql/overview/known.sql");
const TABLES: &str = include_str!("../sql/overview/tables.sql");
const SCORES: &str = include_str!("../sql/overview/scores.sql");

/// How long ago the table cache was last like the catalog; `None`: never.
pub async fn cache_age<C: GenericClient + Sync>(client: &C) -> Result<Option<Duration>, Error> {
    let row = maybe(client, "read the age of the table cache", CACHE_AGE, &[]).await?;
    let seconds: Option<f64> = match &row {
        Some(row) => read(row, "seconds")?,
        None => None,
    };
    // A clock of the database that was set back makes it young, not broken.
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()))
}

/// How far back somebody keeps Postgres from clearing dead rows away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Horizon {
    /// Since the oldest open transaction began.
    pub held: Duration,
    /// Transactions begun since; also of standbys and slots, which have no time.
    pub transactions: i64,
}

/// What holds back the horizon of this database, if anything.
pub async fn horizon<C: GenericClient + Sync>(client: &C) -> Result<Horizon, Error> {
    let row = one(client, "look for old transactions", HORIZON, &[]).await?;
    let seconds: f64 = read(&row, "seconds")?;
    Ok(Horizon {
        held: Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default(),
        transactions: read(&row, "transactions")?,
    })
}

/// Whether the table is in the cache.
pub async fn known<C: GenericClient + Sync>(client: &C, table: &TableName) -> Result<bool, Error> {
    let params = [
        (&table.database() as _, Type::TEXT),
        (&table.table() as _, Type::TEXT),
    ];
    let row = one(client, "look for a table", KNOWN, &params).await?;
    read(&row, "known")
}

/// Tables in the cache.
pub async fn tables<C: GenericClient + Sync>(client: &C) -> Result<i64, Error> {
    let row = one(client, "count tables", TABLES, &[]).await?;
    read(&row, "tables")
}

/// Tables whose newest score lies in one step of ten points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// The step's upper edge, itself included: 10, 20, .. 100.
    pub up_to: i32,
    pub tables: i64,
    pub sum: f64,
}

/// The newest scores of all tables by steps of ten; steps without a table are left out.
pub async fn scores<C: GenericClient + Sync>(client: &C) -> Result<Vec<Scores>, Error> {
    let found = rows(client, "count health scores", SCORES, &[]).await?;
    let scores = found.iter().map(|row| {
        Ok(Scores {
            up_to: read::<i32>(row, "step")? * 10,
            tables: read(row, "tables")?,
            sum: read(row, "score_sum")?,
        })
    });
    scores.collect()
}
