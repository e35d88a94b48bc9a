//! Deletion in two phases: what expiries intend, which files wait to be deleted, what became of them.
//!
//! Owns `expiry_intents` and, with [`crate::ledger`], `pending_deletions`. Every write of an attempt
//! is under its fence, every time is the database's. Never touches a file. Start at [`intend`],
//! then [`list`], [`settle`], [`due`] and [`purged`].

use jiff::Timestamp;
use model::{AttemptId, JobId, TableName};
use queue::Fence;
use serde_json::Value;
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row, Transaction};

use crate::Error;
use crate::statement::{one, read, rows, run};

const OPEN_INTENTS: &str = include_str!("../sql/deletions/open_intents.sql");
const INTEND: &str = include_str!("../sql/deletions/intend.sql");
const ACCOUNTED: &str = include_str!("../sql/deletions/accounted.sql");
const LIST: &str = include_str!("../sql/deletions/list.sql");
const SETTLE: &str = include_str!("../sql/deletions/settle.sql");
const DUE: &str = include_str!("../sql/deletions/due.sql");
const LISTED_UNDER: &str = include_str!("../sql/deletions/listed_under.sql");
const PURGED: &str = include_str!("../sql/deletions/purged.sql");
const ORPHANS_BY: &str = include_str!("../sql/deletions/orphans_by.sql");
const PURGED_BY: &str = include_str!("../sql/deletions/purged_by.sql");
const TOTALS: &str = include_str!("../sql/deletions/totals.sql");
const ROWS: &str = include_str!("../sql/deletions/rows.sql");

/// Files [`list`] and [`purged`] take at once; who has more calls again.
pub const FILES_MAX: usize = 1_000;

/// Rows a reader gets at once.
pub const PAGE_MAX: u32 = 10_000;

/// Intents and tables one answer names at most; the others come once those are settled.
const ANSWER_MAX: i64 = 1_000;

/// What an expiry is about to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    pub table_uuid: String,
    pub planned_location: String,
    /// A list of objects, each with its `snapshot-id`.
    pub ids: Value,
    pub grace_ms: i64,
}

/// An intent nobody has settled yet.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenIntent {
    pub id: i64,
    pub job: JobId,
    pub attempt: AttemptId,
    pub intent: Intent,
    /// The queue does not name its attempt any more.
    pub attempt_over: bool,
    /// Stored 24 hours ago or earlier.
    pub old: bool,
}

/// A file to be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    pub path: &'a str,
    pub size_bytes: Option<i64>,
    /// When it was last written, by its store's clock; of orphans only.
    pub modified_ms: Option<i64>,
}

/// A file whose grace is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub path: String,
    pub size_bytes: Option<i64>,
    /// `attempt`, `expired` or `orphan`.
    pub reason: String,
    /// When it was last written as it was listed, by its store's clock; of orphans only.
    pub modified_ms: Option<i64>,
}

/// What a purge did about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged<'a> {
    pub path: &'a str,
    pub fate: Fate<'a>,
}

