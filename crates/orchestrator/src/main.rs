//! CronJob: decides what every table needs and submits it. Wiring only; the work is
//! `steward::orchestrate`'s.

mod args;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use maintenance::runs::Status;
use runtime::Shutdown;
use steward::start;

use crate::args::Args;

const NAME: &str = "snowpack-orchestrator";

/// A run does one thing after the other; the second is for its end when the first was lost.
const CONNECTIONS: usize = 2;

fn main() -> ExitCode {
    match runtime::arguments::<Args>() {
        Ok(args) => runtime::run(NAME, run(args)),
        Err(code) => code,
    }
}

/// One run. Fails when it could not do all it was there for, so that whoever started it knows.
async fn run(args: Args) -> Result<()> {
    args.log.install()?;
    let shutdown = Shutdown::on_signals(Duration::ZERO)?;
    let opened = start::within(args.start.within(), &shutdown.drain, async || {
        start::database(&args.database, CONNECTIONS, NAME).await
    })
    .await?;
    let Some(pool) = opened else {
        bail!("stopped before it began");
    };
    let settings = args.orchestrate.settings(NAME);
    let run = steward::orchestrate::once(&pool, &settings, &shutdown.drain).await?;
    report::print(&pool, &run, args.output).await?;
    if run.status == Status::Completed {
        Ok(())
    } else {
        bail!(
            "run {} {}: {}",
            run.id,
            run.status.as_str(),
            run.error.unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Args;

    #[test]
    fn every_setting_is_known_to_the_other_programs() {
        Args::command().debug_assert();
        for argument in Args::command().get_arguments() {
            if let Some(name) = argument.get_env().and_then(|name| name.to_str()) {
                assert!(runtime::SETTINGS.contains(&name), "{name}");
            }
        }
    }
}
