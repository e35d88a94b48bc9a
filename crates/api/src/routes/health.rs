//! Health: how a table was found to be, now and over time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use maintenance::health::{self, Latest, Snapshot};
use maintenance::inventory;
use model::TableName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward::health::{Assessor, Keep};

use crate::auth::Reader;
use crate::cursor;
use crate::extract::{Limit, Names, Query};
use crate::problem::{Kind, Problem};
use crate::router::Refused;
use crate::routes::tables::TableBody;
use crate::state::Api;
use crate::time::{self, Time};

/// Facts and judgement of one look.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthBody {
    database: String,
    table: String,
    /// The row of history; null while it is not stored
    health_snapshot_id: Option<i64>,
    /// When it was last found to be different
    assessed_at: Option<Time>,
    /// When somebody last looked
    checked_at: Option<Time>,
    /// 0 (worst) to 100
    score: Option<f64>,
    /// Why the last look failed; the rest is from the one before
    error: Option<String>,
    /// Looks that failed in a row
    failure_count: u32,
    /// `file_stats`, `snapshot_stats`, `manifest_stats`, `delete_stats`, .., `needs_maintenance`,
    /// `recommended_actions`, `assessment`
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, Value>)]
    payload: Value,
}

impl HealthBody {
    fn of(table: &TableName, latest: Latest, payload: Value) -> Self {
        Self {
            database: table.database(),
            table: table.table().to_owned(),
            health_snapshot_id: latest.health_snapshot_id,
            assessed_at: latest.assessed_at.map(Time),
            checked_at: latest.checked_at.map(Time),
            score: latest.score,
            error: latest.error,
            failure_count: latest.failure_count,
            payload,
        }
    }
}

/// The newest look that succeeded, or why there is none.
async fn newest(api: &Api, table: &TableName) -> Result<HealthBody, Problem> {
    let never = |why: &str| Problem::new(Kind::NotAssessed, format!("{table} {why}"));
    let latest = health::latest(&**api.pool.get().await?, table).await?;
    let mut latest = latest.ok_or_else(|| never("was never looked at"))?;
    let Some(payload) = latest.payload.take() else {
        let why = latest.error.unwrap_or_default();
        return Err(never(&format!("could not be assessed so far: {why}")));
    };
    Ok(HealthBody::of(table, latest, payload))
}

/// Look at a table now: files, deletes, snapshots, manifests, and what would help
///
/// Loads its metadata and stores what was found as the newest row of its history.
#[utoipa::path(get, path = "/tables/{database}/{table}/health", tag = "health",
    params(
        ("database" = String, Path, description = "Levels joined by dots"),
        ("table" = String, Path, description = "The table's name in its database")),
    responses(
        (status = 200, description = "How it is", body = HealthBody),
        (status = 404, description = "The catalog has no such table"),
        (status = 502, description = "Its metadata cannot be read"),
        Refused))]
pub(crate) async fn live(
    _: Reader,
    State(api): State<Arc<Api>>,
    names: Names,
) -> Result<Json<HealthBody>, Problem> {
    let table = names.table()?;
    // Never closed; a caller that waits too long is told so.
    let _look = api.triggers.looks.acquire().await;
    let catalog = api.lakehouse.catalog().await?;
    let defaults = api.triggers.defaults.clone();
    let assessor = Assessor::new(catalog, Some(api.pool.clone()), defaults);
    assessor.assess(&table, Keep::Always).await?;
    Ok(Json(newest(&api, &table).await?))
}

/// Read the newest assessment of a table
///
/// One read of Postgres; nothing is measured.
#[utoipa::path(get, path = "/tables/{database}/{table}/health/cached", tag = "health",
    params(
        ("database" = String, Path, description = "Levels joined by dots"),
        ("table" = String, Path, description = "The table's name in its database")),
    responses(
        (status = 200, description = "How it was found to be", body = HealthBody),
        (status = 404, description = "It was never assessed"),
        Refused))]
pub(crate) async fn cached(
    _: Reader,
    State(api): State<Arc<Api>>,
    names: Names,
) -> Result<Json<HealthBody>, Problem> {
    Ok(Json(newest(&api, &names.table()?).await?))
}

/// What is known of a table, without judgement.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TableStatus {
    database: String,
    table: String,
    /// As the table cache holds it; null when it does not
    inventory: Option<TableBody>,
    /// Counts of the newest look; null when none succeeded
    #[schema(value_type = Option<Object>)]
    facts: Option<Value>,
    /// When they were last found to be different
    assessed_at: Option<Time>,
    /// When somebody last looked
    checked_at: Option<Time>,
    /// Why the last look failed
    error: Option<String>,
}

