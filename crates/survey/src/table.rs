//! The table itself, and where the others lie.

use catalog::{Catalog, Table};
use metadata::{Fields, LiveFiles, live_files};
use model::TableName;
use storage::Location;

use crate::Error;

/// The table, if it is one that plans can be made for.
pub async fn load(catalog: &dyn Catalog, name: &TableName) -> Result<Table, Error> {
    let loaded = catalog.load(name).await;
    let loaded = loaded.map_err(|source| Error::Catalog {
        doing: "load the table",
        source,
    })?;
    if loaded.metadata.uuid().is_empty() {
        // An old format v1 document; the next commit of a writer of today gives it one.
        return Err(Error::Refused(format!(
            "{} has no table-uuid ({}): a table dropped and made again under its name could \
             not be told from it; give it one first",
            name, loaded.metadata_location
        )));
    }
    Ok(loaded)
}

/// The live files of the table's current snapshot; none when it has none.
pub async fn current_files(table: &Table, fields: Fields) -> Result<LiveFiles, Error> {
    let Some(current) = table.metadata.current_snapshot() else {
        return Ok(LiveFiles::default());
    };
    let id = current.snapshot_id;
    let files = live_files(&table.storage, &table.metadata, id, fields).await;
    files.map_err(|source| Error::Metadata {
        doing: "list the table's files",
        source,
    })
}

/// The table, or `None` when the catalog knows that there is none. Any other failure is one.
pub async fn find(catalog: &dyn Catalog, name: &TableName) -> Result<Option<Table>, Error> {
    match catalog.load(name).await {
        Ok(table) => Ok(Some(table)),
        Err(catalog::Error::NoSuchTable(_)) => Ok(None),
        Err(source) => Err(Error::Catalog {
            doing: "load the table",
            source,
        }),
    }
}

/// The tables with their folders; one that has no normal form holds no file that has one.
pub async fn folders(catalog: &dyn Catalog) -> Result<Vec<(TableName, Location)>, Error> {
    let folders = catalog.locations().await.map_err(|source| Error::Catalog {
        doing: "list the tables' locations",
        source,
    })?;
    let parsed = folders
        .into_iter()
        .filter_map(|(name, folder)| Some((name, Location::parse(&folder).ok()?)));
    Ok(parsed.collect())
}
