//! A migrated lane to test on, and the few steps every test takes.

use std::time::Duration;

use maintenance::{ClaimedJob, Error, Submission, Submitted};
use model::{Action, JobId, JobStatus, TableName};
use queue::{Claimed, End, Fence};
use testkit::Database;
use tokio_postgres::Client;

pub(crate) const LEASE: Duration = Duration::from_mins(1);

pub(crate) struct Lane {
    pub(crate) database: Database,
    pub(crate) client: Client,
}

impl Lane {
    pub(crate) async fn new() -> Self {
        let database = Database::new().await;
        let client = database.client().await;
        Self { database, client }
    }

    pub(crate) async fn try_submit(&mut self, asked: &Submission) -> Result<Submitted, Error> {
        let tx = self.client.transaction().await.unwrap();
        let submitted = maintenance::submit(&tx, asked).await?;
        tx.commit().await.unwrap();
        Ok(submitted)
    }

    /// A new job for a table that no job holds.
    pub(crate) async fn submit(&mut self, table: &str) -> JobId {
        match self.try_submit(&submission(table)).await.unwrap() {
            Submitted::New(job) => job,
            Submitted::Existing(job) => panic!("{job} was there already"),
        }
    }

    pub(crate) async fn claim(&self, job: &JobId) -> Claimed {
        let queue = maintenance::queue();
        let claimed = queue
            .claim_one(&self.client, job, LEASE, "test")
            .await
            .unwrap();
        claimed.unwrap_or_else(|| panic!("{job} could not be claimed"))
    }

    pub(crate) async fn claimed_job(&self, fence: &Fence) -> Result<ClaimedJob, Error> {
        let loaded = maintenance::claimed_jobs(&self.client, &[fence.ids()]).await;
        loaded.unwrap().pop().unwrap()
    }

    pub(crate) async fn finish(&mut self, claimed: &Claimed, end: &End) -> Result<(), Error> {
        let tx = self.client.transaction().await.unwrap();
        maintenance::queue()
            .finish(&tx, claimed.fence.for_retry(), end)
            .await?;
        tx.commit().await.unwrap();
        Ok(())
    }

    /// As if the worker had died a lease ago.
    pub(crate) async fn expire(&self, job: &JobId) {
        let sql = "update snowpack.job_queue set visible_at = now() - interval '1 second', \
                   claimed_at = claimed_at - interval '2 minutes' where job_id = $1";
        assert_eq!(self.client.execute(sql, &[&job.as_str()]).await.unwrap(), 1);
    }

    /// One number.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn status(&self, job: &JobId) -> JobStatus {
        let sql = "select status from snowpack.jobs where job_id = $1";
        let row = self.client.query_one(sql, &[&job.as_str()]).await.unwrap();
        JobStatus::parse(row.get(0)).unwrap()
    }

    /// No queue row and no lock is left of anything.
    pub(crate) async fn assert_nothing_is_live(&self) {
        assert_eq!(
            self.count("select count(*) from snowpack.job_queue").await,
            0,
            "queue rows"
        );
        assert_eq!(
            self.count("select count(*) from snowpack.table_locks")
                .await,
            0,
            "locks"
        );
    }
}

pub(crate) fn table(name: &str) -> TableName {
    name.parse().unwrap()
}

pub(crate) fn submission(name: &str) -> Submission {
    Submission::new(table(name), vec![Action::RewriteDataFiles], "test")
}
