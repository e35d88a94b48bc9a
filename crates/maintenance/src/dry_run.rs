//! Dry runs: planned by whoever submits them, recorded as ended. No queue row, no lock, no worker.
//!
//! Ask [`known`] before planning, which may take long; then [`record`] checks everything again.

use model::{ActionOutcome, AttemptId, EndReason, JobId, JobStatus};
use tokio_postgres::Transaction;

use crate::submit::{Begun, Ended, Submission, Submitted, begin, insert};
use crate::{ActionResult, Error, actions};

/// The job the same dry run made earlier under its key. Fails as [`crate::submit`] does, but for
/// the lock: a table that a live job holds can be planned.
pub async fn known(tx: &Transaction<'_>, asked: &Submission) -> Result<Option<JobId>, Error> {
    match begin(tx, asked).await? {
        Begun::Earlier(job) => Ok(Some(job)),
        Begun::New(_) => Ok(None),
    }
}

/// Records a dry run with what came of planning each action, and its plans (`asked.plan`): failed
/// when an action is, else completed.
pub async fn record(
    tx: &Transaction<'_>,
    asked: &Submission,
    results: &[ActionResult],
) -> Result<Submitted, Error> {
    if !asked.dry_run {
        return Err(Error::BadSubmission {
            field: "dry_run",
            why: "must be true for what is not queued",
        });
    }
    let work = match begin(tx, asked).await? {
        Begun::Earlier(job) => return Ok(Submitted::Existing(job)),
        Begun::New(work) => work,
    };
    let failed = results
        .iter()
        .find(|result| result.outcome == ActionOutcome::Failed);
    let error = failed.map(|failed| {
        let why = failed.error.as_deref().unwrap_or_default();
        format!("{}: {why}", failed.action)
    });
    let attempt = AttemptId::new(uuid::Uuid::new_v4().to_string());
    let ended = Ended {
        status: Some(match failed {
            Some(_) => JobStatus::Failed,
            None => JobStatus::Completed,
        }),
        reason: failed.map(|_| EndReason::ActionFailed),
        error: error.as_deref(),
        attempt: Some(&attempt),
    };
    insert(tx, asked, &work, &ended).await?;
    for result in results {
        actions::insert(tx, &work.job, &attempt, result).await?;
    }
    Ok(Submitted::New(work.job))
}
