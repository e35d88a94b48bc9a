//! One table's owner: submits jobs through the API, each under a key of its own until the API
//! has answered for it, cancels some, and waits for their ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use model::TableName;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::house::House;
use crate::jobs::{self, Submission, Submissions};
use crate::steady::steadily;

/// An API that is silent for so long is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two jobs of a table.
const REST_MS: std::ops::Range<u64> = 0..2_500;
/// Of so many jobs, one is cancelled.
const CANCELLED: u32 = 12;
/// Snapshots younger than this stay: a writer in doubt looks for its own.
const EXPIRE_AFTER_MS: i64 = 20_000;

pub(crate) struct Owner {
    house: Arc<House>,
    table: TableName,
    rng: StdRng,
    submissions: Arc<Submissions>,
    jobs_max: u64,
}

impl Owner {
    pub(crate) fn new(
        house: &Arc<House>,
        number: usize,
        submissions: &Arc<Submissions>,
        jobs_max: u64,
    ) -> Result<Self> {
        Ok(Self {
            house: Arc::clone(house),
            table: House::table(number)?,
            rng: StdRng::seed_from_u64(!house.seed ^ ((number as u64 + 1) << 32)),
            submissions: Arc::clone(submissions),
            jobs_max,
        })
    }

    /// One job after the other until told to stop or all are submitted.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<()> {
        while !stop.is_cancelled() {
            let Some(number) = self.submissions.next(self.jobs_max) else {
                return Ok(());
            };
            let key = format!("sim-{number}");
            let asked = self.asked(&key).await?;
            let what = format!("submit {key} for {}", self.table);
            let job = steadily(&what, async || self.submit(&asked).await).await?;
            self.submissions.add(Submission {
                job: job.clone(),
                key,
                table: self.table.key(),
            });
            if self.rng.random_ratio(1, CANCELLED) {
                self.cancel(&job).await?;
            }
            self.ends(&job, &stop).await?;
            let pause = Duration::from_millis(self.rng.random_range(REST_MS));
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// What is asked of the API, the same however often.
    async fn asked(&mut self, key: &str) -> Result<String> {
        let rewrite = json!({
            "min-input-files": "2",
            "remove-dangling-deletes": self.rng.random_bool(0.5).to_string(),
            "delete-file-threshold": "1",
        });
        let mut rewrite = rewrite;
        if self.rng.random_bool(0.2) {
            rewrite["partial-progress.enabled"] = "true".into();
            rewrite["partial-progress.max-commits"] = "3".into();
        }
        let now = steadily("read the clock", async || {
            let client = self.house.pool.get().await?;
            Ok(maintenance::settings::now_ms(&**client).await?)
        });
        let expire = json!({
            "older_than": (now.await? - EXPIRE_AFTER_MS).to_string(),
            "retain_last": self.rng.random_range(1..4).to_string(),
            "deletion-grace-ms": "0",
        });
        let (actions, options) = match self.rng.random_range(0..10) {
            0..6 => (
                json!(["rewrite_data_files"]),
                json!({"rewrite_data_files": rewrite}),
            ),
            6..9 => (
                json!(["purge_pending", "rewrite_data_files", "expire_snapshots"]),
                json!({"rewrite_data_files": rewrite, "expire_snapshots": expire}),
            ),
            _ => (
                json!(["expire_snapshots", "purge_pending"]),
                json!({"expire_snapshots": expire}),
            ),
        };
        let asked = json!({"actions": actions, "options": options, "idempotency_key": key});
        Ok(asked.to_string())
    }

    /// The job, new or submitted by an earlier try whose answer was lost. While another job holds
    /// the table, the API is restarted or Postgres is away, this fails and is tried again.
    async fn submit(&self, asked: &str) -> Result<String> {
        let path = format!(
            "/tables/{}/{}/maintenance",
            self.table.database(),
            self.table.table()
        );
        let (status, answer) = self.call("POST", &path, asked).await?;
        match status {
            200 | 202 => {
                let job = answer["job_id"].as_str();
                Ok(job
                    .with_context(|| format!("no job in {answer}"))?
                    .to_owned())
            }
            _ => bail!("{status}: {answer}"),
        }
    }

    /// Told once: a job may have ended by then, and an API that is away does not hear it.
    async fn cancel(&mut self, job: &str) -> Result<()> {
        let pause = Duration::from_millis(self.rng.random_range(0..2_000));
        tokio::time::sleep(pause).await;
        let path = format!("/jobs/{job}/cancel");
        match self.call("POST", &path, "").await {
            Ok((404, answer)) => bail!("cancelling {job}: {answer}"),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> Result<(u16, Value)> {
        let sent = testkit::send(self.house.api, method, path, body);
        let (status, body) = tokio::time::timeout(ANSWER_WITHIN, sent).await??;
        Ok((status, serde_json::from_str(&body)?))
    }

    /// Waits until the job has ended; once told to stop, whoever judges the round does.
    async fn ends(&self, job: &str, stop: &CancellationToken) -> Result<()> {
        while !stop.is_cancelled() {
            let what = format!("look for the end of {job}");
            let ended = steadily(&what, async || {
                let client = self.house.pool.get().await?;
                jobs::ended(&client, job).await
            });
            if ended.await? {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}
