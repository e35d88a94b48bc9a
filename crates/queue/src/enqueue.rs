//! Queue rows of new jobs, written in the caller's transaction beside the record and the lock.

use std::time::Duration;

use model::JobId;
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use crate::sql::run;
use crate::{Error, Queue};

/// One job to queue. Its record must have been written in the same transaction, or before.
#[derive(Debug, Clone)]
pub struct Enqueue {
    pub job: JobId,
    /// Which workers may take it.
    pub pool: String,
    /// -3 to 3; smaller runs first.
    pub priority: i16,
    /// Not before this long from now.
    pub run_after: Option<Duration>,
    /// Claims before the job is given up.
    pub max_attempts: i32,
    /// The key of the lock the job holds ([`Queue::lock`]).
    pub concurrency_key: Option<String>,
    /// Not started again after this long from now.
    pub deadline: Option<Duration>,
}

impl Enqueue {
    /// Due at once, in pool `default`, with the default bound on attempts.
    pub fn new(job: JobId) -> Self {
        Self {
            job,
            pool: Self::POOL_DEFAULT.to_owned(),
            priority: 0,
            run_after: None,
            max_attempts: Self::ATTEMPTS_DEFAULT,
            concurrency_key: None,
            deadline: None,
        }
    }

    pub const POOL_DEFAULT: &'static str = "default";
    pub const ATTEMPTS_DEFAULT: i32 = 5;
}

impl Queue {
    /// Queues a batch in one statement. Wakes nobody: use a [`crate::Waker`] after the commit.
    pub async fn enqueue(&self, tx: &Transaction<'_>, items: &[Enqueue]) -> Result<(), Error> {
        if items.is_empty() {
            return Ok(());
        }
        let jobs: Vec<&str> = items.iter().map(|item| item.job.as_str()).collect();
        let pools: Vec<&str> = items.iter().map(|item| item.pool.as_str()).collect();
        let priorities: Vec<i16> = items.iter().map(|item| item.priority).collect();
        let delays: Vec<f64> = items
            .iter()
            .map(|item| item.run_after.unwrap_or_default().as_secs_f64())
            .collect();
        let attempts: Vec<i32> = items.iter().map(|item| item.max_attempts).collect();
        let keys: Vec<Option<&str>> = items
            .iter()
            .map(|item| item.concurrency_key.as_deref())
            .collect();
        let deadlines: Vec<Option<f64>> = items
            .iter()
            .map(|item| item.deadline.map(|left| left.as_secs_f64()))
            .collect();
        run(
            tx,
            "queue jobs",
            &self.sql().enqueue,
            &[
                (&jobs, Type::TEXT_ARRAY),
                (&pools, Type::TEXT_ARRAY),
                (&priorities, Type::INT2_ARRAY),
                (&delays, Type::FLOAT8_ARRAY),
                (&attempts, Type::INT4_ARRAY),
                (&keys, Type::TEXT_ARRAY),
                (&deadlines, Type::FLOAT8_ARRAY),
            ],
        )
        .await
        .map(drop)
    }
}
