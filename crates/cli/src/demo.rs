//! `snowpack demo`: the whole of it on one machine, from an empty folder to the proof.
//!
//! A database ([`home`]), a table and a writer that fills it with small files ([`writer`]), the
//! real worker ([`program`]), and a reader that shares nothing with the engine ([`read_back`]).
//! Everything started is stopped and everything made is removed, also after Ctrl-C.

mod account;
pub(crate) mod child;
mod disk;
pub(crate) mod event;
mod fleet;
pub(crate) mod home;
pub(crate) mod postgres;
mod program;
mod read_back;
mod report;
pub(crate) mod steps;
pub(crate) mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use catalog::Catalog;
use maintenance::{Job, Submission};
use model::{Action, JobId, JobStatus, TableName};
use pg::Pool;
use storage::Storage;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use self::disk::Disk;
use self::event::Fingerprint;
use self::home::Home;
use self::program::{Place, Program, Told, WORKER};
use self::report::{Kept, Meanwhile, Report, Side, Stage, Wrote};
use self::steps::{Step, Steps};
use self::writer::{Habit, Writer};
use crate::args::Demo;
use crate::facts::Facts;
use crate::out::Out;
use crate::{jobs, print};

const CATALOG_NAME: &str = "demo";
const NAMESPACE: &str = "shop";
const TABLE: &str = "events";
/// Nothing the demo makes takes longer, whatever the machine.
const JOB_MAX: Duration = Duration::from_mins(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the writer commits while the worker works.
const WRITES_EVERY: Duration = Duration::from_millis(200);
const CONNECTIONS_MAX: usize = 4;

pub(crate) async fn run(args: Demo, out: &Out) -> Result<()> {
    match args.fleet {
        Some(tables) => fleet::run(&args, tables, out).await,
        None => one_table(&args, out).await,
    }
}

async fn one_table(args: &Demo, out: &Out) -> Result<()> {
    let begun = Instant::now();
    let steps = Steps::new(out);
    out.text(
        "\nSnowpack keeps Iceberg tables healthy while others go on writing to them. Watch:\n\n",
    )?;
    // The worker is looked for first: nobody should wait for a table that cannot be maintained.
    program::find(WORKER)?;
    let mut report = at_home(args, steps, async |url| story(args, url, steps).await).await?;
    report.took = begun.elapsed();
    out.result(&report.document(), || report.text())?;
    match report.fault() {
        Some(fault) => bail!("{fault}"),
        None => Ok(()),
    }
}

/// Tells a story in a database of its own, which is gone afterwards, also after Ctrl-C.
async fn at_home<T>(
    args: &Demo,
    steps: Steps<'_>,
    story: impl AsyncFnOnce(&str) -> Result<T>,
) -> Result<T> {
    let shutdown = runtime::Shutdown::on_signals(Duration::ZERO)?;
    let interrupted = || anyhow::anyhow!("interrupted; everything the demo started is stopped");
    let home = tokio::select! {
        home = Home::open("demo", args.server.database_url.as_deref(), steps) => home?,
        () = shutdown.drain.cancelled() => return Err(interrupted()),
    };
    let told = tokio::select! {
        told = story(home.url()) => told,
        () = shutdown.drain.cancelled() => Err(interrupted()),
    };
    let closed = home.close().await;
    let told = told?;
    closed?;
    Ok(told)
}

async fn migrated(database_url: &str, steps: Steps<'_>) -> Result<Pool> {
    let step = steps.begin("preparing the database");
    let pool = Pool::connect(database_url, CONNECTIONS_MAX, "snowpack-demo").await?;
    let migrated = maintenance::migrate(&pool).await?;
    step.done(&format!(
        "database migrated to version {}",
        migrated.version
    ))?;
    Ok(pool)
}

/// From an empty database to the report.
async fn story(args: &Demo, database_url: &str, steps: Steps<'_>) -> Result<Report> {
    let pool = migrated(database_url, steps).await?;
    let warehouse = Warehouse::make(args.keep.as_deref())?;
    let catalog = open_catalog(&pool, &warehouse).await?;
    let table = TableName::new([NAMESPACE], TABLE)?;
    let mut writer = Writer::create(
        Arc::clone(&catalog),
        table.clone(),
        Habit::streaming(args.seed, args.files, args.rows),
    )
    .await?;
    fill(&mut writer, args.files, steps).await?;

    let place = Place {
        database_url,
        catalog_name: CATALOG_NAME,
        warehouse: warehouse.text()?,
    };
    let fleet = Fleet {
        pool: &pool,
        worker: worker(&place, warehouse.log("worker.log"))?,
        steps,
    };
    maintained(&*catalog, fleet, writer, &warehouse).await
}

/// Both jobs, and what was there before, between and after them.
async fn maintained(
    catalog: &dyn Catalog,
    mut fleet: Fleet<'_>,
    writer: Writer,
    warehouse: &Warehouse,
) -> Result<Report> {
    let (table, steps, boundary) = (writer.table().clone(), fleet.steps, writer.next_id());
    let seen = |left_out: &BTreeSet<String>| Seen {
        folder: warehouse.folder.clone(),
        boundary,
        left_out: left_out.clone(),
    };
    let before = measure(catalog, &table, &seen(&BTreeSet::new()), steps).await?;
    if before.side.rows != writer.account() {
        bail!(
            "the table does not hold what the writer wrote; the demo stops before maintaining it"
        );
    }
    let wrote = Wrote {
        deleted: writer.deleted(),
        updated: writer.updated(),
    };
    let (first, writer) = fleet
        .maintain(&rewrite_all(), writer.fresh_account())
        .await?;
    let rewritten = stage(catalog, &table, &seen(writer.files())).await?;
    let expire = expire_all(fleet.pool).await?;
    let (second, writer) = fleet.maintain(&expire, writer).await?;
    fleet.worker.stop()?;
    let after = measure(catalog, &table, &seen(writer.files()), steps).await?;
    let metadata_location = catalog.load(&table).await?.metadata_location;
    Ok(Report {
        wrote,
        before: before.side,
        rewritten,
        after: after.side,
        writer: Meanwhile {
            commits: writer.commits(),
            files: writer.files().len() as u64,
            wrote: writer.account(),
            read: after.meanwhile,
        },
        jobs: vec![first, second],
        took: Duration::ZERO,
        kept: warehouse.kept().map(|folder| Kept {
            folder,
            metadata_location,
        }),
    })
}

/// What is looked at: rows with an id from `boundary` on are told apart, data files `left_out`
/// are not counted (their rows are).
#[derive(Debug)]
struct Seen {
    folder: PathBuf,
    boundary: i64,
    left_out: BTreeSet<String>,
}

/// What was seen.
#[derive(Debug)]
struct Measured {
    side: Side,
    meanwhile: Fingerprint,
}

/// Reads every row back, and counts files.
async fn measure(
    catalog: &dyn Catalog,
    table: &TableName,
    seen: &Seen,
    steps: Steps<'_>,
) -> Result<Measured> {
    let step = steps.begin("reading every row back");
    let contents = read_back::read(&catalog.load(table).await?, seen.boundary).await?;
    let stage = stage(catalog, table, seen).await?;
    let rows = contents.before;
    step.done(&format!(
        "read {} rows back: fingerprint {}",
        print::count(rows.rows),
        rows.text()
    ))?;
    Ok(Measured {
        side: Side { stage, rows },
        meanwhile: contents.meanwhile,
    })
}

async fn stage(catalog: &dyn Catalog, table: &TableName, seen: &Seen) -> Result<Stage> {
    let facts = Facts::without(&catalog.load(table).await?, &seen.left_out).await?;
    let disk = Disk::of(&seen.folder, &seen.left_out)?;
    Ok(Stage { facts, disk })
}

fn worker(place: &Place<'_>, log: PathBuf) -> Result<Program> {
    let told = Told {
        arguments: &[],
        // A free port of the loopback interface: nobody asks it here.
        settings: &[("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0")],
        log,
        output: None,
    };
    Program::start(WORKER, place, told)
}

async fn open_catalog(pool: &Pool, warehouse: &Warehouse) -> Result<Arc<dyn Catalog>> {
    let (args, memory_bytes) = (catalog::Args::sql(CATALOG_NAME), runner::memory_bytes());
    let access = storage::Args::at(warehouse.text()?);
    let lake = (&Storage::local(), &access);
    Ok(catalog::open(&args, Some(pool), lake, memory_bytes).await?)
}

/// Lets the writer make its small files.
async fn fill(writer: &mut Writer, files: u32, steps: Steps<'_>) -> Result<()> {
    let step = steps.count("a streaming writer fills the table", u64::from(files));
    let mut left = files as usize;
    while left > 0 {
        let wrote = writer.checkpoint(left).await?;
        left -= wrote;
        step.advance(wrote as u64);
    }
    let deleted = writer.deleted();
    step.done(&format!(
        "a streaming writer made {files} small files in {} partitions: {} rows, {} deleted, {} updated",
        event::REGIONS.len(),
        print::count(writer.account().rows + deleted),
        print::count(deleted),
        print::count(writer.updated())
    ))
}

/// One job for the worker.
#[derive(Debug)]
struct Asked {
    actions: Vec<Action>,
    options: BTreeMap<Action, BTreeMap<String, String>>,
    /// What to say when it is done.
    did: &'static str,
}

/// Everything small is rewritten, and delete files go with the last row they could hit.
fn rewrite_all() -> Asked {
    let drop_all = ("remove-dangling-deletes".to_owned(), "true".to_owned());
    Asked {
        actions: vec![Action::RewriteDataFiles],
        options: [(Action::RewriteDataFiles, [drop_all].into())].into(),
        did: "the worker rewrote the table",
    }
}

/// Every snapshot but the newest goes, and its files with it: the demo does not wait a day.
async fn expire_all(pool: &Pool) -> Result<Asked> {
    let now_ms = maintenance::settings::now_ms(&**pool.get().await?).await?;
    let options = [
        ("older_than", now_ms.to_string()),
        ("retain_last", "1".to_owned()),
        ("deletion-grace-ms", "0".to_owned()),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value));
    Ok(Asked {
        actions: vec![Action::ExpireSnapshots, Action::PurgePending],
        options: [(Action::ExpireSnapshots, options.into())].into(),
        did: "the worker expired the old snapshots and deleted their files",
    })
}

