//! `snowpack-worker` on jobs in which nothing is left to do.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use pg::Pool;

use super::server::{Program, Server};
use super::{Place, lane};

pub(super) const WORKER: &str = "snowpack-worker";
const LISTENS: &str = "admin server listens";
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long no job may end before the worker is given up.
const MOVES_WITHIN: Duration = Duration::from_mins(1);

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
    let (mut before, mut moved) = (jobs.into(), Instant::now());
    loop {
        let left = lane::left(pool).await?;
        if left == 0 {
            break;
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
    let usage = worker.usage()?;
    worker.stop()?;
    Ok(Done {
        jobs,
        per_second: lane::worked(pool, jobs).await?,
        cpu_seconds: usage.cpu_seconds,
        peak_bytes: usage.peak_bytes,
    })
}

/// A worker as it is by default but for its slots.
pub(super) async fn start(place: Place<'_>, slots: u32, folder: &Path) -> Result<Server> {
    let own = [
        ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0".to_owned()),
        ("SNOWPACK_WORKER_SLOTS", slots.to_string()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    let program = Program {
        name: WORKER,
        arguments: &[],
        environment: place.settings().into_iter().chain(own).collect(),
        listens: LISTENS,
    };
    Server::start(program, folder).await
}
