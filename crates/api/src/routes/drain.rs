//! Drain mode: new jobs are refused, by every process at once; what is queued goes on.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use maintenance::settings;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::auth::{Admin, Reader};
use crate::extract::Payload;
use crate::problem::{Kind, Problem};
use crate::router::Refused;
use crate::state::Api;
use crate::time::Time;

/// Longest reason of a drain or a pause.
pub(crate) const REASON_BYTES_MAX: usize = 1_000;

/// Whether new jobs are refused.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Drain {
    drained: bool,
    since: Option<Time>,
    by: Option<String>,
    reason: Option<String>,
}

impl From<Option<maintenance::Drain>> for Drain {
    fn from(drain: Option<maintenance::Drain>) -> Self {
        Self {
            drained: drain.is_some(),
            since: drain.as_ref().map(|drain| drain.at.into()),
            by: drain.as_ref().map(|drain| drain.by.clone()),
            reason: drain.and_then(|drain| drain.reason),
        }
    }
}

/// Turns drain mode on or off.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrainRequest {
    drained: bool,
    /// For whoever is refused
    #[serde(default)]
    reason: Option<String>,
}

/// Are new jobs refused?
#[utoipa::path(get, path = "/drain", tag = "switches",
    responses((status = 200, description = "Whether, since when, by whom", body = Drain), Refused))]
pub(crate) async fn get(_: Reader, State(api): State<Arc<Api>>) -> Result<Json<Drain>, Problem> {
    let drain = settings::drained(&**api.pool.get().await?).await?;
    Ok(Json(drain.into()))
}

/// Refuse new jobs, or take them again
///
/// Queued and running jobs go on. A drain in force keeps its time, its author and its reason.
#[utoipa::path(put, path = "/drain", tag = "switches", request_body = DrainRequest,
    responses((status = 200, description = "As it is now", body = Drain), Refused))]
pub(crate) async fn put(
    Admin(caller): Admin,
    State(api): State<Arc<Api>>,
    payload: Payload,
) -> Result<Json<Drain>, Problem> {
    let asked: DrainRequest = payload.json()?;
    let reason = checked(asked.reason.as_deref())?;
    let client = api.pool.get().await?;
    let by = caller.submitter();
    if asked.drained {
        settings::drain(&**client, &by, reason).await?;
    } else {
        settings::undrain(&**client).await?;
    }
    info!(drained = asked.drained, by, reason, "drain mode was set");
    Ok(Json(settings::drained(&**client).await?.into()))
}

/// The reason, if there is one that can be stored and shown.
pub(crate) fn checked(reason: Option<&str>) -> Result<Option<&str>, Problem> {
    let Some(text) = reason.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if REASON_BYTES_MAX < text.len() || text.chars().any(char::is_control) {
        let allowed = format!("allowed are {REASON_BYTES_MAX} bytes without control characters");
        return Err(Problem::field(Kind::BadRequest, "body.reason", allowed));
    }
    Ok(Some(text))
}
