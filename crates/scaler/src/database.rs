//! The two connections to Postgres, and one to listen on: made when first needed, so that the
//! scaler starts without it, and never asked longer than [`ANSWER_WITHIN`].

use std::time::Duration;

use anyhow::bail;
use queue::{Depth, Queue};
use tokio::sync::Mutex;

use crate::metrics::Reads;

/// Counts of two pools at once; more wait.
const CONNECTIONS_MAX: usize = 2;
/// From asking to the number, connecting included. Below what `/readyz` and KEDA wait.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_900);
/// What Postgres itself may spend, so that a count nobody waits for does not go on.
const STATEMENT_TIMEOUT: &str = "set local statement_timeout = '1500ms'";
/// Ready jobs are counted up to here: no fleet grows further, and a flood stays cheap to count.
const COUNT_MAX: i64 = 10_000;

#[derive(Debug)]
pub(crate) struct Database {
    url: String,
    listen: pg::ListenArgs,
    queue: Queue,
    pool: Mutex<Option<pg::Pool>>,
    reads: Reads,
}

impl Database {
    pub(crate) fn new(args: &pg::Args, listen: &pg::ListenArgs, reads: Reads) -> Self {
        Self {
            url: args.database_url.clone(),
            listen: listen.clone(),
            queue: maintenance::queue(),
            pool: Mutex::default(),
            reads,
        }
    }

    /// The lane's depth, or why there is none.
    pub(crate) async fn depth(&self, pools: &[&str]) -> Result<Depth, String> {
        let answer = match tokio::time::timeout(ANSWER_WITHIN, self.ask(pools)).await {
            Ok(answer) => answer.map_err(|error| runtime::chain(error.as_ref())),
            Err(_) => Err(format!("Postgres gave no answer within {ANSWER_WITHIN:?}")),
        };
        self.reads.count(answer.is_ok());
        answer
    }

    /// The lane's calls from now on, or why they cannot be heard.
    pub(crate) async fn calls(&self) -> Result<queue::Calls, String> {
        let heard = async { anyhow::Ok(self.queue.calls(&self.pool().await?).await?) };
        match tokio::time::timeout(ANSWER_WITHIN, heard).await {
            Ok(calls) => calls.map_err(|error| runtime::chain(error.as_ref())),
            Err(_) => Err(format!("Postgres gave no answer within {ANSWER_WITHIN:?}")),
        }
    }

    async fn ask(&self, pools: &[&str]) -> anyhow::Result<Depth> {
        let mut client = self.pool().await?.get().await?;
        let tx = client.transaction().await?;
        tx.batch_execute(STATEMENT_TIMEOUT).await?;
        let depth = self.queue.depth(&*tx, pools, COUNT_MAX).await?;
        tx.commit().await?;
        Ok(depth)
    }

    async fn pool(&self) -> anyhow::Result<pg::Pool> {
        let mut pool = self.pool.lock().await;
        if let Some(pool) = &*pool {
            return Ok(pool.clone());
        }
        let new = pg::Pool::connect(&self.url, CONNECTIONS_MAX, crate::NAME).await?;
        let new = new.listening(&self.listen, crate::NAME)?;
        let schema = maintenance::SCHEMA;
        if pg::schema_state(&new, schema).await?.is_none() {
            bail!("schema {schema} is not in the database: run `snowpack migrate`");
        }
        Ok(pool.insert(new).clone())
    }
}
