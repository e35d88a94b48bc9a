//! What attempts count and time.

use std::time::Duration;

use model::{Action, ActionOutcome, JobStatus};
use planner::Report;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use crate::Error;

/// Seconds. From a table with nothing to do to a rewrite of a few hours.
const BUCKETS: [f64; 10] = [
    0.1, 0.5, 2.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 21_600.0,
];

/// The runner's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    jobs: IntCounterVec,
    job_seconds: HistogramVec,
    actions: IntCounterVec,
    action_seconds: HistogramVec,
    bytes_read: IntCounterVec,
    bytes_written: IntCounterVec,
    conflicts: IntCounterVec,
    snapshots_expired: IntCounter,
    files_purged: IntCounterVec,
    bytes_freed: IntCounter,
}

impl Metrics {
    /// Makes and registers them; a registry takes them once.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let counter = |name, help, labels: &[&str]| -> Result<IntCounterVec, Error> {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let plain = |name, help| -> Result<IntCounter, Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let seconds = |name, help, labels: &[&str]| -> Result<HistogramVec, Error> {
            let opts = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            let histogram = HistogramVec::new(opts, labels)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        Ok(Self {
            jobs: counter(
                "snowpack_jobs_total",
                "Jobs this process ended",
                &["status"],
            )?,
            job_seconds: seconds(
                "snowpack_job_duration_seconds",
                "From the claim of a job's last attempt to its end",
                &["status"],
            )?,
            actions: counter(
                "snowpack_actions_total",
                "Actions executed, by how they ended",
                &["action", "result"],
            )?,
            action_seconds: seconds(
                "snowpack_action_duration_seconds",
                "From the start of an action to its result",
                &["action"],
            )?,
            bytes_read: counter(
                "snowpack_action_bytes_read_total",
                "Bytes of the files actions read",
                &["action"],
            )?,
            bytes_written: counter(
                "snowpack_action_bytes_written_total",
                "Bytes of the files actions wrote",
                &["action"],
            )?,
            conflicts: counter(
                "snowpack_commit_conflicts_total",
                "Swaps lost to another writer",
                &["action"],
            )?,
            snapshots_expired: plain("snowpack_snapshots_expired_total", "Snapshots expired")?,
            files_purged: counter(
                "snowpack_files_purged_total",
                "Files that were due for deletion, by what became of them",
                &["result"],
            )?,
            bytes_freed: plain(
                "snowpack_bytes_freed_total",
                "Bytes of the deleted files whose size was known",
            )?,
        })
    }

    pub(crate) fn job_ended(&self, status: JobStatus, elapsed: Duration) {
        self.jobs.with_label_values(&[status.as_str()]).inc();
        self.job_seconds
            .with_label_values(&[status.as_str()])
            .observe(elapsed.as_secs_f64());
    }

    pub(crate) fn action_ended(
        &self,
        action: Action,
        outcome: ActionOutcome,
        elapsed: Duration,
        report: Option<&Report>,
    ) {
        let name = action.as_str();
        self.actions
            .with_label_values(&[name, outcome.as_str()])
            .inc();
        self.action_seconds
            .with_label_values(&[name])
            .observe(elapsed.as_secs_f64());
        if let Some(report) = report {
            self.bytes_read
                .with_label_values(&[name])
                .inc_by(report.bytes_in);
            self.bytes_written
                .with_label_values(&[name])
                .inc_by(report.bytes_out);
            self.removed(report);
        }
    }

    /// What an expiry or a purge took away.
    fn removed(&self, report: &Report) {
        if let Some(expired) = &report.expired {
            self.snapshots_expired.inc_by(expired.snapshots);
        }
        if let Some(purge) = &report.purge {
            let results = [
                ("deleted", purge.deleted),
                ("kept", purge.kept),
                ("failed", purge.failed),
            ];
            for (result, files) in results {
                self.files_purged.with_label_values(&[result]).inc_by(files);
            }
            self.bytes_freed.inc_by(purge.bytes);
        }
    }

    pub(crate) fn conflict(&self, action: Action) {
        self.conflicts.with_label_values(&[action.as_str()]).inc();
    }
}