/// What the judgement of a look is called in its payload.
const JUDGEMENT: [&str; 3] = ["needs_maintenance", "recommended_actions", "assessment"];

fn facts(mut payload: Value) -> Value {
    if let Some(fields) = payload.as_object_mut() {
        fields.retain(|name, _| !JUDGEMENT.contains(&name.as_str()));
    }
    payload
}

/// Read the facts of a table: files, deletes, snapshots, manifests
#[utoipa::path(get, path = "/tables/{database}/{table}/status", tag = "tables",
    params(
        ("database" = String, Path, description = "Levels joined by dots"),
        ("table" = String, Path, description = "The table's name in its database")),
    responses(
        (status = 200, description = "What is known of it", body = TableStatus),
        (status = 404, description = "Neither in the cache nor ever looked at"),
        Refused))]
pub(crate) async fn status(
    _: Reader,
    State(api): State<Arc<Api>>,
    names: Names,
) -> Result<Json<TableStatus>, Problem> {
    let table = names.table()?;
    let client = api.pool.get().await?;
    let entry = inventory::get(&**client, &table).await?;
    let latest = health::latest(&**client, &table).await?;
    if entry.is_none() && latest.is_none() {
        let detail = format!("{table} is not in the table cache; GET /tables lists what is");
        return Err(Problem::new(Kind::NoSuchTable, detail));
    }
    let (assessed_at, checked_at) = latest.as_ref().map_or((None, None), |latest| {
        (latest.assessed_at, latest.checked_at)
    });
    Ok(Json(TableStatus {
        database: table.database(),
        table: table.table().to_owned(),
        inventory: entry.map(TableBody::from),
        assessed_at: assessed_at.map(Time),
        checked_at: checked_at.map(Time),
        error: latest.as_ref().and_then(|latest| latest.error.clone()),
        facts: latest.and_then(|latest| latest.payload).map(facts),
    }))
}

/// One assessment that found something new.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = HealthSnapshot)]
pub(crate) struct SnapshotBody {
    health_snapshot_id: i64,
    assessed_at: Time,
    score: Option<f64>,
    needs_maintenance: Option<bool>,
    /// Facts and judgement
    #[schema(value_type = Object)]
    payload: Value,
}

impl From<Snapshot> for SnapshotBody {
    fn from(snapshot: Snapshot) -> Self {
        Self {
            health_snapshot_id: snapshot.id,
            assessed_at: snapshot.assessed_at.into(),
            score: snapshot.score,
            needs_maintenance: snapshot.needs_maintenance,
            payload: snapshot.payload,
        }
    }
}

/// One page of a table's health over time.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct HealthHistory {
    snapshots: Vec<SnapshotBody>,
    /// For the next page; absent on the last one
    next_cursor: Option<String>,
}

/// Whose history to read.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Past {
    /// The table's full name, `database.table`
    #[param(example = "db.events")]
    table: String,
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// Rows of a page, 1 to 500
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 100)]
    limit: Limit,
}

const HISTORY: &str = "health history";

/// Read a table's health over time, newest first
///
/// Also of tables that are there no more, as far back as retention keeps it.
#[utoipa::path(get, path = "/jobs/history/health", tag = "health", params(Past),
    responses((status = 200, description = "One page", body = HealthHistory), Refused))]
pub(crate) async fn history(
    _: Reader,
    State(api): State<Arc<Api>>,
    Query(past): Query<Past>,
) -> Result<Json<HealthHistory>, Problem> {
    let table: TableName = past.table.parse().map_err(|bad: model::BadTableName| {
        Problem::field(Kind::BadRequest, "query.table", bad.to_string())
    })?;
    let key = table.key();
    let before = past.cursor.as_deref();
    let before = before.map(|cursor| place(&key, cursor)).transpose()?;
    let limit = past.limit.0;
    let found = health::history(&**api.pool.get().await?, &table, before, limit).await?;
    let full = found.len() as u32 == limit;
    let last = found.last().filter(|_| full);
    let next_cursor = last.map(|last| {
        let place = (last.assessed_at.as_microsecond(), last.id);
        cursor::write(HISTORY, &key, &place)
    });
    Ok(Json(HealthHistory {
        snapshots: found.into_iter().map(SnapshotBody::from).collect(),
        next_cursor,
    }))
}

fn place(key: &str, cursor: &str) -> Result<(Timestamp, i64), Problem> {
    let (at, id): (i64, i64) = cursor::read(HISTORY, &key, cursor)?;
    let at = time::of_microseconds(at)
        .map_err(|why| Problem::field(Kind::BadCursor, "query.cursor", why))?;
    Ok((at, id))
}