/// The worker, and where its jobs are.
#[derive(Debug)]
struct Fleet<'a> {
    pool: &'a Pool,
    worker: Program,
    steps: Steps<'a>,
}

impl Fleet<'_> {
    /// Has the worker maintain the table while the writer goes on; gives back the job's document.
    async fn maintain(
        &mut self,
        asked: &Asked,
        writer: Writer,
    ) -> Result<(serde_json::Value, Writer)> {
        let step = self.steps.begin("submitting a job");
        let committed = writer.commits();
        let job = submit(self.pool, writer.table(), asked).await?;
        let enough = CancellationToken::new();
        let job_ends = async {
            let ended = wait_for(self.pool, &job, &mut self.worker, &step).await;
            enough.cancel();
            ended
        };
        // Side by side in one task: an interruption drops both, and nothing is written afterwards.
        let (ended, writer) = tokio::join!(job_ends, go_on(writer, &enough));
        let (ended, writer) = (ended?, writer?);
        if ended.status != JobStatus::Completed {
            bail!(
                "job {job} is {}: {}",
                ended.status,
                ended.error.unwrap_or_else(|| "no reason given".to_owned())
            );
        }
        step.done(&format!(
            "{}; the writer committed {} meanwhile",
            asked.did,
            print::times(writer.commits() - committed)
        ))?;
        let client = self.pool.get().await?;
        let actions = maintenance::actions::list(&**client, &job).await?;
        Ok((jobs::with_actions(&ended, &actions), writer))
    }
}

