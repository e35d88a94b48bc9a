//! `snowpack retry`: the work of one job once more, or of every table's last job where it failed.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;
use maintenance::{Error, Filter, past};
use model::{JobId, JobStatus, TableName};
use planner::Progress as _;
use runtime::Shutdown;
use serde_json::json;
use tokio::time::MissedTickBehavior;

use crate::args::job_id;
use crate::out::Out;
use crate::progress::Bar;
use crate::submit::{self, submitter};
use crate::{print, session};

pub(crate) const EXAMPLES: &str = "\
Examples:
  snowpack retry 0199d7a2-5b1e-7c3a-9f00-3c1f6a7d9e21
  snowpack retry --failed --since 2026-11-21T00:00:00Z    after an outage
  snowpack retry --failed --per-second 2

With --failed, a table is left alone that has a newer job, so the command may be stopped with Ctrl-C
and given again, or given twice at once: no work is submitted twice.";

/// Rows read at once.
const PAGE: u32 = 500;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(crate) struct Args {
    /// The job's id, as `submit` and `jobs` print it
    #[arg(value_name = "ID", value_parser = job_id, group = "which")]
    id: Option<JobId>,
    /// The last job of every table, where that job failed
    #[arg(long, group = "which")]
    failed: bool,
    /// Only jobs submitted then or later
    #[arg(long, value_name = "TIME", requires = "failed")]
    since: Option<Timestamp>,
    /// How many are submitted in a second at most
    #[arg(long, value_name = "COUNT", requires = "failed", default_value = "20",
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    per_second: u32,
    #[command(flatten)]
    database: pg::Args,
}

pub(crate) async fn run(args: Args, out: &Out) -> Result<()> {
    let pool = session::migrated(&args.database).await?;
    match &args.id {
        Some(id) => one(&pool, id, out).await,
        None => every_failed(&pool, &args, out).await,
    }
}

async fn one(pool: &pg::Pool, id: &JobId, out: &Out) -> Result<()> {
    let mut client = pool.get().await?;
    let tx = (**client).transaction().await?;
    let retried = maintenance::retry(&tx, id, &submitter()).await?;
    tx.commit().await?;
    submit::wake(&client).await;
    let document = json!({ "job_id": retried.job(), "retry_of": id });
    out.result(&document, || format!("{}\n", retried.job()))
}

async fn every_failed(pool: &pg::Pool, args: &Args, out: &Out) -> Result<()> {
    let shutdown = Shutdown::on_signals(Duration::ZERO)?;
    let failed = failed(pool, args.since).await?;
    let bar = Bar::new("submitting failed jobs again".to_owned());
    bar.total(failed.len() as u64);
    let mut turns = tokio::time::interval(Duration::from_secs(1) / args.per_second);
    // Turns that were missed, for a lock or a restart of Postgres, are not made up for.
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retried = Vec::new();
    let mut left_alone = 0;
    let mut stopped = false;
    for (id, table) in &failed {
        tokio::select! {
            biased;
            () = shutdown.drain.cancelled() => stopped = true,
            _ = turns.tick() => {}
        }
        if stopped {
            break;
        }
        match again(pool, id, table).await {
            Ok(Some(job)) => retried.push(json!({ "job_id": job, "retry_of": id })),
            Ok(None) => left_alone += 1,
            Err(error) => {
                bar.finish();
                let done = print::counted(retried.len() as u64, "job");
                return Err(anyhow::Error::new(error).context(format!(
                    "after {done}, at job {id} of {table}; what was submitted stays"
                )));
            }
        }
        bar.advance(1);
    }
    bar.finish();
    let waiting = failed.len() - retried.len() - left_alone;
    let document = json!({
        "retried": retried, "left_alone": left_alone, "not_reached": waiting,
    });
    out.result(&document, || {
        let done = print::counted(retried.len() as u64, "job");
        format!("submitted {done} again; {left_alone} left alone, for a newer one is there\n")
    })?;
    if stopped {
        bail!(
            "stopped with {} to go; give the command again to go on",
            print::counted(waiting as u64, "job")
        );
    }
    Ok(())
}

/// The newest failed job of each table, newest first. One that ran dry is nobody's to do over.
async fn failed(
    pool: &pg::Pool,
    since: Option<Timestamp>,
) -> Result<Vec<(JobId, TableName)>, Error> {
    let client = pool.get().await.map_err(|source| Error::Pool {
        doing: "list failed jobs",
        source,
    })?;
    let mut filter = Filter {
        status: Some(JobStatus::Failed),
        since,
        limit: PAGE,
        ..Filter::default()
    };
    let mut tables = HashSet::new();
    let mut found = Vec::new();
    loop {
        let page = maintenance::list(&**client, &filter).await?;
        filter.before = page.last().map(|last| (last.submitted_at, last.id.clone()));
        let full = page.len() == PAGE as usize;
        for job in page.into_iter().filter(|job| !job.dry_run) {
            if tables.insert(job.table.clone()) {
                found.push((job.id, job.table));
            }
        }
        if !full {
            return Ok(found);
        }
    }
}

/// The job that does `id`'s work again; none when the table has a newer one than `id`, or `id` is
/// not there any more.
async fn again(pool: &pg::Pool, id: &JobId, table: &TableName) -> Result<Option<JobId>, Error> {
    let doing = "submit a failed job again";
    let database = |source| Error::Database { doing, source };
    let mut client = pool
        .get()
        .await
        .map_err(|source| Error::Pool { doing, source })?;
    let tx = (**client).transaction().await.map_err(database)?;
    let job = match maintenance::retry(&tx, id, &submitter()).await {
        Ok(submitted) => submitted.job().clone(),
        Err(Error::Locked { .. } | Error::NoSuchJob(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !past::unchanged(&tx, table, Some(id), &job).await? {
        return Ok(None);
    }
    tx.commit().await.map_err(database)?;
    submit::wake(&client).await;
    Ok(Some(job))
}