/// What became of a file that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate<'a> {
    Deleted,
    /// It stays, and why.
    Kept(&'a str),
    /// It is due again later, and why.
    Failed(&'a str),
}

impl<'a> Fate<'a> {
    fn parts(self) -> (&'static str, Option<&'a str>) {
        match self {
            Self::Deleted => ("deleted", None),
            Self::Kept(why) => ("kept", Some(why)),
            Self::Failed(why) => ("failed", Some(why)),
        }
    }
}

/// The intents of a table that are open, oldest first.
pub async fn open_intents<C: GenericClient + Sync>(
    client: &C,
    table_uuid: &str,
) -> Result<Vec<OpenIntent>, Error> {
    let params = [
        (&table_uuid as _, Type::TEXT),
        (&ANSWER_MAX as _, Type::INT8),
    ];
    let found = rows(client, "read open intents", OPEN_INTENTS, &params).await?;
    found.iter().map(open_intent).collect()
}

fn open_intent(row: &Row) -> Result<OpenIntent, Error> {
    Ok(OpenIntent {
        id: read(row, "intent")?,
        job: JobId::new(read::<String>(row, "job_id")?),
        attempt: AttemptId::new(read::<String>(row, "attempt_id")?),
        intent: Intent {
            table_uuid: read(row, "table_uuid")?,
            planned_location: read(row, "planned_location")?,
            ids: read(row, "ids")?,
            grace_ms: read(row, "grace_ms")?,
        },
        attempt_over: read(row, "attempt_over")?,
        old: read(row, "old")?,
    })
}

/// Stores an intent of this attempt. Sent again, it is the same one.
pub async fn intend(tx: &Transaction<'_>, fence: &Fence, intent: &Intent) -> Result<i64, Error> {
    crate::queue().hold(tx, fence).await?;
    let row = one(
        tx,
        "store an intent",
        INTEND,
        &[
            (&fence.job().as_str(), Type::TEXT),
            (&fence.attempt().as_str(), Type::TEXT),
            (&intent.table_uuid, Type::TEXT),
            (&intent.planned_location, Type::TEXT),
            (&intent.ids, Type::JSONB),
            (&intent.grace_ms, Type::INT8),
        ],
    )
    .await?;
    read(&row, "intent")
}

/// Leaves only the ids `open` in an intent; none closes it. One that is closed stays as it is.
pub async fn settle(
    tx: &Transaction<'_>,
    fence: &Fence,
    intent: i64,
    open: &[i64],
) -> Result<(), Error> {
    crate::queue().hold(tx, fence).await?;
    let params = [(&intent as _, Type::INT8), (&open as _, Type::INT8_ARRAY)];
    run(tx, "settle an intent", SETTLE, &params).await.map(drop)
}

/// Lists at most [`FILES_MAX`] files of a table that nothing refers to any more, for a reason
/// (`expired` or `orphan`). What waits already stays as it is; what ended before waits anew.
pub async fn list(
    tx: &Transaction<'_>,
    fence: &Fence,
    (catalog, table_uuid): (&str, &str),
    files: &[Listed<'_>],
    (reason, grace_ms): (&str, i64),
) -> Result<u64, Error> {
    crate::queue().hold(tx, fence).await?;
    let paths: Vec<&str> = files.iter().map(|file| file.path).collect();
    let sizes: Vec<Option<i64>> = files.iter().map(|file| file.size_bytes).collect();
    let modified: Vec<Option<i64>> = files.iter().map(|file| file.modified_ms).collect();
    run(
        tx,
        "list files for deletion",
        LIST,
        &[
            (&catalog, Type::TEXT),
            (&fence.job().as_str(), Type::TEXT),
            (&table_uuid, Type::TEXT),
            (&reason, Type::TEXT),
            (&grace_ms, Type::INT8),
            (&paths, Type::TEXT_ARRAY),
            (&sizes, Type::INT8_ARRAY),
            (&modified, Type::INT8_ARRAY),
        ],
    )
    .await
}

/// Those of at most [`FILES_MAX`] paths that an attempt wrote and did not commit, or that wait for
/// their deletion.
pub async fn accounted<C: GenericClient + Sync>(
    client: &C,
    table_uuid: &str,
    paths: &[String],
) -> Result<Vec<String>, Error> {
    let params = [
        (&table_uuid as _, Type::TEXT),
        (&paths as _, Type::TEXT_ARRAY),
    ];
    let found = rows(client, "look for files in the ledgers", ACCOUNTED, &params).await?;
    found.iter().map(|row| read(row, "path")).collect()
}

/// Files and bytes that a job has listed as orphans of the table and that still wait.
pub async fn orphans_by<C: GenericClient + Sync>(
    client: &C,
    table_uuid: &str,
    job: &JobId,
) -> Result<(u64, u64), Error> {
    let params = [
        (&table_uuid as _, Type::TEXT),
        (&job.as_str() as _, Type::TEXT),
    ];
    let row = one(client, "count what was listed", ORPHANS_BY, &params).await?;
    let (files, bytes): (i64, i64) = (read(&row, "files")?, read(&row, "bytes")?);
    Ok((files.unsigned_abs(), bytes.unsigned_abs()))
}

/// At most `limit` files of the table whose grace is over, by path, those after `after`.
pub async fn due<C: GenericClient + Sync>(
    client: &C,
    (catalog, table_uuid): (&str, &str),
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<Due>, Error> {
    let limit = i64::from(limit.min(PAGE_MAX));
    let params = [
        (&catalog as _, Type::TEXT),
        (&table_uuid as _, Type::TEXT),
        (&after as _, Type::TEXT),
        (&limit as _, Type::INT8),
    ];
    let found = rows(client, "read what is due", DUE, &params).await?;
    let due = |row: &Row| {
        Ok(Due {
            path: read(row, "path")?,
            size_bytes: read(row, "size_bytes")?,
            reason: read(row, "reason")?,
            modified_ms: read(row, "modified_ms")?,
        })
    };
    found.iter().map(due).collect()
}

/// The UUIDs of all tables that had this name when files were listed that are due now.
pub async fn listed_under<C: GenericClient + Sync>(
    client: &C,
    catalog: &str,
    table: &TableName,
) -> Result<Vec<String>, Error> {
    let params = [
        (&catalog as _, Type::TEXT),
        (&table.database() as _, Type::TEXT),
        (&table.table() as _, Type::TEXT),
        (&ANSWER_MAX as _, Type::INT8),
    ];
    let found = rows(client, "read whose files are due", LISTED_UNDER, &params).await?;
    found.iter().map(|row| read(row, "table_uuid")).collect()
}

/// Records what became of at most [`FILES_MAX`] files. Only what still waits is changed.
pub async fn purged(
    tx: &Transaction<'_>,
    fence: &Fence,
    table_uuid: &str,
    files: &[Purged<'_>],
) -> Result<u64, Error> {
    crate::queue().hold(tx, fence).await?;
    let paths: Vec<&str> = files.iter().map(|file| file.path).collect();
    let (states, notes): (Vec<&str>, Vec<Option<&str>>) =
        files.iter().map(|file| file.fate.parts()).unzip();
    run(
        tx,
        "record what was purged",
        PURGED,
        &[
            (&fence.job().as_str(), Type::TEXT),
            (&table_uuid, Type::TEXT),
            (&paths, Type::TEXT_ARRAY),
            (&states, Type::TEXT_ARRAY),
            (&notes, Type::TEXT_ARRAY),
        ],
    )
    .await
}

/// What a job did about files that were due, over all its attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PurgedBy {
    pub deleted: u64,
    /// Of the deleted files whose size is known.
    pub bytes: u64,
    pub kept: u64,
    /// Tried without success; they still wait.
    pub failed: u64,
}

/// Counts what `job` did.
pub async fn purged_by<C: GenericClient + Sync>(
    client: &C,
    job: &JobId,
) -> Result<PurgedBy, Error> {
    let params = [(&job.as_str() as _, Type::TEXT)];
    let row = one(client, "count what was purged", PURGED_BY, &params).await?;
    let count = |column| read::<i64>(&row, column).map(i64::unsigned_abs);
    Ok(PurgedBy {
        deleted: count("deleted")?,
        bytes: count("bytes")?,
        kept: count("kept")?,
        failed: count("failed")?,
    })
}

/// What is shown of the list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Pending,
    Deleted,
    Kept,
}

impl State {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Deleted, Self::Kept];

    /// The name used in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Deleted => "deleted",
            Self::Kept => "kept",
        }
    }
}

