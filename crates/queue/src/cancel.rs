//! Cancel: at once while nobody works on the job, by request while somebody does.

use model::JobId;
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use crate::sql::one;
use crate::{Error, Queue, metrics};

/// What became of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It was waiting and is cancelled now; row and lock are gone.
    AtOnce,
    /// It is running: its worker stops at the next safe point. Tell it with
    /// [`crate::Waker::cancelled`] after the commit; the heartbeat tells it otherwise.
    Requested,
    /// It has ended, or never was.
    NotLive,
}

impl Queue {
    /// Cancels a job. Waits for whoever has the row, within a limit.
    pub async fn cancel(&self, tx: &Transaction<'_>, job: &JobId) -> Result<Cancel, Error> {
        let params = &[(&job.as_str() as _, Type::TEXT)];
        let row = one(tx, "cancel a job", &self.sql().cancel, params).await?;
        match row.get::<_, &str>(0) {
            "at_once" => {
                metrics::ended(self.lane(), "cancelled", 1);
                Ok(Cancel::AtOnce)
            }
            "requested" => Ok(Cancel::Requested),
            "not_live" => Ok(Cancel::NotLive),
            other => Err(Error::UnknownAnswer(other.to_owned())),
        }
    }
}
