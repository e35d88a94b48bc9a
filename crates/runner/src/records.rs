//! What Postgres knows of a table, for whoever plans without a fence.

use async_trait::async_trait;
use pg::Pool;
use planner::{Due, LedgerError, OpenIntent, Records};

/// Reads over a pool.
#[derive(Debug, Clone)]
pub struct PoolRecords {
    pool: Pool,
}

impl PoolRecords {
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl Records for PoolRecords {
    async fn now_ms(&self) -> Result<i64, LedgerError> {
        let doing = "read the database's clock";
        let client = self.pool.get().await.map_err(|error| LedgerError::Failed {
            doing,
            source: Box::new(error),
        })?;
        let now = maintenance::settings::now_ms(&**client).await;
        now.map_err(|error| LedgerError::Failed {
            doing,
            source: Box::new(error),
        })
    }

    async fn open_intents(&self, _: &str) -> Result<Vec<OpenIntent>, LedgerError> {
        Ok(Vec::new())
    }

    async fn due(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<Due>, LedgerError> {
        Ok(Vec::new())
    }
}
