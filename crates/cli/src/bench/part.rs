//! One measurement, in a process that does nothing else: its peak of memory is the measured
//! thing's own (and that of this program, which is larger than the real one's).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use catalog::Catalog;
use clap::ValueEnum;
use futures::{StreamExt, TryStreamExt, stream};
use maintenance::inventory::Outcome;
use metadata::{Fields, read_manifest, read_manifest_list};
use model::{Action, TableName};
use pg::Pool;
use planner::{Plan, Task, Unwatched};
use policy::{Budget, Defaults, Enrolment};
use runner::Memory;
use serde::{Deserialize, Serialize};
use steward::health::{Syncing, sync};
use steward::inventory::{Allow, TablesArgs};
use steward::orchestrate::{self, Settings};
use tokio_util::sync::CancellationToken;

use super::Place;
use super::args::OnePart;
use super::ended::ended;
use super::process::Usage;
use crate::demo::child::{Child, Start};
use crate::session;

/// As many as the API and the CronJobs have by default.
const CONNECTIONS_MAX: usize = 8;
const CACHE_AGE_MAX: Duration = Duration::from_hours(24);
const MANIFESTS_AT_ONCE: usize = 16;
const HEALTH_CONCURRENCY: usize = 10;
const HEALTH_TABLE_MAX: Duration = Duration::from_mins(2);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// One sync of the table cache
    CacheSync,
    /// One health sync
    HealthSync,
    /// One dry run of the orchestrator
    Decisions,
    /// Every entry of the manifests of a table's current snapshot, all its fields
    ReadManifests,
    /// A plan of `rewrite_data_files`
    PlanRewrite,
    /// A plan of `remove_orphan_files`, of every file whatever its age
    PlanOrphans,
}

/// What it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Took {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) peak_bytes: u64,
    /// What it did, for people.
    pub(super) did: String,
}

/// Measures in a process of its own. What is measured of one table is measured of `table`.
pub(super) async fn measure(
    part: Part,
    table: Option<&TableName>,
    place: Place<'_>,
    folder: &Path,
) -> Result<Took> {
    let value = part.to_possible_value();
    let name = value.as_ref().map_or("", |value| value.get_name());
    let into = folder.join(format!("{name}.json"));
    let program = std::env::current_exe().context("find this program")?;
    let words = ["bench", "part", name, "--into"].map(str::to_owned);
    let table = table.map(|table| ["--table".to_owned(), table.key()]);
    let mut child = Child::start(Start {
        program: &program,
        arguments: words
            .into_iter()
            .chain([into.display().to_string()])
            .chain(table.into_iter().flatten())
            .collect(),
        stop_signal: "TERM",
        environment: place.settings(),
        account: None,
        log: folder.join(format!("{name}.log")),
        output: None,
    })
    .with_context(|| format!("start {}", program.display()))?;
    let (status, _) = ended(&mut child).await?;
    if !status.success() {
        let words = child.last_words();
        bail!("the measurement {name} failed ({status}); its log ends\n{words}");
    }
    let took = std::fs::read(&into).with_context(|| format!("read {}", into.display()))?;
    Ok(serde_json::from_slice(&took)?)
}

/// The measuring process.
pub(super) async fn run(args: OnePart) -> Result<()> {
    let url = args.database.database_url.as_deref();
    let url = url.context("a part is measured on the database of SNOWPACK_DATABASE_URL")?;
    let pool = Pool::connect(url, CONNECTIONS_MAX, "snowpack-bench").await?;
    let catalog = session::catalog(&args.lakehouse, Some(&pool)).await?;
    let table = args.table.context("this part needs --table");
    let begun = Instant::now();
    let did = match args.part {
        Part::CacheSync => cache_sync(&pool, &*catalog).await?,
        Part::HealthSync => health_sync(&pool, catalog).await?,
        Part::Decisions => decisions(&pool).await?,
        Part::ReadManifests => read_manifests(&*catalog, &table?).await?,
        Part::PlanRewrite => plan_rewrite(&pool, catalog, &table?).await?,
        Part::PlanOrphans => plan_orphans(&pool, catalog, &table?).await?,
    };
    let seconds = begun.elapsed().as_secs_f64();
    let usage = Usage::of(std::process::id())?;
    let took = Took {
        seconds,
        cpu_seconds: usage.cpu_seconds,
        peak_bytes: usage.peak_bytes,
        did,
    };
    let into = &args.into;
    std::fs::write(into, serde_json::to_vec(&took)?)
        .with_context(|| format!("write {}", into.display()))
}

