//! The next set of the table cache: compared with the last one, staged, swapped in at once.
//!
//! Only what differs is written, and readers see it in one moment. Whoever prepares a set may be
//! killed anywhere: staged changes mean nothing until [`swap`]. Of two that prepare at once the
//! later one to swap finds its base gone and gives up.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use model::TableName;
use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Transaction};
use uuid::Uuid;

use super::{Content, FailedNamespace};
use crate::Error;
use crate::statement::{maybe, read, rows, run};

const BEGIN: &str = include_str!("../../sql/inventory/begin.sql");
const FORGET_KILLED: &str = include_str!("../../sql/inventory/forget_killed.sql");
const DATABASES: &str = include_str!("../../sql/inventory/databases.sql");
const KNOWN: &str = include_str!("../../sql/inventory/known.sql");
const GONE: &str = include_str!("../../sql/inventory/gone.sql");
const STAGE: &str = include_str!("../../sql/inventory/stage.sql");
const HOLD: &str = include_str!("../../sql/inventory/hold.sql");
const STAGED: &str = include_str!("../../sql/inventory/staged.sql");
const PUT: &str = include_str!("../../sql/inventory/put.sql");
const REMOVE: &str = include_str!("../../sql/inventory/remove.sql");
const STAMP: &str = include_str!("../../sql/inventory/stamp.sql");
const NOTE: &str = include_str!("../../sql/inventory/note.sql");
const FORGET: &str = include_str!("../../sql/inventory/forget.sql");

/// Staged changes older than this are of a sync that was killed.
const STAGED_FOR_MAX: Duration = Duration::from_hours(6);

/// What became of a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Synced,
    /// Swapped in, but some namespaces kept their old entries.
    Partial,
    /// Too much was gone at once; the old set stands.
    HeldBack,
    /// Nothing could be listed; the old set stands.
    Failed,
}

impl Outcome {
    pub const ALL: [Self; 4] = [Self::Synced, Self::Partial, Self::HeldBack, Self::Failed];

    /// As the column holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Partial => "partial",
            Self::HeldBack => "held_back",
            Self::Failed => "failed",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// The set a sync compares with, and the sync's own id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    sync: Uuid,
    generation: i64,
    started_at: Timestamp,
}

/// What the cache holds of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub maintenance_enabled: Option<bool>,
    pub content: Content,
}

/// One difference from the base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// New, or other than it was.
    Put {
        table: TableName,
        maintenance_enabled: Option<bool>,
        content: Box<Content>,
    },
    /// As the columns hold it, readable or not.
    Gone { database: String, table: String },
}

/// What is told of a set when it is swapped in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Next {
    /// Changes [`stage`] took, all together.
    pub staged: u64,
    pub failed_namespaces: Vec<FailedNamespace>,
    pub unreadable_count: u64,
}

/// How a swap ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The set stands; it has so many tables.
    In(i64),
    /// Another sync swapped its set in meanwhile.
    Superseded,
    /// Postgres crashed and lost what was staged, or it lay there for too long.
    Lost,
}

/// Begins a sync. Nothing is visible of it before [`swap`].
pub async fn begin<C: GenericClient + Sync>(client: &C) -> Result<Base, Error> {
    let seconds = STAGED_FOR_MAX.as_secs_f64();
    let params = [(&seconds as &_, Type::FLOAT8)];
    run(client, "forget killed syncs", FORGET_KILLED, &params).await?;
    let row = maybe(client, "begin a sync", BEGIN, &[]).await?;
    let row = row.ok_or(Error::NoInventory)?;
    Ok(Base {
        sync: read(&row, "sync_id")?,
        generation: read(&row, "generation")?,
        started_at: read(&row, "started_at")?,
    })
}

/// Every database of the cache with its number of tables.
pub async fn databases<C: GenericClient + Sync>(client: &C) -> Result<Vec<(String, i64)>, Error> {
    let found = rows(client, "list the cache's databases", DATABASES, &[]).await?;
    found
        .iter()
        .map(|row| Ok((read(row, "database_name")?, read(row, "table_count")?)))
        .collect()
}

/// What the cache holds of some tables of one database, by table name.
pub async fn known<C: GenericClient + Sync>(
    client: &C,
    database: &str,
    tables: &[&str],
) -> Result<HashMap<String, Known>, Error> {
    let params = [
        (&database as &_, Type::TEXT),
        (&tables as &_, Type::TEXT_ARRAY),
    ];
    let found = rows(client, "read the table cache", KNOWN, &params).await?;
    let known = |row| {
        let known = Known {
            maintenance_enabled: read(row, "maintenance_enabled")?,
            content: Content::parse(read(row, "payload")?),
        };
        Ok((read(row, "table_name")?, known))
    };
    found.iter().map(known).collect()
}

