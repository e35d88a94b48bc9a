//! The sweep: what a claim's tick does, for lanes without a worker, and what only a bug or a hand
//! in psql leaves behind.

use model::JobId;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use crate::sql::one;
use crate::{Error, Queue, metrics};

/// What one sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Expired jobs that may not run again.
    pub ended: i32,
    /// Expired jobs that wait again.
    pub reset: i32,
    /// Delayed jobs that have become due.
    pub flipped: i32,
    /// Locks whose holder was not live.
    pub locks: i32,
    /// Queue rows whose record had ended.
    pub rows: i32,
}

/// Where the next sweep goes on looking for orphans; the default is the beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    job: Option<JobId>,
    key: Option<String>,
}

impl Queue {
    /// Handles at most `batch` rows of each kind. Many at once are safe, and none waits. Orphans
    /// are looked for `batch` rows at a time behind `cursor`, which starts over by itself.
    pub async fn sweep<C: GenericClient + Sync>(
        &self,
        client: &C,
        batch: i32,
        cursor: &mut Cursor,
    ) -> Result<Swept, Error> {
        let row = one(
            client,
            "sweep",
            &self.sql().sweep,
            &[
                (&batch, Type::INT4),
                (&cursor.job.as_ref().map(JobId::as_str), Type::TEXT),
                (&cursor.key, Type::TEXT),
            ],
        )
        .await?;
        let ticked = metrics::Ticked::read(&row);
        ticked.count(self.lane());
        let swept = Swept {
            ended: ticked.ended(),
            reset: ticked.reset,
            flipped: row.get("flipped"),
            locks: row.get("locks"),
            rows: row.get("queue_rows"),
        };
        cursor.job = row.get::<_, Option<String>>("next_job").map(JobId::new);
        cursor.key = row.get("next_key");
        if swept.locks > 0 || swept.rows > 0 {
            tracing::warn!(lane = self.lane(), swept.locks, swept.rows, "swept orphans");
        }
        Ok(swept)
    }
}
