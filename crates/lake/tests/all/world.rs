//! One test's world: database, catalog, warehouse, engine, and the oracles on the same tables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use catalog::{Catalog, SqlCatalog, Table};
use lake::NativeEngine;
use metadata::{Fields, LiveFiles, live_files};
use model::{Action, Advice, AttemptId, JobId, TableName};
use planner::{Attempt, Engine, EngineError, Plan, Progress, Report, Signals, Task, Unwatched};
use serde_json::{Value, json};
use storage::Storage;
use testkit::RestCatalog;

use crate::ledger::{Break, TestLedger};

const CATALOG: &str = "snowpack";
const MEMORY_BYTES: u64 = 256 << 20;

#[derive(Debug, Default)]
pub(crate) struct Units {
    pub(crate) total: AtomicU64,
    pub(crate) done: AtomicU64,
    pub(crate) alive: AtomicU64,
}

impl Progress for Units {
    fn total(&self, units: u64) {
        self.total.store(units, Ordering::Relaxed);
    }

    fn advance(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
    }

    fn alive(&self) {
        self.alive.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) struct World {
    database: testkit::Database,
    /// What the engine reaches its tables through.
    pub(crate) server: Option<RestCatalog>,
    catalog_name: &'static str,
    /// `None`: the files lie in S3.
    _folder: Option<tempfile::TempDir>,
    warehouse: String,
    /// How the oracle reaches the files.
    properties: Value,
    pub(crate) catalog: Arc<SqlCatalog>,
    pub(crate) engine: NativeEngine,
    pub(crate) ledger: TestLedger,
    pub(crate) signals: Signals,
    pub(crate) progress: Units,
    pub(crate) name: TableName,
    jobs: AtomicU64,
}

/// What both readers see.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    pub(crate) pyiceberg: Value,
    pub(crate) duckdb: Value,
}

impl Rows {
    pub(crate) fn count(&self) -> u64 {
        self.duckdb["rows"].as_u64().expect("a count")
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::named(CATALOG).await
    }

    /// A world whose engine reaches its tables through a REST server, and all others in its database.
    pub(crate) async fn rest() -> Self {
        let world = Self::named(RestCatalog::CATALOG).await;
        let server = RestCatalog::on(&world.database, &world.warehouse, None).await;
        let args = catalog::Args {
            catalog_type: catalog::Kind::Rest,
            catalog_uri: Some(server.uri()),
            ..catalog::Args::sql(CATALOG)
        };
        let access = storage::Args::at(&world.warehouse);
        let lake = (&Storage::local(), &access);
        let catalog = catalog::open(&args, None, lake, MEMORY_BYTES).await;
        Self {
            engine: NativeEngine::new(catalog.expect("the server answers")),
            server: Some(server),
            ..world
        }
    }

    async fn named(catalog: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let warehouse = format!("file://{}", folder.path().display());
        let world = Self::of(catalog, &Storage::local(), warehouse, json!({})).await;
        Self {
            _folder: Some(folder),
            ..world
        }
    }

    /// A world whose files lie at `warehouse`; `properties` lead the oracle there.
    pub(crate) async fn on(storage: &Storage, warehouse: String, properties: Value) -> Self {
        Self::of(CATALOG, storage, warehouse, properties).await
    }

    async fn of(
        name: &'static str,
        storage: &Storage,
        warehouse: String,
        properties: Value,
    ) -> Self {
        let database = testkit::Database::empty().await;
        let pool = database.pool().await;
        let at = Some(warehouse.as_str());
        let catalog = SqlCatalog::open(name, pool.clone(), Some(&pool), storage, at).await;
        let catalog = Arc::new(catalog.expect("a catalog"));
        Self {
            database,
            server: None,
            catalog_name: name,
            _folder: None,
            warehouse,
            properties,
            engine: NativeEngine::new(catalog.clone()),
            catalog,
            ledger: TestLedger::new(pool),
            signals: Signals::default(),
            progress: Units::default(),
            name: "db.t".parse().expect("a name"),
            jobs: AtomicU64::new(1),
        }
    }

