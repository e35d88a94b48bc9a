//! `snowpack jobs`, `job` and `cancel`: what is queued, what ran, and how it ended.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use maintenance::{ActionRow, Filter, Job};
use queue::Cancel;
use runtime::Shutdown;
use serde_json::{Value, json};

use crate::args::{Jobs, OneJob};
use crate::out::Out;
use crate::print::{self, Grid};
use crate::{done, session};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Home, and clear what is below.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(crate) async fn list(args: Jobs, out: &Out) -> Result<()> {
    let pool = session::migrated(&args.database).await?;
    let filter = Filter {
        status: args.status,
        table: args.table,
        limit: args.limit,
        ..Filter::default()
    };
    if !args.watch {
        let jobs = maintenance::list(&**pool.get().await?, &filter).await?;
        return out.result(
            &json!({ "jobs": jobs.iter().map(document).collect::<Vec<Value>>() }),
            || grid(&jobs),
        );
    }
    let shutdown = Shutdown::on_signals(Duration::ZERO)?;
    let mut shown = None;
    while !shutdown.drain.is_cancelled() {
        let jobs = maintenance::list(&**pool.get().await?, &filter).await?;
        if shown.as_ref() != Some(&jobs) {
            let document = json!({ "jobs": jobs.iter().map(document).collect::<Vec<Value>>() });
            let clear = if out.repaints() { CLEAR } else { "" };
            out.line(&document, || format!("{clear}{}\n", grid(&jobs)))?;
            shown = Some(jobs);
        }
        tokio::select! {
            () = shutdown.drain.cancelled() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    Ok(())
}

pub(crate) async fn show(args: OneJob, out: &Out) -> Result<()> {
    let pool = session::migrated(&args.database).await?;
    let client = pool.get().await?;
    let Some(job) = maintenance::get(&**client, &args.id).await? else {
        return Err(maintenance::Error::NoSuchJob(args.id).into());
    };
    let actions = maintenance::actions::list(&**client, &args.id).await?;
    let mut document = with_actions(&job, &actions);
    document["plan"] = json!(job.plan);
    out.result(&document, || text(&job, &actions))
}

pub(crate) async fn cancel(args: OneJob, out: &Out) -> Result<()> {
    let pool = session::migrated(&args.database).await?;
    let mut client = pool.get().await?;
    let tx = (**client).transaction().await?;
    let cancelled = maintenance::cancel(&tx, &args.id).await?;
    tx.commit().await?;
    // The worker's heartbeat brings it too: a lost wake-up only delays it.
    if let Err(error) = maintenance::queue()
        .notify_cancel(&**client, &args.id)
        .await
    {
        tracing::debug!(%error, "the worker will see the cancellation at its next heartbeat");
    }
    let at_once = cancelled == Cancel::AtOnce;
    let document = json!({ "job_id": args.id, "cancelled": at_once, "requested": !at_once });
    out.result(&document, || {
        if at_once {
            format!("job {} is cancelled\n", args.id)
        } else {
            format!("job {} runs; it stops at its next safe point\n", args.id)
        }
    })
}

/// A job as programs read it.
pub(crate) fn document(job: &Job) -> Value {
    json!({
        "job_id": job.id,
        "table": job.table.key(),
        "actions": job.actions,
        "options": job.options,
        "dry_run": job.dry_run,
        "status": job.status,
        "reason": job.reason,
        "error": job.error,
        "submitted_by": job.submitted_by,
        "idempotency_key": job.idempotency_key,
        "submitted_at": job.submitted_at.to_string(),
        "started_at": text_of(job.started_at),
        "completed_at": text_of(job.completed_at),
        "attempt_id": job.attempt,
        "retry_of": job.retry_of,
        "queue": job.queue.as_ref().map(|queue| json!({
            "pool": queue.pool,
            "priority": queue.priority,
            "attempt_count": queue.attempt_count,
            "max_attempts": queue.attempts_max,
            "hand_back_count": queue.hand_back_count,
            "visible_at": queue.visible_at.to_string(),
            "claimed_by": queue.claimed_by,
            "cancel_requested": queue.cancel_requested,
        })),
    })
}

fn text_of(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// A job with what its actions did, oldest first.
pub(crate) fn with_actions(job: &Job, actions: &[ActionRow]) -> Value {
    let mut document = document(job);
    document["results"] = actions.iter().map(result).collect();
    document
}

fn result(row: &ActionRow) -> Value {
    json!({
        "action": row.result.action,
        "attempt_id": row.attempt,
        "outcome": row.result.outcome,
        "success": row.result.outcome.success(),
        "message": row.result.message,
        "error": row.result.error,
        "elapsed_seconds": row.result.elapsed.as_secs_f64(),
        "created_at": row.created_at.to_string(),
        "result": row.result.result,
    })
}

fn grid(jobs: &[Job]) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let mut grid = Grid::new(&[
        "JOB",
        "TABLE",
        "ACTIONS",
        "STATUS",
        "SUBMITTED",
        ">TOOK",
        "WORKER",
    ]);
    for job in jobs {
        grid.row([
            job.id.to_string(),
            job.table.key(),
            actions(job),
            status(job),
            moment(job.submitted_at),
            took(job),
            job.queue
                .as_ref()
                .and_then(|queue| queue.claimed_by.clone())
                .unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    grid.render()
}

fn text(job: &Job, results: &[ActionRow]) -> String {
    let mut facts = vec![
        ("job", job.id.to_string()),
        ("table", job.table.key()),
        ("actions", actions(job)),
        ("status", status(job)),
        (
            "submitted",
            format!("{} by {}", moment(job.submitted_at), job.submitted_by),
        ),
    ];
    facts.extend(job.retry_of.as_ref().map(|of| ("retry of", of.to_string())));
    facts.extend(job.started_at.map(|at| ("started", moment(at))));
    facts.extend(
        job.completed_at
            .map(|at| ("ended", format!("{} (after {})", moment(at), took(job)))),
    );
    facts.extend(job.error.clone().map(|error| ("error", error)));
    if let Some(queue) = &job.queue {
        let attempt = format!("{} of {}", queue.attempt_count, queue.attempts_max);
        facts.push(("attempt", attempt));
        facts.extend(queue.claimed_by.clone().map(|worker| ("worker", worker)));
        facts.push(("pool", queue.pool.clone()));
    }
    let mut text = String::new();
    for (name, value) in facts {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<10} {value}");
    }
    if !results.is_empty() {
        let mut grid = Grid::new(&["ACTION", "OUTCOME", ">TOOK", "WHAT IT DID"]);
        for row in results {
            let said = row.result.error.as_ref().or(row.result.message.as_ref());
            let report = done::report(row.result.result.as_ref());
            let report = report.filter(|_| row.result.outcome.success());
            grid.row([
                row.result.action.to_string(),
                row.result.outcome.to_string(),
                print::seconds(row.result.elapsed),
                report.map_or_else(
                    || said.cloned().unwrap_or_default(),
                    |report| done::words(&report),
                ),
            ]);
        }
        text.push('\n');
        text.push_str(&grid.render());
    }
    text
}

fn actions(job: &Job) -> String {
    job.actions
        .iter()
        .map(|action| action.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

pub(crate) fn status(job: &Job) -> String {
    let waits = job
        .queue
        .as_ref()
        .is_some_and(|queue| queue.cancel_requested);
    match job.reason {
        Some(reason) if reason.as_str() != job.status.as_str() => {
            format!("{} ({reason})", job.status)
        }
        None if waits => format!("{} (cancel requested)", job.status),
        _ => job.status.to_string(),
    }
}

/// To the second: nobody reads more.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn took(job: &Job) -> String {
    match (job.started_at, job.completed_at) {
        (Some(started), Some(ended)) => {
            print::seconds(Duration::try_from(ended.duration_since(started)).unwrap_or_default())
        }
        _ => "-".to_owned(),
    }
}
