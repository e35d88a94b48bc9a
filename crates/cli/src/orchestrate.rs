//! `snowpack orchestrate`: one run of the orchestrator, from this terminal.

use std::time::Duration;

use anyhow::{Result, bail};
use maintenance::runs::Status;
use runtime::Shutdown;

use crate::out::Out;
use crate::submit::submitter;
use crate::{runs, session};

pub(crate) const EXAMPLES: &str = "\
Examples:
  snowpack orchestrate --dry-run                 what would be submitted, and why the rest is not
  snowpack orchestrate --jobs-max-per-run 10
  snowpack orchestrate --wait                    until the jobs have ended

It does what the program snowpack-orchestrator does on schedule; both at once share the work. Exit
codes: 0 the run completed, 1 it failed or was stopped; jobs that fail are counted.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    database: pg::Args,
    #[command(flatten)]
    run: steward::OrchestrateArgs,
    /// Decisions shown at most
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    limit: u32,
}

pub(crate) async fn run(args: Args, out: &Out) -> Result<()> {
    let pool = session::migrated(&args.database).await?;
    let shutdown = Shutdown::on_signals(Duration::ZERO)?;
    let settings = args.run.settings(submitter());
    let run = steward::orchestrate::once(&pool, &settings, &shutdown.drain).await?;
    runs::print(&pool, &run, None, args.limit, out).await?;
    if run.status == Status::Completed {
        return Ok(());
    }
    let (status, error) = (run.status.as_str(), run.error.unwrap_or_default());
    bail!("run {} {status}: {error}", run.id)
}
