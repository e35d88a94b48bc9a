//! Submission: lock, record and queue row in one transaction, or nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use model::{Action, AttemptId, EndReason, JobId, JobStatus, TableName};
use queue::{Enqueue, Lock};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use crate::jobs::Options;
use crate::statement::{maybe, one, read, run};
use crate::{Error, settings};

const ONE_AT_A_TIME: &str = include_str!("../sql/submit/one_at_a_time.sql");
const EARLIER: &str = include_str!("../sql/submit/earlier.sql");
const INSERT: &str = include_str!("../sql/submit/insert.sql");

/// Attempts a job gets unless told otherwise.
const ATTEMPTS_MAX_DEFAULT: i32 = 5;

/// The pool of a job unless told otherwise.
const POOL_DEFAULT: &str = "default";

/// Longest `submitted_by` and idempotency key, in bytes: both go into one index row.
const NAME_BYTES_MAX: usize = 500;

/// What to do to one table, and on whose behalf.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    pub table: TableName,
    /// In any order; they run in canonical order, each once.
    pub actions: Vec<Action>,
    pub options: Options,
    pub dry_run: bool,
    /// -3 to 3; a smaller number runs first.
    pub priority: i16,
    pub pool: String,
    pub max_attempts: i32,
    pub submitted_by: String,
    /// The same key for the same work of the same submitter is the same job.
    pub idempotency_key: Option<String>,
    /// W3C traceparent.
    pub trace_context: Option<String>,
    /// A plan made already, `{action: plan}`.
    pub plan: Option<Value>,
    /// How long one attempt may take; `None` is the worker's default.
    pub attempt_timeout: Option<Duration>,
    pub on_conflict: OnConflict,
    /// The job this one repeats ([`crate::retry`]).
    pub retry_of: Option<JobId>,
}

impl Submission {
    /// A submission with nothing but what has no default.
    pub fn new(table: TableName, actions: Vec<Action>, submitted_by: impl Into<String>) -> Self {
        Self {
            table,
            actions,
            options: Options::new(),
            dry_run: false,
            priority: 0,
            pool: POOL_DEFAULT.to_owned(),
            max_attempts: ATTEMPTS_MAX_DEFAULT,
            submitted_by: submitted_by.into(),
            idempotency_key: None,
            trace_context: None,
            plan: None,
            attempt_timeout: None,
            on_conflict: OnConflict::Reject,
            retry_of: None,
        }
    }
}

impl Submission {
    /// What [`submit`] refuses whatever the database holds.
    pub fn check(&self) -> Result<(), Error> {
        checked_actions(self).map(drop)
    }
}

/// What to do when a live job holds the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// Refuse, naming the holder.
    Reject,
    /// Answer with the holder.
    ReturnExisting,
}

/// The job that does the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    New(JobId),
    /// It was there already; nothing was written.
    Existing(JobId),
}

impl Submitted {
    pub fn job(&self) -> &JobId {
        match self {
            Self::New(job) | Self::Existing(job) => job,
        }
    }
}

/// Submits one job. Refused with nothing written when drained, when the table's lock is held by
/// a live job, or when the idempotency key was used for other work. A dry run is no job for a
/// worker: [`crate::dry_run`]. Wake the lane after the commit (`queue::Queue::notify`).
pub async fn submit(tx: &Transaction<'_>, asked: &Submission) -> Result<Submitted, Error> {
    if asked.dry_run {
        return Err(Error::BadSubmission {
            field: "dry_run",
            why: "is planned by whoever submits it, never queued",
        });
    }
    let work = match begin(tx, asked).await? {
        Begun::Earlier(job) => return Ok(Submitted::Existing(job)),
        Begun::New(work) => work,
    };
    let table_key = asked.table.key();
    if let Lock::Held { by } = crate::queue().lock(tx, &table_key, &work.job).await? {
        return match asked.on_conflict {
            OnConflict::Reject => Err(Error::Locked {
                table: asked.table.clone(),
                holder: by,
            }),
            OnConflict::ReturnExisting => Ok(Submitted::Existing(by)),
        };
    }
    insert(tx, asked, &work, &Ended::default()).await?;
    let item = Enqueue {
        job: work.job.clone(),
        pool: asked.pool.clone(),
        priority: asked.priority,
        run_after: None,
        max_attempts: asked.max_attempts,
        concurrency_key: Some(table_key),
        deadline: None,
    };
    crate::queue().enqueue(tx, &[item]).await?;
    Ok(Submitted::New(work.job))
}

/// A submission after every check but the lock's.
pub(crate) enum Begun {
    /// Its key was used for the same work before.
    Earlier(JobId),
    New(NewJob),
}

pub(crate) struct NewJob {
    pub(crate) job: JobId,
    pub(crate) actions: Vec<Action>,
    hash: String,
}

