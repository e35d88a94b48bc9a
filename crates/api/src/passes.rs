//! What each loop does in one pass. All of it may be killed at any moment and run twice at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use maintenance::inventory;
use maintenance::loops::Outcome;
use pg::Pool;
use queue::Cursor;
use steward::inventory::{Allow, Synced};
use steward::retention::{self, RetentionArgs};
use tokio::sync::Mutex;

use crate::args::Serve;
use crate::lakehouse::Lakehouse;
use crate::loops::{Loop, Passed};

/// Between two sweeps of the queue and the ledger.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Rows of each kind in one statement.
const SWEEP_MAX: i32 = 1_000;

/// Between two looks for what is too old.
const RETENTION_EVERY: Duration = Duration::from_hours(1);
/// The loop that keeps the table cache like the catalog.
pub(crate) const CACHE_SYNC: &str = "table_cache_sync";

/// Every loop of the API.
pub(crate) fn all(args: &Serve, pool: &Pool, lakehouse: &Arc<Lakehouse>) -> Vec<Loop> {
    let catalog = args.catalog.catalog_name.clone();
    let (swept, cursor) = (pool.clone(), Arc::new(Mutex::new(Cursor::default())));
    let sweep = Loop::new("sweep", SWEEP_EVERY, move || {
        let (pool, catalog, cursor) = (swept.clone(), catalog.clone(), Arc::clone(&cursor));
        async move { sweep(&pool, &catalog, &mut *cursor.lock().await).await }
    });
    let (synced, lakehouse) = (pool.clone(), Arc::clone(lakehouse));
    let allow = Arc::new(Allow::new(&args.tables));
    let sync = Loop::new(CACHE_SYNC, args.cache_sync_every(), move || {
        let (pool, lakehouse) = (synced.clone(), Arc::clone(&lakehouse));
        let allow = Arc::clone(&allow);
        async move { sync(&pool, &lakehouse, &allow).await }
    });
    let (kept, limits) = (pool.clone(), args.retention);
    let retention = Loop::new("retention", RETENTION_EVERY, move || {
        let pool = kept.clone();
        async move { retention(&pool, &limits).await }
    });
    vec![sweep, sync, retention]
}

/// Moves what is old to the history, and deletes what is older.
async fn retention(pool: &Pool, limits: &RetentionArgs) -> Result<Passed> {
    let retained = retention::once(pool, limits).await?;
    let detail = format!(
        "jobs: {} moved to the history, {} deleted from it; {} health snapshots and {} runs \
         deleted",
        retained.jobs_archived,
        retained.jobs_deleted,
        retained.health_deleted,
        retained.runs_deleted
    );
    Ok(Passed {
        outcome: Outcome::Done,
        detail,
    })
}

/// What claims and workers do by the way, for a fleet that sleeps.
async fn sweep(pool: &Pool, catalog: &str, cursor: &mut Cursor) -> Result<Passed> {
    let client = pool.get().await?;
    let swept = maintenance::queue()
        .sweep(&**client, SWEEP_MAX, cursor)
        .await?;
    let files = maintenance::ledger::sweep(&**client, catalog, i64::from(SWEEP_MAX)).await?;
    let detail = format!(
        "jobs: {} reset, {} ended, {} due; orphans: {} locks, {} rows; files: {} to delete, {} \
         forgotten",
        swept.reset,
        swept.ended,
        swept.flipped,
        swept.locks,
        swept.rows,
        files.moved,
        files.forgotten
    );
    Ok(Passed {
        outcome: Outcome::Done,
        detail,
    })
}

/// Keeps the table cache like the catalog.
async fn sync(pool: &Pool, lakehouse: &Lakehouse, allow: &Allow) -> Result<Passed> {
    let catalog = lakehouse.catalog().await?;
    let synced = steward::inventory::sync(pool, &*catalog, allow, false).await?;
    Ok(passed(&synced))
}

/// As the loop's status shows it.
pub(crate) fn passed(synced: &Synced) -> Passed {
    Passed {
        outcome: outcome(synced),
        detail: detail(synced),
    }
}

fn outcome(synced: &Synced) -> Outcome {
    match synced.outcome {
        None | Some(inventory::Outcome::Synced) => Outcome::Done,
        Some(inventory::Outcome::Partial) => Outcome::Partial,
        Some(inventory::Outcome::HeldBack | inventory::Outcome::Failed) => Outcome::Failed,
    }
}

fn detail(synced: &Synced) -> String {
    if let Some(error) = &synced.error {
        return error.clone();
    }
    if synced.superseded {
        return "another pass was faster".to_owned();
    }
    let failed = synced.failed_namespaces.len();
    format!(
        "{} tables, {} changed, {} gone, {} left out, {} unreadable; {failed} namespaces failed",
        synced.tables, synced.changed, synced.gone, synced.left_out, synced.unreadable
    )
}
