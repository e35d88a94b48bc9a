//! What a run of the orchestrator would do with a table now, and everything that says so.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use steward::explain::{Explanation, explain};

use crate::auth::Reader;
use crate::extract::Names;
use crate::problem::{Kind, Problem};
use crate::router::Refused;
use crate::routes::runs::DecisionBody;
use crate::state::Api;

/// What would be decided now, and why. Times in milliseconds are since the epoch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Recommendation {
    database: String,
    table: String,
    now_ms: i64,
    /// submit or skip
    decision: String,
    /// One word
    reason: String,
    why: String,
    /// What would be submitted, each with its reason
    actions: Vec<Value>,
    /// `{action: {option: value}}` of what would be submitted
    #[schema(value_type = Object)]
    options: Value,
    /// Predicted memory x time, when something would be submitted
    cost_gb_hours: Option<f64>,
    /// What applies, each value with its source; null when the table could not be read
    #[schema(value_type = Option<Object>)]
    policy: Value,
    /// The newest facts, judged by what applies now
    #[schema(value_type = Option<Object>)]
    health: Value,
    /// Why the last look at its health failed
    health_error: Option<String>,
    /// What the table cache says
    #[schema(value_type = Option<Object>)]
    inventory: Value,
    cache_age_seconds: Option<u64>,
    /// What happened to it before
    #[schema(value_type = Object)]
    history: Value,
    /// What runs decided, newest first
    decisions: Vec<DecisionBody>,
}

/// Read what would be done with a table now, and why
///
/// One look at Postgres: the catalog is not asked, nothing is measured, nothing is submitted.
#[utoipa::path(get, path = "/tables/{database}/{table}/recommendation", tag = "tables",
    params(
        ("database" = String, Path, description = "Levels joined by dots"),
        ("table" = String, Path, description = "The table's name in its database")),
    responses(
        (status = 200, description = "What, and why", body = Recommendation),
        (status = 404, description = "The table is not in the cache"),
        Refused))]
pub(crate) async fn get(
    _: Reader,
    State(api): State<Arc<Api>>,
    names: Names,
) -> Result<Json<Recommendation>, Problem> {
    let table = names.table()?;
    let by = &api.triggers;
    let explained = explain(&api.pool, &by.defaults, by.cache_age_max, &table).await?;
    let Explanation {
        now_ms,
        inventory,
        cache_age_seconds,
        policy,
        health,
        health_error,
        history,
        decision,
        decisions,
        ..
    } = explained;
    if inventory.is_none() {
        return Err(Problem::new(Kind::NoSuchTable, decision.why));
    }
    Ok(Json(Recommendation {
        database: table.database(),
        table: table.table().to_owned(),
        now_ms,
        decision: decision.decision.as_str().to_owned(),
        reason: decision.reason,
        why: decision.why,
        actions: decision
            .actions
            .iter()
            .map(|action| json!(action))
            .collect(),
        options: json!(decision.options),
        cost_gb_hours: decision.cost_gb_hours,
        policy: json!(policy),
        health: json!(health),
        health_error,
        inventory: json!(inventory),
        cache_age_seconds,
        history: json!(history),
        decisions: decisions.into_iter().map(DecisionBody::from).collect(),
    }))
}
