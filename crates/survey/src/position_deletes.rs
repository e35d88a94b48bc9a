//! What a plan of `rewrite_position_delete_files` needs: the live files of the current snapshot.

use catalog::Table;
use metadata::Fields;
use planner::position_deletes::{self, Options, Plan};

use crate::Error;
use crate::table::current_files;

/// What would be rewritten in the current snapshot. Changes nothing.
pub async fn plan(table: &Table, options: &Options) -> Result<Plan, Error> {
    let live = current_files(table, Fields::PLAN).await?;
    let key = table.name.key();
    Ok(position_deletes::plan(
        &table.metadata,
        &key,
        &live,
        options,
    )?)
}
