//! `snowpack maintain`: does actions on a table now, as a job of its own.
//!
//! With a database it submits the job and claims that very row in one transaction, so that no worker can take it and
//! a running fleet and this command exclude each other; then it is run like a worker runs it.
//! Without one, [`local`] does the work.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use maintenance::Submission;
use model::{Action, JobId};
use pg::Pool;
use planner::{Engine, Task};
use queue::{Claimed, Cursor};
use runner::{Config, Heart, How, Memory, Metrics, Runner};
use serde_json::{Value, json};

use crate::args::Maintain;
use crate::done::{self, Done};
use crate::option::by_action;
use crate::out::Out;
use crate::progress::Bar;
use crate::submit::submitter;
use crate::{dry_run, local, plan, session};

/// What one sweep before the submission may handle; a fleet or the next command does the rest.
const SWEEP_MAX: i32 = 1_000;
/// One for the guard, one for the ledger, and two that the runner asks for.
const CONNECTIONS_MIN: NonZeroU32 = NonZeroU32::new(4).expect("4 is not 0");

pub(crate) async fn run(args: Maintain, out: &Out) -> Result<()> {
    let tasks = plan::tasks(&args.actions, &args.options)?;
    if let Some(journal) = &args.delete_listed {
        return local::delete_listed(&args, journal, out).await;
    }
    let Some(database_url) = args.database.database_url.clone() else {
        return local::run(&args, &tasks, out).await;
    };
    if args.journal.is_some() {
        let why = "--journal is for work without a database, and SNOWPACK_DATABASE_URL is set";
        return Err(runtime::Error::Usage(why.to_owned()).into());
    }
    let database = pg::Args {
        database_url,
        connections_max: args.connections_max.max(CONNECTIONS_MIN),
    };
    let pool = session::migrated(&database).await?;
    let catalog = session::catalog(&args.lakehouse, Some(&pool)).await?;
    // A table that is not there is said so before a job is made of it.
    catalog.load(&args.table).await?;
    let catalog_name = catalog.name().to_owned();
    if args.dry_run {
        return dry_run::run(&pool, &*catalog, &submission(&args)?, out).await;
    }
    let engine = session::engine(catalog);
    sweep(&pool, &catalog_name).await?;
    let lease = Duration::from_secs(args.lease_seconds);
    let heart = Arc::new(Heart::start(&pool, &maintenance::queue(), lease)?);
    // Before the job is there: whoever sees it may tell the program to stop.
    let signals = runtime::Shutdown::on_signals(Duration::MAX)?;
    let claimed = claim(&args, &pool, lease).await?;
    let job = claimed.fence.job().clone();
    let ended = attempt(
        &args,
        &pool,
        (engine, &catalog_name),
        (heart, signals),
        claimed,
    )
    .await?;
    let stored = maintenance::get(&**pool.get().await?, &job).await?;
    let rows = maintenance::actions::list(&**pool.get().await?, &job).await?;
    let failure = failure(
        ended.how,
        stored.as_ref().and_then(|job| job.error.as_deref()),
    );
    // Every job that did well also purges what is due.
    let asked: Vec<Action> = tasks.iter().map(Task::action).collect();
    let unasked = rows.iter().map(|row| row.result.action);
    let unasked = unasked.filter(|action| !asked.contains(action));
    let actions: BTreeSet<Action> = asked.iter().copied().chain(unasked).collect();
    let done: Vec<Done> = actions
        .into_iter()
        .map(|action| Done::recorded(action, &rows))
        .collect();
    let document = json!({
        "table": args.table.key(),
        "job_id": job,
        "success": failure.is_none(),
        "message": failure,
        "actions": done.iter().map(Done::document).collect::<Vec<Value>>(),
    });
    out.result(&document, || done::grid(&done).render())?;
    match failure {
        None => Ok(()),
        Some(why) => Err(anyhow!("job {job}: {why}")),
    }
}

/// Ends and frees what dead processes left: a table held by one is free after its lease.
async fn sweep(pool: &Pool, catalog_name: &str) -> Result<()> {
    let client = pool.get().await?;
    maintenance::queue()
        .sweep(&**client, SWEEP_MAX, &mut Cursor::default())
        .await?;
    maintenance::ledger::sweep(&**client, catalog_name, i64::from(SWEEP_MAX)).await?;
    Ok(())
}

fn submission(args: &Maintain) -> Result<Submission> {
    let options = by_action(&args.actions, &args.options).map_err(runtime::Error::Usage)?;
    Ok(Submission {
        options,
        max_attempts: 1,
        ..Submission::new(args.table.clone(), args.actions.clone(), submitter())
    })
}

