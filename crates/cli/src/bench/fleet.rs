//! Tables, health and history by the hundred thousand, made by a few statements.
//!
//! The tables' metadata files are real: a few tables are written, and all others share theirs.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use catalog::Catalog;
use futures::SinkExt;
use maintenance::Submission;
use model::health::{Facts, FileStats, ManifestStats, SnapshotStats};
use model::{Action, TableName};
use pg::Pool;
use policy::Defaults;
use steward::health::Payload;
use storage::Storage;

use super::Place;
use super::args::ControlPlane;
use crate::demo::steps::Step;
use crate::demo::writer::{Habit, Writer};

/// The catalog of the many; the few that are written are in one of their own.
pub(super) const CATALOG: &str = "bench";
const SEEDS: &str = "bench_seeds";
const SEED_TABLES: u64 = 4;
const SEED_FILES: u32 = 8;
const SEED_ROWS: u32 = 10;

/// Tables whose health is really looked at, unless there are fewer than twice as many.
const LOOKED_AT_MAX: i64 = 1_000;
/// Jobs that wait.
const LIVE: u32 = 200;
/// Of so many jobs, one is within operational retention.
const ARCHIVED_RATIO: i64 = 5;
/// Jobs of one statement.
const BATCH: i64 = 50_000;

const TABLES: &str = include_str!("../../sql/bench/tables.sql");
const COMMIT_SOME: &str = include_str!("../../sql/bench/commit_some.sql");
const HEALTHS: &str = include_str!("../../sql/bench/healths.sql");
const CHECKED: &str = include_str!("../../sql/bench/checked.sql");
const JOBS: &str = include_str!("../../sql/bench/jobs.sql");

/// Generated rows.
#[derive(Debug)]
pub(super) struct Fleet<'a> {
    pool: &'a Pool,
    tables: i64,
    databases: i64,
    history: i64,
    files: Vec<String>,
}

impl<'a> Fleet<'a> {
    /// Writes a few tables and makes a catalog of many.
    pub(super) async fn make(
        pool: &'a Pool,
        place: Place<'_>,
        args: &ControlPlane,
    ) -> Result<Self> {
        let fleet = Self {
            pool,
            tables: args.tables.into(),
            databases: args.databases.into(),
            history: args.history.into(),
            files: seeds(pool, place.warehouse).await?,
        };
        let (tables, databases) = (fleet.tables, fleet.databases);
        fleet
            .run(TABLES, &[&CATALOG, &tables, &databases, &fleet.files])
            .await?;
        fleet.analyze("iceberg_tables").await?;
        Ok(fleet)
    }

    /// One table in a hundred moves on.
    pub(super) async fn commit_some(&self) -> Result<u64> {
        self.run(COMMIT_SOME, &[&CATALOG, &self.files]).await
    }

    /// Says of all tables but the first that they were assessed: most healthy, one in a hundred
    /// not.
    pub(super) async fn healths(&self) -> Result<()> {
        let (well, sick) = (payload(&well()), payload(&sick()));
        let (well, sick) = (serde_json::to_value(well)?, serde_json::to_value(sick)?);
        ensure!(
            well["needs_maintenance"] == false && sick["needs_maintenance"] == true,
            "the generated tables are not judged as they should be: {well} {sick}"
        );
        self.run(HEALTHS, &[&self.looked_at(), &well, &sick])
            .await?;
        self.analyze("snowpack.table_cache_entries, snowpack.table_health")
            .await
    }

    /// Nothing of [`Self::healths`] is in the future any more.
    pub(super) async fn checked(&self) -> Result<()> {
        self.run(CHECKED, &[]).await.map(drop)
    }

    /// Jobs that ended, kept and archived, and a few that wait.
    pub(super) async fn history(&self, step: &Step<'_>) -> Result<()> {
        let archived = self.history - self.history / ARCHIVED_RATIO;
        let mut from = 0;
        while from < self.history {
            let to = (from + BATCH).min(self.history);
            let (tables, databases) = (&self.tables, &self.databases);
            self.run(
                JOBS,
                &[&self.history, &from, &to, &archived, tables, databases],
            )
            .await?;
            step.advance((to - from) as u64);
            from = to;
        }
        for number in 0..LIVE.min(self.tables as u32 / 2) {
            self.submit(number.into()).await?;
        }
        self.analyze("snowpack.jobs, snowpack.job_actions, snowpack.job_history")
            .await
    }

    async fn submit(&self, number: i64) -> Result<()> {
        let submission = Submission::new(
            self.table(number)?,
            vec![Action::RewriteDataFiles],
            "orchestrator",
        );
        let mut client = self.pool.get().await?;
        let tx = (**client).transaction().await?;
        maintenance::submit(&tx, &submission).await?;
        Ok(tx.commit().await?)
    }

