//! Is the process stuck, should it get work, what does it measure.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Method;
use axum::response::Response;

use crate::problem::{Kind, Problem};
use crate::state::Api;

/// Is the process stuck?
#[utoipa::path(get, path = "/healthz", tag = "probes",
    responses((status = 200, description = "No", content_type = "text/plain", body = String)))]
pub(crate) async fn healthz(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    answer(&api, "/healthz").await
}

/// Should this process get requests?
///
/// Not while Postgres is silent, the table cache is too old, or the process is stopping.
#[utoipa::path(get, path = "/readyz", tag = "probes", responses(
    (status = 200, description = "Yes", content_type = "text/plain", body = String),
    (status = 503, description = "No, and why", content_type = "text/plain", body = String)))]
pub(crate) async fn readyz(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    answer(&api, "/readyz").await
}

/// What this process measures, and what Postgres knows, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "probes",
    responses((status = 200, description = "Metrics", content_type = "text/plain", body = String)))]
pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    api.gauges.read(&api.pool).await;
    answer(&api, "/metrics").await
}

async fn answer(api: &Api, path: &str) -> Result<Response, Problem> {
    let answer = api.admin.answer(&Method::GET, path).await;
    let answer = answer.ok_or_else(|| Problem::new(Kind::NoSuchRoute, path))?;
    Ok(answer.map(Body::new))
}
