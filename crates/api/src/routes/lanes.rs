//! The switch that stops claims: queued jobs of a paused lane wait, running ones finish.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use queue::{Paused, Queue};
use serde::{Deserialize, Serialize};
use tracing::{debug, info};

use crate::auth::{Admin, Reader};
use crate::extract::{Id, Payload};
use crate::problem::{Kind, Problem};
use crate::router::Refused;
use crate::routes::drain::checked;
use crate::state::Api;
use crate::time::Time;

/// Whether a lane is paused.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Pause {
    lane: String,
    paused: bool,
    since: Option<Time>,
    by: Option<String>,
    reason: Option<String>,
}

/// Pauses a lane or lets it go on.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseRequest {
    paused: bool,
    /// For whoever wonders why nothing moves
    #[serde(default)]
    reason: Option<String>,
}

/// The one lane of this version.
fn lane(name: &str) -> Result<Queue, Problem> {
    let queue = maintenance::queue();
    if queue.lane() == name {
        return Ok(queue);
    }
    let detail = format!("there is no such lane; there is {}", queue.lane());
    Err(Problem::field(Kind::NoSuchLane, "path.lane", detail))
}

fn body(queue: &Queue, paused: Option<Paused>) -> Json<Pause> {
    Json(Pause {
        lane: queue.lane().to_owned(),
        paused: paused.is_some(),
        since: paused.as_ref().map(|paused| paused.at.into()),
        by: paused.as_ref().map(|paused| paused.by.clone()),
        reason: paused
            .map(|paused| paused.reason)
            .filter(|reason| !reason.is_empty()),
    })
}

/// Is the lane paused?
#[utoipa::path(get, path = "/lanes/{lane}/pause", tag = "switches",
    params(("lane" = String, Path, description = "`snowpack`")),
    responses(
        (status = 200, description = "Whether, since when, by whom", body = Pause),
        (status = 404, description = "No such lane"),
        Refused))]
pub(crate) async fn get(
    _: Reader,
    State(api): State<Arc<Api>>,
    Id(name): Id,
) -> Result<Json<Pause>, Problem> {
    let queue = lane(&name)?;
    let paused = queue.paused(&**api.pool.get().await?).await?;
    Ok(body(&queue, paused))
}

/// Hand out no job of the lane, or hand them out again
#[utoipa::path(put, path = "/lanes/{lane}/pause", tag = "switches",
    params(("lane" = String, Path, description = "`snowpack`")),
    request_body = PauseRequest,
    responses(
        (status = 200, description = "As it is now", body = Pause),
        (status = 404, description = "No such lane"),
        Refused))]
pub(crate) async fn put(
    Admin(caller): Admin,
    State(api): State<Arc<Api>>,
    Id(name): Id,
    payload: Payload,
) -> Result<Json<Pause>, Problem> {
    let queue = lane(&name)?;
    let asked: PauseRequest = payload.json()?;
    let reason = checked(asked.reason.as_deref())?;
    let client = api.pool.get().await?;
    let by = caller.submitter();
    if asked.paused {
        queue
            .pause(&**client, &by, reason.unwrap_or_default())
            .await?;
    } else {
        queue.resume(&**client).await?;
        // Workers look by themselves, a little later.
        if let Err(error) = queue.notify(&**client).await {
            debug!(%error, "workers will see it at their next poll");
        }
    }
    info!(
        lane = name,
        paused = asked.paused,
        by,
        reason,
        "a lane was switched"
    );
    let paused = queue.paused(&**client).await?;
    Ok(body(&queue, paused))
}
