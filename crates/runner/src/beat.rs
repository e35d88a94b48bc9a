//! One attempt as the heartbeat sees it: how long its lease is trusted, whether it still moves,
//! and why it was told to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use model::{AttemptId, JobId};
use planner::{Progress, Signals};
use queue::Lease;

use crate::heart::Shared;

/// Why an attempt was told to stop. The first reason stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Somebody cancelled the job.
    Cancelled,
    /// Another attempt has the job.
    Lost,
    /// The lease could not be renewed in time, so it is not trusted any more.
    Unsure,
    /// No progress for the watchdog's time.
    Stalled,
    /// The attempt took longer than it may.
    Overdue,
}

/// How long an attempt may take, and how long it may stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub stall: Duration,
    pub attempt: Duration,
}

/// What the heart and the attempt share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) job: JobId,
    pub(crate) attempt: AttemptId,
    signals: Signals,
    lease: Mutex<Lease>,
    why: OnceLock<Why>,
    started: Instant,
    stall: Duration,
    /// Milliseconds after `started`: when the attempt is over, and when it last moved.
    over_ms: AtomicU64,
    moved_ms: AtomicU64,
    waiting: AtomicBool,
}

impl State {
    pub(crate) fn new(
        (job, attempt): (JobId, AttemptId),
        lease: Lease,
        started: Instant,
        limits: Limits,
        signals: Signals,
    ) -> Self {
        Self {
            job,
            attempt,
            signals,
            lease: Mutex::new(lease),
            why: OnceLock::new(),
            started,
            stall: limits.stall,
            over_ms: AtomicU64::new(millis(limits.attempt)),
            moved_ms: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
        }
    }

    fn lease(&self) -> Lease {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn renewed(&self, lease: Lease, cancel_requested: bool) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = lease;
        if cancel_requested {
            self.stop(Why::Cancelled);
        }
    }

    pub(crate) fn stop(&self, why: Why) {
        if self.why.set(why).is_ok() {
            self.signals.cancel.cancel();
        }
    }

    pub(crate) fn why(&self) -> Option<Why> {
        self.why.get().copied()
    }

    /// True while the heart extends the lease: not past a stop that must end the attempt. A
    /// cancelled one needs time to reach a safe point; the database bounds how long.
    pub(crate) fn renews(&self) -> bool {
        match self.why() {
            None | Some(Why::Cancelled) => true,
            Some(Why::Lost | Why::Unsure | Why::Stalled | Why::Overdue) => false,
        }
    }

    /// Stops the attempt if its lease, its time or its patience is over.
    pub(crate) fn check(&self, now: Instant) {
        let elapsed = millis(now.saturating_duration_since(self.started));
        let still = elapsed.saturating_sub(self.moved_ms.load(Ordering::Relaxed));
        if !self.lease().trusted(now) {
            self.stop(Why::Unsure);
        } else if elapsed >= self.over_ms.load(Ordering::Relaxed) {
            self.stop(Why::Overdue);
        } else if still >= millis(self.stall) && !self.waiting.load(Ordering::Relaxed) {
            self.stop(Why::Stalled);
        }
    }

    fn moved(&self, now: Instant) {
        let elapsed = millis(now.saturating_duration_since(self.started));
        self.moved_ms.store(elapsed, Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An attempt the heart watches, until this is dropped.
#[derive(Debug)]
pub struct Beat {
    pub(crate) state: Arc<State>,
    pub(crate) shared: Arc<Shared>,
}

impl Beat {
    /// What to hand to an engine.
    pub fn signals(&self) -> &Signals {
        &self.state.signals
    }

    /// Why the attempt was told to stop, if it was.
    pub fn why(&self) -> Option<Why> {
        self.state.why()
    }

    /// True while the attempt may still write outside Postgres. Looks at the clock itself, so a
    /// process that was frozen learns it before the heart does.
    pub fn trusted(&self) -> bool {
        self.state.check(Instant::now());
        !self.signals().cancel.is_cancelled()
    }

    /// Tells the watchdog that the attempt moves.
    pub fn moved(&self) {
        self.state.moved(Instant::now());
    }

    /// The attempt's own time limit, counted from its start.
    pub fn limit(&self, attempt: Duration) {
        self.state.over_ms.store(millis(attempt), Ordering::Relaxed);
    }

    /// Keeps the watchdog quiet while the attempt waits its turn.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.state.waiting.store(true, Ordering::Relaxed);
        Waiting(&self.state)
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.shared.forget(&self.state);
    }
}

#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a State);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.moved(Instant::now());
        self.0.waiting.store(false, Ordering::Relaxed);
    }
}

/// Shows progress to whoever asked for the job, and feeds the watchdog.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) shown: Arc<dyn Progress>,
    pub(crate) state: Arc<State>,
}

impl Progress for Watched {
    fn total(&self, units: u64) {
        self.state.moved(Instant::now());
        self.shown.total(units);
    }

    fn advance(&self, units: u64) {
        self.state.moved(Instant::now());
        self.shown.advance(units);
    }

    fn alive(&self) {
        self.state.moved(Instant::now());
        self.shown.alive();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_mins(1);

    fn state(start: Instant) -> State {
        let ids = (JobId::new("job"), AttemptId::new("attempt"));
        let limits = Limits {
            stall: Duration::from_mins(15),
            attempt: Duration::from_secs(20_000),
        };
        State::new(
            ids,
            Lease::granted(start, LEASE),
            start,
            limits,
            Signals::default(),
        )
    }

    fn after(seconds: u64, start: Instant) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn renew(state: &State, at: Instant) {
        state.renewed(Lease::granted(at, LEASE), false);
    }

    #[test]
    fn q18_an_attempt_stops_itself_before_its_lease_ends() {
        let start = Instant::now();
        let state = state(start);
        state.check(after(52, start));
        assert_eq!(state.why(), None);
        renew(&state, after(15, start));
        state.check(after(60, start));
        assert_eq!(state.why(), None, "renewed at 15 s");
        state.check(after(68, start));
        assert_eq!(state.why(), Some(Why::Unsure));
        assert!(state.signals.cancel.is_cancelled());
        assert!(!state.renews());
    }

    #[test]
    fn q68_an_attempt_that_stands_still_or_takes_too_long_is_stopped() {
        let start = Instant::now();
        let still = state(start);
        renew(&still, after(900, start));
        still.check(after(899, start));
        assert_eq!(still.why(), None);
        still.waiting.store(true, Ordering::Relaxed);
        still.check(after(901, start));
        assert_eq!(still.why(), None, "it waits its turn");
        still.waiting.store(false, Ordering::Relaxed);
        still.check(after(901, start));
        assert_eq!(still.why(), Some(Why::Stalled));
        assert!(!still.renews());

        let long = state(start);
        renew(&long, after(20_000, start));
        long.moved(after(20_000, start));
        long.check(after(20_000, start));
        assert_eq!(long.why(), Some(Why::Overdue));
    }

    #[test]
    fn a_cancelled_attempt_is_stopped_and_still_renewed() {
        let state = state(Instant::now());
        state.renewed(Lease::granted(Instant::now(), LEASE), true);
        assert_eq!(state.why(), Some(Why::Cancelled));
        assert!(state.signals.cancel.is_cancelled());
        assert!(state.renews());
        state.stop(Why::Lost);
        assert_eq!(state.why(), Some(Why::Cancelled), "the first reason stands");
    }
}
