//! Jobs beyond operational retention: kept and archived ones in one listing.
//!
//! [`crate::retention`] moves a job's record and its actions here as they are; hidden ones stay
//! hidden. Health over time has a listing of its own, [`crate::health::history`].

use jiff::Timestamp;
use model::JobId;
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row, Transaction};

use crate::statement::{maybe, read, rows, run};
use crate::{ActionRow, Error, Filter, Job, actions, jobs};

const LIST: &str = include_str!("../sql/history/list.sql");
const GET: &str = include_str!("../sql/history/get.sql");
const ACTIONS: &str = include_str!("../sql/history/actions.sql");
const HIDE: &str = include_str!("../sql/history/hide.sql");

/// A job, wherever it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    pub job: Job,
    /// When it left operational retention; absent while it is in it.
    pub archived_at: Option<Timestamp>,
}

/// Jobs that are not hidden, kept and archived, newest first, one page. Without their plans.
pub async fn list<C: GenericClient + Sync>(
    client: &C,
    filter: &Filter,
) -> Result<Vec<Past>, Error> {
    let found = jobs::listed(client, "list the history of jobs", LIST, filter).await?;
    found.unwrap_or_default().iter().map(past).collect()
}

/// One job with every result of its actions, oldest first, wherever it is kept.
pub async fn get<C: GenericClient + Sync>(
    client: &C,
    id: &JobId,
) -> Result<Option<(Past, Vec<ActionRow>)>, Error> {
    let name = id.as_str();
    let param = [(&name as &_, Type::TEXT)];
    if let Some(job) = jobs::get(client, id).await? {
        let found = actions::list(client, id).await?;
        // Archived between the two looks, its actions are gone with it: then the archive has both.
        if !found.is_empty() || jobs::get(client, id).await?.is_some() {
            let archived_at = None;
            return Ok(Some((Past { job, archived_at }, found)));
        }
    }
    let Some(row) = maybe(client, "get an archived job", GET, &param).await? else {
        return Ok(None);
    };
    let found = rows(client, "list archived actions", ACTIONS, &param).await?;
    Ok(Some((past(&row)?, actions::from_rows(id, &found)?)))
}

/// Hides an archived job; false when there is none.
pub(crate) async fn hide(tx: &Transaction<'_>, id: &JobId) -> Result<bool, Error> {
    let param = [(&id.as_str() as &_, Type::TEXT)];
    Ok(run(tx, "delete an archived job", HIDE, &param).await? == 1)
}

fn past(row: &Row) -> Result<Past, Error> {
    Ok(Past {
        job: jobs::from_row(row)?,
        archived_at: read(row, "archived_at")?,
    })
}
