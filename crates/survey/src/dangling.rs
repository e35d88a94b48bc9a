//! What a plan of `remove_dangling_deletes` needs: the live files of the current snapshot.

use catalog::Table;
use metadata::Fields;
use planner::dangling::{self, Plan};

use crate::Error;
use crate::table::current_files;

pub(crate) async fn plan(table: &Table) -> Result<Plan, Error> {
    let live = current_files(table, Fields::PLAN).await?;
    Ok(dangling::plan(&table.metadata, &table.name.key(), &live)?)
}
