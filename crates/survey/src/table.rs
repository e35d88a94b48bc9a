//! The table itself, and where the others lie.

use catalog::{Catalog, Table};
use metadata::{Fields, LiveFiles, live_files};
use model::TableName;
use planner::Progress;
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

/// The folders of all tables but this one. Of several entries of its name, in catalogs that
/// share a database, one that holds its metadata file is its own.
pub async fn neighbours(
    catalog: &dyn Catalog,
    table: &Table,
) -> Result<Vec<(TableName, Location)>, Error> {
    let mut folders = folders(catalog).await?;
    let metadata = Location::parse(&table.metadata_location);
    let own = folders.iter().position(|(name, folder)| {
        *name == table.name && metadata.as_ref().is_ok_and(|file| folder.holds(file))
    });
    if let Some(own) = own {
        folders.remove(own);
    }
    Ok(folders)
}

/// Why nothing of the table may be deleted at all: another lies in its folder or above it.
pub fn shared(table: &Table, neighbours: &[(TableName, Location)]) -> Option<String> {
    let Ok(own) = Location::parse(table.metadata.location()) else {
        return Some("the table's location has no normal form".to_owned());
    };
    let nested = neighbours
        .iter()
        .find(|(_, folder)| folder.holds(&own) || own.holds(folder));
    nested.map(|(name, _)| format!("the table shares its location with {name}"))
}

/// Every folder that other tables of the catalog may have files in, links to it followed. A table that
/// cannot be loaded is an error, and so is a folder that cannot be understood.
pub async fn territories(
    catalog: &dyn Catalog,
    table: &Table,
    progress: &dyn Progress,
) -> Result<Vec<(TableName, Location)>, Error> {
    let all = catalog.territories(&|| progress.alive()).await;
    let all = all.map_err(|source| Error::Catalog {
        doing: "learn where other tables' files lie",
        source,
    })?;
    let mut found = Vec::new();
    for other in all {
        if other.table_uuid == table.metadata.uuid() {
            continue;
        }
        for folder in &other.folders {
            let unknown = |source| Error::Storage {
                doing: "learn where another table's files lie",
                source,
            };
            let folder = Location::parse(folder).map_err(unknown)?;
            let real = table.storage.resolve(&folder).await.map_err(unknown)?;
            if real != folder {
                found.push((other.name.clone(), real));
            }
            found.push((other.name.clone(), folder));
        }
    }
    Ok(found)
}