    /// Tables whose health is really looked at.
    pub(super) fn looked_at(&self) -> i64 {
        LOOKED_AT_MAX.min(self.tables / 2)
    }

    /// As the statements name it.
    pub(super) fn table(&self, number: i64) -> Result<TableName> {
        let database = format!("fleet_{:04}", number % self.databases);
        Ok(TableName::new([database], format!("table_{number:08}"))?)
    }

    /// Seconds that a `COPY` of a table's rows takes, out of it and into one like it.
    pub(super) async fn copy(&self, table: &str) -> Result<f64> {
        let (from, to) = (self.pool.get().await?, self.pool.get().await?);
        let make = format!("create table bench_copy (like {table} including all)");
        to.batch_execute(&make).await?;
        let begun = Instant::now();
        let out = format!("copy {table} to stdout (format binary)");
        let mut rows = std::pin::pin!(from.copy_out(out.as_str()).await?);
        let sink = to.copy_in("copy bench_copy from stdin (format binary)");
        let mut sink = std::pin::pin!(sink.await?);
        sink.send_all(&mut rows).await?;
        sink.finish().await?;
        let seconds = begun.elapsed().as_secs_f64();
        to.batch_execute("drop table bench_copy").await?;
        Ok(seconds)
    }

    /// As autovacuum would, sooner or later.
    async fn analyze(&self, tables: &str) -> Result<()> {
        let statement = format!("vacuum (analyze) {tables}");
        let client = self.pool.get().await?;
        client
            .batch_execute(&statement)
            .await
            .with_context(|| statement.clone())
    }

    async fn run(
        &self,
        statement: &str,
        params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<u64> {
        let client = self.pool.get().await?;
        let done = client.execute(statement, params).await;
        done.context("generate rows for the bench")
    }
}

/// The metadata files of a few tables that were really written.
async fn seeds(pool: &Pool, warehouse: &str) -> Result<Vec<String>> {
    let (args, memory_bytes) = (catalog::Args::sql(SEEDS), runner::memory_bytes());
    let access = storage::Args::at(warehouse);
    let lake = (&Storage::local(), &access);
    let catalog: Arc<dyn Catalog> = catalog::open(&args, Some(pool), lake, memory_bytes).await?;
    let mut files = Vec::new();
    for seed in 0..SEED_TABLES {
        let table = TableName::new(["seeds"], format!("seed_{seed}"))?;
        let habit = Habit::streaming(seed, SEED_FILES, SEED_ROWS);
        let mut writer = Writer::create(Arc::clone(&catalog), table.clone(), habit).await?;
        let mut left = SEED_FILES as usize;
        while left > 0 {
            left -= writer.checkpoint(left).await?;
        }
        files.push(catalog.load(&table).await?.metadata_location);
    }
    Ok(files)
}

/// 40 files of nearly the target size, little history.
fn well() -> Facts {
    Facts {
        format_version: 2,
        metadata_bytes: 9_000,
        current_snapshot_id: Some(1),
        file_stats: FileStats {
            total_data_files: 40,
            total_size_bytes: 40 * 500_000_000,
            avg_file_size_bytes: 500_000_000,
            manifests_read: 2,
            ..FileStats::default()
        },
        total_records: 400_000_000,
        snapshot_count: 3,
        snapshot_stats: SnapshotStats::default(),
        manifest_count: 2,
        manifest_stats: ManifestStats {
            total_bytes: 16_000_000,
            ..ManifestStats::default()
        },
        ..Facts::default()
    }
}

/// Nothing but small files.
fn sick() -> Facts {
    Facts {
        file_stats: FileStats {
            total_data_files: 2_000,
            total_size_bytes: 2_000 * 5_000_000,
            avg_file_size_bytes: 5_000_000,
            small_file_count: 2_000,
            small_file_pct: 100.0,
            compactable_file_count: 2_000,
            compactable_bytes: 2_000 * 5_000_000,
            manifests_read: 2,
            ..FileStats::default()
        },
        ..well()
    }
}

/// Judged as a look at it would.
fn payload(facts: &Facts) -> Payload {
    let none = policy::Properties::new();
    let effective = policy::effective(&Defaults::default(), &none, &none);
    let assessment = policy::assess(facts, &effective);
    let recommended = assessment.recommended.iter();
    Payload {
        facts: facts.clone(),
        needs_maintenance: assessment.needs_maintenance,
        recommended_actions: recommended.map(|one| one.action).collect(),
        assessment,
    }
}
