//! What a plan of `remove_orphan_files` needs: the folder listed, what the table reaches, and what
//! Snowpack keeps account of.
//!
//! The order matters. The folder is listed first and the table loaded again after it, so that what is
//! committed meanwhile is reached; then what nothing reached is listed once more, by name. Memory:
//! so many hashes of files that are old enough, the paths planned, one line for each manifest.

use std::collections::HashSet;

use catalog::{Catalog, Table};
use planner::orphans::{Found, HASHES_MAX, Options, Plan, Refused, Search, Unreached};
use planner::{Progress, Records};
use storage::{Listing, Location};

use crate::Error;
use crate::reach::strike_reachable;
use crate::table::{load, neighbours, shared, territories};

/// Paths asked about at once.
const PATHS_AT_ONCE: usize = 1_000;

/// Which files of the table's folder are orphans. Changes nothing.
pub(crate) async fn plan(
    catalog: &dyn Catalog,
    table: &Table,
    options: &Options,
    (records, progress): (&dyn Records, &dyn Progress),
) -> Result<Plan, Error> {
    let now_ms = records.now_ms().await?;
    let search = Search::of(&table.metadata, options, now_ms)?;
    alone(catalog, table, progress).await?;
    let (mut unreached, mut found) = (Unreached::new(&search, HASHES_MAX), Found::default());
    let now = loop {
        let mut listing = listing(table, &search)?;
        while let Some(page) = listing.next().await.map_err(unlisted)? {
            for file in page.iter().filter(|file| search.kept(file).is_none()) {
                unreached.offer(&file.location);
            }
            progress.alive();
        }
        if let Some(found) = listing.link() {
            return Err(link(&found, &"another place").into());
        }
        let now = load(catalog, &table.name).await?;
        let still = search.again(&now.metadata, records.now_ms().await?)?;
        if now.metadata.uuid() != table.metadata.uuid() || !still {
            return Err(Error::Refused(format!(
                "{} was moved or created again while its folder was listed",
                table.name
            )));
        }
        strike_reachable(&now, &mut unreached, progress).await?;
        plain(&now, &search, &unreached).await?;
        take(&now, &search, &unreached, (records, progress), &mut found).await?;
        if !unreached.next_pass() {
            break now;
        }
    };
    let key = now.name.key();
    let judged = (&*now.metadata, key.as_str(), now.metadata_location.as_str());
    Ok(found.plan(judged, &search, &unreached)?)
}

/// Lists the folder once more and takes what nothing has reached.
async fn take(
    table: &Table,
    search: &Search,
    unreached: &Unreached,
    (records, progress): (&dyn Records, &dyn Progress),
    found: &mut Found,
) -> Result<(), Error> {
    let mut listing = listing(table, search)?;
    while let Some(page) = listing.next().await.map_err(unlisted)? {
        let left = page
            .iter()
            .filter(|file| search.kept(file).is_none() && unreached.holds(&file.location));
        let left: Vec<String> = left.map(|file| search.spelled(&file.location)).collect();
        let known = accounted(records, table.metadata.uuid(), &left).await?;
        for file in &page {
            found.take(search, unreached, file, &known);
        }
        progress.alive();
    }
    Ok(())
}

/// Refuses a table in whose folder, or above it, another may have files.
pub async fn alone(
    catalog: &dyn Catalog,
    table: &Table,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let apart = |others: &[_]| match shared(table, others) {
        Some(why) => Err(Error::from(Refused::Shared(why))),
        None => Ok(()),
    };
    apart(&neighbours(catalog, table).await?)?;
    apart(&territories(catalog, table, progress).await?)
}

/// Refuses where one file may have two names: the folder is reached by a link, or a link leads into
/// it from where the table's other files lie.
async fn plain(table: &Table, search: &Search, unreached: &Unreached) -> Result<(), Error> {
    let real = resolve(table, &search.root).await?;
    if real != search.root {
        return Err(link(&search.folder, &real).into());
    }
    for folder in unreached.outside()? {
        let real = resolve(table, folder).await?;
        if search.root.holds(&real) {
            return Err(link(folder, &real).into());
        }
    }
    Ok(())
}

async fn resolve(table: &Table, folder: &Location) -> Result<Location, Error> {
    table.storage.resolve(folder).await.map_err(unlisted)
}

fn link(asked: &impl ToString, real: &impl ToString) -> Refused {
    Refused::Link {
        asked: asked.to_string(),
        real: real.to_string(),
    }
}

/// Those of `paths` that a job wrote and may still commit, or that wait to be deleted, however they are
/// written down.
pub async fn accounted(
    records: &dyn Records,
    table_uuid: &str,
    paths: &[String],
) -> Result<HashSet<Location>, Error> {
    let mut asked = Vec::new();
    for path in paths {
        let location = Location::parse(path).map_err(unlisted)?;
        asked.push(path.clone());
        asked.extend(location.spellings());
    }
    let mut known = HashSet::new();
    for batch in asked.chunks(PATHS_AT_ONCE) {
        for path in records.accounted(table_uuid, batch).await? {
            known.insert(Location::parse(&path).map_err(unlisted)?);
        }
    }
    Ok(known)
}

fn listing(table: &Table, search: &Search) -> Result<Listing, Error> {
    table.storage.list(&search.folder).map_err(unlisted)
}

fn unlisted(source: storage::Error) -> Error {
    Error::Storage {
        doing: "list the table's folder",
        source,
    }
}