async fn cache_sync(pool: &Pool, catalog: &dyn Catalog) -> Result<String> {
    let allow = Allow::new(&TablesArgs::default());
    let synced = Box::pin(steward::inventory::sync(pool, catalog, &allow, false)).await?;
    ensure!(
        synced.outcome == Some(Outcome::Synced) && synced.unreadable == 0,
        "the table cache was not synced: {synced:?}"
    );
    let (tables, loaded, changed) = (synced.tables, synced.loaded, synced.changed);
    Ok(format!(
        "{tables} tables, {loaded} loaded, {changed} changed"
    ))
}

async fn health_sync(pool: &Pool, catalog: Arc<dyn Catalog>) -> Result<String> {
    let syncing = Syncing {
        concurrency: HEALTH_CONCURRENCY,
        memory: Memory::new(runner::memory_bytes()),
        table_timeout: HEALTH_TABLE_MAX,
        deadline: None,
        holder: "bench".to_owned(),
    };
    let shutdown = runtime::Shutdown::on_signals(Duration::ZERO)?;
    let synced = Box::pin(sync(
        pool,
        catalog,
        &Defaults::default(),
        &syncing,
        &shutdown,
    ))
    .await?;
    ensure!(
        synced.failed == 0 && synced.cut.is_none(),
        "tables were not assessed: {synced:?}"
    );
    Ok(synced.told())
}

async fn decisions(pool: &Pool) -> Result<String> {
    let settings = Settings {
        defaults: Defaults {
            enrolment: Enrolment::OptOut,
            ..Defaults::default()
        },
        budget: Budget::default(),
        dry_run: true,
        wait: None,
        cache_age_max: CACHE_AGE_MAX,
        triggered_by: "bench".to_owned(),
    };
    let stop = CancellationToken::new();
    let run = Box::pin(orchestrate::once(pool, &settings, &stop)).await?;
    let counts = &run.counts;
    ensure!(run.error.is_none(), "the run failed: {:?}", run.error);
    Ok(format!(
        "{} tables, {} skipped, {} healthy",
        counts.tables_assessed, counts.tables_skipped, counts.tables_healthy
    ))
}

async fn read_manifests(catalog: &dyn Catalog, table: &TableName) -> Result<String> {
    let table = catalog.load(table).await?;
    let (storage, metadata) = (&table.storage, &*table.metadata);
    let snapshot = metadata.current_snapshot();
    let snapshot = snapshot.context("the table has no snapshot")?;
    let manifests = read_manifest_list(storage, snapshot).await?;
    let reads = manifests
        .iter()
        .map(|manifest| read_manifest(storage, manifest, metadata, Fields::ALL));
    let reads: Vec<_> = reads.collect();
    let entries = stream::iter(reads)
        .buffer_unordered(MANIFESTS_AT_ONCE)
        .try_fold(0, |sum, entries| async move { Ok(sum + entries.len()) })
        .await?;
    Ok(format!("{entries} entries"))
}

async fn plan_rewrite(pool: &Pool, catalog: Arc<dyn Catalog>, table: &TableName) -> Result<String> {
    let records = session::records(Some(pool), catalog.name());
    let task = Task::parse(Action::RewriteDataFiles, &BTreeMap::new())?;
    let engine = session::engine(catalog);
    let Plan::RewriteDataFiles(plan) = engine.plan(table, &task, &*records, &Unwatched).await?
    else {
        bail!("the plan is one of another action");
    };
    Ok(format!(
        "{} files in {} groups",
        plan.input_files(),
        plan.groups.len()
    ))
}

async fn plan_orphans(pool: &Pool, catalog: Arc<dyn Catalog>, table: &TableName) -> Result<String> {
    let records = session::records(Some(pool), catalog.name());
    let now = (records.now_ms().await? + 1).to_string();
    let options = [("older_than", now), ("force", true.to_string())];
    let options = options.map(|(key, value)| (key.to_owned(), value)).into();
    let task = Task::parse(Action::RemoveOrphanFiles, &options)?;
    let engine = session::engine(catalog);
    let Plan::RemoveOrphanFiles(plan) = engine.plan(table, &task, &*records, &Unwatched).await?
    else {
        bail!("the plan is one of another action");
    };
    Ok(format!("{} orphans", plan.orphans))
}
