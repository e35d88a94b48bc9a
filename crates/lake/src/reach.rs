//! What a table can reach, and what is left of a set of candidates once that is struck from it.
//!
//! Reads every snapshot of the document, named by a ref or not. Anything retained that cannot be
//! read is an error: then nothing may be deleted. Memory: the candidates, one line for each
//! manifest of the table, and [`MANIFESTS_AT_ONCE`] decoded manifests. Never deletes, never lists.
//! Start at [`strike_reachable`].

use std::collections::HashMap;

use catalog::Table;
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{EntryStatus, Fields, ManifestFile, TableMetadata, read_manifest};
use planner::{Candidate, Progress};
use storage::Location;
use survey::{MANIFESTS_AT_ONCE, Retained};

use crate::Error;

/// What a file catalog reads its current version from, beside the metadata files.
const VERSION_HINT: &str = "version-hint.text";

/// Paths that may be deleted unless something reaches them, by their one normal form.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    by_location: HashMap<Location, Candidate>,
}

impl Candidates {
    /// Offers a path as metadata writes it. One that has no normal form cannot be compared with
    /// what is reachable, so it is left out.
    pub(crate) fn offer(&mut self, path: &str, size_bytes: Option<u64>) {
        match Location::parse(path) {
            Ok(location) => {
                let path = path.to_owned();
                let candidate = Candidate { path, size_bytes };
                let known = self.by_location.entry(location).or_insert(candidate);
                known.size_bytes = known.size_bytes.or(size_bytes);
            }
            Err(error) => {
                tracing::warn!(%error, "a file cannot be compared with what is reachable, it stays");
            }
        }
    }

    /// Strikes a reachable path. One that has no normal form might be any candidate: an error.
    fn strike(&mut self, path: &str) -> Result<(), Error> {
        let location = Location::parse(path).map_err(|source| Error::Storage {
            doing: "compare a reachable file with those to delete",
            source,
        })?;
        self.by_location.remove(&location);
        Ok(())
    }

    /// Whether the path, however it is written, is still a candidate.
    pub(crate) fn holds(&self, path: &str) -> bool {
        Location::parse(path).is_ok_and(|location| self.by_location.contains_key(&location))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_location.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_location.is_empty()
    }

    /// What is left, by path.
    pub(crate) fn into_sorted(self) -> Vec<Candidate> {
        let mut left: Vec<Candidate> = self.by_location.into_values().collect();
        left.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        left
    }
}

/// Strikes from `candidates` everything `table` can reach: the files of every snapshot, its
/// manifests and lists, statistics, metadata files (the current one and the log's), version hint.
pub(crate) async fn strike_reachable(
    table: &Table,
    candidates: &mut Candidates,
    progress: &dyn Progress,
) -> Result<(), Error> {
    if candidates.is_empty() {
        return Ok(());
    }
    strike_documents(table, candidates)?;
    let retained = Retained::of(table, progress).await?;
    strike_manifests(&retained, candidates)?;
    strike_files(table, &retained, candidates, progress).await
}

/// Metadata files, version hint, statistics and manifest lists: told by the document alone.
pub(crate) fn strike_documents(table: &Table, candidates: &mut Candidates) -> Result<(), Error> {
    let metadata = &table.metadata;
    candidates.strike(&table.metadata_location)?;
    for entry in metadata.metadata_log() {
        candidates.strike(&entry.metadata_file)?;
    }
    let folders = [
        table
            .metadata_location
            .rsplit_once('/')
            .map(|(at, _)| at.to_owned()),
        Some(format!(
            "{}/metadata",
            metadata.location().trim_end_matches('/')
        )),
    ];
    for folder in folders.into_iter().flatten() {
        candidates.strike(&format!("{folder}/{VERSION_HINT}"))?;
    }
    for path in statistics(metadata, |_| true) {
        candidates.strike(&path)?;
    }
    for snapshot in metadata.snapshots() {
        if !snapshot.manifest_list.is_empty() {
            candidates.strike(&snapshot.manifest_list)?;
        }
    }
    Ok(())
}

/// Locations of the statistics and partition statistics of the snapshots asked for.
pub(crate) fn statistics(metadata: &TableMetadata, of: impl Fn(i64) -> bool) -> Vec<String> {
    let files = metadata
        .statistics()
        .iter()
        .chain(metadata.partition_statistics());
    files
        .filter(|file| of(file.snapshot_id))
        .map(|file| file.statistics_path.clone())
        .collect()
}

/// Strikes the manifests of every snapshot.
pub(crate) fn strike_manifests(
    retained: &Retained,
    candidates: &mut Candidates,
) -> Result<(), Error> {
    for manifest in retained.manifests() {
        candidates.strike(&manifest.manifest_path)?;
    }
    Ok(())
}

/// Strikes the live files of every manifest: one may be live here and in a manifest that is
/// gone. Stops reading once no candidate is left.
pub(crate) async fn strike_files(
    table: &Table,
    retained: &Retained,
    candidates: &mut Candidates,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let reads: Vec<_> = retained
        .manifests()
        .map(|manifest| live_paths(table, manifest))
        .collect();
    let mut reads = std::pin::pin!(stream::iter(reads).buffer_unordered(MANIFESTS_AT_ONCE));
    while !candidates.is_empty()
        && let Some(paths) = reads.try_next().await?
    {
        progress.alive();
        for path in paths {
            candidates.strike(&path)?;
        }
    }
    Ok(())
}

async fn live_paths(table: &Table, manifest: &ManifestFile) -> Result<Vec<String>, Error> {
    let entries = read_manifest(&table.storage, manifest, &table.metadata, Fields::PLAN).await;
    let entries = entries.map_err(|source| Error::Metadata {
        doing: "read a retained manifest",
        source,
    })?;
    let live = entries
        .into_iter()
        .filter(|entry| entry.status != EntryStatus::Deleted);
    Ok(live.map(|entry| entry.file.file_path).collect())
}
