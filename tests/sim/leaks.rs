//! Files nobody knows of: every file must be reachable from a metadata file of its table's log,
//! or be in the ledger, or be what a writer of ours left of a commit it lost. No table has a file
//! so large that it is uploaded in parts, so in S3 nothing unfinished may be left either.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use metadata::{
    EntryStatus, Fields, ManifestFile, TableMetadata, read_manifest, read_manifest_list,
};
use tokio_postgres::Client;

use crate::history::{History, MARK};
use crate::house::House;

/// Complaints of one kind.
const NAMED_MAX: usize = 20;
/// How our writers' files are called: data files after this program, the others as
/// `lake::commit_changes` calls them.
const WRITERS: [&str; 2] = [crate::NAME, "append"];

#[derive(Debug, Default)]
pub(crate) struct Leaks {
    /// Files looked at.
    pub(crate) files: usize,
    pub(crate) faults: Vec<String>,
}

pub(crate) async fn find(house: &House, histories: &[History], client: &Client) -> Result<Leaks> {
    let mut reachable = BTreeSet::new();
    let mut needed = BTreeSet::new();
    for history in histories {
        reach(house, history, &mut reachable, &mut needed).await?;
    }
    let known = known(client).await?;
    let there: BTreeSet<String> = house.files()?.into_iter().collect();
    let mut leaks = Leaks {
        files: there.len(),
        faults: Vec::new(),
    };
    for path in needed.difference(&there).take(NAMED_MAX) {
        leaks.faults.push(format!("{path} is needed and gone"));
    }
    let mut stray = Vec::new();
    for path in &there {
        let named = finished_name(path);
        if reachable.contains(&named) || known.contains(&named) || writers_own(&named) {
            continue;
        }
        if !lost_by_a_writer(house, &named).await? {
            stray.push(path);
        }
    }
    let faults = stray.iter().take(NAMED_MAX);
    leaks
        .faults
        .extend(faults.map(|path| format!("nobody knows of {path}")));
    Ok(leaks)
}

/// What any document of the log reaches, as far as it is still there, and what the current one
/// needs.
async fn reach(
    house: &House,
    history: &History,
    reachable: &mut BTreeSet<String>,
    needed: &mut BTreeSet<String>,
) -> Result<()> {
    let (location, current) = history.documents.last().context("a table has a document")?;
    needed.insert(location.clone());
    for (location, _) in &history.documents {
        reachable.insert(location.clone());
    }
    // What a manifest holds does not change.
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, snapshot) in history.snapshots() {
        let retained = current.snapshot(id).is_some();
        let mut paths = BTreeSet::from([snapshot.manifest_list.clone()]);
        match read_manifest_list(&house.storage, snapshot).await {
            Ok(manifests) => {
                for manifest in manifests {
                    let path = manifest.manifest_path.clone();
                    if !held.contains_key(&path) {
                        match live(house, &manifest, current).await {
                            Ok(files) => {
                                held.insert(path.clone(), files);
                            }
                            Err(error) if retained => return Err(error),
                            Err(_) => {}
                        }
                    }
                    paths.extend(held.get(&path).into_iter().flatten().cloned());
                    paths.insert(path);
                }
            }
            Err(error) if retained => return Err(error.into()),
            // It expired, and its files went.
            Err(_) => {}
        }
        if retained {
            needed.extend(paths.iter().cloned());
        }
        reachable.extend(paths);
    }
    Ok(())
}

/// The files a manifest holds.
async fn live(
    house: &House,
    manifest: &ManifestFile,
    table: &TableMetadata,
) -> Result<Vec<String>> {
    let entries = read_manifest(&house.storage, manifest, table, Fields::PLAN).await?;
    let live = entries.into_iter();
    let live = live.filter(|entry| entry.status != EntryStatus::Deleted);
    Ok(live.map(|entry| entry.file.file_path).collect())
}

/// Paths the ledger knows: being written, waiting, or kept for a reason.
async fn known(client: &Client) -> Result<BTreeSet<String>> {
    let sql = "select path from snowpack.attempt_files \
               union select path from snowpack.pending_deletions where state <> 'deleted'";
    let rows = client.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// A file that was being written under a temporary name goes with the one it was to become.
fn finished_name(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let unfinished = name.strip_prefix('.').and_then(|name| {
        let (name, random) = name.strip_suffix(".tmp")?.rsplit_once('.')?;
        (random.len() == 16).then_some(name)
    });
    unfinished.map_or_else(|| path.to_owned(), |name| format!("{folder}/{name}"))
}

fn writers_own(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    WRITERS
        .iter()
        .any(|owner| name.starts_with(&format!("{owner}-")) || name.contains(&format!("-{owner}-")))
}

/// A metadata file that was not swapped in, made by a writer: its current snapshot is a writer's
/// and new in it.
async fn lost_by_a_writer(house: &House, path: &str) -> Result<bool> {
    if !path.contains(".metadata.json") {
        return Ok(false);
    }
    let read = async |path: &str| -> Result<Option<TableMetadata>> {
        let Ok(bytes) = house.storage.read(path).await else {
            return Ok(None);
        };
        Ok(TableMetadata::parse(&bytes).ok())
    };
    let Some(document) = read(path).await? else {
        return Ok(false);
    };
    let Some(current) = document.current_snapshot() else {
        return Ok(false);
    };
    let Some(before) = document.metadata_log().last() else {
        return Ok(false);
    };
    let before = read(&before.metadata_file).await?;
    let new = before.is_some_and(|before| before.snapshot(current.snapshot_id).is_none());
    Ok(new && current.summary.contains_key(MARK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_file_counts_as_the_one_it_was_to_become() {
        let finished = |name: &str| finished_name(&format!("file:///w/{name}"));
        assert_eq!(
            finished(".a-1.parquet.0123456789abcdef.tmp"),
            "file:///w/a-1.parquet"
        );
        assert_eq!(finished("a-1.parquet"), "file:///w/a-1.parquet");
        assert_eq!(finished(".odd.tmp"), "file:///w/.odd.tmp");
    }

    #[test]
    fn only_what_writers_name_is_theirs() {
        for name in [
            "00001-snowpack-sim-12345678.parquet",
            "snap-7-0-append-12345678.avro",
        ] {
            assert!(writers_own(&format!("file:///w/{name}")), "{name}");
        }
        for name in ["00001-0199-12345678.parquet", "snap-7-0-0199-12345678.avro"] {
            assert!(!writers_own(&format!("file:///w/{name}")), "{name}");
        }
    }
}
