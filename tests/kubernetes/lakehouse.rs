//! Real tables behind a release: a database of its own, a warehouse in the S3 server beside the
//! cluster, PyIceberg to make tables and to judge them, and ways to hold a worker at a step.

use std::time::{Duration, Instant};

use maintenance::Submission;
use model::{Action, JobId, JobStatus};
use serde_json::{Value, json};
use testkit::{Database, S3, SmallTable, until};
use tokio_postgres::Client;

/// Where pods and tests find the S3 server.
pub(crate) const S3_ENDPOINT: &str = "http://10.97.0.1:7070";
/// Small files of a table; more than the five a rewrite needs to begin.
const FILES: u64 = 6;

#[derive(Debug)]
pub(crate) struct Lakehouse {
    pub(crate) database: Database,
}

impl Lakehouse {
    /// A database with nothing in it: the chart migrates it.
    pub(crate) async fn new() -> Self {
        Self {
            database: Database::empty().await,
        }
    }

    pub(crate) fn warehouse(&self) -> String {
        format!("s3://{}/{}", S3::BUCKET, self.database.name())
    }

    /// A new table of [`FILES`] small files.
    pub(crate) async fn table(&self, name: &str) -> SmallTable {
        self.oracle("create", name, &[]).await
    }

    /// New tables of one file each.
    pub(crate) async fn tables(&self, names: &[String]) {
        self.oracle("create", "last", names).await;
    }

    async fn oracle(&self, op: &str, name: &str, more: &[String]) -> SmallTable {
        let more: Vec<_> = more.iter().map(|name| format!("db.{name}")).collect();
        let asked = json!({
            "op": op,
            "uri": self.database.url(),
            "catalog": "snowpack",
            "warehouse": self.warehouse(),
            "properties": {
                "s3.endpoint": S3_ENDPOINT,
                "s3.region": S3::REGION,
                "s3.access-key-id": S3::ACCESS_KEY_ID,
                "s3.secret-access-key": S3::SECRET_ACCESS_KEY,
            },
            "table": format!("db.{name}"),
            "more": more,
            "files": FILES,
            "rows_per_file": 10,
        });
        SmallTable::ask(asked).await
    }

    /// The table was rewritten exactly once since `before`, and holds the same rows.
    pub(crate) async fn rewritten_once(&self, name: &str, before: &SmallTable) {
        let after = self.oracle("look", name, &[]).await;
        after.is_rewritten_once(before);
    }

    /// Submits a rewrite of each table in one transaction; says when it was committed.
    pub(crate) async fn submit(&self, tables: &[String]) -> (Vec<JobId>, Instant) {
        let mut client = self.database.client().await;
        let tx = client.transaction().await.unwrap();
        let mut jobs = Vec::new();
        for table in tables {
            let actions = vec![Action::RewriteDataFiles];
            let asked = Submission::new(format!("db.{table}").parse().unwrap(), actions, "test");
            let submitted = maintenance::submit(&tx, &asked).await.unwrap();
            jobs.push(submitted.job().clone());
        }
        tx.commit().await.unwrap();
        let at = Instant::now();
        maintenance::queue().notify(&client).await.unwrap();
        (jobs, at)
    }

    /// Submits a rewrite that a worker claims which is never heard of again; its lease is over.
    pub(crate) async fn lost(&self, table: &str) -> JobId {
        let mut client = self.database.client().await;
        let tx = client.transaction().await.unwrap();
        let actions = vec![Action::RewriteDataFiles];
        let asked = Submission::new(format!("db.{table}").parse().unwrap(), actions, "test");
        let submitted = maintenance::submit(&tx, &asked).await.unwrap();
        let job = submitted.job().clone();
        let lease = Duration::from_secs(2);
        let queue = maintenance::queue();
        let claimed = queue.claim_one(&tx, &job, lease, "dead").await.unwrap();
        assert!(claimed.is_some(), "the job is due");
        tx.commit().await.unwrap();
        let sql = "select visible_at <= now() from snowpack.job_queue where job_id = $1";
        until("the lease is over", async || {
            let row = client.query_one(sql, &[&job.as_str()]).await.unwrap();
            row.get(0)
        })
        .await;
        job
    }

    /// Waits until every job is completed; each left one good result, and no lock or queue row.
    pub(crate) async fn completed_once(&self, jobs: &[JobId]) {
        let client = self.database.client().await;
        for job in jobs {
            let mut last = String::new();
            until(&format!("job {job} is completed"), async || {
                let found = maintenance::get(&client, job).await.unwrap().unwrap();
                last = format!("{found:?}");
                assert_ne!(found.status, JobStatus::Failed, "{last}");
                found.status == JobStatus::Completed
            })
            .await;
            let sql = "select (select count(*) from snowpack.job_actions \
                       where job_id = $1 and success and action = 'rewrite_data_files'), \
                       (select count(*) from snowpack.job_queue where job_id = $1) \
                       + (select count(*) from snowpack.table_locks where holder = $1)";
            let row = client.query_one(sql, &[&job.as_str()]).await.unwrap();
            let left: (i64, i64) = (row.get(0), row.get(1));
            assert_eq!(left, (1, 0), "{last}");
        }
    }

    /// One number from the database.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let client = self.database.client().await;
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Who holds each job that runs.
    pub(crate) async fn holders(&self) -> Vec<String> {
        let client = self.database.client().await;
        let sql = "select claimed_by from snowpack.job_queue where claimed_by is not null";
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Holds whoever wants to load any table: its job has begun and written nothing.
    pub(crate) async fn hold_loads(&self) -> Hold {
        self.hold("lock table iceberg_tables in access exclusive mode")
            .await
    }

    /// Holds what this statement locks.
    pub(crate) async fn hold(&self, sql: &str) -> Hold {
        let client = self.database.client().await;
        client.batch_execute("begin").await.unwrap();
        client.batch_execute(sql).await.unwrap();
        let row = client.query_one("select pg_backend_pid()", &[]).await;
        Hold {
            pid: row.unwrap().get(0),
            client,
            watcher: self.database.client().await,
        }
    }

    /// What the chart's values say about the warehouse.
    pub(crate) fn values(&self) -> Value {
        json!({
            "warehouse": self.warehouse(),
            "s3": {"endpoint": S3_ENDPOINT, "region": S3::REGION, "existingSecret": "s3"},
        })
    }
}

/// An open transaction of the test that others wait for. Released when dropped, too.
#[derive(Debug)]
pub(crate) struct Hold {
    client: Client,
    pid: i32,
    watcher: Client,
}

impl Hold {
    /// Waits until so many are held at once, beside the API's own loops.
    pub(crate) async fn holds(&self, count: i64) {
        let sql = "select count(*) from pg_stat_activity \
                   where $1 = any (pg_blocking_pids(pid)) and application_name <> 'snowpack-api'";
        until(&format!("{count} are held"), async || {
            let row = self.watcher.query_one(sql, &[&self.pid]).await.unwrap();
            row.get::<_, i64>(0) >= count
        })
        .await;
    }

    pub(crate) async fn release(self) {
        // Where Postgres went away it is released already.
        self.client.batch_execute("rollback").await.ok();
    }
}
