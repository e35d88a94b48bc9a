//! What a plan of `purge_pending` needs: whose files are due, and whether those tables are there.

use catalog::Catalog;
use model::TableName;
use planner::Records;
use planner::purge::{PAGE, Plan};
use storage::Location;

use crate::Error;
use crate::table::{find, folders};

/// Counts what is due, of the table and of those that had its name before.
pub(crate) async fn plan(
    catalog: &dyn Catalog,
    name: &TableName,
    records: &dyn Records,
) -> Result<Plan, Error> {
    let table = find(catalog, name).await?;
    let listed = records.listed_under(name).await?;
    let mut plan = match &table {
        Some(table) => {
            let uuid = table.metadata.uuid();
            let open = records.open_intents(uuid).await?.len();
            Plan::of(name.key(), uuid.to_owned(), open as u64)
        }
        None if listed.is_empty() => {
            return Err(Error::Catalog {
                doing: "load the table",
                source: catalog::Error::NoSuchTable(name.clone()),
            });
        }
        None => Plan::of(name.key(), String::new(), 0),
    };
    for uuid in listed {
        if uuid == plan.table_uuid {
            continue;
        }
        if renamed(catalog, &uuid, records).await? {
            plan.renamed.push(uuid);
        } else {
            plan.gone.push(uuid);
        }
    }
    let mut counted = plan.gone.clone();
    counted.push(plan.table_uuid.clone());
    for uuid in counted {
        let mut after = None;
        loop {
            let page = records.due(&uuid, after.as_deref(), PAGE).await?;
            if !plan.count(&page) {
                break;
            }
            after = page.last().map(|due| due.path.clone());
        }
    }
    Ok(plan)
}

/// Whether a table that lost its name is one of the catalog's under another: some table has its
/// UUID and lies where the due files do. A table that keeps its metadata files elsewhere is not
/// recognised, and its files are kept.
async fn renamed(catalog: &dyn Catalog, uuid: &str, records: &dyn Records) -> Result<bool, Error> {
    let due = records.due(uuid, None, PAGE).await?;
    let files: Vec<Location> = due
        .iter()
        .filter_map(|due| Location::parse(&due.path).ok())
        .collect();
    for (name, folder) in folders(catalog).await? {
        if files.iter().any(|file| folder.holds(file))
            && let Some(table) = find(catalog, &name).await?
            && table.metadata.uuid() == uuid
        {
            return Ok(true);
        }
    }
    Ok(false)
}
