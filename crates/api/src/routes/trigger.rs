//! Passes on request: they run by themselves too, on their schedules.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use k8s::cronjob::Variable;
use maintenance::inventory::Outcome;
use serde::{Deserialize, Serialize};
use steward::inventory::Synced;
use tracing::info;

use crate::auth::Operator;
use crate::extract::Payload;
use crate::problem::Problem;
use crate::router::Refused;
use crate::routes::tables::FailedNamespace;
use crate::state::Api;

/// A caller of a refresh waits so long for its end; the sync goes on without it.
const REFRESH_WITHIN: Duration = Duration::from_secs(20);

/// Where to look for what was started.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Started {
    look: &'static str,
    /// The Kubernetes Job that does it, where one does
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_job: Option<String>,
}

fn started(look: &'static str, kubernetes_job: Option<String>) -> Response {
    let location = [(LOCATION, HeaderValue::from_static(look))];
    let body = Started {
        look,
        kubernetes_job,
    };
    (StatusCode::ACCEPTED, location, Json(body)).into_response()
}

/// How to run.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OrchestratorRequest {
    /// Decide and record why, and submit nothing
    dry_run: bool,
}

/// Run the orchestrator now
///
/// It decides about every table of the cache, as its CronJob does, and submits what is due. Where
/// the API knows the CronJob, a Job is made of it, unless one runs that it forbids a second beside;
/// else it runs in this process, one at a time. Two at once, of any processes, share the work.
#[utoipa::path(post, path = "/orchestrator/trigger", tag = "orchestrator",
    request_body = Option<OrchestratorRequest>,
    responses(
        (status = 202, description = "It runs; the newest run is its record", body = Started,
            headers(("Location" = String, description = "Where to look"))),
        (status = 409, description = "One runs already"),
        (status = 502, description = "Kubernetes refuses the Job"),
        Refused))]
pub(crate) async fn orchestrator(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    payload: Payload,
) -> Result<Response, Problem> {
    let asked: OrchestratorRequest = payload.json_or_none()?.unwrap_or_default();
    let by = caller.submitter();
    info!(
        by,
        dry_run = asked.dry_run,
        "an orchestrator run was asked for"
    );
    let job = if let Some(cronjob) = &api.jobs.orchestrator {
        Some(
            api.jobs
                .make(cronjob, &variables(by, asked.dry_run))
                .await?,
        )
    } else {
        api.triggers.orchestrate(by, asked.dry_run)?;
        None
    };
    Ok(started("/orchestrator/runs?limit=1", job))
}

/// What tells the orchestrator's Job who asked, and for what.
fn variables(by: String, dry_run: bool) -> Vec<Variable> {
    let variable = |name, value| Variable { name, value };
    vec![
        variable("SNOWPACK_TRIGGERED_BY", by),
        variable("SNOWPACK_DRY_RUN", dry_run.to_string()),
    ]
}

/// Nothing to say.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HealthSyncRequest {}

/// Look at the health of every table now
///
/// The one that waited longest goes first, as in its CronJob; where the API knows that, a Job is
/// made of it.
#[utoipa::path(post, path = "/health-sync/trigger", tag = "health",
    request_body = Option<HealthSyncRequest>,
    responses(
        (status = 202, description = "It runs; `/loops` says how it went", body = Started,
            headers(("Location" = String, description = "Where to look"))),
        (status = 409, description = "One runs already"),
        (status = 502, description = "Kubernetes refuses the Job"),
        Refused))]
pub(crate) async fn health_sync(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    payload: Payload,
) -> Result<Response, Problem> {
    let HealthSyncRequest {} = payload.json_or_none()?.unwrap_or_default();
    info!(by = caller.submitter(), "a health sync was asked for");
    let job = if let Some(cronjob) = &api.jobs.health_sync {
        Some(api.jobs.make(cronjob, &[]).await?)
    } else {
        api.triggers.sync_health().await?;
        None
    };
    Ok(started("/loops", job))
}

/// How to refresh.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RefreshRequest {
    /// Take the new set although more than half of the tables are gone from the catalog
    force: bool,
}

/// What a sync of the table cache found and did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Refreshed {
    /// synced, partial (some namespaces failed and kept their entries), held_back (too much is
    /// gone at once; see `force`), failed, or superseded (another sync was faster)
    outcome: &'static str,
    /// Why nothing was swapped in
    error: Option<String>,
    /// In the cache now
    tables: u64,
    /// Tables whose metadata was read
    loaded: u64,
    changed: u64,
    gone: u64,
    /// Listed, but no rule lets them in
    left_out: u64,
    unreadable: u64,
    failed_namespaces: Vec<FailedNamespace>,
}

impl From<Synced> for Refreshed {
    fn from(synced: Synced) -> Self {
        let failed = synced.failed_namespaces.into_iter();
        Self {
            outcome: synced.outcome.map_or("superseded", Outcome::as_str),
            error: synced.error,
            tables: synced.tables,
            loaded: synced.loaded,
            changed: synced.changed,
            gone: synced.gone,
            left_out: synced.left_out,
            unreadable: synced.unreadable,
            failed_namespaces: failed.map(FailedNamespace::from).collect(),
        }
    }
}

/// Bring the table cache up to date with the catalog now
#[utoipa::path(post, path = "/tables/cache/refresh", tag = "tables",
    request_body = Option<RefreshRequest>,
    responses(
        (status = 200, description = "How it went; the old set stands unless `outcome` is synced or partial",
            body = Refreshed),
        (status = 202, description = "It takes longer, and goes on", body = Started,
            headers(("Location" = String, description = "Where to look"))),
        (status = 409, description = "A sync is under way already"),
        Refused))]
pub(crate) async fn refresh(
    Operator(caller): Operator,
    State(api): State<Arc<Api>>,
    payload: Payload,
) -> Result<Response, Problem> {
    let asked: RefreshRequest = payload.json_or_none()?.unwrap_or_default();
    let (by, force) = (caller.submitter(), asked.force);
    info!(by, force, "a refresh of the table cache was asked for");
    let hear = api.triggers.sync_tables(force);
    match tokio::time::timeout(REFRESH_WITHIN, hear).await {
        Err(_) => Ok(started("/tables/cache-status", None)),
        Ok(Ok(synced)) => Ok(Json(Refreshed::from(synced?)).into_response()),
        Ok(Err(_)) => Err(Problem::unavailable("a process that stops", "told to stop")),
    }
}
