//! A plain writer's commits: append data files, or data and position delete files together.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use catalog::{Catalog, Table};
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{
    DataFile, Fields, ManifestContent, ManifestFile, ManifestWriter, live_files, read_manifest_list,
};
use model::TableName;
use policy::retry::Backoff;

use crate::Error;
use crate::commit::snapshot;
use crate::commit::summary::Counts;
use crate::commit::swap::NewFile;
use crate::files::place::Places;

/// Tries of one commit: a plain writer wants in, and every loss means somebody else got in.
const TRIES_MAX: u32 = 20;
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(20),
    cap: Duration::from_secs(2),
};
/// Metadata files written at once.
const WRITES_MAX: usize = 4;

/// Files to make part of a table in one snapshot.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub data: Vec<DataFile>,
    pub deletes: Vec<DataFile>,
    /// Data files the deletes name: the commit is refused when one is gone, for then its rows
    /// live elsewhere and would come back.
    pub must_exist: Vec<String>,
}

/// Commits `changes` on whatever the table is by now: operation `append` without deletes,
/// `delete` with deletes alone, else `overwrite`. `now_ms` is the writer's clock.
///
/// Fails with [`Error::Moved`] when a file of `must_exist` is gone.
pub async fn commit_changes(
    catalog: &dyn Catalog,
    name: &TableName,
    changes: &Changes,
    now_ms: i64,
) -> Result<Table, Error> {
    let snapshot_id = snapshot::new_id();
    let mut lost_to = String::new();
    for tried in 1..=TRIES_MAX {
        let loaded = catalog.load(name).await;
        let base = loaded.map_err(|source| Error::Catalog {
            doing: "load the table",
            source,
        })?;
        if base.metadata.snapshot(snapshot_id).is_some() {
            return Ok(base);
        }
        check_exist(&base, &changes.must_exist).await?;
        match try_commit(catalog, &base, changes, snapshot_id, now_ms).await {
            Ok(table) => return Ok(table),
            Err(Error::Catalog {
                source: catalog::Error::Conflict { why, .. },
                ..
            }) => lost_to = why,
            // The next round looks for the snapshot first.
            Err(Error::Catalog {
                source: catalog::Error::Unknown { .. },
                ..
            }) => {}
            Err(other) => return Err(other),
        }
        tokio::time::sleep(BACKOFF.pause(tried, rand::random_range(0.0..1.0))).await;
    }
    Err(Error::Contended {
        attempts: TRIES_MAX,
        why: lost_to,
    })
}

async fn check_exist(base: &Table, must_exist: &[String]) -> Result<(), Error> {
    if must_exist.is_empty() {
        return Ok(());
    }
    let current = base.metadata.current_snapshot();
    let Some(current) = current else {
        return Err(Error::Moved("the table is empty".to_owned()));
    };
    let live = live_files(
        &base.storage,
        &base.metadata,
        current.snapshot_id,
        Fields::PLAN,
    )
    .await
    .map_err(|source| Error::Metadata {
        doing: "list the table's files",
        source,
    })?;
    let paths: HashSet<&str> = live
        .data
        .iter()
        .map(|file| file.file.file_path.as_str())
        .collect();
    match must_exist
        .iter()
        .find(|path| !paths.contains(path.as_str()))
    {
        Some(gone) => Err(Error::Moved(format!("another writer removed {gone}"))),
        None => Ok(()),
    }
}

fn metadata_error(doing: &'static str) -> impl Fn(metadata::Error) -> Error {
    move |source| Error::Metadata { doing, source }
}

/// A manifest for each content and spec of the added files.
fn new_manifests(
    base: &Table,
    changes: &Changes,
    snapshot_id: i64,
    places: &Places,
) -> Result<(Vec<ManifestFile>, Vec<NewFile>), Error> {
    let doing = "make a manifest";
    let mut by_kind: BTreeMap<(ManifestContent, i32), Vec<&DataFile>> = BTreeMap::new();
    for file in &changes.data {
        by_kind
            .entry((ManifestContent::Data, file.spec_id))
            .or_default()
            .push(file);
    }
    for file in &changes.deletes {
        by_kind
            .entry((ManifestContent::Deletes, file.spec_id))
            .or_default()
            .push(file);
    }
    let (mut manifests, mut files) = (Vec::new(), Vec::new());
    for ((content, spec_id), added) in by_kind {
        let mut writer = ManifestWriter::new(content, &base.metadata, spec_id, snapshot_id)
            .map_err(metadata_error(doing))?;
        for file in added {
            writer.add(file, None).map_err(metadata_error(doing))?;
        }
        let path = places.manifest();
        let (bytes, manifest) = writer.finish(&path).map_err(metadata_error(doing))?;
        manifests.push(manifest);
        files.push(NewFile {
            path,
            bytes,
            kind: "manifest",
        });
    }
    Ok((manifests, files))
}

async fn try_commit(
    catalog: &dyn Catalog,
    base: &Table,
    changes: &Changes,
    snapshot_id: i64,
    now_ms: i64,
) -> Result<Table, Error> {
    let places = Places::new(&base.metadata, "append");
    let (mut manifests, mut files) = new_manifests(base, changes, snapshot_id, &places)?;
    if let Some(current) = base.metadata.current_snapshot() {
        let carried = read_manifest_list(&base.storage, current).await;
        manifests.extend(carried.map_err(metadata_error("read the manifest list"))?);
    }
    let mut counts = Counts::after(base.metadata.current_snapshot());
    changes
        .data
        .iter()
        .chain(&changes.deletes)
        .for_each(|file| counts.grow(file));
    let summary = counts.into_summary(operation(changes));
    let next = snapshot::next(base, snapshot_id, manifests, summary, now_ms)
        .place(places.manifest_list(snapshot_id))?;
    files.push(next.list);
    let writes = files.into_iter().map(|file| async move {
        let written = base.storage.write_new(&file.path, file.bytes).await;
        written.map_err(|source| Error::Storage {
            doing: "write a metadata file",
            source,
        })
    });
    let writes: Vec<_> = writes.collect();
    stream::iter(writes)
        .buffer_unordered(WRITES_MAX)
        .try_collect::<()>()
        .await?;
    catalog
        .commit(base, next.requirements, next.updates)
        .await
        .map_err(|source| Error::Catalog {
            doing: "commit",
            source,
        })
}

/// As Java's `BaseRowDelta` names it.
fn operation(changes: &Changes) -> &'static str {
    match (changes.data.is_empty(), changes.deletes.is_empty()) {
        (_, true) => "append",
        (true, false) => "delete",
        (false, false) => "overwrite",
    }
}
