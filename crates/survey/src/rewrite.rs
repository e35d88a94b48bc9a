//! What a plan of `rewrite_data_files` needs: the live files of the current snapshot.

use catalog::Table;
use metadata::Fields;
use planner::rewrite::{self, Options, Plan};

use crate::Error;
use crate::table::current_files;

pub(crate) async fn plan(table: &Table, options: &Options) -> Result<Plan, Error> {
    // A filter looks at bounds; without one the metric maps stay unread.
    let fields = if options.filter.is_some() {
        Fields::ALL
    } else {
        Fields::PLAN
    };
    let live = current_files(table, fields).await?;
    let key = table.name.key();
    Ok(rewrite::plan(&table.metadata, &key, &live, options)?)
}
