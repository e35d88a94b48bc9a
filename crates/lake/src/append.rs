//! A plain writer's commits: files added and taken out in one snapshot of one branch.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use catalog::{Catalog, Table};
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{
    Content, DataFile, Entry, Fields, ManifestContent, ManifestFile, ManifestWriter, Snapshot,
    live_files, read_manifest_list, rewrite_manifest,
};
use model::TableName;
use policy::retry::Backoff;

use crate::Error;
use crate::commit::snapshot::{self, MAIN};
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
    /// Data and delete files taken out: copy on write. Deletes that others commit meanwhile
    /// would be lost with them, so `based_on` belongs to it.
    pub removed: Vec<String>,
    /// Data files the deletes name: the commit is refused when one is gone, for then its rows
    /// live elsewhere and would come back.
    pub must_exist: Vec<String>,
    /// The commit is refused when this is not the branch's snapshot any more.
    pub based_on: Option<i64>,
    /// The branch committed to, `main` when not said. A new one begins at the snapshot of `main`.
    pub branch: Option<String>,
    /// Said in the snapshot's summary beside the counts, as a writer's own name of the commit.
    pub summary: BTreeMap<String, String>,
}

impl Changes {
    fn branch(&self) -> &str {
        self.branch.as_deref().unwrap_or(MAIN)
    }

    /// The snapshot the next one follows.
    fn parent<'t>(&self, base: &'t Table) -> Option<&'t Snapshot> {
        match base.metadata.refs().get(self.branch()) {
            Some(head) => base.metadata.snapshot(head.snapshot_id),
            None => base.metadata.current_snapshot(),
        }
    }
}

/// Commits `changes` on whatever the table is by now: operation `append` when files of data are
/// added and nothing else, `delete` when none are, else `overwrite`. `now_ms` is the writer's clock.
///
/// Fails with [`Error::Moved`] when a file of `must_exist` or `removed` is gone, or the branch is
/// no longer at `based_on`.
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
        check(&base, changes).await?;
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

async fn check(base: &Table, changes: &Changes) -> Result<(), Error> {
    let parent = changes.parent(base);
    if changes.based_on.is_some() && changes.based_on != parent.map(|parent| parent.snapshot_id) {
        return Err(Error::Moved(format!(
            "another writer committed to {}",
            changes.branch()
        )));
    }
    if changes.must_exist.is_empty() && changes.removed.is_empty() {
        return Ok(());
    }
    let Some(parent) = parent else {
        return Err(Error::Moved("the table is empty".to_owned()));
    };
    let live = live_files(
        &base.storage,
        &base.metadata,
        parent.snapshot_id,
        Fields::PLAN,
    )
    .await
    .map_err(metadata_error("list the table's files"))?;
    let path = |file: &'_ metadata::LiveFile| file.file.file_path.clone();
    let data: HashSet<String> = live.data.iter().map(path).collect();
    let deletes: HashSet<String> = live.deletes.iter().map(path).collect();
    let gone = changes
        .must_exist
        .iter()
        .find(|path| !data.contains(*path))
        .or_else(|| {
            let mut removed = changes.removed.iter();
            removed.find(|path| !data.contains(*path) && !deletes.contains(*path))
        });
    match gone {
        Some(gone) => Err(Error::Moved(format!("another writer removed {gone}"))),
        None => Ok(()),
    }
}

fn metadata_error(doing: &'static str) -> impl Fn(metadata::Error) -> Error {
    move |source| Error::Metadata { doing, source }
}

/// The manifests of the next snapshot while they are made.
#[derive(Debug, Default)]
struct Next {
    manifests: Vec<ManifestFile>,
    files: Vec<NewFile>,
    removed: Vec<Entry>,
}

impl Next {
    fn push(&mut self, (bytes, manifest): (Bytes, ManifestFile)) {
        self.files.push(NewFile {
            path: manifest.manifest_path.clone(),
            bytes,
            kind: "manifest",
        });
        self.manifests.push(manifest);
    }

