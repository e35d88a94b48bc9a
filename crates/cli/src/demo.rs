//! `snowpack demo`: the whole of it on one machine, from an empty folder to the proof.
//!
//! A database ([`home`]), a table and a writer that fills it with small files ([`writer`]), the
//! real worker ([`worker`]), and a reader that shares nothing with the engine ([`read_back`]).
//! Everything started is stopped and everything made is removed, also after Ctrl-C.

mod account;
mod child;
mod event;
mod home;
mod postgres;
mod read_back;
mod report;
mod steps;
mod worker;
mod writer;

use std::collections::BTreeSet;
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

use self::event::Fingerprint;
use self::home::Home;
use self::report::{Kept, Meanwhile, Report, Side};
use self::steps::{Step, Steps};
use self::worker::{Place, Worker};
use self::writer::Writer;
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
    let begun = Instant::now();
    let shutdown = runtime::Shutdown::on_signals(Duration::ZERO)?;
    let steps = Steps::new(out);
    out.text(
        "\nSnowpack keeps Iceberg tables healthy while others go on writing to them. Watch:\n\n",
    )?;
    // The worker is looked for first: nobody should wait for a table that cannot be maintained.
    worker::find()?;
    let interrupted = || anyhow::anyhow!("interrupted; everything the demo started is stopped");
    let home = tokio::select! {
        home = Home::open(args.database_url.as_deref(), steps) => home?,
        () = shutdown.drain.cancelled() => return Err(interrupted()),
    };
    let told = tokio::select! {
        told = story(&args, home.url(), steps) => told,
        () = shutdown.drain.cancelled() => Err(interrupted()),
    };
    let closed = home.close().await;
    let mut report = told?;
    closed?;
    report.took = begun.elapsed();
    out.result(&report.document(), || report.text())?;
    match report.fault() {
        Some(fault) => bail!("{fault}"),
        None => Ok(()),
    }
}

/// From an empty database to the report.
async fn story(args: &Demo, database_url: &str, steps: Steps<'_>) -> Result<Report> {
    let step = steps.begin("preparing the database");
    let pool = Pool::connect(database_url, CONNECTIONS_MAX, "snowpack-demo").await?;
    let migrated = maintenance::migrate(&pool).await?;
    step.done(&format!(
        "database migrated to version {}",
        migrated.version
    ))?;

    let warehouse = Warehouse::make(args.keep.as_deref())?;
    let catalog = open_catalog(&pool, &warehouse).await?;
    let table = TableName::new([NAMESPACE], TABLE)?;
    let mut writer = Writer::create(
        Arc::clone(&catalog),
        table.clone(),
        args.seed,
        (args.files, args.rows),
    )
    .await?;
    fill(&mut writer, args.files, steps).await?;

    let boundary = writer.next_id();
    let (before, _) = measure(catalog.as_ref(), &table, boundary, &BTreeSet::new(), steps).await?;
    if before.rows != writer.account() {
        bail!(
            "the table does not hold what the writer wrote; the demo stops before maintaining it"
        );
    }
    let place = Place {
        database_url,
        catalog_name: CATALOG_NAME,
        warehouse: warehouse.text()?,
    };
    let (job, writer) = maintain(&pool, &place, &warehouse, writer, steps).await?;
    let (after, read) = measure(catalog.as_ref(), &table, boundary, writer.files(), steps).await?;
    let metadata_location = catalog.load(&table).await?.metadata_location;
    let meanwhile = Meanwhile {
        commits: writer.commits(),
        files: writer.files().len() as u64,
        wrote: writer.account(),
        read,
    };
    Ok(Report {
        before,
        after,
        writer: meanwhile,
        jobs: vec![job],
        took: Duration::ZERO,
        kept: warehouse.kept().map(|folder| Kept {
            folder,
            metadata_location,
        }),
    })
}

/// Reads every row back; the second half is what has an id from `boundary` on. The data files
/// `left_out` are not counted, their rows are.
async fn measure(
    catalog: &dyn Catalog,
    table: &TableName,
    boundary: i64,
    left_out: &BTreeSet<String>,
    steps: Steps<'_>,
) -> Result<(Side, Fingerprint)> {
    let step = steps.begin("reading every row back");
    let table = catalog.load(table).await?;
    let contents = read_back::read(&table, boundary).await?;
    let facts = Facts::without(&table, left_out).await?;
    let rows = contents.before;
    step.done(&format!(
        "read {} rows back: fingerprint {}",
        print::count(rows.rows),
        rows.text()
    ))?;
    Ok((Side { facts, rows }, contents.meanwhile))
}

async fn open_catalog(pool: &Pool, warehouse: &Warehouse) -> Result<Arc<dyn Catalog>> {
    let storage = Storage::local();
    let args = catalog::Args {
        catalog_type: catalog::Kind::Sql,
        catalog_uri: None,
        catalog_name: CATALOG_NAME.to_owned(),
    };
    Ok(catalog::open(&args, Some(pool), &storage, Some(warehouse.text()?)).await?)
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
        "a streaming writer made {files} small files in {} partitions, {} rows, {} deleted again",
        event::REGIONS.len(),
        print::count(writer.account().rows + deleted),
        print::count(deleted)
    ))
}

/// Has the worker maintain the table while the writer goes on; gives back the job's document.
async fn maintain(
    pool: &Pool,
    place: &Place<'_>,
    warehouse: &Warehouse,
    writer: Writer,
    steps: Steps<'_>,
) -> Result<(serde_json::Value, Writer)> {
    let job = submit(pool, writer.table()).await?;
    let step = steps.begin("starting the worker");
    let mut worker = Worker::start(place, warehouse.log())?;
    let enough = CancellationToken::new();
    let job_ends = async {
        let ended = wait_for(pool, &job, &mut worker, &step).await;
        enough.cancel();
        ended
    };
    // Side by side in one task: an interruption drops both, and nothing is written afterwards.
    let (ended, writer) = tokio::join!(job_ends, go_on(writer.fresh_account(), &enough));
    let (ended, writer) = (ended?, writer?);
    worker.stop()?;
    if ended.status != JobStatus::Completed {
        bail!(
            "job {job} is {}: {}",
            ended.status,
            ended.error.unwrap_or_else(|| "no reason given".to_owned())
        );
    }
    step.done(&format!(
        "the worker maintained it; the writer committed {} times meanwhile",
        writer.commits()
    ))?;
    let client = pool.get().await?;
    let actions = maintenance::actions::list(&**client, &job).await?;
    Ok((jobs::with_actions(&ended, &actions), writer))
}

async fn submit(pool: &Pool, table: &TableName) -> Result<JobId> {
    let submission = Submission::new(table.clone(), vec![Action::RewriteDataFiles], "demo");
    let mut client = pool.get().await?;
    let tx = (**client).transaction().await?;
    let submitted = maintenance::submit(&tx, &submission).await?;
    tx.commit().await?;
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
async fn wait_for(pool: &Pool, id: &JobId, worker: &mut Worker, step: &Step<'_>) -> Result<Job> {
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

    fn log(&self) -> PathBuf {
        self.temporary.path().join("worker.log")
    }

    fn kept(&self) -> Option<String> {
        self.kept.then(|| self.folder.display().to_string())
    }
}
