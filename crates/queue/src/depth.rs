//! How much there is to do: what KEDA scales by and dashboards show.

use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use crate::sql::one;
use crate::{Error, Queue};

/// Counts of one lane or of some of its pools, each counted up to a cap.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Depth {
    /// Due now, jobs whose lease ran out included; 0 while the lane is paused.
    pub ready: i64,
    /// Under a live lease.
    pub running: i64,
    /// Ready and running together: how many should be worked on.
    pub demand: i64,
    /// Workers that hold a live lease.
    pub busy: i64,
    /// Not due yet.
    pub scheduled: i64,
    /// How long the oldest ready job has been due; of pools, the one that is next there.
    pub oldest_ready_seconds: f64,
    /// Expired on their last attempt: the next tick or sweep ends them.
    pub exhausted: i64,
}

impl Depth {
    /// The demand on workers of `slots` jobs each. One that is busy counts with all of its slots, so that
    /// `ceil(demand / slots)` workers are never fewer than are busy, however thinly their jobs lie.
    pub fn demand_on(&self, slots: i64) -> i64 {
        self.demand.max(self.busy.saturating_mul(slots))
    }
}

impl Queue {
    /// Counts over `pools`, each named once and counted up to `cap`; without any, over all
    /// together.
    pub async fn depth<C: GenericClient + Sync>(
        &self,
        client: &C,
        pools: &[&str],
        cap: i64,
    ) -> Result<Depth, Error> {
        let params = &[(&pools as _, Type::TEXT_ARRAY), (&cap as _, Type::INT8)];
        let row = one(client, "count the queue", &self.sql().depth, params).await?;
        Ok(Depth {
            ready: row.get("ready"),
            running: row.get("running"),
            demand: row.get("demand"),
            scheduled: row.get("scheduled"),
            oldest_ready_seconds: row.get("oldest_ready_seconds"),
            busy: row.get("busy"),
            exhausted: row.get("exhausted"),
        })
    }

    /// How many processes hold live leases.
    pub async fn workers<C: GenericClient + Sync>(&self, client: &C) -> Result<i64, Error> {
        let row = one(client, "count workers", &self.sql().workers, &[]).await?;
        Ok(row.get("workers"))
    }
}
