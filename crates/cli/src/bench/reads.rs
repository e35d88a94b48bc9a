//! How many small reads the API answers in a second, and for how much processor time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pg::Pool;
use tokio::task::JoinSet;

use super::caller::Caller;
use super::server::Server;

/// Connections that ask at once: as many as the API has to Postgres.
pub(super) const AT_ONCE: usize = 8;

/// What was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    /// Per second that the API's process was on a processor.
    pub(super) per_cpu_second: f64,
}

/// Reads each of `paths` in turn, on some connections at once.
pub(super) async fn of_api(api: &Server, paths: &[String], lasting: Duration) -> Result<Rate> {
    let (before, begun) = (api.usage()?, Instant::now());
    let mut asking = JoinSet::new();
    for first in 0..AT_ONCE {
        let (address, paths) = (api.address, paths.to_vec());
        asking.spawn(async move {
            let mut caller = Caller::connect(address).await?;
            let mut answered = 0_u64;
            for path in paths.iter().cycle().skip(first * paths.len() / AT_ONCE) {
                if lasting <= begun.elapsed() {
                    break;
                }
                caller.get(path).await?;
                answered += 1;
            }
            anyhow::Ok(answered)
        });
    }
    let answered = sum(asking).await?;
    let seconds = begun.elapsed().as_secs_f64();
    // A tick is the least that is counted.
    let cpu = (api.usage()?.cpu_seconds - before.cpu_seconds).max(0.01);
    Ok(Rate {
        per_second: answered / seconds,
        per_cpu_second: answered / cpu,
    })
}

/// `select 1` on as many connections, with nothing in between.
pub(super) async fn of_postgres(pool: &Pool, lasting: Duration) -> Result<f64> {
    let begun = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..AT_ONCE {
        let pool = pool.clone();
        asking.spawn(async move {
            let mut answered = 0_u64;
            while begun.elapsed() < lasting {
                let client = pool.get().await?;
                client.query_typed_one("select 1", &[]).await?;
                answered += 1;
            }
            anyhow::Ok(answered)
        });
    }
    Ok(sum(asking).await? / begun.elapsed().as_secs_f64())
}

async fn sum(mut asking: JoinSet<Result<u64>>) -> Result<f64> {
    let mut answered = 0;
    while let Some(ended) = asking.join_next().await {
        answered += ended.context("a connection's task ended badly")??;
    }
    Ok(answered as f64)
}
