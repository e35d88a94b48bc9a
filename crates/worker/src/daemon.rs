//! The loop: claim what fits, run it, look again when something changed.
//!
//! A worker looks when a slot becomes free, when the lane calls, and by itself every few
//! seconds. It never holds more jobs than slots: a claimed job that only waits would be a lease
//! spent for nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use queue::{Call, Calls, Claimed, Claimer};
use runner::{Ended, Heart, Runner};
use runtime::{Shutdown, chain};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::kubernetes::Told;
use crate::metrics::Metrics;
use crate::progress::Quiet;

/// A claim that takes longer is ended; if it had been made, what it took is due again after a lease.
/// One that waits for a lock the server gives up earlier.
const CLAIM_WITHIN: Duration = Duration::from_secs(10);
/// After a claim that failed; doubled with each further one up to [`PAUSE_MAX`]. Of each a random
/// part, half at least, so that a fleet that lost its server does not come back in step.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a worker most of whose slots are busy waits for more of them before it claims again:
/// small jobs end in waves, and one claim for many costs little more than one for one.
const GATHERED_WITHIN: Duration = Duration::from_millis(2);

/// After the order to stop, for writing the hand-backs (Postgres may be away). Then the process
/// ends anyway: leases run out by themselves.
const HAND_BACK_WITHIN: Duration = Duration::from_secs(20);

/// When the process ends by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    /// Nothing is due and nothing runs.
    pub(crate) idle: bool,
    /// So many jobs were claimed and ended.
    pub(crate) jobs: Option<u64>,
}

/// Everything the loop works with.
pub(crate) struct Daemon {
    pub(crate) pool: pg::Pool,
    pub(crate) claimer: Claimer,
    pub(crate) calls: Calls,
    pub(crate) runner: Arc<Runner>,
    pub(crate) heart: Arc<Heart>,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: Metrics,
    pub(crate) told: Told,
    pub(crate) slots: usize,
    pub(crate) until: Until,
}

/// What is running, and what may still start.
struct Slots {
    jobs: JoinSet<Ended>,
    count: usize,
    /// Jobs that may still be claimed; `None` is no limit.
    left: Option<u64>,
}

impl Slots {
    fn free(&self) -> usize {
        let free = self.count - self.jobs.len();
        self.left.map_or(free, |left| {
            free.min(usize::try_from(left).unwrap_or(usize::MAX))
        })
    }

    fn done(&self) -> bool {
        self.left == Some(0) && self.jobs.is_empty()
    }
}

/// Why the loop looks again.
enum Woken {
    Work,
    Time,
    JobEnded,
    Told,
}

