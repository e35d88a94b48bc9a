//! Jobs by the thousand in the maintenance lane, each with its record and its lock: queued as fast
//! as it goes, and counted when whoever works on them is done.
//!
//! The result of their only action is there before they are claimed: the shortest way through a
//! worker, which claims, reads the job and its results, and finishes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use ::queue::{Enqueue, Lock};
use anyhow::{Context, Result, ensure};
use model::{JobId, TableName};
use pg::Pool;
use tokio::task::JoinSet;
use tokio_postgres::Transaction;
use uuid::Uuid;

/// Connections at once, for queueing and for the limit.
pub(super) const CONNECTIONS: u32 = 4;

const RECORDS: &str = include_str!("../../sql/bench/records.sql");
const RECORDED: &str = include_str!("../../sql/bench/recorded.sql");
const WORKED: &str = include_str!("../../sql/bench/worked.sql");

/// Queues `jobs` jobs, `per_call` in a transaction. Gives jobs a second.
pub(super) async fn enqueue(pool: &Pool, jobs: u32, per_call: u32) -> Result<f64> {
    let (next, begun) = (Arc::new(AtomicU32::new(0)), Instant::now());
    let mut working = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (pool, next) = (pool.clone(), Arc::clone(&next));
        working.spawn(async move {
            let mut client = pool.get().await?;
            loop {
                let first = next.fetch_add(per_call, Ordering::Relaxed);
                if jobs <= first {
                    return anyhow::Ok(());
                }
                let tx = (**client).transaction().await?;
                add(&tx, first..(first + per_call).min(jobs)).await?;
                tx.commit().await.context("queue jobs")?;
            }
        });
    }
    all(working).await?;
    Ok(f64::from(jobs) / begun.elapsed().as_secs_f64())
}

/// Locks, records and queue rows of these jobs, three statements. Gives their ids.
async fn add(tx: &Transaction<'_>, numbers: Range<u32>) -> Result<Vec<String>> {
    let (mut wanted, mut ids, mut tables) = (Vec::new(), Vec::new(), Vec::new());
    for number in numbers {
        let table = TableName::new(["bench"], format!("table_{number:08}"))?;
        let job = JobId::new(Uuid::now_v7().to_string());
        ids.push(job.to_string());
        tables.push(table.table().to_owned());
        wanted.push((table.key(), job));
    }
    let queue = maintenance::queue();
    let locks = queue.lock_all(tx, &wanted).await?;
    ensure!(
        locks.iter().all(|lock| *lock == Lock::Taken),
        "a lock is held that nobody should hold"
    );
    tx.execute(RECORDS, &[&ids, &tables]).await?;
    let item = |(key, job): (String, JobId)| Enqueue {
        concurrency_key: Some(key),
        ..Enqueue::new(job)
    };
    let items: Vec<Enqueue> = wanted.into_iter().map(item).collect();
    queue.enqueue(tx, &items).await?;
    Ok(ids)
}

/// Leaves a worker nothing to do in the jobs that wait, and the tables as autovacuum would.
pub(super) async fn settle(pool: &Pool) -> Result<()> {
    let client = pool.get().await?;
    client.execute(RECORDED, &[]).await?;
    let tables = "vacuum (analyze) snowpack.jobs, snowpack.job_actions, snowpack.job_queue, \
                  snowpack.table_locks";
    Ok(client.batch_execute(tables).await?)
}

/// One more job in which nothing is left to do, by itself; wakes nobody. Gives its id.
pub(super) async fn one(pool: &Pool) -> Result<String> {
    let mut client = pool.get().await?;
    let tx = (**client).transaction().await?;
    let mut ids = add(&tx, 0..1).await?;
    tx.execute(RECORDED, &[]).await?;
    tx.commit().await?;
    ids.pop().context("one job was queued")
}

/// Jobs that wait or run.
pub(super) async fn left(pool: &Pool) -> Result<i64> {
    let client = pool.get().await?;
    let left = client.query_typed_one("select count(*) from snowpack.job_queue", &[]);
    Ok(left.await?.get(0))
}

/// Jobs a second from the first claim to the last finish, by Postgres' clock. Fails unless all
/// `jobs` did well and let go of their locks; nothing of them is left.
pub(super) async fn worked(pool: &Pool, jobs: u32) -> Result<f64> {
    let client = pool.get().await?;
    let row = client.query_typed_one(WORKED, &[]).await?;
    let (done, seconds): (i64, Option<f64>) = (row.get(0), row.get(1));
    let why: Option<&str> = row.get(2);
    ensure!(
        done == i64::from(jobs),
        "{done} of {jobs} jobs completed; {}",
        why.unwrap_or("no other has an error")
    );
    let seconds = seconds.context("no job was claimed")?;
    let locks = "select count(*) from snowpack.table_locks";
    let locks: i64 = client.query_typed_one(locks, &[]).await?.get(0);
    ensure!(locks == 0, "{locks} locks of completed jobs are left");
    client
        .batch_execute("truncate snowpack.jobs cascade")
        .await?;
    Ok(f64::from(jobs) / seconds)
}

/// Waits for tasks, and fails with the first that fails.
pub(super) async fn all(mut working: JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = working.join_next().await {
        ended.context("a connection's task ended badly")??;
    }
    Ok(())
}
