//! `snowpack submit`: queues actions on a table for the workers.

use anyhow::Result;
use maintenance::{Submission, Submitted};
use serde_json::json;

use crate::args::Submit;
use crate::option::by_action;
use crate::out::Out;
use crate::{dry_run, plan, session};

/// After the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  snowpack submit db.events rewrite_data_files
  snowpack submit db.events rewrite_data_files --priority -1 --idempotency-key nightly-2026-01-31
  snowpack submit db.events rewrite_data_files --option target-file-size-bytes=134217728
  snowpack submit db.events rewrite_data_files --dry-run     plan it, change nothing";

pub(crate) async fn run(args: Submit, out: &Out) -> Result<()> {
    // Options are checked before anything is queued; the worker would only refuse them later.
    plan::tasks(&args.actions, &args.options)?;
    let options = by_action(&args.actions, &args.options).map_err(runtime::Error::Usage)?;
    let submission = Submission {
        options,
        dry_run: args.dry_run,
        priority: args.priority,
        pool: args.pool,
        max_attempts: args.max_attempts,
        idempotency_key: args.idempotency_key,
        ..Submission::new(args.table, args.actions, submitter())
    };
    let pool = session::migrated(&args.database).await?;
    if submission.dry_run {
        let catalog = session::catalog(&args.lakehouse, Some(&pool)).await?;
        return dry_run::run(&pool, &*catalog, &submission, out).await;
    }
    let mut client = pool.get().await?;
    let tx = (**client).transaction().await?;
    let submitted = maintenance::submit(&tx, &submission).await?;
    tx.commit().await?;
    wake(&client).await;
    let new = matches!(submitted, Submitted::New(_));
    let document = json!({ "job_id": submitted.job(), "new": new });
    out.result(&document, || format!("{}\n", submitted.job()))
}

/// Tells workers. The job is queued: a lost wake-up only costs one poll.
pub(crate) async fn wake(client: &pg::Client) {
    if let Err(error) = maintenance::queue().notify(&***client).await {
        tracing::debug!(%error, "workers will see the job at their next poll");
    }
}

/// Who submits, as jobs record it.
pub(crate) fn submitter() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    format!(
        "cli:{}",
        user.ok()
            .filter(|user| !user.is_empty())
            .unwrap_or_else(|| "unknown".to_owned())
    )
}