impl Daemon {
    /// Runs until told to stop or done; returns when it holds no job any more.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut slots = Slots {
            jobs: JoinSet::new(),
            count: self.slots,
            left: self.until.jobs,
        };
        let mut pause = PAUSE_MIN;
        self.metrics.active.set(1);
        while !self.shutdown.drain.is_cancelled() && !slots.done() {
            let free = slots.free();
            let mut wait = queue::idle_poll();
            if free > 0 {
                match self.claim(free).await {
                    Ok(claimed) => {
                        pause = PAUSE_MIN;
                        let short = claimed.len() < free;
                        self.start(&mut slots, claimed);
                        if short && self.until.idle && slots.jobs.is_empty() {
                            break;
                        }
                    }
                    Err(why) => {
                        self.metrics.claim_errors.inc();
                        wait = pause.mul_f64(rand::random_range(0.5..1.0));
                        warn!(why, retry_in_ms = wait.as_millis(), "claim failed");
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
            }
            match self.wait(&mut slots, wait).await {
                Woken::Work => {
                    self.claimer.woken();
                    tokio::time::sleep(queue::wake_delay()).await;
                }
                Woken::JobEnded => {
                    let gathered = self.gather(&mut slots);
                    let _ = tokio::time::timeout(GATHERED_WITHIN, gathered).await;
                }
                Woken::Time | Woken::Told => {}
            }
        }
        self.metrics.active.set(0);
        self.end(slots).await
    }

    /// Takes up to `free` due jobs.
    async fn claim(&mut self, free: usize) -> Result<Vec<Claimed>, String> {
        let count = u32::try_from(free).unwrap_or(u32::MAX);
        let late = |_| format!("no answer within {} s", CLAIM_WITHIN.as_secs());
        let until = tokio::time::Instant::now() + CLAIM_WITHIN;
        let client = tokio::time::timeout_at(until, self.pool.get()).await;
        let client = client.map_err(late)?.map_err(|error| chain(&error))?;
        let claim = self.claimer.claim(&**client, count);
        match tokio::time::timeout_at(until, claim).await {
            Ok(Ok(claimed)) => {
                client.give_back();
                Ok(claimed)
            }
            Ok(Err(error)) => Err(chain(&error)),
            Err(over) => {
                // What it still does nobody would know of, and run.
                client.close();
                Err(late(over))
            }
        }
    }

    fn start(&self, slots: &mut Slots, claimed: Vec<Claimed>) {
        self.start_until(slots, claimed, &self.shutdown.drain);
    }

    fn start_until(&self, slots: &mut Slots, claimed: Vec<Claimed>, drain: &CancellationToken) {
        slots.left = slots
            .left
            .map(|left| left.saturating_sub(claimed.len() as u64));
        for job in claimed {
            let runner = Arc::clone(&self.runner);
            let shutdown = runner::Shutdown {
                drain: drain.clone(),
                stop: self.shutdown.stop.clone(),
            };
            self.metrics.running.inc();
            self.told.claimed(job.fence.job());
            let piece = self.told.board.begin();
            slots.jobs.spawn(async move {
                let ended = runner.run(job, &shutdown, Arc::new(Quiet)).await;
                drop(piece);
                ended
            });
        }
    }

    /// Waits for a reason to look again, `pause` at most while a slot is free.
    async fn wait(&mut self, slots: &mut Slots, pause: Duration) -> Woken {
        let free = slots.free() > 0;
        let pause = tokio::time::sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = self.shutdown.drain.cancelled() => return Woken::Told,
                Some(ended) = slots.jobs.join_next() => {
                    self.ended(ended);
                    return Woken::JobEnded;
                }
                call = self.calls.next() => match call {
                    Call::Work if free => return Woken::Work,
                    Call::Work => self.claimer.woken(),
                    Call::Cancel(_) => self.heart.nudge(),
                },
                () = &mut pause, if free => return Woken::Time,
            }
        }
    }

    /// With all that ended while the last claim was made, until half of the slots are free.
    async fn gather(&self, slots: &mut Slots) {
        while let Some(ended) = slots.jobs.try_join_next() {
            self.ended(ended);
        }
        while slots.jobs.len() > slots.count / 2
            && let Some(ended) = slots.jobs.join_next().await
        {
            self.ended(ended);
        }
    }

    /// Waits for what runs. Cancels are still heard; nothing is claimed any more.
    async fn end(mut self, mut slots: Slots) -> Result<()> {
        // What a claim took that did not answer to its end: handed back, as at any drain.
        let gone = CancellationToken::new();
        gone.cancel();
        let taken = self.claimer.give_up();
        self.start_until(&mut slots, taken, &gone);
        if !slots.jobs.is_empty() {
            info!(running = slots.jobs.len(), "ending what runs");
        }
        let stop = self.shutdown.stop.clone();
        let over = async {
            stop.cancelled().await;
            tokio::time::sleep(HAND_BACK_WITHIN).await;
        };
        tokio::pin!(over);
        while !slots.jobs.is_empty() {
            tokio::select! {
                Some(ended) = slots.jobs.join_next() => self.ended(ended),
                call = self.calls.next() => {
                    if let Call::Cancel(_) = call {
                        self.heart.nudge();
                    }
                }
                () = &mut over => {
                    let held = slots.jobs.len();
                    bail!("{held} jobs could not be handed back; they are due after their leases");
                }
            }
        }
        Ok(())
    }

    fn ended(&self, ended: Result<Ended, tokio::task::JoinError>) {
        self.metrics.running.dec();
        match ended {
            Ok(ended) => self.told.ended(&ended),
            // Its lease runs out and another worker takes the job.
            Err(error) => error!(%error, "an attempt panicked"),
        }
    }
}