async fn submit(pool: &Pool, table: &TableName, asked: &Asked) -> Result<JobId> {
    let submission = Submission {
        options: asked.options.clone(),
        ..Submission::new(table.clone(), asked.actions.clone(), "demo")
    };
    let mut client = pool.get().await?;
    let tx = (**client).transaction().await?;
    let submitted = maintenance::submit(&tx, &submission).await?;
    tx.commit().await?;
    maintenance::queue().notify(&**client).await?;
    Ok(submitted.job().clone())
}

async fn go_on(mut writer: Writer, enough: &CancellationToken) -> Result<Writer> {
    loop {
        writer.append().await?;
        tokio::select! {
            () = enough.cancelled() => return Ok(writer),
            () = tokio::time::sleep(WRITES_EVERY) => {}
        }
    }
}

/// Waits until the job has ended.
async fn wait_for(pool: &Pool, id: &JobId, worker: &mut Program, step: &Step<'_>) -> Result<Job> {
    let begun = Instant::now();
    while begun.elapsed() < JOB_MAX {
        worker.check()?;
        let job = maintenance::get(&**pool.get().await?, id)
            .await?
            .context("the demo's job is gone")?;
        if job.status.terminal() {
            return Ok(job);
        }
        step.note(format!(
            "the worker maintains it while the writer goes on (job {id} is {})",
            job.status
        ));
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("job {id} has not ended after {}", print::seconds(JOB_MAX))
}

/// Where the table's files are.
#[derive(Debug)]
struct Warehouse {
    folder: PathBuf,
    kept: bool,
    temporary: TempDir,
}

impl Warehouse {
    fn make(keep: Option<&Path>) -> Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix("snowpack-demo-")
            .tempdir()?;
        let folder = match keep {
            None => temporary.path().join("warehouse"),
            Some(folder) => std::path::absolute(folder)?,
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let mut entries = std::fs::read_dir(&folder)
            .with_context(|| format!("look into {}", folder.display()))?;
        if entries.next().is_some() {
            return Err(runtime::Error::Usage(format!(
                "--keep = `{}`: the folder is not empty",
                folder.display()
            ))
            .into());
        }
        Ok(Self {
            folder,
            kept: keep.is_some(),
            temporary,
        })
    }

    fn text(&self) -> Result<&str> {
        self.folder
            .to_str()
            .with_context(|| format!("{} is not valid Unicode", self.folder.display()))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    fn kept(&self) -> Option<String> {
        self.kept.then(|| self.folder.display().to_string())
    }
}