    /// Carries the parent's manifests, without what is removed.
    async fn carry(
        &mut self,
        base: &Table,
        changes: &Changes,
        snapshot_id: i64,
        places: &Places,
    ) -> Result<(), Error> {
        let Some(parent) = changes.parent(base) else {
            return Ok(());
        };
        let removed: HashSet<String> = changes.removed.iter().cloned().collect();
        let carried = read_manifest_list(&base.storage, parent).await;
        for manifest in carried.map_err(metadata_error("read the manifest list"))? {
            if removed.is_empty() {
                self.manifests.push(manifest);
                continue;
            }
            let bytes = base.storage.read(&manifest.manifest_path).await;
            let bytes = bytes.map_err(|source| Error::Storage {
                doing: "read a manifest",
                source,
            })?;
            let (table, path) = (&base.metadata, places.manifest());
            let split = rewrite_manifest(&bytes, &manifest, table, &removed, snapshot_id, &path)
                .map_err(metadata_error("take files out of a manifest"))?;
            if split.removed.is_empty() {
                self.manifests.push(manifest);
                continue;
            }
            self.removed.extend(split.removed);
            if let Some(survivors) = split.survivors {
                self.push(survivors);
            }
        }
        Ok(())
    }

    /// A manifest for each content and spec of the files added and removed.
    fn add(
        &mut self,
        base: &Table,
        changes: &Changes,
        snapshot_id: i64,
        places: &Places,
    ) -> Result<(), Error> {
        let doing = "make a manifest";
        let mut writers = BTreeMap::new();
        for file in changes.data.iter().chain(&changes.deletes) {
            writer(&mut writers, base, file, snapshot_id)?
                .add(file, None)
                .map_err(metadata_error(doing))?;
        }
        for entry in &self.removed {
            writer(&mut writers, base, &entry.file, snapshot_id)?
                .add_deleted(entry)
                .map_err(metadata_error(doing))?;
        }
        for writer in writers.into_values() {
            let made = writer.finish(&places.manifest());
            self.push(made.map_err(metadata_error(doing))?);
        }
        Ok(())
    }
}

fn writer<'w>(
    writers: &'w mut BTreeMap<(ManifestContent, i32), ManifestWriter>,
    base: &Table,
    file: &DataFile,
    snapshot_id: i64,
) -> Result<&'w mut ManifestWriter, Error> {
    let content = match file.content {
        Content::Data => ManifestContent::Data,
        Content::PositionDeletes | Content::EqualityDeletes => ManifestContent::Deletes,
    };
    match writers.entry((content, file.spec_id)) {
        Slot::Occupied(slot) => Ok(slot.into_mut()),
        Slot::Vacant(slot) => {
            let writer = ManifestWriter::new(content, &base.metadata, file.spec_id, snapshot_id);
            Ok(slot.insert(writer.map_err(metadata_error("begin a manifest"))?))
        }
    }
}

async fn try_commit(
    catalog: &dyn Catalog,
    base: &Table,
    changes: &Changes,
    snapshot_id: i64,
    now_ms: i64,
) -> Result<Table, Error> {
    let places = Places::new(&base.metadata, "append");
    let mut next = Next::default();
    next.carry(base, changes, snapshot_id, &places).await?;
    next.add(base, changes, snapshot_id, &places)?;
    let mut counts = Counts::after(changes.parent(base));
    let added = changes.data.iter().chain(&changes.deletes);
    added.for_each(|file| counts.grow(file));
    let removed = next.removed.iter();
    removed.for_each(|entry| counts.shrink(&entry.file));
    let mut summary = counts.into_summary(operation(changes));
    summary.extend(changes.summary.clone());
    let mut files = next.files;
    let next = snapshot::next(base, snapshot_id, next.manifests, summary, now_ms)
        .on(changes.branch())
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

/// As Java's `BaseRowDelta` and `BaseOverwriteFiles` name it.
fn operation(changes: &Changes) -> &'static str {
    let takes = !changes.deletes.is_empty() || !changes.removed.is_empty();
    match (changes.data.is_empty(), takes) {
        (_, false) => "append",
        (true, true) => "delete",
        (false, true) => "overwrite",
    }
}
