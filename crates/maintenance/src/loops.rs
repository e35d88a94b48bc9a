//! What repeats by itself: who did it last, when, and what came of it.
//!
//! A pass is opened in a transaction that holds the loop's advisory lock until it ends, so that
//! of many replicas one works. The lock ends with the transaction: it works behind a transaction
//! pooler and needs nobody to give it back.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Transaction};

use crate::Error;
use crate::statement::{maybe, one, read, rows, run};

const TURN: &str = include_str!("../sql/loops/turn.sql");
const STARTED: &str = include_str!("../sql/loops/started.sql");
const ENDED: &str = include_str!("../sql/loops/ended.sql");
const LIST: &str = include_str!("../sql/loops/list.sql");

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Some of it failed.
    Partial,
    Failed,
}

impl Outcome {
    /// As the column holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// The last pass of one loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    pub name: String,
    /// The process that did it.
    pub holder: String,
    pub started_at: Timestamp,
    /// Absent while it runs, or when its process died in it.
    pub ended_at: Option<Timestamp>,
    pub outcome: Option<String>,
    pub detail: Option<String>,
}

/// True when it is this process's turn: nobody else is at it, and the last pass began at least
/// `every` ago. Holds the loop's lock until `tx` ends.
pub async fn turn(tx: &Transaction<'_>, name: &str, every: Duration) -> Result<bool, Error> {
    let seconds = every.as_secs_f64();
    let params = [
        (
            &name as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        ),
        (&seconds, Type::FLOAT8),
    ];
    let row = maybe(tx, "look whose turn it is", TURN, &params).await?;
    row.map_or(Ok(false), |row| read(&row, "mine"))
}

/// Notes that a pass begins. Outside the transaction of [`turn`], so that others see it.
pub async fn started<C: GenericClient + Sync>(
    client: &C,
    name: &str,
    holder: &str,
) -> Result<(), Error> {
    let params = [
        (
            &name as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        ),
        (&holder, Type::TEXT),
    ];
    run(client, "note that a pass begins", STARTED, &params)
        .await
        .map(drop)
}

/// Notes how a pass ended; `detail` is for people.
pub async fn ended<C: GenericClient + Sync>(
    client: &C,
    name: &str,
    outcome: Outcome,
    detail: &str,
) -> Result<(), Error> {
    let outcome = outcome.as_str();
    let params = [
        (
            &name as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        ),
        (&outcome, Type::TEXT),
        (&detail, Type::TEXT),
    ];
    one(client, "note how a pass ended", ENDED, &params)
        .await
        .map(drop)
}

/// The last pass of every loop, by name.
pub async fn list<C: GenericClient + Sync>(client: &C) -> Result<Vec<Pass>, Error> {
    let found = rows(client, "list loops", LIST, &[]).await?;
    found
        .iter()
        .map(|row| {
            Ok(Pass {
                name: read(row, "name")?,
                holder: read(row, "holder")?,
                started_at: read(row, "started_at")?,
                ended_at: read(row, "ended_at")?,
                outcome: read(row, "outcome")?,
                detail: read(row, "detail")?,
            })
        })
        .collect()
}
