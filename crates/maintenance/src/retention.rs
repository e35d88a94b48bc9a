//! What is moved away or deleted when it is old: one statement a batch, oldest first.
//!
//! Each is safe twice at once (rows another one is at are passed over) and ends when it says it
//! moved fewer than `limit`. Ages are days by the database's clock.

use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use crate::Error;
use crate::statement::run;

const ARCHIVE: &str = include_str!("../sql/retention/archive.sql");
const FORGET_JOBS: &str = include_str!("../sql/retention/forget_jobs.sql");
const FORGET_DELETIONS: &str = include_str!("../sql/retention/forget_deletions.sql");
const FORGET_INTENTS: &str = include_str!("../sql/retention/forget_intents.sql");
const FORGET_HEALTH: &str = include_str!("../sql/retention/forget_health.sql");
const FORGET_RUNS: &str = include_str!("../sql/retention/forget_runs.sql");

/// What can grow old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// Jobs that ended move to the history with their actions; live ones never.
    Jobs,
    /// Archived jobs are deleted.
    History,
    /// Files that were deleted or kept are forgotten, with the same age as jobs; never those that wait.
    Deletions,
    /// Intents that were settled are forgotten; never open ones.
    Intents,
    /// Health snapshots are deleted, but for each table's newest.
    Health,
    /// Orchestrator runs that ended are deleted with their decisions.
    Runs,
}

/// Handles up to `limit` of what is older than `days`; says how many.
pub async fn batch<C: GenericClient + Sync>(
    client: &C,
    old: Old,
    days: u32,
    limit: u32,
) -> Result<u64, Error> {
    let (doing, sql) = match old {
        Old::Jobs => ("archive jobs", ARCHIVE),
        Old::History => ("delete archived jobs", FORGET_JOBS),
        Old::Deletions => ("forget settled deletions", FORGET_DELETIONS),
        Old::Intents => ("forget settled intents", FORGET_INTENTS),
        Old::Health => ("delete old health snapshots", FORGET_HEALTH),
        Old::Runs => ("delete old orchestrator runs", FORGET_RUNS),
    };
    let (days, limit) = (i32::try_from(days).unwrap_or(i32::MAX), i64::from(limit));
    let params = [(&days as &_, Type::INT4), (&limit as &_, Type::INT8)];
    run(client, doing, sql, &params).await
}