/// How a job ended that no worker runs; without a status it is pending.
#[derive(Default)]
pub(crate) struct Ended<'a> {
    pub(crate) status: Option<JobStatus>,
    pub(crate) reason: Option<EndReason>,
    pub(crate) error: Option<&'a str>,
    pub(crate) attempt: Option<&'a AttemptId>,
}

/// Drain first, so that nobody waits behind another's key for a refusal.
pub(crate) async fn begin(tx: &Transaction<'_>, asked: &Submission) -> Result<Begun, Error> {
    let actions = checked_actions(asked)?;
    let hash = request_hash(asked, &actions)?;
    let (drain, now_ms) = settings::drained_and_now(tx).await?;
    if let Some(drain) = drain {
        return Err(Error::Draining {
            by: drain.by,
            reason: drain.reason,
        });
    }
    if let Some(key) = &asked.idempotency_key
        && let Some(job) = earlier(tx, &asked.submitted_by, key, &hash).await?
    {
        return Ok(Begun::Earlier(job));
    }
    let job = new_job_id(now_ms);
    Ok(Begun::New(NewJob { job, actions, hash }))
}

/// The actions in canonical order, each once, after every check that needs no database.
fn checked_actions(asked: &Submission) -> Result<Vec<Action>, Error> {
    let mut actions = asked.actions.clone();
    actions.sort_unstable();
    actions.dedup();
    if actions.is_empty() {
        return Err(Error::NoActions);
    }
    if let Some(stray) = asked
        .options
        .keys()
        .find(|action| !actions.contains(action))
    {
        return Err(Error::StrayOptions(*stray));
    }
    let bad = |field, why| Err(Error::BadSubmission { field, why });
    if asked.submitted_by.is_empty() || asked.submitted_by.len() > NAME_BYTES_MAX {
        return bad("submitted_by", "must have 1 to 500 bytes");
    }
    if asked
        .idempotency_key
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.len() > NAME_BYTES_MAX)
    {
        return bad("idempotency key", "must have 1 to 500 bytes");
    }
    if !(-3..=3).contains(&asked.priority) {
        return bad("priority", "must be -3 to 3");
    }
    if asked.max_attempts < 1 {
        return bad("max_attempts", "must be at least 1");
    }
    if asked.pool.is_empty() {
        return bad("pool", "must not be empty");
    }
    if asked
        .attempt_timeout
        .is_some_and(|t| t.as_secs() == 0 || timeout_seconds(t).is_none())
    {
        return bad("attempt_timeout", "must be 1 second to 68 years");
    }
    Ok(actions)
}

fn timeout_seconds(timeout: Duration) -> Option<i32> {
    i32::try_from(timeout.as_secs()).ok()
}

/// What makes two submissions the same work. Pool and attempts are how it is queued, not what is
/// asked; field order is fixed here and maps are sorted, so equal work has equal text.
#[derive(Serialize)]
struct Work<'a> {
    table: String,
    actions: &'a [Action],
    options: &'a BTreeMap<Action, BTreeMap<String, String>>,
    dry_run: bool,
    priority: i16,
    attempt_timeout_seconds: Option<u64>,
}

