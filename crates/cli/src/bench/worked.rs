//! `snowpack-worker` on jobs in which nothing is left to do.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;
use pg::Pool;

use super::server::{Program, Server};
use super::{Place, lane};

pub(super) const WORKER: &str = "snowpack-worker";
const LISTENS: &str = "admin server listens";
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long no job may end before the worker is given up.
const MOVES_WITHIN: Duration = Duration::from_mins(1);

/// The shortest.
const LEASE_SECONDS: u32 = 10;
const CUT: &str = include_str!("../../sql/bench/cut.sql");
const RECOVERED: &str = include_str!("../../sql/bench/recovered.sql");

/// What it did until nothing was due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    pub(super) jobs: u32,
    pub(super) per_second: f64,
    /// Of the whole process.
    pub(super) cpu_seconds: f64,
    pub(super) peak_bytes: u64,
}

/// Has a worker do the `jobs` that wait.
pub(super) async fn measure(
    pool: &Pool,
    place: Place<'_>,
    (jobs, slots): (u32, u32),
    folder: &Path,
) -> Result<Done> {
    let worker = start(place, slots, folder).await?;
    until_left(pool, &worker, 0).await?;
    let usage = worker.usage()?;
    worker.stop()?;
    Ok(Done {
        jobs,
        per_second: lane::worked(pool, jobs).await?,
        cpu_seconds: usage.cpu_seconds,
        peak_bytes: usage.peak_bytes,
    })
}

/// Has a worker do the `jobs` that wait, and cuts its connections when half are done. Gives how long
/// after that it is at `share` of its speed again; `None` when it has too few jobs left to tell.
pub(super) async fn recovery(
    pool: &Pool,
    place: Place<'_>,
    (jobs, slots): (u32, u32),
    share: f64,
    folder: &Path,
) -> Result<Option<Duration>> {
    // What a claim took whose answer was cut off is due again after its lease.
    let lease = ("SNOWPACK_LEASE_SECONDS", LEASE_SECONDS.to_string());
    let worker = start_with(place, slots, vec![lease], folder).await?;
    until_left(pool, &worker, jobs / 2).await?;
    let client = pool.get().await?;
    let row = client.query_one(CUT, &[&WORKER]).await?;
    let (cut, ended): (Timestamp, i64) = (row.get(0), row.get(1));
    ensure!(0 < ended, "{WORKER} has no connection to cut");
    until_left(pool, &worker, 0).await?;
    worker.stop()?;
    let row = client.query_one(RECOVERED, &[&cut, &share]).await?;
    lane::worked(pool, jobs).await?;
    let seconds: Option<f64> = row.get(0);
    Ok(seconds.map(Duration::from_secs_f64))
}

/// Waits until no more than `enough` jobs wait or run.
async fn until_left(pool: &Pool, worker: &Server, enough: u32) -> Result<()> {
    let (mut before, mut moved) = (i64::MAX, Instant::now());
    loop {
        let left = lane::left(pool).await?;
        if left <= i64::from(enough) {
            return Ok(());
        }
        if left != before {
            (before, moved) = (left, Instant::now());
        }
        if MOVES_WITHIN < moved.elapsed() {
            let words = worker.last_words();
            bail!("{left} jobs are left and {WORKER} ends none; its log ends\n{words}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A worker as it is by default but for its slots.
pub(super) async fn start(place: Place<'_>, slots: u32, folder: &Path) -> Result<Server> {
    start_with(place, slots, Vec::new(), folder).await
}

async fn start_with(
    place: Place<'_>,
    slots: u32,
    mut own: Vec<(&str, String)>,
    folder: &Path,
) -> Result<Server> {
    own.push(("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0".to_owned()));
    own.push(("SNOWPACK_WORKER_SLOTS", slots.to_string()));
    let own = own
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let program = Program {
        name: WORKER,
        arguments: &[],
        environment: place.settings().into_iter().chain(own).collect(),
        listens: LISTENS,
    };
    Server::start(program, folder).await
}