/// Submits and claims in one transaction: the job never waits, and nobody else can have it.
async fn claim(args: &Maintain, pool: &Pool, lease: Duration) -> Result<Claimed> {
    let queue = maintenance::queue();
    let mut client = pool.get().await?;
    if let Some(paused) = queue.paused(&**client).await? {
        let why = if paused.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", paused.reason)
        };
        bail!(
            "lane {} is paused by {}{why}; `snowpack resume` lets it go on",
            queue.lane(),
            paused.by
        );
    }
    let submission = submission(args)?;
    let tx = (**client).transaction().await?;
    let submitted = match maintenance::submit(&tx, &submission).await {
        Err(maintenance::Error::Locked { table, holder }) => bail!(
            "table {table} is being maintained by job {holder}; wait for it (`snowpack job {holder}`) or end it \
             (`snowpack cancel {holder}`)"
        ),
        submitted => submitted?,
    };
    let claimed = queue
        .claim_one(&tx, submitted.job(), lease, &worker())
        .await?;
    let Some(claimed) = claimed else {
        bail!(
            "job {} could not be claimed: the lane was paused meanwhile",
            submitted.job()
        );
    };
    tx.commit().await?;
    Ok(claimed)
}

/// Who works, as the queue records it.
fn worker() -> String {
    format!("snowpack-maintain-{}", std::process::id())
}

/// Runs the attempt to its end. Ctrl-C cancels the job; a second one does not wait for a safe point.
async fn attempt(
    args: &Maintain,
    pool: &Pool,
    (engine, catalog): (Arc<dyn Engine>, &str),
    (heart, signals): (Arc<Heart>, runtime::Shutdown),
    claimed: Claimed,
) -> Result<runner::Ended> {
    let job = claimed.fence.job().clone();
    let memory_bytes = args.memory_bytes.unwrap_or_else(runner::memory_bytes);
    let metrics = Metrics::register(&prometheus::Registry::new())?;
    let config = Config {
        stall: Duration::from_secs(args.stall_seconds),
        ..Config::new(Memory::new(memory_bytes), catalog)
    };
    let runner = Runner::new(pool.clone(), engine, Arc::clone(&heart), metrics, config);
    // The first Ctrl-C asks for the job's cancellation instead of a drain, which would hand it back.
    let shutdown = runner::Shutdown {
        drain: tokio_util::sync::CancellationToken::new(),
        stop: signals.stop.clone(),
    };
    let bar = Arc::new(Bar::new(format!("maintaining {}", args.table)));
    let running = runner.run(
        claimed,
        &shutdown,
        Arc::clone(&bar) as Arc<dyn planner::Progress>,
    );
    tokio::pin!(running);
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = signals.drain.cancelled() => {
            bar.say("stopping at the next safe point");
            if let Err(error) = cancel(pool, &job).await {
                tracing::warn!(%job, error = runtime::chain(error.as_ref()), "could not ask for the cancellation");
            }
            heart.nudge();
            running.await
        }
    };
    bar.finish();
    Ok(ended)
}

async fn cancel(pool: &Pool, job: &JobId) -> Result<()> {
    let mut client = pool.get().await?;
    let tx = (**client).transaction().await?;
    maintenance::cancel(&tx, job).await?;
    tx.commit().await?;
    Ok(())
}

/// Why the command failed; `None` when it did what was asked.
fn failure(how: How, error: Option<&str>) -> Option<String> {
    let because = |what: &str| match error {
        Some(error) => format!("{what}: {error}"),
        None => what.to_owned(),
    };
    match how {
        How::Completed => None,
        How::Failed(reason) => Some(because(&format!("failed ({reason})"))),
        How::Cancelled => Some("cancelled".to_owned()),
        How::HandedBack => Some(because("it was handed back")),
        How::Replaced => Some("another process has it now; nothing more was written".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use model::EndReason;

    use super::*;

    #[test]
    fn only_a_completed_job_is_a_success() {
        let check = |how, want: Option<&str>| {
            assert_eq!(failure(how, Some("disk full")).as_deref(), want);
        };
        check(How::Completed, None);
        check(
            How::Failed(EndReason::ActionFailed),
            Some("failed (action_failed): disk full"),
        );
        check(How::Cancelled, Some("cancelled"));
        check(How::HandedBack, Some("it was handed back: disk full"));
        check(
            How::Replaced,
            Some("another process has it now; nothing more was written"),
        );
    }
}
