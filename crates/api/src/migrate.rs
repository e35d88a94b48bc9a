//! `snowpack-api migrate` and `wait-for-db`: what a deployment runs before the rest.

use anyhow::Result;
use steward::start;
use tracing::info;

use crate::args::{Migrate, WaitForDb};

/// Brings the schema to this version; twice changes nothing, two at once are safe.
pub(crate) async fn run(args: Migrate) -> Result<()> {
    args.log.install()?;
    let pool = start::connect(&args.database, 1, crate::NAME).await?;
    let migrated = maintenance::migrate(&pool).await?;
    info!(
        version = migrated.version,
        applied = migrated.applied.len(),
        "schema is up to date"
    );
    Ok(())
}

/// Returns once the database answers and has our schema.
pub(crate) async fn wait(args: WaitForDb) -> Result<()> {
    args.log.install()?;
    let shutdown = runtime::Shutdown::on_signals(std::time::Duration::ZERO)?;
    let opened = start::within(args.timeout(), &shutdown.drain, async || {
        start::database(&args.database, 1, crate::NAME).await
    });
    match opened.await? {
        Some(pool) => info!(database = pool.place(), "database is ready"),
        None => anyhow::bail!("stopped while waiting for the database"),
    }
    Ok(())
}
