//! What a plan of `expire_snapshots` needs: the database's clock, open intents, and, to clean
//! definitions up, what the retained manifests refer to.

use std::collections::HashSet;

use catalog::Table;
use planner::expire::{self, Options, Plan};
use planner::{Progress, Records, Unwatched};

use crate::Error;
use crate::retained::Retained;

/// Decides what would be expired of `table` now.
pub(crate) async fn plan(
    table: &Table,
    options: &Options,
    records: &dyn Records,
) -> Result<Plan, Error> {
    let metadata = &table.metadata;
    let now_ms = records.now_ms().await?;
    let open = records.open_intents(metadata.uuid()).await?;
    let (key, location) = (table.name.key(), &table.metadata_location);
    let plan = expire::plan(metadata, &key, location, now_ms, &open, options)?;
    cleaned(plan, table, &Unwatched).await
}

/// Adds the definitions nothing needs, when that was asked for.
pub async fn cleaned(plan: Plan, table: &Table, progress: &dyn Progress) -> Result<Plan, Error> {
    if !plan.cleans(&table.metadata) {
        return Ok(plan);
    }
    let expired: HashSet<i64> = plan.expire.iter().map(|gone| gone.snapshot_id).collect();
    let retained = Retained::without(table, &expired, progress).await?;
    Ok(plan.clean(&table.metadata, &retained.needed()))
}
