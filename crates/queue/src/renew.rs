//! The heartbeat: one statement for every lease of a worker and the locks behind them.

use std::time::{Duration, Instant};

use model::{AttemptId, JobId};
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use crate::sql::rows;
use crate::{Error, Lease, Queue, metrics};

/// What became of one lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    pub job: JobId,
    pub attempt: AttemptId,
    pub state: RenewState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenewState {
    /// Still this attempt's. A cancelled job's lease is not extended for ever: see `lease`.
    Renewed {
        cancel_requested: bool,
        lease: Lease,
    },
    /// Somebody has the row this moment and the attempt is current: try at the next beat.
    Busy,
    /// Not this attempt's any more: stop.
    Lost,
}

impl Queue {
    /// Extends the leases of these attempts, each by `lease` from now; one answer for each. Never
    /// waits for anybody. A lease that ran out is renewed too while nobody has taken the job.
    pub async fn renew<C: GenericClient + Sync>(
        &self,
        client: &C,
        attempts: &[(JobId, AttemptId)],
        lease: Duration,
    ) -> Result<Vec<Renewal>, Error> {
        if attempts.is_empty() {
            return Ok(Vec::new());
        }
        let jobs: Vec<&str> = attempts.iter().map(|(job, _)| job.as_str()).collect();
        let ids: Vec<&str> = attempts
            .iter()
            .map(|(_, attempt)| attempt.as_str())
            .collect();
        let sent = Instant::now();
        let answers = rows(
            client,
            "renew leases",
            &self.sql().renew,
            &[
                (&jobs, Type::TEXT_ARRAY),
                (&ids, Type::TEXT_ARRAY),
                (&lease.as_secs_f64(), Type::FLOAT8),
            ],
        )
        .await?;
        let renewals: Result<Vec<Renewal>, Error> = answers
            .iter()
            .map(|row| {
                let state = match row.get::<_, &str>("state") {
                    "renewed" => {
                        let left = Duration::from_secs_f64(row.get::<_, f64>("seconds").max(0.0));
                        RenewState::Renewed {
                            cancel_requested: row.get("cancel_requested"),
                            lease: Lease::granted(sent, left),
                        }
                    }
                    "busy" => RenewState::Busy,
                    "lost" => RenewState::Lost,
                    other => return Err(Error::UnknownAnswer(other.to_owned())),
                };
                Ok(Renewal {
                    job: JobId::new(row.get::<_, String>("job_id")),
                    attempt: AttemptId::new(row.get::<_, String>("attempt_id")),
                    state,
                })
            })
            .collect();
        let renewals = renewals?;
        let lost = renewals
            .iter()
            .filter(|renewal| renewal.state == RenewState::Lost)
            .count();
        metrics::lost(self.lane(), lost);
        Ok(renewals)
    }
}
