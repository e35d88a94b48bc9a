//! Jobs beyond operational retention: one listing of those that are kept and those that moved on.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use maintenance::history;
use serde::Serialize;

use crate::auth::Reader;
use crate::extract::Query;
use crate::problem::Problem;
use crate::router::Refused;
use crate::routes::jobs::{JobBody, Wanted};
use crate::state::Api;
use crate::time::Time;

/// This listing's name in its cursors.
const LISTING: &str = "job history";

/// A job, and whether it is only history.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PastJob)]
pub(crate) struct PastBody {
    #[serde(flatten)]
    job: JobBody,
    /// When it left operational retention; absent while it is in it
    archived_at: Option<Time>,
}

/// One page of jobs, old ones too.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = JobHistory)]
pub(crate) struct HistoryBody {
    jobs: Vec<PastBody>,
    /// For the next page; absent on the last one
    next_cursor: Option<String>,
}

/// List jobs, newest first, also those that operational retention has let go
#[utoipa::path(get, path = "/jobs/history", tag = "jobs", params(Wanted),
    responses((status = 200, description = "One page", body = HistoryBody), Refused))]
pub(crate) async fn list(
    _: Reader,
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<HistoryBody>, Problem> {
    let found = history::list(&**api.pool.get().await?, &wanted.filter(LISTING)?).await?;
    let last = found.last().map(|past| &past.job);
    let next_cursor = wanted.next(LISTING, found.len(), last);
    let jobs = found.into_iter().map(|past| PastBody {
        archived_at: past.archived_at.map(Time),
        job: past.job.into(),
    });
    Ok(Json(HistoryBody {
        jobs: jobs.collect(),
        next_cursor,
    }))
}
