//! The inventory: tables as the table cache holds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use maintenance::inventory::{self, Entry, Filter, Outcome, Status};
use model::TableName;
use serde::{Deserialize, Serialize};

use crate::auth::Reader;
use crate::cursor;
use crate::extract::{Limit, Query};
use crate::problem::{Kind, Problem};
use crate::router::Refused;
use crate::state::Api;
use crate::time::Time;

/// One table of the cache.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Table)]
pub(crate) struct TableBody {
    database: String,
    table: String,
    /// The table's own word; null when it says nothing readable
    maintenance_enabled: Option<bool>,
    /// Of the newest assessment, 0 (worst) to 100; null when never assessed
    score: Option<f32>,
    /// When it was last seen in the catalog
    synced_at: Time,
    metadata_location: Option<String>,
    table_uuid: Option<String>,
    location: Option<String>,
    format_version: Option<u8>,
    last_updated_at: Option<Time>,
    /// Those that steer maintenance
    properties: BTreeMap<String, String>,
    /// Those of its database that steer maintenance
    database_properties: BTreeMap<String, String>,
    /// The rule that let the table in
    rule: String,
    /// Why its metadata could not be read the last time
    error: Option<String>,
}

impl From<Entry> for TableBody {
    fn from(entry: Entry) -> Self {
        let content = entry.content;
        let updated = content.last_updated_ms;
        Self {
            database: entry.table.database(),
            table: entry.table.table().to_owned(),
            maintenance_enabled: entry.maintenance_enabled,
            score: entry.score,
            synced_at: entry.synced_at.into(),
            metadata_location: content.metadata_location,
            table_uuid: content.table_uuid,
            location: content.location,
            format_version: content.format_version,
            // Whatever the table's writer wrote there.
            last_updated_at: updated.and_then(|ms| Timestamp::from_millisecond(ms).ok().map(Time)),
            properties: content.properties,
            database_properties: content.database_properties,
            rule: content.rule,
            error: content.error,
        }
    }
}

/// One page of tables.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Tables)]
pub(crate) struct TablesBody {
    tables: Vec<TableBody>,
    /// For the next page; absent on the last one
    next_cursor: Option<String>,
}

/// What a table itself says of maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    True,
    False,
    Unset,
}

/// A score to be below of.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct Below(f32);

impl TryFrom<String> for Below {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let score = text.parse().ok();
        score
            .filter(|score| (0.0..=101.0).contains(score))
            .map(Self)
            .ok_or_else(|| format!("`{text}`: allowed is a number from 0 to 101"))
    }
}

/// Which tables to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    database: Option<String>,
    /// What the table itself says: true, false or unset
    #[param(inline)]
    maintenance_enabled: Option<Word>,
    /// Only tables whose newest score is below; 101 takes all that were ever assessed
    #[param(value_type = Option<f32>, minimum = 0, maximum = 101)]
    health_below: Option<Below>,
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// Rows of a page, 1 to 500
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 100)]
    limit: Limit,
}

/// List tables by name, as the table cache holds them
#[utoipa::path(get, path = "/tables", tag = "tables", params(Wanted),
    responses((status = 200, description = "One page", body = TablesBody), Refused))]
pub(crate) async fn list(
    _: Reader,
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<TablesBody>, Problem> {
    let below = wanted.health_below.map(|Below(score)| score);
    let filter = (&wanted.database, wanted.maintenance_enabled, below);
    let after = wanted.cursor.as_deref();
    let after = after.map(|cursor| place(&filter, cursor)).transpose()?;
    let asked = Filter {
        database: wanted.database.clone(),
        maintenance_enabled: match wanted.maintenance_enabled {
            Some(Word::True) => Some(true),
            Some(Word::False) => Some(false),
            Some(Word::Unset) | None => None,
        },
        unset: wanted.maintenance_enabled == Some(Word::Unset),
        health_below: below,
        after,
        limit: wanted.limit.0,
    };
    let entries = inventory::list(&**api.pool.get().await?, &asked).await?;
    let full = entries.len() as u32 == wanted.limit.0;
    let last = entries.last().filter(|_| full).map(|entry| &entry.table);
    let next_cursor =
        last.map(|table| cursor::write("tables", &filter, &(table.database(), table.table())));
    Ok(Json(TablesBody {
        tables: entries.into_iter().map(TableBody::from).collect(),
        next_cursor,
    }))
}

fn place(filter: &impl Serialize, cursor: &str) -> Result<TableName, Problem> {
    let (database, table): (String, String) = cursor::read("tables", filter, cursor)?;
    TableName::from_columns(&database, &table)
        .map_err(|bad| Problem::field(Kind::BadCursor, "query.cursor", bad.to_string()))
}

/// A namespace that could not be listed; its old entries stay.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct FailedNamespace {
    namespace: String,
    error: String,
    /// When its entries were last seen
    since: Option<Time>,
}

impl From<inventory::FailedNamespace> for FailedNamespace {
    fn from(failed: inventory::FailedNamespace) -> Self {
        Self {
            namespace: failed.namespace,
            error: failed.error,
            since: failed.since.map(Time),
        }
    }
}

/// How the table cache stands.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct CacheStatus {
    /// When it was last like the catalog; null before the first sync
    last_synced_at: Option<Time>,
    /// Since then
    age_seconds: Option<f64>,
    /// The last try, whatever became of it
    attempted_at: Option<Time>,
    /// Of the last try: synced, partial, held_back or failed
    outcome: Option<String>,
    /// Why the last try was not swapped in
    error: Option<String>,
    failed_namespaces: Vec<FailedNamespace>,
    table_count: i64,
    /// Entries whose metadata could not be read
    unreadable_count: i64,
    /// How long the last try took
    elapsed_seconds: Option<f64>,
}

impl From<Status> for CacheStatus {
    fn from(status: Status) -> Self {
        let failed = status.failed_namespaces.into_iter();
        Self {
            last_synced_at: status.last_synced_at.map(Time),
            age_seconds: status.age.map(|age| age.as_secs_f64()),
            attempted_at: status.attempted_at.map(Time),
            outcome: status.outcome.map(Outcome::as_str).map(str::to_owned),
            error: status.error,
            failed_namespaces: failed.map(FailedNamespace::from).collect(),
            table_count: status.table_count,
            unreadable_count: status.unreadable_count,
            elapsed_seconds: status.elapsed.map(|elapsed| elapsed.as_secs_f64()),
        }
    }
}

/// How old the table cache is, and how its last sync went
#[utoipa::path(get, path = "/tables/cache-status", tag = "tables",
    responses((status = 200, description = "As it stands", body = CacheStatus), Refused))]
pub(crate) async fn cache_status(
    _: Reader,
    State(api): State<Arc<Api>>,
) -> Result<Json<CacheStatus>, Problem> {
    let status = inventory::status(&**api.pool.get().await?).await?;
    Ok(Json(status.into()))
}
