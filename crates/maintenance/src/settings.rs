//! Drain mode: whether new jobs are refused. Running and queued work goes on.

use jiff::Timestamp;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use crate::Error;
use crate::statement::{one, read, run};

const GET: &str = include_str!("../sql/settings/get.sql");
const DRAIN: &str = include_str!("../sql/settings/drain.sql");
const UNDRAIN: &str = include_str!("../sql/settings/undrain.sql");

/// Since when, by whom and why new jobs are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    pub at: Timestamp,
    pub by: String,
    pub reason: Option<String>,
}

/// The drain in force, if any, and the database's clock in milliseconds since the epoch.
pub(crate) async fn drained_and_now<C: GenericClient + Sync>(
    client: &C,
) -> Result<(Option<Drain>, u64), Error> {
    let row = one(client, "read settings", GET, &[]).await?;
    let drain = match (read(&row, "drained_at")?, read(&row, "drained_by")?) {
        (Some(at), Some(by)) => Some(Drain {
            at,
            by,
            reason: read(&row, "reason")?,
        }),
        _ => None,
    };
    Ok((
        drain,
        u64::try_from(read::<i64>(&row, "now_ms")?).unwrap_or(0),
    ))
}

/// The drain in force, if any.
pub async fn drained<C: GenericClient + Sync>(client: &C) -> Result<Option<Drain>, Error> {
    Ok(drained_and_now(client).await?.0)
}

/// The database's clock in milliseconds since the epoch (I5).
pub async fn now_ms<C: GenericClient + Sync>(client: &C) -> Result<i64, Error> {
    Ok(i64::try_from(drained_and_now(client).await?.1).unwrap_or(i64::MAX))
}

/// Refuses new jobs from now on; a drain already in force keeps its time and its author.
pub async fn drain<C: GenericClient + Sync>(
    client: &C,
    by: &str,
    reason: Option<&str>,
) -> Result<(), Error> {
    run(
        client,
        "drain",
        DRAIN,
        &[(&by, Type::TEXT), (&reason, Type::TEXT)],
    )
    .await
    .map(drop)
}

/// Takes new jobs again.
pub async fn undrain<C: GenericClient + Sync>(client: &C) -> Result<(), Error> {
    run(client, "undrain", UNDRAIN, &[]).await.map(drop)
}
