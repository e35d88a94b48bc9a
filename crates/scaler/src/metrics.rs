//! The queue's gauges, read from Postgres at scrape time so that replicas never drift, and a
//! count of the reads themselves; and how many are told of activity.

use prometheus::{GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use queue::Depth;

use runtime::Error;

/// `snowpack_queue_*{lane}`. Absent while Postgres does not answer: a stale number is made up.
#[derive(Debug)]
pub(crate) struct Gauges {
    ready: IntGaugeVec,
    running: IntGaugeVec,
    scheduled: IntGaugeVec,
    oldest_ready: GaugeVec,
}

impl Gauges {
    pub(crate) fn register(registry: &Registry) -> Result<Self, Error> {
        let count = |name: &str, help: &str| -> Result<IntGaugeVec, Error> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["lane"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let oldest_ready = GaugeVec::new(
            Opts::new(
                "snowpack_queue_oldest_ready_seconds",
                "How long the oldest due job waits",
            ),
            &["lane"],
        )?;
        registry.register(Box::new(oldest_ready.clone()))?;
        Ok(Self {
            ready: count(
                "snowpack_queue_ready",
                "Jobs due now, expired leases included",
            )?,
            running: count("snowpack_queue_running", "Jobs under a live lease")?,
            scheduled: count("snowpack_queue_scheduled", "Jobs not due yet")?,
            oldest_ready,
        })
    }

    /// Shows `depth`, or nothing.
    pub(crate) fn set(&self, lane: &str, depth: Option<Depth>) {
        let Some(depth) = depth else {
            for gauge in [&self.ready, &self.running, &self.scheduled] {
                gauge.reset();
            }
            self.oldest_ready.reset();
            return;
        };
        self.ready.with_label_values(&[lane]).set(depth.ready);
        self.running.with_label_values(&[lane]).set(depth.running);
        self.scheduled
            .with_label_values(&[lane])
            .set(depth.scheduled);
        self.oldest_ready
            .with_label_values(&[lane])
            .set(depth.oldest_ready_seconds);
    }
}

/// `snowpack_scaler_reads_total{result}`: how often Postgres was asked.
#[derive(Debug, Clone)]
pub(crate) struct Reads(IntCounterVec);

impl Reads {
    pub(crate) fn register(registry: &Registry) -> Result<Self, Error> {
        let reads = IntCounterVec::new(
            Opts::new(
                "snowpack_scaler_reads_total",
                "Times Postgres was asked for a count",
            ),
            &["result"],
        )?;
        for result in ["ok", "error"] {
            reads.with_label_values(&[result]);
        }
        registry.register(Box::new(reads.clone()))?;
        Ok(Self(reads))
    }

    pub(crate) fn count(&self, ok: bool) {
        self.0
            .with_label_values(&[if ok { "ok" } else { "error" }])
            .inc();
    }
}

/// `snowpack_scaler_streams`: who is told of activity as it comes.
#[derive(Debug, Clone)]
pub(crate) struct Streams(IntGauge);

impl Streams {
    pub(crate) fn register(registry: &Registry) -> Result<Self, Error> {
        let streams = IntGauge::new(
            "snowpack_scaler_streams",
            "Callers that are told of activity as it comes",
        )?;
        registry.register(Box::new(streams.clone()))?;
        Ok(Self(streams))
    }

    /// One more, until it is dropped.
    pub(crate) fn hold(&self) -> Held {
        self.0.inc();
        Held(self.0.clone())
    }
}

#[derive(Debug)]
pub(crate) struct Held(IntGauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