    /// A world whose table PyIceberg made, in `files` appends.
    pub(crate) async fn with(schema: &str, spec: &str, files: u32, rows: u32) -> Self {
        Self::with_properties(schema, spec, files, rows, json!({})).await
    }

    pub(crate) async fn with_properties(
        schema: &str,
        spec: &str,
        files: u32,
        rows: u32,
        properties: Value,
    ) -> Self {
        let world = Self::new().await;
        let seed = testkit::seed() % 1_000_000;
        let made = json!({
            "schema": schema, "spec": spec, "files": files, "rows": rows, "seed": seed,
            "properties": properties,
        });
        world.oracle("make", made).await;
        world
    }

    /// The same catalog as one whose swaps are no part of our transactions.
    pub(crate) async fn catalog_elsewhere(&self) -> SqlCatalog {
        let (pool, at) = (self.pool().await, Some(self.warehouse.as_str()));
        let catalog = SqlCatalog::open(CATALOG, pool, None, &Storage::local(), at).await;
        catalog.expect("a catalog")
    }

    pub(crate) async fn pool(&self) -> pg::Pool {
        self.database.pool().await
    }

    /// Where an oracle finds this world's table.
    pub(crate) fn place(&self) -> Value {
        json!({
            "uri": self.database.url(),
            "catalog": self.catalog_name,
            "warehouse": self.warehouse,
            "properties_of_catalog": self.properties,
            "table": self.name.key(),
        })
    }

    /// Runs the oracle `lake_tables` on this world's table.
    pub(crate) async fn oracle(&self, what: &str, more: Value) -> Value {
        self.ask("lake_tables", what, more).await
    }

    /// Runs an oracle on this world's table.
    pub(crate) async fn ask(&self, script: &'static str, what: &str, more: Value) -> Value {
        let mut asked = self.place();
        asked["do"] = what.into();
        if let (Some(asked), Value::Object(more)) = (asked.as_object_mut(), more) {
            asked.extend(more);
        }
        tokio::task::spawn_blocking(move || crate::oracle::ask(script, &asked))
            .await
            .expect("the oracle answers")
    }

    pub(crate) async fn rows(&self) -> Rows {
        let read = self
            .oracle("read", json!({"readers": ["pyiceberg", "duckdb"]}))
            .await;
        Rows {
            pyiceberg: read["pyiceberg"].clone(),
            duckdb: read["duckdb"].clone(),
        }
    }

    pub(crate) async fn append(&self, start: u32, files: u32, rows: u32) {
        let more = json!({"schema": "plain", "start": start, "files": files, "rows": rows});
        self.oracle("append", more).await;
    }

    /// What somebody else does to the catalog's rows.
    pub(crate) async fn sql(&self, sql: &str) {
        let client = self.database.client().await;
        client.batch_execute(sql).await.expect("the statement runs");
    }

    pub(crate) async fn table(&self) -> Table {
        self.catalog
            .load(&self.name)
            .await
            .expect("the table loads")
    }

    pub(crate) async fn live(&self) -> LiveFiles {
        let table = self.table().await;
        let Some(current) = table.metadata.current_snapshot() else {
            return LiveFiles::default();
        };
        let live = live_files(
            &table.storage,
            &table.metadata,
            current.snapshot_id,
            Fields::ALL,
        )
        .await;
        live.expect("the files list")
    }

    pub(crate) fn task(options: &[(&str, &str)]) -> Task {
        Self::task_of(Action::RewriteDataFiles, options)
    }

    pub(crate) fn task_of(action: Action, options: &[(&str, &str)]) -> Task {
        let options: BTreeMap<String, String> = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Task::parse(action, &options).expect("valid options")
    }

    pub(crate) async fn plan(&self, options: &[(&str, &str)]) -> Plan {
        self.plan_of(&Self::task(options)).await
    }

    pub(crate) async fn plan_of(&self, task: &Task) -> Plan {
        let planned = self.engine.plan(&self.name, task, &self.ledger, &Unwatched);
        planned.await.expect("a plan")
    }

