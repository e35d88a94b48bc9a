//! One attempt from its claim to its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use maintenance::{ClaimedJob, Job};
use model::{EndReason, JobId};
use pg::Pool;
use planner::{Engine, Progress};
use policy::retry::{Backoff, JOB_BACKOFF};
use queue::{Claimed, Queue};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::actions::{Outcome, Work, finished, told};
use crate::batch::{Batches, Ends, Loads};
use crate::beat::{Beat, Limits, Watched};
use crate::ending::Ending;
use crate::heart::Heart;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::records::PoolRecords;
use crate::steady::{steadily, unless_over};

/// How attempts run in this process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Without progress for this long an attempt is stopped.
    pub stall: Duration,
    /// An attempt may take this long unless its job says otherwise.
    pub attempt_timeout: Duration,
    /// Told to stop, an engine has this long to reach a safe point before it is dropped.
    pub stops_within: Duration,
    pub backoff: Backoff,
    pub memory: Memory,
    /// The catalog the tables are in, by its name.
    pub catalog: String,
}

impl Config {
    pub const STALL_DEFAULT: Duration = Duration::from_mins(15);
    pub const ATTEMPT_TIMEOUT_DEFAULT: Duration = Duration::from_hours(6);
    pub const STOPS_WITHIN_DEFAULT: Duration = Duration::from_secs(5);

    /// The defaults, with this memory budget, for tables of this catalog.
    pub fn new(memory: Memory, catalog: &str) -> Self {
        Self {
            stall: Self::STALL_DEFAULT,
            attempt_timeout: Self::ATTEMPT_TIMEOUT_DEFAULT,
            stops_within: Self::STOPS_WITHIN_DEFAULT,
            backoff: JOB_BACKOFF,
            memory,
            catalog: catalog.to_owned(),
        }
    }
}

/// How far the end of the process is: `drain` first, then `stop`.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Commit if all that is missing is the commit, else hand back.
    pub drain: CancellationToken,
    /// Hand back now.
    pub stop: CancellationToken,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub job: JobId,
    pub how: How,
}

/// What became of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Completed,
    Failed(EndReason),
    Cancelled,
    /// It waits for another attempt.
    HandedBack,
    /// Another attempt has it, or will when the lease is over; nothing more was written.
    Replaced,
}

/// Runs attempts. Cheap to share: everything in it is.
#[derive(Debug)]
pub struct Runner {
    pub(crate) records: PoolRecords,
    pub(crate) queue: Queue,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) heart: Arc<Heart>,
    pub(crate) metrics: Metrics,
    pub(crate) config: Config,
    loads: Batches<Loads>,
    pub(crate) ends: Batches<Ends>,
}

impl Runner {
    /// A runner of the maintenance lane. `pool` serves every slot of the process: one connection
    /// each for its guard, and two more. Must be called within a Tokio runtime.
    pub fn new(
        pool: Pool,
        engine: Arc<dyn Engine>,
        heart: Arc<Heart>,
        metrics: Metrics,
        config: Config,
    ) -> Self {
        let records = PoolRecords::new(pool, config.catalog.clone());
        let queue = maintenance::queue();
        let ends = Ends {
            records: records.clone(),
            queue: queue.clone(),
        };
        Self {
            loads: Batches::start(Loads(records.clone())),
            ends: Batches::start(ends),
            records,
            queue,
            engine,
            heart,
            metrics,
            config,
        }
    }

    /// Runs one claimed job to the end of this attempt: its actions in order, each under the
    /// fence, then finished or handed back. Never fails: what goes wrong becomes the job's end.
    pub async fn run(
        &self,
        claimed: Claimed,
        shutdown: &Shutdown,
        progress: Arc<dyn Progress>,
    ) -> Ended {
        let started = Instant::now();
        let limits = Limits {
            stall: self.config.stall,
            attempt: self.config.attempt_timeout,
        };
        let beat = self.heart.watch(&claimed, limits, shutdown.drain.clone());
        let fence = &claimed.fence;
        info!(
            event = "job_claimed",
            job = %fence.job(),
            attempt = %fence.attempt(),
            attempt_count = claimed.attempt_count,
            pool = claimed.pool,
            "claimed"
        );
        let mut ending = Ending::new(self, &claimed, &beat, started);
        let stops_within = self.config.stops_within;
        let loaded = unless_over(self.load(&claimed), told(&beat, shutdown), stops_within);
        let outcome = match loaded.await {
            None => Outcome::of_stop(&beat),
            Some(Err(error)) => Outcome::of_load(&error),
            Some(Ok(ClaimedJob { job, results })) => {
                if let Some(timeout) = job.attempt_timeout {
                    beat.limit(timeout);
                }
                let mut work = self.work(&claimed, &beat, &job, shutdown, progress);
                work.finished = finished(&results);
                info!(
                    event = "job_started",
                    job = %job.id,
                    attempt = %fence.attempt(),
                    table = %job.table,
                    dry_run = job.dry_run,
                    "started"
                );
                let outcome = work.run().await;
                ending.remaining = work.remaining();
                outcome
            }
        };
        let job = fence.job().clone();
        let how = ending.settle(outcome).await;
        drop(beat);
        Ended { job, how }
    }

    /// The job and what its earlier attempts recorded.
    async fn load(&self, claimed: &Claimed) -> Result<ClaimedJob, maintenance::Error> {
        let claim = claimed.fence.ids();
        if let Some(loaded) = self.loads.ask(claim.clone()).await {
            return loaded;
        }
        let (until, claim) = (Instant::now() + self.heart.lease(), [claim]);
        steadily(until, |_| async {
            let client = self.client("load the job").await?;
            let mut loaded = maintenance::claimed_jobs(&**client, &claim).await?;
            client.give_back();
            loaded.pop().unwrap_or(Err(queue::Error::Replaced.into()))
        })
        .await
    }

    pub(crate) async fn client(
        &self,
        doing: &'static str,
    ) -> Result<pg::Client, maintenance::Error> {
        self.records.client(doing).await
    }

    fn work<'a>(
        &'a self,
        claimed: &'a Claimed,
        beat: &'a Beat,
        job: &'a Job,
        shutdown: &'a Shutdown,
        progress: Arc<dyn Progress>,
    ) -> Work<'a> {
        Work {
            runner: self,
            fence: &claimed.fence,
            beat,
            job,
            finished: BTreeSet::new(),
            retried: claimed.attempt_count + claimed.hand_back_count > 1,
            shutdown,
            progress: Watched {
                shown: progress,
                state: Arc::clone(&beat.state),
            },
        }
    }
}
