//! Executes a removal of orphan files: those of the plan that still nothing refers to are listed for
//! deletion. Deletes nothing: the purge does that a day later, and looks once more.

use catalog::Catalog;
use planner::orphans::{Plan, Search};
use planner::{Attempt, Candidate, Reason, Report};
use storage::Location;
use survey::reach::{Candidates, strike_reachable};
use survey::{accounted, alone};

use crate::Error;
use crate::commit::{load, named};
use crate::expire::settle_open;

/// How long orphans wait, in milliseconds: whoever wrote one may still want it.
const GRACE_MS: i64 = 86_400_000;
/// Files listed in one call to the ledger.
const LISTED_AT_ONCE: usize = 1_000;

/// Executes `plan`.
pub(crate) async fn execute(
    catalog: &dyn Catalog,
    plan: &Plan,
    attempt: &Attempt<'_>,
) -> Result<Report, Error> {
    let name = named(&plan.table)?;
    let table = load(catalog, &name, &plan.table_uuid, attempt).await?;
    // What an expiry freed and did not list waits as that expiry says.
    settle_open(catalog, &table, attempt).await?;
    alone(catalog, &table, attempt.progress).await?;
    let now_ms = attempt.ledger.now_ms().await?;
    let search = Search::of(&table.metadata, &plan.options, now_ms).map_err(survey::Error::from)?;
    if search.folder != plan.location {
        let (then, now) = (&plan.location, &search.folder);
        return Err(Error::Moved(format!(
            "the table lay at {then} and lies at {now}"
        )));
    }
    attempt.progress.total(plan.files.len() as u64);
    let mut candidates = Candidates::default();
    for file in &plan.files {
        candidates.offer_orphan(Candidate {
            path: file.path.clone(),
            size_bytes: Some(file.size_bytes),
            modified_ms: Some(file.modified_ms),
        });
    }
    strike_reachable(&table, &mut candidates, attempt.progress).await?;
    let left = candidates.into_sorted();
    for batch in left.chunks(LISTED_AT_ONCE) {
        if attempt.signals.cancel.is_cancelled() || attempt.signals.drain.is_cancelled() {
            return Err(Error::Stopped);
        }
        list(&plan.table_uuid, batch, attempt).await?;
        attempt.progress.advance(batch.len() as u64);
    }
    let mut orphans = attempt.ledger.orphans_so_far(&plan.table_uuid).await?;
    orphans.left = plan.orphans - plan.files.len() as u64;
    if orphans.files == 0 && orphans.left == 0 {
        let why = plan
            .nothing()
            .unwrap_or("none of the files planned is an orphan any more");
        return Ok(Report::nothing(why));
    }
    Ok(Report {
        orphans: Some(orphans),
        ..Report::default()
    })
}

/// Lists those that nobody answers for by now.
async fn list(table_uuid: &str, batch: &[Candidate], attempt: &Attempt<'_>) -> Result<(), Error> {
    let paths: Vec<String> = batch.iter().map(|file| file.path.clone()).collect();
    let known = accounted(attempt.ledger, table_uuid, &paths).await?;
    let orphans: Vec<Candidate> = batch
        .iter()
        .filter(|file| Location::parse(&file.path).is_ok_and(|file| !known.contains(&file)))
        .cloned()
        .collect();
    let why = (Reason::Orphan, GRACE_MS);
    Ok(attempt.ledger.list(table_uuid, &orphans, why).await?)
}
