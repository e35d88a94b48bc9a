//! What a table can reach, and what is left of a set of candidates once that is struck from it.
//!
//! Reads every snapshot of the document, named by a ref or not. Anything retained that cannot be
//! read is an error: then nothing may be deleted. Memory: the candidates, one line for each
//! manifest of the table, and [`MANIFESTS_AT_ONCE`] decoded manifests. Never deletes, never lists.
//! Start at [`strike_reachable`]; what is struck from is [`Strikes`].

use std::collections::HashMap;

use catalog::Table;
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{EntryStatus, Fields, ManifestFile, TableMetadata, read_manifest};
use planner::orphans::Unreached;
use planner::{Candidate, Progress};
use storage::Location;

use crate::{Error, MANIFESTS_AT_ONCE, Retained};

/// What a file catalog reads its current version from, beside the metadata files.
const VERSION_HINT: &str = "version-hint.text";

/// What everything reachable is struck from.
pub trait Strikes: Send {
    fn strike(&mut self, file: &Location);

    /// Nothing is left to strike.
    fn is_empty(&self) -> bool;
}

impl Strikes for Candidates {
    fn strike(&mut self, file: &Location) {
        self.by_location.remove(file);
        if let Some(orphan) = self.orphans.remove(file.path()) {
            self.by_location.remove(&orphan);
        }
    }

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl Strikes for Unreached {
    fn strike(&mut self, file: &Location) {
        Self::strike(self, file);
    }

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

/// Paths that may be deleted unless something reaches them, by their one normal form.
#[derive(Debug, Default)]
pub struct Candidates {
    by_location: HashMap<Location, Candidate>,
    /// Those that are compared by their path alone.
    orphans: HashMap<String, Location>,
}

impl Candidates {
    /// Offers a path as metadata writes it. One that has no normal form cannot be compared with
    /// what is reachable, so it is left out.
    pub fn offer(&mut self, path: &str, size_bytes: Option<u64>) {
        self.take(Candidate {
            path: path.to_owned(),
            size_bytes,
            modified_ms: None,
        });
    }

    /// Offers a file that was found and not referred to. By whatever scheme and authority something refers
    /// to its path, it stays.
    pub fn offer_orphan(&mut self, orphan: Candidate) {
        if let Some(location) = self.take(orphan) {
            self.orphans.insert(location.path().to_owned(), location);
        }
    }

    fn take(&mut self, candidate: Candidate) -> Option<Location> {
        match Location::parse(&candidate.path) {
            Ok(location) => {
                let size_bytes = candidate.size_bytes;
                let known = self
                    .by_location
                    .entry(location.clone())
                    .or_insert(candidate);
                known.size_bytes = known.size_bytes.or(size_bytes);
                Some(location)
            }
            Err(error) => {
                tracing::warn!(%error, "a file cannot be compared with what is reachable, it stays");
                None
            }
        }
    }

    /// Whether the path, however it is written, is still a candidate.
    pub fn holds(&self, path: &str) -> bool {
        Location::parse(path).is_ok_and(|location| self.by_location.contains_key(&location))
    }

    pub fn len(&self) -> usize {
        self.by_location.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_location.is_empty()
    }

    /// What is left, by path.
    pub fn into_sorted(self) -> Vec<Candidate> {
        let mut left: Vec<Candidate> = self.by_location.into_values().collect();
        left.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        left
    }
}

/// Strikes a reachable path. One that has no normal form might be any candidate: an error.
fn strike(from: &mut dyn Strikes, path: &str) -> Result<(), Error> {
    let location = Location::parse(path).map_err(|source| Error::Storage {
        doing: "compare a reachable file with those to delete",
        source,
    })?;
    from.strike(&location);
    Ok(())
}

/// Strikes from `candidates` everything `table` can reach: the files of every snapshot, its
/// manifests and lists, statistics, metadata files (the current one and the log's), version hint.
pub async fn strike_reachable(
    table: &Table,
    candidates: &mut dyn Strikes,
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
pub fn strike_documents(table: &Table, candidates: &mut dyn Strikes) -> Result<(), Error> {
    let metadata = &table.metadata;
    strike(candidates, &table.metadata_location)?;
    for entry in metadata.metadata_log() {
        strike(candidates, &entry.metadata_file)?;
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
        strike(candidates, &format!("{folder}/{VERSION_HINT}"))?;
    }
    for path in statistics(metadata, |_| true) {
        strike(candidates, &path)?;
    }
    for snapshot in metadata.snapshots() {
        if !snapshot.manifest_list.is_empty() {
            strike(candidates, &snapshot.manifest_list)?;
        }
    }
    Ok(())
}

/// Locations of the statistics and partition statistics of the snapshots asked for.
pub fn statistics(metadata: &TableMetadata, of: impl Fn(i64) -> bool) -> Vec<String> {
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
pub fn strike_manifests(retained: &Retained, candidates: &mut dyn Strikes) -> Result<(), Error> {
    for manifest in retained.manifests() {
        strike(candidates, &manifest.manifest_path)?;
    }
    Ok(())
}

/// Strikes the live files of every manifest: one may be live here and in a manifest that is
/// gone. Stops reading once no candidate is left.
pub async fn strike_files(
    table: &Table,
    retained: &Retained,
    candidates: &mut dyn Strikes,
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
            strike(candidates, &path)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_stays_by_whatever_authority_its_path_is_referred_to() {
        let reached = Location::parse("s3://other/t/data/a").unwrap();
        let mut candidates = Candidates::default();
        candidates.offer("s3://bucket/t/data/a", None);
        candidates.strike(&reached);
        assert!(candidates.holds("s3a://bucket/t/data/a"));
        candidates.offer_orphan(Candidate {
            path: "s3://bucket/t/data/a".to_owned(),
            size_bytes: None,
            modified_ms: None,
        });
        candidates.strike(&reached);
        assert!(candidates.is_empty());
    }
}
