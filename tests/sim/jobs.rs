//! The jobs of a round: what owners submitted, and what the database says of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use tokio_postgres::Client;

/// What was submitted through the API, shared by all owners.
#[derive(Debug, Default)]
pub(crate) struct Submissions {
    next: AtomicU64,
    accepted: Mutex<Vec<Submission>>,
}

/// One job that the API answered for.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    pub(crate) job: String,
    pub(crate) key: String,
    pub(crate) table: String,
}

impl Submissions {
    /// The number of the next job, below `max`.
    pub(crate) fn next(&self, max: u64) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < max).then_some(number)
    }

    pub(crate) fn add(&self, submission: Submission) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.push(submission);
    }

    pub(crate) fn all(&self) -> Vec<Submission> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.clone()
    }
}

/// A job as its row tells it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) job: String,
    pub(crate) table: String,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) submitted_by: String,
    /// It may commit in several steps.
    pub(crate) in_parts: bool,
}

impl Record {
    pub(crate) fn terminal(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }
}

/// A good result of one action.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) action: String,
    pub(crate) outcome: String,
    pub(crate) snapshot: Option<i64>,
    pub(crate) swaps: i64,
}

/// Every job there is a row of, live or archived.
pub(crate) async fn records(client: &Client) -> Result<Vec<Record>> {
    let sql = "select job_id, database_name || '.' || table_name, status, reason, \
                      idempotency_key, submitted_by, options::text \
               from snowpack.jobs \
               union all \
               select job_id, database_name || '.' || table_name, status, record ->> 'reason', \
                      record ->> 'idempotency_key', submitted_by, record ->> 'options' \
               from snowpack.job_history";
    let rows = client.query(sql, &[]).await?;
    let records = rows.iter().map(|row| Record {
        job: row.get(0),
        table: row.get(1),
        status: row.get(2),
        reason: row.get(3),
        key: row.get(4),
        submitted_by: row.get(5),
        in_parts: row
            .get::<_, Option<String>>(6)
            .is_some_and(|options| options.contains("partial-progress")),
    });
    Ok(records.collect())
}

/// How many tables the API has found in the catalog.
pub(crate) async fn tables_known(client: &Client) -> Result<usize> {
    let sql = "select count(*) from snowpack.table_cache_entries";
    let known: i64 = client.query_one(sql, &[]).await?.get(0);
    Ok(usize::try_from(known)?)
}

/// What the orchestrator's runs say they submitted: jobs and their tables.
pub(crate) async fn decided(client: &Client) -> Result<Vec<(String, String)>> {
    let sql = "select job_id, database_name || '.' || table_name \
               from snowpack.orchestrator_decisions where job_id is not null";
    let rows = client.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// What runs of the orchestrator decided, by decision and reason.
pub(crate) async fn decisions(client: &Client) -> Result<BTreeMap<String, u64>> {
    let sql = "select decision || ' (' || reason || ')', count(*) \
               from snowpack.orchestrator_decisions group by 1";
    let rows = client.query(sql, &[]).await?;
    let counted = rows.iter().map(|row| {
        let count: i64 = row.get(1);
        (row.get(0), count.unsigned_abs())
    });
    Ok(counted.collect())
}

/// The good results of every job.
pub(crate) async fn results(client: &Client) -> Result<BTreeMap<String, Vec<Done>>> {
    let sql = "select job_id, action, outcome, (result ->> 'snapshot_id')::bigint, \
                      coalesce((result ->> 'commit_attempts')::bigint, 0) \
               from snowpack.job_actions where success";
    let mut all: BTreeMap<String, Vec<Done>> = BTreeMap::new();
    for row in client.query(sql, &[]).await? {
        all.entry(row.get(0)).or_default().push(Done {
            action: row.get(1),
            outcome: row.get(2),
            snapshot: row.get(3),
            swaps: row.get(4),
        });
    }
    Ok(all)
}

/// The status of one job.
pub(crate) async fn ended(client: &Client, job: &str) -> Result<bool> {
    let sql = "select count(*) from snowpack.jobs where job_id = $1 and completed_at is null";
    Ok(client.query_one(sql, &[&job]).await?.get::<_, i64>(0) == 0)
}

/// How many have not ended.
pub(crate) async fn live(client: &Client) -> Result<i64> {
    let sql = "select count(*) from snowpack.jobs where completed_at is null";
    Ok(client.query_one(sql, &[]).await?.get(0))
}

/// Whoever waits for a later try has waited long enough.
pub(crate) async fn skip_waiting(client: &Client) -> Result<u64> {
    let sql =
        "update snowpack.job_queue set visible_at = now() where scheduled and visible_at > now()";
    Ok(client.execute(sql, &[]).await?)
}

/// Rows a finished job must not leave: of the queue, and locks.
pub(crate) async fn leftovers(client: &Client) -> Result<(i64, i64)> {
    let sql = "select (select count(*) from snowpack.job_queue), \
                      (select count(*) from snowpack.table_locks)";
    let row = client.query_one(sql, &[]).await?;
    Ok((row.get(0), row.get(1)))
}
