//! What one worker process shows of itself.

use prometheus::{IntCounter, IntGauge, Registry};
use runtime::Error;

/// The worker's own metrics; a job's are the runner's.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// 1 while the process takes jobs: the sum over a fleet is its size.
    pub(crate) active: IntGauge,
    pub(crate) slots: IntGauge,
    pub(crate) running: IntGauge,
    pub(crate) claim_errors: IntCounter,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, Error> {
        let gauge = |name: &str, help: &str| -> Result<IntGauge, Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let claim_errors = IntCounter::new(
            "snowpack_worker_claim_errors_total",
            "Claims that Postgres did not answer",
        )?;
        registry.register(Box::new(claim_errors.clone()))?;
        Ok(Self {
            active: gauge("snowpack_workers_active", "1 while this worker takes jobs")?,
            slots: gauge(
                "snowpack_worker_slots",
                "Jobs this worker runs at once at most",
            )?,
            running: gauge("snowpack_worker_jobs_running", "Jobs this worker runs now")?,
            claim_errors,
        })
    }
}