/// Which files to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PendingFilter {
    pub state: State,
    pub table: Option<TableName>,
}

impl PendingFilter {
    fn database(&self) -> Option<String> {
        self.table.as_ref().map(TableName::database)
    }

    fn table(&self) -> Option<&str> {
        self.table.as_ref().map(TableName::table)
    }
}

/// The files of one table in one state, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingTotal {
    pub catalog: String,
    /// As it was called when its files were listed; absent when the job is not known any more.
    pub table: Option<(String, String)>,
    pub table_uuid: String,
    pub files: u64,
    /// Of the files whose size is known.
    pub bytes: u64,
    pub files_of_unknown_size: u64,
    /// Whose grace is over.
    pub due: u64,
    /// Whose last deletion failed.
    pub failing: u64,
    pub due_first_at: Option<Timestamp>,
}

/// One file of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingFile {
    pub catalog: String,
    /// As its table was called when it was listed.
    pub table: Option<(String, String)>,
    pub table_uuid: String,
    pub path: String,
    pub size_bytes: Option<i64>,
    pub reason: String,
    pub job: JobId,
    pub found_at: Timestamp,
    pub delete_after: Timestamp,
    pub due: bool,
    pub state: String,
    /// Why it was kept, or why its last deletion failed.
    pub note: Option<String>,
    pub changed_at: Option<Timestamp>,
    /// The job that decided on it last.
    pub changed_by: Option<JobId>,
    pub failed_count: i32,
}

