//! Intents settled, each per snapshot: gone, so its files are listed; there, so it stays open
//! until nothing can expire it any more.

use std::collections::HashSet;

use catalog::{Catalog, Table};
use metadata::TableMetadata;
use planner::{Attempt, Expired, Expiring, IntentId, OpenIntent, Report};

use super::{candidates, undo};
use crate::Error;

/// Settles every open expiry of `table`, which was just loaded; says how many there were.
pub(crate) async fn settle_open(
    catalog: &dyn Catalog,
    table: &Table,
    attempt: &Attempt<'_>,
) -> Result<u64, Error> {
    let open = attempt.ledger.open_intents(table.metadata.uuid()).await?;
    settle_all(catalog, table, attempt, &open).await?;
    Ok(open.len() as u64)
}

/// Settles what other jobs left open.
pub(super) async fn settle_others(
    catalog: &dyn Catalog,
    table: &Table,
    attempt: &Attempt<'_>,
) -> Result<u64, Error> {
    let open = attempt.ledger.open_intents(table.metadata.uuid()).await?;
    let others: Vec<OpenIntent> = open
        .into_iter()
        .filter(|open| open.job != *attempt.job)
        .collect();
    settle_all(catalog, table, attempt, &others).await?;
    Ok(others.len() as u64)
}

async fn settle_all(
    catalog: &dyn Catalog,
    table: &Table,
    attempt: &Attempt<'_>,
    open: &[OpenIntent],
) -> Result<(), Error> {
    let listed = list(catalog, table, attempt, open).await?;
    for (intent, still_open) in &listed.to_settle {
        attempt.ledger.settle(*intent, still_open, None).await?;
    }
    Ok(())
}

/// Intents whose freed files are listed, and that are not settled yet.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// With the ids that stay open.
    to_settle: Vec<(IntentId, Vec<i64>)>,
    /// Snapshots and files.
    pub(super) expired: Expired,
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.to_settle.is_empty()
    }

    /// The report's row is written with the first, so that it stands once any is settled.
    pub(super) async fn settle(&self, attempt: &Attempt<'_>, report: &Report) -> Result<(), Error> {
        let mut report = Some(report);
        for (intent, still_open) in &self.to_settle {
            attempt
                .ledger
                .settle(*intent, still_open, report.take())
                .await?;
        }
        Ok(())
    }
}

/// Lists what the expiries `open` freed. A snapshot that stands in several counts once.
pub(super) async fn list(
    catalog: &dyn Catalog,
    table: &Table,
    attempt: &Attempt<'_>,
    open: &[OpenIntent],
) -> Result<Ready, Error> {
    let mut ready = Ready::default();
    let mut done = HashSet::new();
    for open in open {
        let (mut gone, still_open) = judge(open, &table.metadata, catalog.swaps_within());
        gone.retain(|gone| !done.contains(&gone.snapshot_id));
        if !gone.is_empty() && !catalog.swaps_by_location() {
            undo::check(catalog, table, attempt, (open, &gone, &still_open)).await?;
        }
        let listed = candidates::list(table, &gone, open.intent.grace_ms, attempt).await?;
        if !gone.is_empty() {
            tracing::info!(
                table = %table.name, intent = open.id.0, snapshots = gone.len(),
                files = listed.files, bytes = listed.bytes, "expired files listed"
            );
        }
        ready.expired.snapshots += gone.len() as u64;
        ready.expired.files += listed.files;
        ready.expired.bytes += listed.bytes;
        done.extend(gone.iter().map(|gone| gone.snapshot_id));
        ready.to_settle.push((open.id, still_open));
    }
    Ok(ready)
}

/// The snapshots that are gone, and those a request of the intent's attempt may still expire.
/// One that is there and safe from it is neither.
fn judge(
    open: &OpenIntent,
    table: &TableMetadata,
    swaps_within: bool,
) -> (Vec<Expiring>, Vec<i64>) {
    let over = open.attempt_over && (swaps_within || open.old);
    let there = |expiring: &&Expiring| table.snapshot(expiring.snapshot_id).is_some();
    let (present, gone): (Vec<&Expiring>, Vec<&Expiring>) = open.intent.ids.iter().partition(there);
    let still_open = present
        .iter()
        .filter(|_| !over)
        .map(|there| there.snapshot_id);
    (gone.into_iter().cloned().collect(), still_open.collect())
}
