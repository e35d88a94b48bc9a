//! What repeats by itself, and how its last pass went.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use k8s::lease::Turn;
use maintenance::loops;
use serde::Serialize;

use crate::auth::Reader;
use crate::kubernetes::Leader;
use crate::problem::Problem;
use crate::router::Refused;
use crate::state::Api;
use crate::time::Time;

/// The last pass of one loop.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Pass {
    name: String,
    /// The process that did it
    holder: String,
    started_at: Time,
    /// Absent while it runs, or when its process ended in it
    ended_at: Option<Time>,
    /// done, partial or failed
    outcome: Option<String>,
    detail: Option<String>,
}

/// Which replica looks at the loops.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = LoopsLease)]
pub(crate) struct LeaseBody {
    name: String,
    /// mine: the replica that answers has it; theirs: another one; unknown: Kubernetes does not
    /// say, and every replica looks
    turn: &'static str,
    /// The other one, once it is known
    holder: Option<String>,
}

impl LeaseBody {
    fn of(leader: &Leader) -> Self {
        let (turn, holder) = match leader.turn() {
            Turn::Mine => ("mine", None),
            Turn::Theirs(holder) => ("theirs", Some(holder).filter(|name| !name.is_empty())),
            Turn::Unknown => ("unknown", None),
        };
        Self {
            name: leader.name.clone(),
            turn,
            holder,
        }
    }
}

/// Every loop that ever ran, by name.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Loops {
    loops: Vec<Pass>,
    /// Absent where no Lease is asked for: then every replica looks
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseBody>,
}

/// What repeats by itself, and how its last pass went
#[utoipa::path(get, path = "/loops", tag = "about",
    responses((status = 200, description = "The last pass of each", body = Loops), Refused))]
pub(crate) async fn list(_: Reader, State(api): State<Arc<Api>>) -> Result<Json<Loops>, Problem> {
    let passes = loops::list(&**api.pool.get().await?).await?;
    let loops = passes.into_iter().map(|pass| Pass {
        name: pass.name,
        holder: pass.holder,
        started_at: pass.started_at.into(),
        ended_at: pass.ended_at.map(Time),
        outcome: pass.outcome,
        detail: pass.detail,
    });
    Ok(Json(Loops {
        loops: loops.collect(),
        lease: api.leader.as_ref().map(LeaseBody::of),
    }))
}
