//! Keeps the ledger short: files of attempts that are over move on or are forgotten.

use std::time::Duration;

use pg::Pool;
use runtime::chain;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Between two sweeps. Nothing waits for one: what it moves is deleted a day later at the soonest.
const SWEEP_EVERY: Duration = Duration::from_mins(5);
/// Files in one statement.
const SWEEP_MAX: u32 = 1_000;

/// Sweeps from time to time until told to stop.
pub(crate) async fn sweep(pool: Pool, catalog: String, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        match all(&pool, &catalog, &stop).await {
            Ok(0) => {}
            Ok(files) => debug!(files, "swept the ledger"),
            Err(why) => warn!(why, "the ledger was not swept"),
        }
    }
}

/// Sweeps until a statement comes back short; says how many files that were.
async fn all(pool: &Pool, catalog: &str, stop: &CancellationToken) -> Result<u64, String> {
    let mut files = 0;
    while !stop.is_cancelled() {
        let client = pool.get().await.map_err(|error| chain(&error))?;
        let swept = maintenance::ledger::sweep(&**client, catalog, i64::from(SWEEP_MAX))
            .await
            .map_err(|error| chain(&error))?;
        let found = swept.moved + swept.forgotten;
        files += found;
        if found < u64::from(SWEEP_MAX) {
            break;
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_of_attempts_that_are_over_are_swept_in_batches() {
        let database = testkit::Database::new().await;
        let client = database.client().await;
        let files = SWEEP_MAX + 7;
        let insert = "insert into snowpack.attempt_files
            (path, job_id, attempt_id, table_uuid, kind, committed_at)
            select 'file:/t/' || n, 'job', 'attempt', 'uuid', 'data',
                case when n % 2 = 0 then now() end
            from generate_series(1, $1::int) as n";
        client.execute(insert, &[&(files as i32)]).await.unwrap();
        let stop = CancellationToken::new();
        let swept = all(&database.pool().await, "lake", &stop).await.unwrap();
        assert_eq!(swept, u64::from(files));
        let count = "select (select count(*) from snowpack.attempt_files),
            (select count(*) from snowpack.pending_deletions where catalog = 'lake')";
        let row = client.query_one(count, &[]).await.unwrap();
        let left: (i64, i64) = (row.get(0), row.get(1));
        assert_eq!(left, (0, i64::from(files.div_ceil(2))));
    }
}
