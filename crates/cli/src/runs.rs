//! `snowpack runs`: what orchestrator runs did, and what one decided about each table.

use std::time::Duration;

use anyhow::{Result, bail};
use maintenance::runs::{self, Choice, Decided, Filter, PAGE_MAX, ReasonCount, Run, RunId};
use pg::Pool;
use serde_json::json;

use crate::jobs::moment;
use crate::out::Out;
use crate::print::{self, Grid};
use crate::session;

pub(crate) const EXAMPLES: &str = "\
Examples:
  snowpack runs
  snowpack runs 17
  snowpack runs 17 --reason quarantined
  snowpack runs --before 17 --limit 100";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One run, with its decisions
    #[arg(value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    id: Option<i64>,
    /// Of that run, only decisions with this reason, as in `due` or `healthy`
    #[arg(long, value_name = "REASON", requires = "id")]
    reason: Option<String>,
    /// Only runs older than this one
    #[arg(long, value_name = "ID", conflicts_with = "id", value_parser = clap::value_parser!(i64).range(1..))]
    before: Option<i64>,
    /// Runs, or decisions of one, shown at most
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    database: pg::Args,
}

pub(crate) async fn run(args: Args, out: &Out) -> Result<()> {
    let pool = session::migrated(&args.database).await?;
    if let Some(id) = args.id.map(RunId) {
        let Some(run) = runs::get(&**pool.get().await?, id).await? else {
            bail!("no run {id}");
        };
        return print(&pool, &run, args.reason.as_deref(), args.limit, out).await;
    }
    let before = args.before.map(RunId);
    let listed = runs::list(&**pool.get().await?, before, args.limit).await?;
    out.result(&json!({ "runs": listed }), || list(&listed))
}

fn list(listed: &[Run]) -> String {
    if listed.is_empty() {
        return "no runs\n".to_owned();
    }
    let mut grid = Grid::new(&[
        ">RUN",
        "STARTED",
        ">TOOK",
        "STATUS",
        ">TABLES",
        ">HEALTHY",
        ">LEFT ALONE",
        ">SUBMITTED",
        ">COMPLETED",
        ">FAILED",
        "BY",
        "~NOTE",
    ]);
    for run in listed {
        let counts = &run.counts;
        let mut note = run.error.clone().or_else(|| run.note.clone());
        if run.dry_run {
            note = Some(note.map_or("dry run".to_owned(), |note| format!("dry run; {note}")));
        }
        let count = |number: u32| print::count(u64::from(number));
        grid.row([
            run.id.to_string(),
            moment(run.started_at),
            took(run),
            run.status.as_str().to_owned(),
            count(counts.tables_assessed),
            count(counts.tables_healthy),
            count(counts.tables_skipped),
            count(counts.jobs_submitted),
            count(counts.jobs_completed),
            count(counts.jobs_failed),
            run.triggered_by.clone(),
            note.unwrap_or_default(),
        ]);
    }
    grid.render()
}

fn took(run: &Run) -> String {
    run.completed_at.map_or_else(
        || "-".to_owned(),
        |at| {
            print::seconds(
                Duration::try_from(at.duration_since(run.started_at)).unwrap_or_default(),
            )
        },
    )
}

/// One run: its summary, then what it submitted, the most wanted first, then the others by name.
pub(crate) async fn print(
    pool: &Pool,
    run: &Run,
    reason: Option<&str>,
    limit: u32,
    out: &Out,
) -> Result<()> {
    let reasons = runs::reasons(&**pool.get().await?, run.id).await?;
    let decisions = decisions(pool, run.id, reason, limit).await?;
    let document = json!({ "run": run, "reasons": reasons, "decisions": decisions });
    out.result(&document, || text(run, &reasons, reason, &decisions))
}

async fn decisions(
    pool: &Pool,
    id: RunId,
    reason: Option<&str>,
    limit: u32,
) -> Result<Vec<Decided>> {
    let client = pool.get().await?;
    let mut shown = match reason {
        None => runs::submitted(&**client, id, limit).await?,
        Some(_) => Vec::new(),
    };
    let mut filter = Filter {
        choice: reason.is_none().then_some(Choice::Skip),
        reason: reason.map(str::to_owned),
        ..Filter::default()
    };
    loop {
        let left = limit.saturating_sub(u32::try_from(shown.len()).unwrap_or(u32::MAX));
        filter.limit = left.min(PAGE_MAX);
        if left == 0 {
            return Ok(shown);
        }
        let page = runs::decisions(&**client, id, &filter).await?;
        let Some(last) = page.last() else {
            return Ok(shown);
        };
        filter.after = Some((last.database.clone(), last.table.clone()));
        shown.extend(page);
    }
}

fn text(run: &Run, reasons: &[ReasonCount], reason: Option<&str>, shown: &[Decided]) -> String {
    let mut lines = steward::orchestrate::summary(run, reasons);
    if !shown.is_empty() {
        lines.push(String::new());
        lines.push(grid(run.dry_run, shown).trim_end().to_owned());
    }
    let of = |one: &&ReasonCount| reason.is_none_or(|reason| one.reason == reason);
    let all: u64 = reasons.iter().filter(of).map(|one| one.tables).sum();
    let more = all.saturating_sub(shown.len() as u64);
    if 0 < more {
        let more = print::counted(more, "decision");
        lines.push(format!(
            "\n{more} more; `snowpack runs {}` with --limit shows them",
            run.id
        ));
    }
    lines.join("\n") + "\n"
}

fn grid(dry_run: bool, shown: &[Decided]) -> String {
    let mut grid = Grid::new(&["TABLE", ">HEALTH", "DECISION", "ACTIONS", "JOB", "~WHY"]);
    for one in shown {
        grid.row([
            format!("{}.{}", one.database, one.table),
            one.score
                .map_or_else(|| "-".to_owned(), |score| format!("{score:.0}")),
            decision(one, dry_run),
            if one.actions.is_empty() {
                "-".to_owned()
            } else {
                one.actions.join(", ")
            },
            job(one),
            one.why.clone(),
        ]);
    }
    grid.render()
}

fn decision(one: &Decided, dry_run: bool) -> String {
    match (one.choice, dry_run) {
        (Choice::Submit, false) => "submitted".to_owned(),
        (Choice::Submit, true) => "would submit".to_owned(),
        (Choice::Skip, _) => one.reason.clone(),
    }
}

/// The job a decision led to, and how it stands.
pub(crate) fn job(one: &Decided) -> String {
    match (&one.job, one.job_status) {
        (Some(job), Some(status)) => format!("{job} {status}"),
        (Some(job), None) => job.to_string(),
        (None, _) => "-".to_owned(),
    }
}
