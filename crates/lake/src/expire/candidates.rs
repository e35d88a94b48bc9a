//! What expired snapshots alone could reach, listed for deletion.
//!
//! Data and delete files are listed first and manifest lists last: whatever a crash leaves
//! unlisted can still be found through what lists it. Memory: one line for each manifest of the
//! table and of the expired snapshots, and at most [`held_max`] candidates at a time; each
//! time that many are found, the retained manifests are read once.

use std::collections::BTreeMap;

use catalog::Table;
use futures::{StreamExt, stream};
use metadata::{Fields, ManifestFile, Snapshot, read_manifest, read_manifest_list};
use planner::{Attempt, Candidate, Expiring, Reason};
use storage::Location;
use survey::reach::{Candidates, strike_documents, strike_files, strike_manifests};
use survey::{MANIFESTS_AT_ONCE, Retained};

use crate::Error;

/// Files listed in one call to the ledger.
const LISTED_AT_ONCE: usize = 1_000;
/// What a candidate takes in memory.
const CANDIDATE_BYTES: u64 = 512;
const HELD_MIN: u64 = 10_000;
const HELD_MAX: u64 = 1_000_000;

/// What was listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) files: u64,
    /// As far as metadata says.
    pub(super) bytes: u64,
}

/// Lists the files only `gone` reached. `table` was loaded after they went.
pub(super) async fn list(
    table: &Table,
    gone: &[Expiring],
    grace_ms: i64,
    attempt: &Attempt<'_>,
) -> Result<Listed, Error> {
    if gone.is_empty() {
        return Ok(Listed::default());
    }
    let retained = Retained::of(table, attempt.progress).await?;
    let mut lister = Lister {
        table,
        retained,
        grace_ms,
        attempt,
        listed: Listed::default(),
    };
    let manifests = lister.manifests(gone).await?;
    lister.files(&manifests).await?;
    let mut lists = Candidates::default();
    for gone in gone {
        if !gone.manifest_list.is_empty() {
            lists.offer(&gone.manifest_list, None);
        }
        for path in &gone.statistics {
            lists.offer(path, None);
        }
    }
    let mut found = Candidates::default();
    for manifest in manifests.values() {
        found.offer(
            &manifest.manifest_path,
            u64::try_from(manifest.manifest_length).ok(),
        );
    }
    // A manifest that could not be read for its list was never found above.
    for path in gone.iter().flat_map(|gone| &gone.manifests) {
        found.offer(path, None);
    }
    for candidates in [found, lists] {
        lister.list(candidates).await?;
    }
    Ok(lister.listed)
}

/// Candidates held at once.
fn held_max(memory_bytes: u64) -> usize {
    let half = memory_bytes / 2 / CANDIDATE_BYTES;
    half.clamp(HELD_MIN, HELD_MAX) as usize
}

struct Lister<'a> {
    table: &'a Table,
    retained: Retained,
    grace_ms: i64,
    attempt: &'a Attempt<'a>,
    listed: Listed,
}

impl Lister<'_> {
    /// The manifests no retained snapshot has.
    async fn manifests(
        &self,
        gone: &[Expiring],
    ) -> Result<BTreeMap<Location, ManifestFile>, Error> {
        let snapshots: Vec<Snapshot> = gone.iter().map(snapshot).collect();
        let reads: Vec<_> = snapshots
            .iter()
            .map(|snapshot| read_manifest_list(&self.table.storage, snapshot))
            .collect();
        let mut reads = std::pin::pin!(stream::iter(reads).buffer_unordered(MANIFESTS_AT_ONCE));
        let mut manifests = BTreeMap::new();
        while let Some(read) = reads.next().await {
            self.alive()?;
            for mut manifest in unless_missing(read)?.unwrap_or_default() {
                let Ok(location) = Location::parse(&manifest.manifest_path) else {
                    continue;
                };
                if !self.retained.holds(&location) {
                    manifest.partitions = None;
                    manifests.entry(location).or_insert(manifest);
                }
            }
        }
        Ok(manifests)
    }

    /// Every file the manifests name, removed ones too: only older snapshots held those.
    async fn files(&mut self, manifests: &BTreeMap<Location, ManifestFile>) -> Result<(), Error> {
        let held_max = held_max(self.attempt.memory_bytes);
        let table = self.table;
        let reads: Vec<_> = manifests
            .values()
            .map(|manifest| read_manifest(&table.storage, manifest, &table.metadata, Fields::PLAN))
            .collect();
        let mut reads = std::pin::pin!(stream::iter(reads).buffer_unordered(MANIFESTS_AT_ONCE));
        let mut candidates = Candidates::default();
        while let Some(read) = reads.next().await {
            self.alive()?;
            for entry in unless_missing(read)?.unwrap_or_default() {
                candidates.offer(&entry.file.file_path, Some(entry.file.file_size_in_bytes));
            }
            if candidates.len() >= held_max {
                self.list_files(std::mem::take(&mut candidates)).await?;
            }
        }
        self.list_files(candidates).await
    }

    async fn list_files(&mut self, mut candidates: Candidates) -> Result<(), Error> {
        let (retained, progress) = (&self.retained, self.attempt.progress);
        strike_files(self.table, retained, &mut candidates, progress).await?;
        self.list(candidates).await
    }

    async fn list(&mut self, mut candidates: Candidates) -> Result<(), Error> {
        strike_documents(self.table, &mut candidates)?;
        strike_manifests(&self.retained, &mut candidates)?;
        let files: Vec<Candidate> = candidates.into_sorted();
        for batch in files.chunks(LISTED_AT_ONCE) {
            self.alive()?;
            let uuid = self.table.metadata.uuid();
            let why = (Reason::Expired, self.grace_ms);
            self.attempt.ledger.list(uuid, batch, why).await?;
            self.listed.files += batch.len() as u64;
            let bytes = batch.iter().filter_map(|file| file.size_bytes);
            self.listed.bytes += bytes.sum::<u64>();
        }
        Ok(())
    }

    fn alive(&self) -> Result<(), Error> {
        self.attempt.progress.alive();
        if self.attempt.signals.cancel.is_cancelled() {
            return Err(Error::Stopped);
        }
        Ok(())
    }
}

/// The expired snapshot, as far as finding its files needs it.
pub(super) fn snapshot(gone: &Expiring) -> Snapshot {
    Snapshot {
        snapshot_id: gone.snapshot_id,
        manifest_list: gone.manifest_list.clone(),
        manifests: gone.manifests.clone(),
        ..Snapshot::default()
    }
}

/// What an expired snapshot lost or never had whole is passed over: its files stay.
fn unless_missing<T>(read: Result<T, metadata::Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(
            error @ (metadata::Error::Storage(storage::Error::NotFound { .. })
            | metadata::Error::Malformed { .. }
            | metadata::Error::Unreadable { .. }
            | metadata::Error::Unsupported(_)),
        ) => {
            tracing::info!(%error, "an expired snapshot's metadata is passed over, its files stay");
            Ok(None)
        }
        Err(source) => Err(Error::Metadata {
            doing: "read an expired snapshot's metadata",
            source,
        }),
    }
}
