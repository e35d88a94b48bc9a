//! Which due files must stay, or wait on, and why, judged on one metadata file of the table.
//!
//! A file without a reason here may go as long as that metadata file is the table's current one
//! and the other tables lie where they lay.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::{Catalog, Table};
use model::TableName;
use planner::{Candidate, Due, Fate, Progress, Reason};
use storage::Location;
use survey::reach::{Candidates, strike_reachable};
use survey::{find, neighbours, shared, territories};

use crate::Error;

/// The error with its causes.
pub(super) fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let said: Vec<String> = causes.map(ToString::to_string).collect();
    said.join(": ")
}

/// The folders other tables may have files in, or why nobody can tell.
type Territories = Result<Arc<[(TableName, Location)]>, Arc<str>>;

/// The table files are judged on, and those that must stay.
#[derive(Debug)]
pub(super) struct Standing {
    /// None when the table is not there: then every file stays.
    table: Option<Table>,
    /// The folders of the other tables.
    neighbours: Vec<(TableName, Location)>,
    /// Where they may have files; asked for once there is an orphan, and again when tables came, went or
    /// moved.
    territories: Option<Territories>,
    held: HashMap<String, Fate>,
}

impl Standing {
    /// Looks at the table as it is now, after it was looked at `before`.
    pub(super) async fn of(
        catalog: &dyn Catalog,
        (name, uuid): (&TableName, &str),
        (files, before): (&[Due], Option<&Self>),
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let nothing = |why| Self {
            table: None,
            neighbours: Vec::new(),
            territories: None,
            held: all(files, why),
        };
        let Some(table) = find(catalog, name).await? else {
            return Ok(nothing("the table does not exist any more"));
        };
        if table.metadata.uuid() != uuid {
            return Ok(nothing("another table has the name by now"));
        }
        let mut standing = Self {
            neighbours: neighbours(catalog, &table).await?,
            ..nothing("")
        };
        if let Some(why) = shared(&table, &standing.neighbours) {
            standing.held = all(files, &why);
        } else {
            let before = before.filter(|before| before.neighbours == standing.neighbours);
            standing.territories = before.and_then(|before| before.territories.clone());
            let orphans = files.iter().any(|due| due.reason == Reason::Orphan);
            if orphans && standing.territories.is_none() {
                let found = territories(catalog, &table, progress).await;
                standing.territories = Some(found.map(Arc::from).map_err(|e| said(&e).into()));
            }
            standing.held = standing.judge(&table, files, progress).await?;
        }
        standing.table = Some(table);
        Ok(standing)
    }

    /// What becomes of orphans in a folder where another table may have files: whatever nothing refers to
    /// was found in the folder, so it may be another's that keeps its files here and its metadata elsewhere.
    /// Where that cannot be told, for one of the others cannot be read, they wait on; nothing else does.
    fn strangers(&self, table: &Table) -> Option<Fate> {
        match self.territories.as_ref()? {
            Ok(territories) => shared(table, territories).map(Fate::Kept),
            Err(why) => Some(Fate::Failed(format!("nobody can say whose it is: {why}"))),
        }
    }

    /// The files that may not go, each with what becomes of it.
    async fn judge(
        &self,
        table: &Table,
        files: &[Due],
        progress: &dyn Progress,
    ) -> Result<HashMap<String, Fate>, Error> {
        // As an expiry reads it: whatever is not `true` is false.
        let gc = table.metadata.property("gc.enabled");
        let off = gc.filter(|value| !value.eq_ignore_ascii_case("true"));
        let own = Location::parse(table.metadata.location()).ok();
        let strangers = self.strangers(table);
        let mut held = HashMap::new();
        let mut free = Candidates::default();
        for due in files {
            let why = match table.storage.admit(&due.path) {
                Err(error) => Some(error.to_string()),
                Ok(file)
                    if !in_a_folder(&file) || own.as_ref().is_some_and(|own| file.holds(own)) =>
                {
                    Some("it is not a file in a folder".to_owned())
                }
                Ok(file) => self.lies_with(&file),
            };
            let off = off.filter(|_| due.reason != Reason::Attempt);
            let why = why.or_else(|| off.map(|value| format!("gc.enabled is {value}")));
            let orphan = due.reason == Reason::Orphan;
            let strangers = strangers.as_ref().filter(|_| orphan);
            match why.map(Fate::Kept).or_else(|| strangers.cloned()) {
                Some(fate) => drop(held.insert(due.path.clone(), fate)),
                None if orphan => free.offer_orphan(Candidate {
                    path: due.path.clone(),
                    size_bytes: due.size_bytes,
                    modified_ms: due.modified_ms,
                }),
                None => free.offer(&due.path, due.size_bytes),
            }
        }
        strike_reachable(table, &mut free, progress).await?;
        for due in files {
            if !held.contains_key(&due.path) && !free.holds(&due.path) {
                let why = "the table refers to it".to_owned();
                held.insert(due.path.clone(), Fate::Kept(why));
            }
        }
        Ok(held)
    }

    /// Says that the file lies in the folder of another table, if it does.
    fn lies_with(&self, file: &Location) -> Option<String> {
        let mut others = self.neighbours.iter();
        others
            .find(|(_, folder)| folder.holds(file))
            .map(|(name, _)| format!("it lies in the folder of {name}"))
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

    /// What becomes of a file that may not go.
    pub(super) fn held(&self, path: &str) -> Option<&Fate> {
        self.held.get(path)
    }

    /// Deletes files none of which is held.
    pub(super) async fn delete(&self, paths: &[String]) -> Vec<Result<(), storage::Error>> {
        match &self.table {
            Some(table) => table.storage.delete(paths).await,
            None => Vec::new(),
        }
    }

    /// What becomes of an orphan that is not the file that was listed: its name was used again.
    pub(super) async fn written_again(&self, due: &Due) -> Option<Fate> {
        let table = self
            .table
            .as_ref()
            .filter(|_| due.reason == Reason::Orphan)?;
        // By the second, which is all that every store tells.
        let second = |ms: i64| ms.div_euclid(1_000);
        match table.storage.modified_ms(&due.path).await {
            Ok(Some(now_ms))
                if due
                    .modified_ms
                    .is_some_and(|ms| second(now_ms) <= second(ms)) =>
            {
                None
            }
            Ok(_) => Some(Fate::Kept(
                "it was written again since it was found, or nobody says when".to_owned(),
            )),
            Err(storage::Error::NotFound { .. }) => None,
            Err(error) => Some(Fate::Failed(said(&error))),
        }
    }
}

/// Every file stays for the same reason.
fn all(files: &[Due], why: &str) -> HashMap<String, Fate> {
    let kept = |due: &Due| (due.path.clone(), Fate::Kept(why.to_owned()));
    files.iter().map(kept).collect()
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
