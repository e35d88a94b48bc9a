//! What a plan of `rewrite_data_files` needs: the live files of the current snapshot.

use catalog::Table;
use metadata::{Fields, LiveFiles, live_files};
use planner::rewrite::{self, Options, Plan};

use crate::Error;

pub(crate) async fn plan(table: &Table, options: &Options) -> Result<Plan, Error> {
    // A filter looks at bounds; without one the metric maps stay unread.
    let fields = if options.filter.is_some() {
        Fields::ALL
    } else {
        Fields::PLAN
    };
    let live = match table.metadata.current_snapshot() {
        None => LiveFiles::default(),
        Some(current) => live_files(&table.storage, &table.metadata, current.snapshot_id, fields)
            .await
            .map_err(|source| Error::Metadata {
                doing: "list the table's files",
                source,
            })?,
    };
    let key = table.name.key();
    Ok(rewrite::plan(&table.metadata, &key, &live, options)?)
}
