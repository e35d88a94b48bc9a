//! What the queue counts, per lane. [`register`] puts it on a program's metrics page.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::End;

struct Metrics {
    claims: IntCounterVec,
    claim_seconds: HistogramVec,
    finished: IntCounterVec,
    ended: IntCounterVec,
    hand_backs: IntCounterVec,
    leases_lost: IntCounterVec,
    leases_reset: IntCounterVec,
    refused: IntCounterVec,
    wakeups: IntCounterVec,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    claims: counter(
        "snowpack_claims_total",
        "Jobs claimed by this process",
        &["lane"],
    ),
    claim_seconds: HistogramVec::new(
        HistogramOpts::new("snowpack_claim_seconds", "Round trip of one claim")
            .buckets(vec![0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0]),
        &["lane"],
    )
    .expect("the name and the labels are valid constants"),
    finished: counter(
        "snowpack_jobs_finished_total",
        "Jobs this process ended under their fence, by status and reason",
        &["lane", "status", "reason"],
    ),
    ended: counter(
        "snowpack_jobs_ended_total",
        "Jobs ended by the queue instead of running again, by reason",
        &["lane", "reason"],
    ),
    hand_backs: counter(
        "snowpack_hand_backs_total",
        "Jobs handed back to wait for another attempt; counts says whether it used one up",
        &["lane", "counts"],
    ),
    leases_lost: counter(
        "snowpack_leases_lost_total",
        "Attempts of this process that were found replaced at a renewal",
        &["lane"],
    ),
    leases_reset: counter(
        "snowpack_leases_reset_total",
        "Leases that ran out and were reset by this process",
        &["lane"],
    ),
    refused: counter(
        "snowpack_stale_writes_refused_total",
        "Fenced writes of replaced attempts, by operation",
        &["lane", "operation"],
    ),
    wakeups: counter("snowpack_wakeups_total", "Notifications sent", &["lane"]),
});

fn counter(name: &str, what: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, what), labels)
        .expect("the name and the labels are valid constants")
}

/// Adds the queue's metrics to a program's registry.
pub fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    let all = &*METRICS;
    for counter in [
        &all.claims,
        &all.finished,
        &all.ended,
        &all.hand_backs,
        &all.leases_lost,
        &all.leases_reset,
        &all.refused,
        &all.wakeups,
    ] {
        registry.register(Box::new(counter.clone()))?;
    }
    registry.register(Box::new(all.claim_seconds.clone()))
}

pub(crate) fn claimed(lane: &str, count: usize) {
    METRICS
        .claims
        .with_label_values(&[lane])
        .inc_by(count as u64);
}

pub(crate) fn claim_took(lane: &str, took: Duration) {
    METRICS
        .claim_seconds
        .with_label_values(&[lane])
        .observe(took.as_secs_f64());
}

pub(crate) fn finished(lane: &str, end: &End) {
    let reason = end.reason.map_or("", model::EndReason::as_str);
    METRICS
        .finished
        .with_label_values(&[lane, end.status.as_str(), reason])
        .inc();
}

pub(crate) fn ended(lane: &str, reason: &str, count: u64) {
    METRICS
        .ended
        .with_label_values(&[lane, reason])
        .inc_by(count);
}

pub(crate) fn handed_back(lane: &str, counts: bool) {
    let counts = if counts { "yes" } else { "no" };
    METRICS.hand_backs.with_label_values(&[lane, counts]).inc();
}

pub(crate) fn lost(lane: &str, count: usize) {
    METRICS
        .leases_lost
        .with_label_values(&[lane])
        .inc_by(count as u64);
}

pub(crate) fn refused(lane: &str, operation: &str) {
    METRICS.refused.with_label_values(&[lane, operation]).inc();
}

pub(crate) fn woke(lane: &str) {
    METRICS.wakeups.with_label_values(&[lane]).inc();
}

/// What a tick or sweep did to expired rows.
pub(crate) struct Ticked {
    pub(crate) exhausted: i32,
    pub(crate) deadline: i32,
    pub(crate) cancelled: i32,
    pub(crate) reset: i32,
}

impl Ticked {
    pub(crate) fn read(row: &tokio_postgres::Row) -> Self {
        Self {
            exhausted: row.get("exhausted"),
            deadline: row.get("deadline"),
            cancelled: row.get("cancelled"),
            reset: row.get("reset"),
        }
    }

    /// Jobs that ended.
    pub(crate) fn ended(&self) -> i32 {
        self.exhausted + self.deadline + self.cancelled
    }

    pub(crate) fn count(&self, lane: &str) {
        if self.exhausted > 0 {
            tracing::warn!(
                lane,
                count = self.exhausted,
                "jobs exhausted their attempts"
            );
        }
        for (reason, count) in [
            ("exhausted", self.exhausted),
            ("deadline", self.deadline),
            ("cancelled", self.cancelled),
        ] {
            ended(lane, reason, count as u64);
        }
        METRICS
            .leases_reset
            .with_label_values(&[lane])
            .inc_by(self.reset as u64);
    }
}
