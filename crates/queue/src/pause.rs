//! Pausing a lane: nothing is handed out, running jobs finish, expired leases are still reset.

use jiff::Timestamp;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use crate::sql::{rows, run};
use crate::{Error, Queue};

/// Who paused a lane, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// By the database's clock.
    pub at: Timestamp,
    pub by: String,
    pub reason: String,
}

impl Queue {
    /// Pauses the lane; of a paused one, changes who and why.
    pub async fn pause<C: GenericClient + Sync>(
        &self,
        client: &C,
        by: &str,
        reason: &str,
    ) -> Result<(), Error> {
        let params = &[(&by as _, Type::TEXT), (&reason as _, Type::TEXT)];
        run(client, "pause the lane", &self.sql().pause, params)
            .await
            .map(drop)
    }

    /// Lets the lane go on; wake it afterwards.
    pub async fn resume<C: GenericClient + Sync>(&self, client: &C) -> Result<(), Error> {
        run(client, "resume the lane", &self.sql().resume, &[])
            .await
            .map(drop)
    }

    /// Who paused the lane, if it is paused.
    pub async fn paused<C: GenericClient + Sync>(
        &self,
        client: &C,
    ) -> Result<Option<Paused>, Error> {
        let found = rows(
            client,
            "look whether the lane is paused",
            &self.sql().paused,
            &[],
        )
        .await?;
        Ok(found.first().map(|row| Paused {
            at: row.get("paused_at"),
            by: row.get("paused_by"),
            reason: row.get("reason"),
        }))
    }
}
