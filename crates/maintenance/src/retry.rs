//! The work of a job that did not do well, once more, as a new job.

use model::{JobId, JobStatus};
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use crate::statement::{maybe, read};
use crate::submit::{Submission, Submitted, submit};
use crate::{Error, jobs};

const REPEATED: &str = include_str!("../sql/submit/repeated.sql");

/// Submits a failed or cancelled job again on behalf of `by`: the same work, queued the same way,
/// linked to it. Refused as any submission is. Wake the lane after the commit.
pub async fn retry(tx: &Transaction<'_>, id: &JobId, by: &str) -> Result<Submitted, Error> {
    let params = [(
        &id.as_str() as &(dyn tokio_postgres::types::ToSql + Sync),
        Type::TEXT,
    )];
    let Some(row) = maybe(tx, "load a job to try again", REPEATED, &params).await? else {
        return Err(Error::NoSuchJob(id.clone()));
    };
    let refused = |why| {
        Err(Error::NotRetried {
            job: id.clone(),
            why,
        })
    };
    match jobs::read_status(id, &row)? {
        JobStatus::Failed | JobStatus::Cancelled => {}
        JobStatus::Completed => {
            return refused("is completed; only a failed or cancelled one is tried again");
        }
        status @ (JobStatus::Pending | JobStatus::Running) => {
            return Err(Error::Live {
                job: id.clone(),
                status,
            });
        }
    }
    if read(&row, "dry_run")? {
        return refused("was a dry run; submit it again");
    }
    let (table, actions, options) = jobs::asked(id, &row)?;
    let mut asked = Submission::new(table, actions, by);
    asked.options = options;
    asked.attempt_timeout = jobs::attempt_timeout(&row)?;
    asked.pool = read::<Option<_>>(&row, "pool")?.unwrap_or(asked.pool);
    asked.priority = read::<Option<_>>(&row, "priority")?.unwrap_or(asked.priority);
    asked.max_attempts = read::<Option<_>>(&row, "max_attempts")?.unwrap_or(asked.max_attempts);
    asked.retry_of = Some(id.clone());
    submit(tx, &asked).await
}
