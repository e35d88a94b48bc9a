//! CronJob: assesses every table of the inventory once, and ends.
//!
//! Wiring only: [`args`] says what can be set; the pass itself is `steward::health`'s.

mod args;

use std::process::ExitCode;

use anyhow::Result;
use maintenance::loops::Outcome;
use runtime::{Exit, Shutdown};
use steward::start;
use tracing::error;

use crate::args::Args;

const NAME: &str = "snowpack-health-sync";

/// Connections a pass uses at once: looks wait for a table's files far longer than for Postgres.
const CONNECTIONS: usize = 4;

fn main() -> ExitCode {
    match runtime::arguments::<Args>() {
        Ok(args) => runtime::run(NAME, Box::pin(work(args))),
        Err(code) => code,
    }
}

/// One pass. Who could not begin has done nothing: that is code 2 too.
async fn work(args: Args) -> Result<Exit> {
    args.log.install()?;
    let shutdown = Shutdown::on_signals(args.grace())?;
    match pass(&args, &shutdown).await {
        Ok(Outcome::Done) => Ok(Exit::Done),
        Ok(Outcome::Partial) => Ok(Exit::Partial),
        Ok(Outcome::Failed) => Ok(Exit::Nothing),
        // What was asked for is impossible: said by the runtime, as everywhere.
        Err(error) if error.downcast_ref::<runtime::Error>().is_some() => Err(error),
        Err(error) => {
            error!(
                why = runtime::chain(error.as_ref()),
                "health sync did not begin"
            );
            Ok(Exit::Nothing)
        }
    }
}

async fn pass(args: &Args, shutdown: &Shutdown) -> Result<Outcome> {
    let storage = start::storage(&args.storage)?;
    let lake = (&storage, &args.storage);
    let memory_bytes = start::memory_bytes();
    let opened = start::within(args.start.within(), &shutdown.drain, async || {
        let pool = start::database(&args.database, CONNECTIONS, NAME).await?;
        let catalog = start::catalog(&args.catalog, &pool, lake, memory_bytes).await?;
        Ok((pool, catalog))
    });
    let Some((pool, catalog)) = opened.await? else {
        return Ok(Outcome::Partial);
    };
    let syncing = args.sync.syncing(NAME.to_owned());
    let defaults = args.policy.defaults();
    let synced = steward::health::sync(&pool, catalog, &defaults, &syncing, shutdown).await?;
    Ok(synced.outcome())
}
