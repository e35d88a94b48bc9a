//! `snowpack check`: asks for a dry run, past the API's door, and reads it back.
//!
//! For `helm test` where the API wants a token and none was given. Waits for the API's first sync
//! of the table cache, so that it may come right after an installation.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use maintenance::Submission;
use maintenance::inventory::{self, Filter};
use model::{Action, JobStatus, TableName};
use pg::Pool;
use serde_json::json;

use crate::args::Lakehouse;
use crate::out::Out;
use crate::submit::submitter;
use crate::{jobs, session};

/// After the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  snowpack check
  snowpack check db.events

It plans a rewrite and changes nothing; an ended job is left that says so. An empty catalog is no
failure. `snowpack-api check` asks the same of the API.";

/// Between two looks whether the table cache is filled.
const FILLED_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The table to plan, as namespace.table [default: the first one of the table cache]
    #[arg(value_name = "TABLE")]
    table: Option<TableName>,
    /// How long the API may take to fill the table cache for the first time, 0 to 3600
    #[arg(
        long,
        default_value = "60",
        value_name = "SECONDS",
        value_parser = runtime::number(0..=3_600)
    )]
    timeout: u64,
    #[command(flatten)]
    database: pg::Args,
    #[command(flatten)]
    lakehouse: Lakehouse,
}

pub(crate) async fn run(args: Args, out: &Out) -> Result<()> {
    let pool = session::migrated(&args.database).await?;
    let table = match args.table {
        Some(table) => Some(table),
        None => first_table(&pool, Duration::from_secs(args.timeout)).await?,
    };
    let Some(table) = table else {
        let document = json!({ "table": null, "job_id": null, "status": null });
        return out.result(&document, || {
            "the catalog holds no table to plan\n".to_owned()
        });
    };
    let catalog = session::catalog(&args.lakehouse, Some(&pool)).await?;
    let asked = Submission::new(table, vec![Action::RewriteDataFiles], submitter());
    let id = steward::dry_run::run(&pool, &*catalog, &asked).await?.id;
    let found = maintenance::get(&**pool.get().await?, &id).await?;
    let job = found.with_context(|| format!("job {id} cannot be read back"))?;
    let (table, status) = (job.table.key(), jobs::status(&job));
    if !job.dry_run || job.status != JobStatus::Completed {
        let why = job.error.unwrap_or_default();
        bail!("the dry run {id} of {table} is {status}: {why}");
    }
    let document = json!({ "table": table, "job_id": id, "status": job.status });
    out.result(&document, || {
        format!("the dry run {id} of {table} was planned and read back: {status}\n")
    })
}

/// The first table of the table cache, by name, once there is a cache.
async fn first_table(pool: &Pool, within: Duration) -> Result<Option<TableName>> {
    let deadline = Instant::now() + within;
    let client = pool.get().await?;
    loop {
        let status = inventory::status(&**client).await?;
        if status.last_synced_at.is_some() {
            break;
        }
        if deadline <= Instant::now() {
            let why = status.error.unwrap_or_else(|| "no API tried".to_owned());
            let within = within.as_secs();
            bail!("the table cache was not filled within {within} s: {why}");
        }
        tokio::time::sleep(FILLED_EVERY).await;
    }
    let first = Filter {
        limit: 1,
        ..Filter::default()
    };
    let page = inventory::list(&**client, &first).await?;
    Ok(page.into_iter().next().map(|entry| entry.table))
}