fn request_hash(asked: &Submission, actions: &[Action]) -> Result<String, Error> {
    let work = Work {
        table: asked.table.key(),
        actions,
        options: &asked.options,
        dry_run: asked.dry_run,
        priority: asked.priority,
        attempt_timeout_seconds: asked.attempt_timeout.map(|timeout| timeout.as_secs()),
    };
    let text = serde_json::to_vec(&work).map_err(|_| Error::BadSubmission {
        field: "options",
        why: "cannot be written as JSON",
    })?;
    let mut hash = String::from("v1:");
    for byte in Sha256::digest(&text) {
        // Writing to a string cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    Ok(hash)
}

/// The job submitted earlier under the key, if any. Same key, other work: refused.
async fn earlier(
    tx: &Transaction<'_>,
    submitted_by: &str,
    key: &str,
    hash: &str,
) -> Result<Option<JobId>, Error> {
    let params = [
        (
            &submitted_by as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        ),
        (
            &key as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        ),
    ];
    one(
        tx,
        "wait for submissions with the same key",
        ONE_AT_A_TIME,
        &params,
    )
    .await?;
    let Some(row) = maybe(tx, "look for an earlier submission", EARLIER, &params).await? else {
        return Ok(None);
    };
    let job = JobId::new(read::<String>(&row, "job_id")?);
    if read::<String>(&row, "request_hash")? == hash {
        Ok(Some(job))
    } else {
        Err(Error::IdempotencyMismatch {
            key: key.to_owned(),
            job,
        })
    }
}

/// A UUIDv7 of the database's time: ids sort by submission whatever a pod's clock says.
fn new_job_id(now_ms: u64) -> JobId {
    let random = uuid::Uuid::new_v4().into_bytes();
    let mut tail = [0; 10];
    tail.copy_from_slice(&random[..10]);
    JobId::new(
        uuid::Builder::from_unix_timestamp_millis(now_ms, &tail)
            .into_uuid()
            .to_string(),
    )
}

pub(crate) async fn insert(
    tx: &Transaction<'_>,
    asked: &Submission,
    work: &NewJob,
    ended: &Ended<'_>,
) -> Result<(), Error> {
    let names: Vec<&str> = work.actions.iter().map(|action| action.as_str()).collect();
    let options = serde_json::to_value(&asked.options).map_err(|_| Error::BadSubmission {
        field: "options",
        why: "cannot be written as JSON",
    })?;
    let status = ended.status.unwrap_or(JobStatus::Pending).as_str();
    run(
        tx,
        "insert a job",
        INSERT,
        &[
            (&work.job.as_str(), Type::TEXT),
            (&asked.table.database(), Type::TEXT),
            (&asked.table.table(), Type::TEXT),
            (&names, Type::TEXT_ARRAY),
            (&options, Type::JSONB),
            (&asked.dry_run, Type::BOOL),
            (&asked.submitted_by, Type::TEXT),
            (&asked.idempotency_key, Type::TEXT),
            (&work.hash, Type::TEXT),
            (&asked.trace_context, Type::TEXT),
            (&asked.plan, Type::JSONB),
            (&asked.attempt_timeout.and_then(timeout_seconds), Type::INT4),
            (&asked.pool, Type::TEXT),
            (&asked.priority, Type::INT2),
            (&asked.max_attempts, Type::INT4),
            (&asked.retry_of.as_ref().map(JobId::as_str), Type::TEXT),
            (&status, Type::TEXT),
            (&ended.reason.map(EndReason::as_str), Type::TEXT),
            (&ended.error, Type::TEXT),
            (&ended.attempt.map(AttemptId::as_str), Type::TEXT),
        ],
    )
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(actions: &[Action]) -> Submission {
        Submission::new("db.events".parse().unwrap(), actions.to_vec(), "test")
    }

    #[test]
    fn m12_actions_are_kept_in_canonical_order_each_once() {
        use Action::{ExpireSnapshots, PurgePending, RewriteDataFiles};
        let asked = submission(&[
            PurgePending,
            RewriteDataFiles,
            ExpireSnapshots,
            RewriteDataFiles,
        ]);
        let want = vec![ExpireSnapshots, RewriteDataFiles, PurgePending];
        assert_eq!(checked_actions(&asked).unwrap(), want);
    }

    #[test]
    fn equal_work_has_an_equal_hash_and_other_work_another() {
        let hash =
            |asked: &Submission| request_hash(asked, &checked_actions(asked).unwrap()).unwrap();
        let one = submission(&[Action::RewriteDataFiles, Action::ExpireSnapshots]);
        let mut same = submission(&[Action::ExpireSnapshots, Action::RewriteDataFiles]);
        same.pool = "large".to_owned();
        same.trace_context = Some("00-1-1-01".to_owned());
        assert_eq!(hash(&one), hash(&same));
        let mut other = one.clone();
        other.dry_run = true;
        assert_ne!(hash(&one), hash(&other));
        let mut other = one.clone();
        let options = BTreeMap::from([("min-input-files".to_owned(), "2".to_owned())]);
        other.options.insert(Action::RewriteDataFiles, options);
        assert_ne!(hash(&one), hash(&other));
    }

    #[test]
    fn unusable_submissions_are_refused_naming_the_field() {
        let check = |change: fn(&mut Submission), want: &str| {
            let mut asked = submission(&[Action::RewriteDataFiles]);
            change(&mut asked);
            let error = checked_actions(&asked).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        };
        check(|asked| asked.actions.clear(), "no action");
        check(|asked| asked.priority = 4, "priority");
        check(|asked| asked.max_attempts = 0, "max_attempts");
        check(|asked| asked.submitted_by.clear(), "submitted_by");
        check(|asked| asked.pool.clear(), "pool");
        check(
            |asked| asked.idempotency_key = Some("k".repeat(501)),
            "idempotency key",
        );
        check(
            |asked| asked.attempt_timeout = Some(Duration::ZERO),
            "attempt_timeout",
        );
        check(
            |asked| {
                asked.options.insert(Action::PurgePending, BTreeMap::new());
            },
            "purge_pending",
        );
    }

    #[test]
    fn job_ids_sort_by_the_databases_time() {
        let ids: Vec<JobId> = [1, 2, 1_700_000_000_000, 1_700_000_000_001]
            .map(new_job_id)
            .into();
        assert!(ids.is_sorted(), "{ids:?}");
    }
}
