//! A database, a warehouse and workers on them; and ways to hold a worker at a chosen step.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use maintenance::{Job, Submission};
use model::{Action, JobId, JobStatus};
use serde_json::{Value, json};
use storage::Storage;
use tempfile::TempDir;
use testkit::{Database, Process, S3, SmallTable, get, until};
use tokio_postgres::Client;

pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_snowpack-worker");

pub(crate) const CATALOG: &str = "snowpack";
const BUCKET: &str = S3::BUCKET;

/// Small files of a test's table; more than the five a rewrite needs to begin.
pub(crate) const FILES: u64 = 6;
const ROWS_PER_FILE: u64 = 10;

pub(crate) struct Lakehouse {
    pub(crate) database: Database,
    /// `None`: the catalog lies in the database.
    catalog: Option<Database>,
    pub(crate) place: Place,
    /// What the oracle wrote.
    files: Mutex<BTreeSet<String>>,
}

/// Where tables lie.
#[derive(Clone)]
pub(crate) enum Place {
    Folder(Arc<TempDir>),
    Bucket(Arc<S3>),
}

impl Lakehouse {
    pub(crate) async fn new() -> Self {
        Self::on(Database::new().await)
    }

    pub(crate) fn on(database: Database) -> Self {
        Self {
            database,
            catalog: None,
            place: Place::Folder(Arc::new(tempfile::tempdir().unwrap())),
            files: Mutex::default(),
        }
    }

    /// The same tables, with everything else in this database.
    pub(crate) fn at(&self, database: Database) -> Self {
        Self {
            place: self.place.clone(),
            ..Self::on(database)
        }
    }

    /// The catalog in a database of its own.
    pub(crate) async fn elsewhere() -> Self {
        Self {
            catalog: Some(Database::empty().await),
            ..Self::new().await
        }
    }

    /// Tables in S3; their catalog in a database of its own, or in the one of the queue.
    pub(crate) async fn in_s3(server: &Arc<S3>, elsewhere: bool) -> Self {
        let catalog = if elsewhere {
            Some(Database::empty().await)
        } else {
            None
        };
        Self {
            catalog,
            place: Place::Bucket(Arc::clone(server)),
            ..Self::new().await
        }
    }

    /// A new table of [`FILES`] small files.
    pub(crate) async fn table(&self, name: &str) -> SmallTable {
        self.table_with(name, json!({})).await
    }

    /// The same, with these properties set once it is made.
    pub(crate) async fn table_with(&self, name: &str, properties: Value) -> SmallTable {
        let look = self.oracle("create", name, properties).await;
        *self.files.lock().unwrap() = self.there();
        look
    }

    pub(crate) async fn look(&self, name: &str) -> SmallTable {
        self.oracle("look", name, json!({})).await
    }

    /// Files that were not there when the last table was created.
    pub(crate) fn files_of_workers(&self) -> Vec<String> {
        let found = self.there();
        let own = self.files.lock().unwrap();
        found.difference(&own).cloned().collect()
    }

    /// Every file below the warehouse, as [`plain`] writes it.
    pub(crate) fn there(&self) -> BTreeSet<String> {
        match &self.place {
            Place::Folder(folder) => {
                let mut found = BTreeSet::new();
                files_below(folder.path(), &mut found);
                found
            }
            Place::Bucket(server) => {
                let files = server.files().into_iter();
                let below = files.map(|path| format!("{BUCKET}/{}", path.display()));
                let warehouse = plain(&self.warehouse());
                below.filter(|path| path.starts_with(&warehouse)).collect()
            }
        }
    }

    /// What reaches the tables' files, without any proxy.
    pub(crate) fn storage(&self) -> Storage {
        match &self.place {
            Place::Folder(_) => Storage::local(),
            Place::Bucket(server) => Storage::new(&storage::Args {
                s3_endpoint: Some(server.endpoint()),
                s3_region: Some(S3::REGION.to_owned()),
                s3_access_key_id: Some(S3::ACCESS_KEY_ID.to_owned()),
                s3_secret_access_key: Some(S3::SECRET_ACCESS_KEY.to_owned()),
                ..storage::Args::default()
            })
            .unwrap(),
        }
    }

    /// Where the catalog lies.
    pub(crate) fn catalog(&self) -> &Database {
        self.catalog.as_ref().unwrap_or(&self.database)
    }