    /// As a job of its own: `job-1`, then `job-2`.
    pub(crate) async fn execute(&self, plan: &Plan) -> Result<Report, EngineError> {
        let number = self.jobs.fetch_add(1, Ordering::Relaxed);
        let (job, attempt) = (format!("job-{number}"), format!("attempt-{number}"));
        self.execute_as(&job, &attempt, plan).await
    }

    pub(crate) async fn execute_as(
        &self,
        job: &str,
        attempt: &str,
        plan: &Plan,
    ) -> Result<Report, EngineError> {
        self.execute_with(job, attempt, plan, MEMORY_BYTES).await
    }

    pub(crate) async fn execute_with(
        &self,
        job: &str,
        attempt: &str,
        plan: &Plan,
        memory_bytes: u64,
    ) -> Result<Report, EngineError> {
        let (job, id) = (JobId::new(job), AttemptId::new(attempt));
        self.ledger.deletions.works(&job, &id);
        let attempt = Attempt {
            job: &job,
            attempt: &id,
            ledger: &self.ledger,
            progress: &self.progress,
            signals: &self.signals,
            memory_bytes,
        };
        self.engine.execute(plan, &attempt).await
    }

    /// Plans and executes, as a job of its own.
    pub(crate) async fn maintain(&self, options: &[(&str, &str)]) -> Report {
        let plan = self.plan(options).await;
        self.execute(&plan).await.expect("the rewrite succeeds")
    }

    /// What `task` comes to when its swap is broken: asked what it committed, then tried again if that
    /// was nothing. It is told of once, and is made by one snapshot.
    pub(crate) async fn maintained_in_spite_of(&self, how: Break, task: &Task) -> Report {
        let job = JobId::new("job-x");
        let planned = self.plan_of(task).await;
        self.ledger.break_next(how);
        let first = self.execute_as("job-x", "attempt-1", &planned).await;
        self.ledger.forget_breaks();
        let found = self.engine.committed(&self.name, task, &job).await;
        let report = match (first, found.unwrap()) {
            (Ok(report), Some(found)) => {
                assert_eq!(found, report, "{how:?}");
                report
            }
            (Err(_), Some(found)) => found,
            (Err(error), None) => {
                assert_ne!(error.advice(), Advice::GiveUp, "{how:?}: {}", chain(&error));
                let planned = self.plan_of(task).await;
                let second = self.execute_as("job-x", "attempt-2", &planned).await;
                second.unwrap()
            }
            (Ok(report), None) => panic!("{how:?}: {report:?} is in no history"),
        };
        let table = self.table().await;
        let ours = table.metadata.snapshots().iter();
        let ours = ours.filter(|one| {
            one.summary
                .get("snowpack.job-id")
                .is_some_and(|id| id == "job-x")
        });
        assert_eq!(ours.count(), 1, "{how:?}");
        report
    }

    /// The rewrite runs up to its first swap; then `meanwhile` runs; then the swap goes on.
    pub(crate) async fn interrupted<F: Future<Output = ()>>(
        &self,
        options: &[(&str, &str)],
        meanwhile: F,
    ) -> Result<Report, EngineError> {
        let plan = self.plan(options).await;
        Box::pin(self.executed_beside(&plan, meanwhile)).await
    }

    /// The plan is executed up to its first swap; then `meanwhile` runs; then the swap goes on.
    pub(crate) async fn executed_beside<F: Future<Output = ()>>(
        &self,
        plan: &Plan,
        meanwhile: F,
    ) -> Result<Report, EngineError> {
        assert_eq!(plan.nothing(), None);
        self.ledger.pause(1);
        let other = async {
            self.ledger.paused().await;
            meanwhile.await;
            self.ledger.resume();
        };
        let (ended, ()) = tokio::join!(self.execute(plan), other);
        ended
    }

    pub(crate) async fn now_ms(&self) -> i64 {
        planner::Records::now_ms(&self.ledger)
            .await
            .expect("the time")
    }
}

/// Options that make every table of small files one file a partition.
pub(crate) const ALL: &[(&str, &str)] = &[("rewrite-all", "true")];

/// The error's whole chain in one line.
pub(crate) fn chain(error: &EngineError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(next) = source {
        text = format!("{text}: {next}");
        source = next.source();
    }
    text
}
