//! The heartbeat: one thread, one connection, one statement for all leases of the process.
//!
//! The thread has a runtime of its own, so a busy worker does not lose a lease; therefore a hung
//! attempt must not live for ever, and the same thread is its watchdog.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{AttemptId, JobId};
use pg::Pool;
use planner::Signals;
use queue::{Claimed, Queue, RenewState};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::Error;
use crate::beat::{Beat, Limits, State, Why};

/// Renewals in one lease. Two may fail before the lease is not trusted any more, which is an
/// eighth before its end.
const RENEWALS_PER_LEASE: u32 = 4;
/// After a failure or a busy row, the next try comes this much sooner.
const SOONER: u32 = 4;
/// How often leases and watchdogs are looked at, as a part of the lease, and at most.
const LOOKS_PER_LEASE: u32 = 40;
const LOOK_EVERY_MAX: Duration = Duration::from_millis(250);

/// Keeps the leases of a process. Stops when dropped.
#[derive(Debug)]
pub struct Heart {
    shared: Arc<Shared>,
    lease: Duration,
}

/// What the heart, its thread and the attempts share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    states: Mutex<Vec<Arc<State>>>,
    nudge: Notify,
    stop: CancellationToken,
}

impl Shared {
    fn states(&self) -> Vec<Arc<State>> {
        self.states
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, state: &Arc<State>) {
        self.states
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(state));
    }

    pub(crate) fn forget(&self, state: &Arc<State>) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|other| !Arc::ptr_eq(other, state));
    }
}

impl Heart {
    /// Starts the thread. Its connection is its own, outside `pool`, and made again by itself.
    pub fn start(pool: &Pool, queue: &Queue, lease: Duration) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let pulse = Pulse {
            shared: Arc::clone(&shared),
            pool: pool.clone(),
            queue: queue.clone(),
            lease,
            every: lease / RENEWALS_PER_LEASE,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        std::thread::Builder::new()
            .name("heart".to_owned())
            .spawn(move || pulse.beat(&runtime))
            .map_err(Error::Thread)?;
        Ok(Self { shared, lease })
    }

    /// Renews and watches one attempt from its claim until the beat is dropped. `drain` is what
    /// its signals say about the process.
    pub fn watch(&self, claimed: &Claimed, limits: Limits, drain: CancellationToken) -> Beat {
        let signals = Signals {
            cancel: CancellationToken::new(),
            drain,
        };
        let (ids, now) = (claimed.fence.ids(), Instant::now());
        let state = Arc::new(State::new(ids, claimed.lease, now, limits, signals));
        self.shared.remember(&state);
        Beat {
            state,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Renews now: a cancel was heard of, and the answer brings it.
    pub fn nudge(&self) {
        self.shared.nudge.notify_one();
    }

    /// The lease it renews for.
    pub fn lease(&self) -> Duration {
        self.lease
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// What runs on the thread.
struct Pulse {
    shared: Arc<Shared>,
    pool: Pool,
    queue: Queue,
    lease: Duration,
    every: Duration,
}

impl Pulse {
    /// Until told to stop. A panic ends one beat and not the heart: without it the process would
    /// go on claiming and lose every lease.
    fn beat(&self, runtime: &Runtime) {
        while catch_unwind(AssertUnwindSafe(|| runtime.block_on(self.run()))).is_err() {
            error!("the heartbeat panicked and starts again");
        }
    }

    async fn run(&self) {
        // Side by side, because a renewal may hang as long as a dead connection does.
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            () = self.look() => {}
            () = self.renew() => {}
        }
    }

    async fn look(&self) {
        let every = (self.lease / LOOKS_PER_LEASE).min(LOOK_EVERY_MAX);
        loop {
            tokio::time::sleep(every).await;
            let now = Instant::now();
            self.shared
                .states()
                .iter()
                .for_each(|state| state.check(now));
        }
    }

    async fn renew(&self) {
        let mut client = None;
        let mut failing = false;
        let mut pause = self.every;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shared.nudge.notified() => {}
            }
            let renewed = tokio::time::timeout(self.every, self.renew_once(&mut client)).await;
            let error = match renewed {
                Ok(Ok(busy)) => {
                    if std::mem::take(&mut failing) {
                        info!("leases are renewed again");
                    }
                    pause = if busy {
                        self.every / SOONER
                    } else {
                        self.every
                    };
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            if !std::mem::replace(&mut failing, true) {
                warn!(error, "leases could not be renewed");
            }
            client = None;
            pause = self.every / SOONER;
        }
    }

    /// One statement for all; says whether some row was busy.
    async fn renew_once(
        &self,
        client: &mut Option<tokio_postgres::Client>,
    ) -> Result<bool, queue::Error> {
        let states: Vec<Arc<State>> = self
            .shared
            .states()
            .into_iter()
            .filter(|state| state.renews())
            .collect();
        if states.is_empty() {
            return Ok(false);
        }
        let connection = match client.take() {
            Some(open) if !open.is_closed() => open,
            _ => self.pool.dedicated().await?,
        };
        let connection = client.insert(connection);
        let ids: Vec<(JobId, AttemptId)> = states
            .iter()
            .map(|state| (state.job.clone(), state.attempt.clone()))
            .collect();
        let mut busy = false;
        for renewal in self.queue.renew(connection, &ids, self.lease).await? {
            let Some(state) = states.iter().find(|state| state.attempt == renewal.attempt) else {
                continue;
            };
            match renewal.state {
                RenewState::Renewed {
                    cancel_requested,
                    lease,
                } => {
                    state.renewed(lease, cancel_requested);
                }
                RenewState::Busy => busy = true,
                RenewState::Lost => state.stop(Why::Lost),
            }
        }
        Ok(busy)
    }
}