    async fn oracle(&self, op: &str, name: &str, set: Value) -> SmallTable {
        let asked = json!({
            "op": op,
            "table": format!("db.{name}"),
            "files": FILES,
            "rows_per_file": ROWS_PER_FILE,
            "set": set,
        });
        SmallTable::ask(self.placed(asked)).await
    }

    /// The question with where this house's tables are.
    pub(crate) fn placed(&self, mut asked: Value) -> Value {
        asked["uri"] = self.catalog().url().into();
        asked["catalog"] = CATALOG.into();
        asked["warehouse"] = self.warehouse().into();
        if let Place::Bucket(server) = &self.place {
            asked["properties"] = server.oracle_properties();
        }
        asked
    }

    pub(crate) fn warehouse(&self) -> String {
        match &self.place {
            Place::Folder(folder) => format!("file://{}", folder.path().display()),
            // The server is shared, the database is not.
            Place::Bucket(_) => format!("s3://{BUCKET}/{}", self.database.name()),
        }
    }

    /// The table was rewritten exactly once since `before`, and holds the same rows.
    pub(crate) async fn rewritten_once(&self, name: &str, before: &SmallTable) {
        self.look(name).await.is_rewritten_once(before);
    }

    pub(crate) async fn submit(&self, table: &str) -> JobId {
        self.submit_with(table, |_| {}).await
    }

    pub(crate) async fn submit_with(
        &self,
        table: &str,
        change: impl FnOnce(&mut Submission),
    ) -> JobId {
        let job = self.submit_unheard_with(table, change).await;
        let client = self.database.client().await;
        maintenance::queue().notify(&client).await.unwrap();
        job
    }

    /// Submits and tells nobody.
    pub(crate) async fn submit_unheard(&self, table: &str) -> JobId {
        self.submit_unheard_with(table, |_| {}).await
    }

    async fn submit_unheard_with(
        &self,
        table: &str,
        change: impl FnOnce(&mut Submission),
    ) -> JobId {
        let mut client = self.database.client().await;
        let tx = client.transaction().await.unwrap();
        let actions = vec![Action::RewriteDataFiles];
        let mut asked = Submission::new(format!("db.{table}").parse().unwrap(), actions, "test");
        change(&mut asked);
        let job = maintenance::submit(&tx, &asked)
            .await
            .unwrap()
            .job()
            .clone();
        tx.commit().await.unwrap();
        job
    }

    pub(crate) async fn cancel(&self, job: &JobId) {
        let mut client = self.database.client().await;
        let tx = client.transaction().await.unwrap();
        maintenance::cancel(&tx, job).await.unwrap();
        tx.commit().await.unwrap();
        let told = maintenance::queue().notify_cancel(&client, job).await;
        told.unwrap();
    }

    pub(crate) async fn job(&self, job: &JobId) -> Job {
        let client = self.database.client().await;
        maintenance::get(&client, job).await.unwrap().unwrap()
    }

    pub(crate) async fn status(&self, job: &JobId) -> JobStatus {
        self.job(job).await.status
    }

    /// Waits until the job has this status.
    pub(crate) async fn becomes(&self, job: &JobId, status: JobStatus) {
        until(&format!("the job is {status}"), async || {
            let now = self.status(job).await;
            assert!(now == status || !now.terminal(), "it is {now}");
            now == status
        })
        .await;
    }

    /// The lease of the job's worker is over, or the pause before its next attempt.
    pub(crate) async fn make_due(&self, job: &JobId) {
        let sql = "update snowpack.job_queue \
                   set visible_at = now() - interval '1 second', scheduled = false \
                   where job_id = $1";
        let client = self.database.client().await;
        client.execute(sql, &[&job.as_str()]).await.unwrap();
    }

    /// How often the job was claimed and not handed back for free.
    pub(crate) async fn attempts(&self, job: &JobId) -> i32 {
        self.one(
            "select attempt_count from snowpack.job_queue where job_id = $1",
            job,
        )
        .await
    }

    pub(crate) async fn claimed_by(&self, job: &JobId) -> String {
        self.one(
            "select claimed_by from snowpack.job_queue where job_id = $1",
            job,
        )
        .await
    }

    pub(crate) async fn lease_ends(&self, job: &JobId) -> String {
        self.one(
            "select visible_at::text from snowpack.job_queue where job_id = $1",
            job,
        )
        .await
    }

    /// Result rows of the job, and locks and queue rows left of it.
    pub(crate) async fn leftovers(&self, job: &JobId) -> (i64, i64) {
        let results = "select count(*) from snowpack.job_actions where job_id = $1 and success";
        let live = "select (select count(*) from snowpack.job_queue where job_id = $1) \
                    + (select count(*) from snowpack.table_locks where holder = $1)";
        (self.one(results, job).await, self.one(live, job).await)
    }

