//! Looks at one table: loads what a pure plan needs, and plans. Writes nothing, sees no Arrow, so
//! that light programs can plan too.
//!
//! Start at [`plan`]; the engine plans through it as well.

mod dangling;
mod error;
pub mod expire;
mod manifests;
mod orphans;
mod position_deletes;
mod purge;
pub mod reach;
mod retained;
mod rewrite;
mod table;

use catalog::Catalog;
use model::TableName;
use planner::{Plan, Progress, Records, Task};

pub use error::Error;
pub use manifests::plan as plan_manifests;
pub use orphans::{accounted, alone};
pub use position_deletes::plan as plan_position_deletes;
pub use retained::{MANIFESTS_AT_ONCE, Retained};
pub use table::{current_files, find, folders, load, neighbours, shared, territories};

/// What would be done to the table now, and why. Changes nothing.
pub async fn plan(
    catalog: &dyn Catalog,
    table: &TableName,
    task: &Task,
    (records, progress): (&dyn Records, &dyn Progress),
) -> Result<Plan, Error> {
    match task {
        Task::ExpireSnapshots(options) => {
            let table = load(catalog, table).await?;
            let planned = expire::plan(&table, options, records).await;
            planned.map(Plan::ExpireSnapshots)
        }
        Task::PurgePending(_) => purge::plan(catalog, table, records)
            .await
            .map(Plan::PurgePending),
        Task::RewriteDataFiles(options) => {
            let table = load(catalog, table).await?;
            let planned = rewrite::plan(&table, options).await;
            planned.map(Plan::RewriteDataFiles)
        }
        Task::RewritePositionDeleteFiles(options) => {
            let table = load(catalog, table).await?;
            let planned = position_deletes::plan(&table, options).await;
            planned.map(Plan::RewritePositionDeleteFiles)
        }
        Task::RemoveDanglingDeletes(_) => {
            let table = load(catalog, table).await?;
            let planned = dangling::plan(&table).await;
            planned.map(Plan::RemoveDanglingDeletes)
        }
        Task::RemoveOrphanFiles(options) => {
            let table = load(catalog, table).await?;
            let planned = orphans::plan(catalog, &table, options, (records, progress)).await;
            planned.map(Plan::RemoveOrphanFiles)
        }
        Task::RewriteManifests(options) => {
            let table = load(catalog, table).await?;
            let planned = manifests::plan(&table, options).await;
            planned.map(Plan::RewriteManifests)
        }
    }
}