/// Totals per table, at most `limit` tables.
pub async fn totals<C: GenericClient + Sync>(
    client: &C,
    filter: &PendingFilter,
    limit: u32,
) -> Result<Vec<PendingTotal>, Error> {
    let limit = i64::from(limit.min(PAGE_MAX));
    let params = [
        (&filter.state.as_str() as _, Type::TEXT),
        (&filter.database() as _, Type::TEXT),
        (&filter.table() as _, Type::TEXT),
        (&limit as _, Type::INT8),
    ];
    let found = rows(client, "count pending deletions", TOTALS, &params).await?;
    found.iter().map(total).collect()
}

fn total(row: &Row) -> Result<PendingTotal, Error> {
    let count = |column| read::<i64>(row, column).map(i64::unsigned_abs);
    Ok(PendingTotal {
        catalog: read(row, "catalog")?,
        table: named(row)?,
        table_uuid: read(row, "table_uuid")?,
        files: count("files")?,
        bytes: count("bytes")?,
        files_of_unknown_size: count("files_of_unknown_size")?,
        due: count("due")?,
        failing: count("failing")?,
        due_first_at: read(row, "due_first_at")?,
    })
}

/// Single files, by table and path; `after` is the last page's last (table UUID, path).
pub async fn pending<C: GenericClient + Sync>(
    client: &C,
    filter: &PendingFilter,
    after: Option<(&str, &str)>,
    limit: u32,
) -> Result<Vec<PendingFile>, Error> {
    let limit = i64::from(limit.min(PAGE_MAX));
    let params = [
        (&filter.state.as_str() as _, Type::TEXT),
        (&filter.database() as _, Type::TEXT),
        (&filter.table() as _, Type::TEXT),
        (&after.map(|(uuid, _)| uuid) as _, Type::TEXT),
        (&after.map(|(_, path)| path) as _, Type::TEXT),
        (&limit as _, Type::INT8),
    ];
    let found = rows(client, "list pending deletions", ROWS, &params).await?;
    found.iter().map(file).collect()
}

fn file(row: &Row) -> Result<PendingFile, Error> {
    Ok(PendingFile {
        catalog: read(row, "catalog")?,
        table: named(row)?,
        table_uuid: read(row, "table_uuid")?,
        path: read(row, "path")?,
        size_bytes: read(row, "size_bytes")?,
        reason: read(row, "reason")?,
        job: JobId::new(read::<String>(row, "job_id")?),
        found_at: read(row, "found_at")?,
        delete_after: read(row, "delete_after")?,
        due: read(row, "due")?,
        state: read(row, "state")?,
        note: read(row, "note")?,
        changed_at: read(row, "changed_at")?,
        changed_by: read::<Option<String>>(row, "changed_by")?.map(JobId::new),
        failed_count: read(row, "failed_count")?,
    })
}

fn named(row: &Row) -> Result<Option<(String, String)>, Error> {
    let (database, table): (Option<String>, Option<String>) =
        (read(row, "database_name")?, read(row, "table_name")?);
    Ok(database.zip(table))
}