/// The tables of one database that the cache holds beside `kept`.
pub async fn gone<C: GenericClient + Sync>(
    client: &C,
    database: &str,
    kept: &[&str],
) -> Result<Vec<String>, Error> {
    let params = [
        (&database as &_, Type::TEXT),
        (&kept as &_, Type::TEXT_ARRAY),
    ];
    let found = rows(client, "find what is gone", GONE, &params).await?;
    found.iter().map(|row| read(row, "table_name")).collect()
}

/// Stages changes for [`swap`]; says how many of them were new to it.
pub async fn stage<C: GenericClient + Sync>(
    client: &C,
    base: &Base,
    changes: &[Change],
) -> Result<u64, Error> {
    let (mut databases, mut tables) = (Vec::new(), Vec::new());
    let (mut enabled, mut payloads) = (Vec::new(), Vec::new());
    for change in changes {
        let (database, table, said, payload) = match change {
            Change::Put {
                table,
                maintenance_enabled,
                content,
            } => {
                let payload = storable(json!(content));
                let (database, table) = (table.database(), table.table().to_owned());
                (database, table, *maintenance_enabled, Some(payload))
            }
            Change::Gone { database, table } => (database.clone(), table.clone(), None, None),
        };
        databases.push(database);
        tables.push(table);
        enabled.push(said);
        payloads.push(payload);
    }
    let params = [
        (&base.sync as &_, Type::UUID),
        (&base.generation as &_, Type::INT8),
        (&databases as &_, Type::TEXT_ARRAY),
        (&tables as &_, Type::TEXT_ARRAY),
        (&enabled as &_, Type::BOOL_ARRAY),
        (&payloads as &_, Type::JSONB_ARRAY),
    ];
    run(client, "stage changes of the table cache", STAGE, &params).await
}

/// Makes the base and its staged changes the cache, if the base is still what is there.
pub async fn swap(tx: &Transaction<'_>, base: &Base, next: &Next) -> Result<Swap, Error> {
    let held = maybe(tx, "hold the table cache", HOLD, &[]).await?;
    let generation: i64 = read(&held.ok_or(Error::NoInventory)?, "generation")?;
    if generation != base.generation {
        forget(tx, base, generation - 1).await?;
        return Ok(Swap::Superseded);
    }
    let ours = [(&base.sync as &_, Type::UUID)];
    if next.staged > 0 {
        let found = maybe(tx, "count staged changes", STAGED, &ours).await?;
        let staged: i64 = found.map_or(Ok(0), |row| read(&row, "staged"))?;
        if u64::try_from(staged) != Ok(next.staged) {
            forget(tx, base, generation - 1).await?;
            return Ok(Swap::Lost);
        }
        run(tx, "swap in changed tables", PUT, &ours).await?;
        run(tx, "swap out tables that are gone", REMOVE, &ours).await?;
    }
    let outcome = match next.failed_namespaces[..] {
        [] => Outcome::Synced,
        [..] => Outcome::Partial,
    };
    let (outcome, failed) = (outcome.as_str(), storable(json!(next.failed_namespaces)));
    let unreadable = next.unreadable_count as i64;
    let params = [
        (&base.started_at as &_, Type::TIMESTAMPTZ),
        (&outcome as &_, Type::TEXT),
        (&failed as &_, Type::JSONB),
        (&unreadable as &_, Type::INT8),
    ];
    let stamped = maybe(tx, "stamp the table cache", STAMP, &params).await?;
    let table_count = read(&stamped.ok_or(Error::NoInventory)?, "table_count")?;
    forget(tx, base, generation).await?;
    Ok(Swap::In(table_count))
}

/// Notes a try that was not swapped in, and why; what it staged is dropped.
pub async fn note<C: GenericClient + Sync>(
    client: &C,
    base: &Base,
    outcome: Outcome,
    error: &str,
) -> Result<(), Error> {
    let (outcome, error) = (outcome.as_str(), error.replace('\0', "\u{fffd}"));
    let params = [
        (&base.started_at as &_, Type::TIMESTAMPTZ),
        (&outcome as &_, Type::TEXT),
        (&error as &_, Type::TEXT),
    ];
    run(client, "note how a sync ended", NOTE, &params).await?;
    forget(client, base, base.generation - 1).await
}

async fn forget<C: GenericClient + Sync>(client: &C, base: &Base, up_to: i64) -> Result<(), Error> {
    let params = [(&base.sync as &_, Type::UUID), (&up_to as &_, Type::INT8)];
    run(client, "forget staged changes", FORGET, &params)
        .await
        .map(drop)
}

/// Postgres's jsonb holds no NUL.
fn storable(value: Value) -> Value {
    let clean = |text: String| text.replace('\0', "\u{fffd}");
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => Value::Array(items.into_iter().map(storable).collect()),
        Value::Object(fields) => {
            let field = |(key, value)| (clean(key), storable(value));
            Value::Object(fields.into_iter().map(field).collect())
        }
        other => other,
    }
}
