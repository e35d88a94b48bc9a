//! Which due files must stay, and why, judged on one metadata file of the table.
//!
//! A file without a reason here may go as long as that metadata file is the table's current one
//! and the other tables lie where they lay.

use std::collections::HashMap;

use catalog::{Catalog, Table};
use model::TableName;
use planner::{Due, Progress, Reason};
use storage::Location;
use survey::{find, folders};

use crate::Error;
use crate::reach::{Candidates, strike_reachable};

/// The table files are judged on, and those that must stay.
#[derive(Debug)]
pub(super) struct Standing {
    /// None when the table is not there: then every file stays.
    table: Option<Table>,
    /// The folders of the other tables.
    neighbours: Vec<(TableName, Location)>,
    kept: HashMap<String, String>,
}

impl Standing {
    /// Looks at the table as it is now.
    pub(super) async fn of(
        catalog: &dyn Catalog,
        (name, uuid): (&TableName, &str),
        files: &[Due],
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let nothing = |why| Self {
            table: None,
            neighbours: Vec::new(),
            kept: all(files, why),
        };
        let Some(table) = find(catalog, name).await? else {
            return Ok(nothing("the table does not exist any more"));
        };
        if table.metadata.uuid() != uuid {
            return Ok(nothing("another table has the name by now"));
        }
        let neighbours = neighbours(catalog, &table).await?;
        let kept = match shared(&table, &neighbours) {
            Some(why) => all(files, &why),
            None => judge(&table, &neighbours, files, progress).await?,
        };
        Ok(Self {
            table: Some(table),
            neighbours,
            kept,
        })
    }

    /// Whether the table still is what was looked at, and no other table came to lie elsewhere.
    pub(super) async fn current(
        &self,
        catalog: &dyn Catalog,
        name: &TableName,
    ) -> Result<bool, Error> {
        let Some(then) = &self.table else {
            return Ok(true);
        };
        let Some(now) = find(catalog, name).await? else {
            return Ok(false);
        };
        Ok(now.metadata_location == then.metadata_location
            && neighbours(catalog, &now).await? == self.neighbours)
    }

    /// Why a file must stay.
    pub(super) fn kept(&self, path: &str) -> Option<&str> {
        self.kept.get(path).map(String::as_str)
    }

    /// Deletes files none of which must stay.
    pub(super) async fn delete(&self, paths: &[String]) -> Vec<Result<(), storage::Error>> {
        match &self.table {
            Some(table) => table.storage.delete(paths).await,
            None => Vec::new(),
        }
    }
}

/// The folders of all tables but this one. Of several entries of its name, in catalogs that
/// share a database, one that holds its metadata file is its own.
async fn neighbours(
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
fn shared(table: &Table, neighbours: &[(TableName, Location)]) -> Option<String> {
    let Ok(own) = Location::parse(table.metadata.location()) else {
        return Some("the table's location has no normal form".to_owned());
    };
    let nested = neighbours
        .iter()
        .find(|(_, folder)| folder.holds(&own) || own.holds(folder));
    nested.map(|(name, _)| format!("the table shares its location with {name}"))
}

/// Every file stays for the same reason.
fn all(files: &[Due], why: &str) -> HashMap<String, String> {
    let kept = |due: &Due| (due.path.clone(), why.to_owned());
    files.iter().map(kept).collect()
}

/// The files that must stay, each with the reason.
async fn judge(
    table: &Table,
    neighbours: &[(TableName, Location)],
    files: &[Due],
    progress: &dyn Progress,
) -> Result<HashMap<String, String>, Error> {
    // As an expiry reads it: whatever is not `true` is false.
    let gc = table.metadata.property("gc.enabled");
    let off = gc.filter(|value| !value.eq_ignore_ascii_case("true"));
    let own = Location::parse(table.metadata.location()).ok();
    let mut kept = HashMap::new();
    let mut free = Candidates::default();
    for due in files {
        let why = match table.storage.admit(&due.path) {
            Err(error) => Some(error.to_string()),
            Ok(file) if !in_a_folder(&file) || own.as_ref().is_some_and(|own| file.holds(own)) => {
                Some("it is not a file in a folder".to_owned())
            }
            Ok(file) => neighbours
                .iter()
                .find(|(_, folder)| folder.holds(&file))
                .map(|(name, _)| format!("it lies in the folder of {name}")),
        };
        let off = off.filter(|_| due.reason != Reason::Attempt);
        match why.or_else(|| off.map(|value| format!("gc.enabled is {value}"))) {
            Some(why) => {
                kept.insert(due.path.clone(), why);
            }
            None => free.offer(&due.path, due.size_bytes),
        }
    }
    strike_reachable(table, &mut free, progress).await?;
    for due in files {
        if !kept.contains_key(&due.path) && !free.holds(&due.path) {
            kept.insert(due.path.clone(), "the table refers to it".to_owned());
        }
    }
    Ok(kept)
}

/// A file has a folder between it and the root.
fn in_a_folder(file: &Location) -> bool {
    file.path().matches('/').count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_at_the_root_is_no_file_of_a_table() {
        for (path, want) in [
            ("file:///w/t/data/a.parquet", true),
            ("file:///w/a", true),
            ("file:///a", false),
            ("file:///", false),
            ("s3://bucket/t/a", true),
            ("s3://bucket/a", false),
            ("s3://bucket", false),
        ] {
            let location = Location::parse(path).unwrap();
            assert_eq!(in_a_folder(&location), want, "{path}");
        }
    }
}