    /// The job's good results in the order they were written, as in `purge_pending done`.
    pub(crate) async fn results(&self, job: &JobId) -> Vec<String> {
        let sql = "select action || ' ' || outcome from snowpack.job_actions \
                   where job_id = $1 and success order by created_at";
        let client = self.database.client().await;
        let rows = client.query(sql, &[&job.as_str()]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn one<T>(&self, sql: &str, job: &JobId) -> T
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let client = self.database.client().await;
        client
            .query_one(sql, &[&job.as_str()])
            .await
            .unwrap()
            .get(0)
    }

    pub(crate) fn worker(&self, more: &[(&str, &str)], arguments: &[&str]) -> Process {
        let own = self.settings();
        let own: Vec<(&str, &str)> = own.iter().map(|(k, v)| (*k, v.as_str())).collect();
        Process::start(WORKER, &[&own, more].concat(), arguments)
    }

    /// What a worker must know; what is added to it wins.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut own = vec![
            ("SNOWPACK_DATABASE_URL", self.database.url().to_owned()),
            ("SNOWPACK_WAREHOUSE", self.warehouse()),
            ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0".to_owned()),
        ];
        if let Some(catalog) = &self.catalog {
            own.push(("SNOWPACK_CATALOG_URI", catalog.url().to_owned()));
        }
        if let Place::Bucket(server) = &self.place {
            own.extend(server.settings());
        }
        own
    }

    /// Runs a worker until nothing is left to do.
    pub(crate) async fn work_off(&self, more: &[(&str, &str)], announced: &[&str]) {
        self.worker(more, &["--exit-when-idle"])
            .ended_with(0, announced)
            .await;
    }

    /// Holds whoever wants to swap the table's metadata.
    pub(crate) async fn hold_swap(&self, table: &str) -> Hold {
        let sql = format!("select 1 from iceberg_tables where table_name = '{table}' for update");
        hold(self.catalog(), &sql).await
    }

    /// Holds whoever wants to load any table.
    pub(crate) async fn hold_catalog(&self) -> Hold {
        let sql = "lock table iceberg_tables in access exclusive mode";
        hold(self.catalog(), sql).await
    }

    /// Holds whoever wants to write down which files it is going to write.
    pub(crate) async fn hold_ledger(&self) -> Hold {
        let sql = "lock table snowpack.attempt_files in exclusive mode";
        hold(&self.database, sql).await
    }

    /// Holds whoever wants to end the job.
    pub(crate) async fn hold_end(&self, job: &JobId) -> Hold {
        let sql = format!("select 1 from snowpack.jobs where job_id = '{job}' for no key update");
        hold(&self.database, &sql).await
    }
}

async fn hold(database: &Database, sql: &str) -> Hold {
    let client = database.client().await;
    client.batch_execute("begin").await.unwrap();
    client.batch_execute(sql).await.unwrap();
    let pid = client
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    Hold {
        client,
        pid,
        watcher: database.client().await,
    }
}

/// A location without its scheme.
pub(crate) fn plain(location: &str) -> String {
    let (_, path) = location.split_once("://").unwrap_or(("", location));
    path.to_owned()
}

fn files_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.insert(path.display().to_string());
        }
    }
}

/// An open transaction of the test that others wait for. Released when dropped, too.
pub(crate) struct Hold {
    client: Client,
    pid: i32,
    watcher: Client,
}

impl Hold {
    /// Waits until somebody is held.
    pub(crate) async fn holds(&self) {
        let sql = "select exists (select 1 from pg_stat_activity \
                   where $1 = any (pg_blocking_pids(pid)))";
        until("somebody is held", async || {
            self.watcher
                .query_one(sql, &[&self.pid])
                .await
                .unwrap()
                .get(0)
        })
        .await;
    }

    pub(crate) async fn release(self) {
        self.client.batch_execute("rollback").await.unwrap();
    }
}

/// Where a worker's admin server listens.
pub(crate) async fn admin(worker: &Process) -> SocketAddr {
    worker.address("admin server listens").await
}

/// Waits until `/readyz` answers this code.
pub(crate) async fn readiness(worker: &Process, code: u16) {
    let address = admin(worker).await;
    until(&format!("readiness is {code}"), async || {
        get(address, "/readyz", &[]).await.0 == code
    })
    .await;
}
