//! Executes a merge of manifests: entries gathered, sorted by partition, written into new
//! manifests, committed; planned again where another writer replaced one of them meanwhile.
//!
//! The new manifests are written once: they stay right as long as those they were made of are
//! still listed. Memory: what is gathered at once is within the budget given; more than that is
//! merged piece by piece, each sorted by itself.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use catalog::{Catalog, Table};
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{Gathered, ManifestFile, Merge, TableMetadata, read_manifest_list};
use model::Action;
use planner::manifests::{Group, Plan};
use planner::{Attempt, ManifestEntries, Report, Reserved};
use tokio::task::spawn_blocking;

use crate::Error;
use crate::commit::{Change, Committer, Draft, Drafted, Made, Maker, snapshot, summary};
use crate::files::place::Places;

const ACTION: Action = Action::RewriteManifests;
/// Manifests written at once.
const WRITES_MAX: usize = 8;
/// Of the budget, what gathered entries may take, and what those read ahead; the rest is for what is
/// made of them.
const GATHERED_SHARE: u64 = 2;
const READ_AHEAD_SHARE: u64 = 4;
/// What entries take unpacked, in multiples of their manifest's length.
const UNPACKED: u64 = 12;

const AS_MANY: &str = "merged, they are no fewer: they do not fit into memory together, or not into \
                       manifests of the target size";

/// Executes `plan`.
pub(crate) async fn execute(
    catalog: &dyn Catalog,
    cores: usize,
    plan: &Plan,
    attempt: &Attempt<'_>,
) -> Result<Report, Error> {
    let of = (plan.table.as_str(), plan.table_uuid.as_str());
    let begun = Committer::begin(catalog, of, attempt, (ACTION, plan.nothing()));
    let (committer, table, _) = match begun.await? {
        ControlFlow::Continue(begun) => begun,
        ControlFlow::Break(report) => return Ok(report),
    };
    let merger = Merger {
        groups: plan.groups.clone(),
        places: &committer.places,
        plan,
        cores,
        attempt,
    };
    committer.rounds(table, merger).await
}

/// Makes new manifests of those of one table.
#[derive(Debug)]
struct Merger<'a> {
    groups: Vec<Group>,
    places: &'a Places,
    plan: &'a Plan,
    cores: usize,
    attempt: &'a Attempt<'a>,
}

/// Manifests and those made of them.
#[derive(Debug, Default)]
struct Merged {
    inputs: Vec<ManifestFile>,
    outputs: Vec<ManifestFile>,
}

impl Merged {
    fn extend(&mut self, more: Self) {
        self.inputs.extend(more.inputs);
        self.outputs.extend(more.outputs);
    }
}

#[async_trait]
impl Maker for Merger<'_> {
    type Change = Merging;

    async fn make(&self, table: &Table, tried: u32) -> Result<Made<Merging>, Error> {
        let listed = listed(table).await?;
        let by_path: HashMap<&str, &ManifestFile> = listed
            .iter()
            .map(|manifest| (manifest.manifest_path.as_str(), manifest))
            .collect();
        let mut wanted = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let mut inputs = Vec::with_capacity(group.inputs.len());
            for input in &group.inputs {
                let Some(manifest) = by_path.get(input.path.as_str()) else {
                    return Ok(Made::Again(replaced(&input.path)));
                };
                inputs.push(ManifestFile::clone(manifest));
            }
            wanted.push(inputs);
        }
        let live = |manifest: &ManifestFile| manifest.live_files_count().unwrap_or(0);
        let entries: i64 = wanted
            .iter()
            .flatten()
            .map(live)
            .fold(0, i64::saturating_add);
        self.attempt.progress.total(entries.unsigned_abs());
        let mut merging = Merging {
            snapshot_id: snapshot::new_id(),
            format_version: table.metadata.format_version(),
            merged: Vec::with_capacity(wanted.len()),
            tried,
            kept: 0,
        };
        for inputs in wanted {
            let Some(merged) = self.merge(table, inputs, merging.snapshot_id).await? else {
                let why = "the type of a partition's source changed".to_owned();
                return Ok(Made::Again(why));
            };
            if !merged.inputs.is_empty() {
                merging.merged.push(merged);
            }
        }
        if merging.merged.is_empty() {
            return Ok(Made::Nothing(AS_MANY.to_owned()));
        }
        Ok(Made::Change(merging))
    }

    async fn plan_again(&mut self, table: &Table) -> Result<bool, Error> {
        let plan = survey::plan_manifests(table, &self.plan.options).await?;
        self.groups = plan.groups;
        Ok(!self.groups.is_empty())
    }
}

impl Merger<'_> {
    /// Writes the manifests that `inputs` become, as many at once as fit into memory; `None` when they
    /// are not encoded alike any more.
    async fn merge(
        &self,
        table: &Table,
        inputs: Vec<ManifestFile>,
        snapshot_id: i64,
    ) -> Result<Option<Merged>, Error> {
        let largest = inputs.iter().map(|input| input.manifest_length).max();
        let largest = largest
            .unwrap_or(0)
            .unsigned_abs()
            .saturating_mul(UNPACKED)
            .max(1);
        // What is read ahead takes memory, too.
        let ahead = self.attempt.memory_bytes / READ_AHEAD_SHARE / largest;
        let ahead = usize::try_from(ahead).unwrap_or(usize::MAX);
        let reads: Vec<_> = inputs
            .iter()
            .map(|manifest| gather(table, manifest))
            .collect();
        let mut reads = stream::iter(reads).buffered(ahead.clamp(1, self.cores.max(1) * 2));
        let mut merged = Merged::default();
        let (mut held, mut bytes) = (Vec::<Gathered>::new(), 0);
        let mut rest = inputs.iter();
        while let Some(gathered) = reads.try_next().await? {
            self.attempt.progress.advance(gathered.entries() as u64);
            if held
                .first()
                .is_some_and(|first| first.shape() != gathered.shape())
            {
                return Ok(None);
            }
            bytes += gathered.bytes();
            held.push(gathered);
            if bytes > self.attempt.memory_bytes / GATHERED_SHARE {
                bytes = 0;
                let piece = std::mem::take(&mut held);
                let of = rest.by_ref().take(piece.len()).cloned().collect();
                merged.extend(self.write(table, piece, of, snapshot_id).await?);
            }
        }
        drop(reads);
        if !held.is_empty() {
            let of = rest.cloned().collect();
            merged.extend(self.write(table, held, of, snapshot_id).await?);
        }
        Ok(Some(merged))
    }

    /// Reserves and writes manifests with the entries gathered from `inputs`, unless they were no
    /// fewer: then nothing is written, and nothing is merged.
    async fn write(
        &self,
        table: &Table,
        gathered: Vec<Gathered>,
        inputs: Vec<ManifestFile>,
        snapshot_id: i64,
    ) -> Result<Merged, Error> {
        let all = self.plan.options.rewrite_all;
        if inputs.len() == 1 && !all {
            return Ok(Merged::default());
        }
        let (metadata, target) = (Arc::clone(&table.metadata), self.plan.target_size_bytes);
        let merge = blocking(move || sorted(gathered, &metadata, target)).await?;
        let merge = Arc::new(merge);
        let blocks = merge.blocks();
        let share = blocks.div_ceil(self.cores.max(1)).max(1);
        let parts = (0..blocks).step_by(share).map(|start| {
            let merge = Arc::clone(&merge);
            blocking(move || Ok(merge.compress(start..(start + share).min(blocks))))
        });
        let compressed: Vec<Vec<u8>> = futures::future::try_join_all(parts).await?.concat();
        let made = merge.manifests(&compressed, snapshot_id, || self.places.manifest());
        let worth = made.len() < inputs.len() || (all && (made.len(), inputs.len()) != (1, 1));
        if !worth {
            return Ok(Merged::default());
        }
        let outputs = self.save(table, made, merge.entries()).await?;
        Ok(Merged { inputs, outputs })
    }

    async fn save(
        &self,
        table: &Table,
        made: Vec<(String, Bytes, ManifestFile)>,
        entries: usize,
    ) -> Result<Vec<ManifestFile>, Error> {
        let written = made.iter().map(|(.., manifest)| manifest);
        let written: i64 = written
            .map(|manifest| manifest.live_files_count().unwrap_or(0))
            .sum();
        if written != entries as i64 {
            return Err(Error::Counts(format!(
                "{entries} live files would become {written}"
            )));
        }
        let reserved: Vec<Reserved> = made
            .iter()
            .map(|(path, ..)| Reserved {
                path: path.clone(),
                kind: "manifest",
            })
            .collect();
        let uuid = table.metadata.uuid();
        self.attempt.ledger.reserve(uuid, &reserved).await?;
        let storage = &table.storage;
        let writes: Vec<_> = made
            .into_iter()
            .map(|(path, bytes, manifest)| async move {
                let written = storage.write_new(&path, bytes).await;
                written.map(|()| manifest).map_err(|source| Error::Storage {
                    doing: "write a manifest",
                    source,
                })
            })
            .collect();
        let manifests = stream::iter(writes).buffered(WRITES_MAX).try_collect();
        let manifests = manifests.await?;
        self.attempt.progress.alive();
        Ok(manifests)
    }
}

async fn gather(table: &Table, manifest: &ManifestFile) -> Result<Gathered, Error> {
    let bytes = table.storage.read(&manifest.manifest_path).await;
    let bytes = bytes.map_err(|source| Error::Storage {
        doing: "read a manifest",
        source,
    })?;
    let (manifest, table) = (manifest.clone(), Arc::clone(&table.metadata));
    blocking(move || {
        let gathered = Gathered::read(&bytes, &manifest, &table);
        let gathered = gathered.map_err(|source| Error::Metadata {
            doing: "gather the entries of a manifest",
            source,
        })?;
        all_found(&manifest, gathered.entries())?;
        Ok(gathered)
    })
    .await
}

/// A list may say too little; where it says more than was found, files would be lost for good.
fn all_found(manifest: &ManifestFile, found: usize) -> Result<(), Error> {
    match manifest.live_files_count() {
        Some(said) if said > found as i64 => Err(Error::Counts(format!(
            "{} holds {found} live files, its list says {said}",
            manifest.manifest_path
        ))),
        _ => Ok(()),
    }
}

fn sorted(
    gathered: Vec<Gathered>,
    table: &TableMetadata,
    target_bytes: u64,
) -> Result<Merge, Error> {
    Merge::new(gathered, table, target_bytes).map_err(|source| Error::Metadata {
        doing: "merge manifests",
        source,
    })
}

/// Runs what takes a core for long on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(lost) => Err(Error::Lost(lost.to_string())),
    }
}

/// The manifests of the table's current snapshot, with the counts that a list of format v2 must
/// have: where an early list left them out, they are counted.
async fn listed(table: &Table) -> Result<Vec<ManifestFile>, Error> {
    let Some(current) = table.metadata.current_snapshot() else {
        return Ok(Vec::new());
    };
    let read = read_manifest_list(&table.storage, current).await;
    let manifests = read.map_err(|source| Error::Metadata {
        doing: "read the manifest list",
        source,
    })?;
    if manifests.iter().all(ManifestFile::counted) {
        return Ok(manifests);
    }
    let mut counted = Vec::with_capacity(manifests.len());
    for manifest in manifests {
        if manifest.counted() {
            counted.push(manifest);
            continue;
        }
        let manifest = metadata::counted(&table.storage, &manifest, &table.metadata).await;
        counted.push(manifest.map_err(|source| Error::Metadata {
            doing: "count the entries of a manifest",
            source,
        })?);
    }
    Ok(counted)
}

fn replaced(path: &str) -> String {
    format!("another writer replaced the manifest {path}")
}

/// New manifests, written and not yet committed.
#[derive(Debug)]
struct Merging {
    snapshot_id: i64,
    /// Of the table they were written for.
    format_version: u8,
    merged: Vec<Merged>,
    /// Swaps tried before this was made.
    tried: u32,
    /// Manifests of the last base that stay.
    kept: u64,
}

impl Merging {
    fn inputs(&self) -> impl Iterator<Item = &ManifestFile> {
        self.merged.iter().flat_map(|merged| &merged.inputs)
    }

    fn outputs(&self) -> impl Iterator<Item = &ManifestFile> {
        self.merged.iter().flat_map(|merged| &merged.outputs)
    }

    fn entries(&self) -> ManifestEntries {
        let live = |manifest: &ManifestFile| manifest.live_files_count().unwrap_or(0);
        let moved: i64 = self.outputs().map(live).sum();
        ManifestEntries {
            moved: moved.unsigned_abs(),
            kept: self.kept,
        }
    }
}

/// Bytes of manifests.
fn bytes<'a>(manifests: impl Iterator<Item = &'a ManifestFile>) -> u64 {
    let lengths = manifests.map(|manifest| u64::try_from(manifest.manifest_length).unwrap_or(0));
    lengths.fold(0, u64::saturating_add)
}

#[async_trait]
impl Change for Merging {
    /// Why the merge must be planned again.
    type Stale = String;

    fn snapshot_id(&self) -> i64 {
        self.snapshot_id
    }

    fn report(&self, tried: u32) -> Report {
        Report {
            files_in: self.inputs().count() as u64,
            files_out: self.outputs().count() as u64,
            bytes_in: bytes(self.inputs()),
            bytes_out: bytes(self.outputs()),
            snapshot_id: Some(self.snapshot_id),
            commit_attempts: self.tried + tried,
            manifest_entries: Some(self.entries()),
            ..Report::default()
        }
    }

    async fn draft(&mut self, base: &Table) -> Result<Drafted<String>, Error> {
        let version = base.metadata.format_version();
        if version != self.format_version {
            let why = format!("the table has format version {version} now");
            return Ok(Drafted::Stale(why));
        }
        let listed = listed(base).await?;
        let inputs: HashSet<&str> = self
            .inputs()
            .map(|manifest| manifest.manifest_path.as_str())
            .collect();
        let (gone, kept): (Vec<_>, Vec<_>) = listed
            .iter()
            .partition(|manifest| inputs.contains(manifest.manifest_path.as_str()));
        if gone.len() < inputs.len() {
            let still: HashSet<&str> = gone.iter().map(|m| m.manifest_path.as_str()).collect();
            let missing = inputs.iter().find(|path| !still.contains(*path));
            return Ok(Drafted::Stale(replaced(
                missing.copied().unwrap_or_default(),
            )));
        }
        let manifests = self.outputs().chain(kept.iter().copied()).cloned();
        let manifests: Vec<ManifestFile> = manifests.collect();
        let (replaced, stay) = (inputs.len() as u64, kept.len() as u64);
        self.kept = stay;
        let summary = summary::of_manifests(
            base.metadata.current_snapshot(),
            (replaced, self.outputs().count() as u64),
            &self.entries(),
            (bytes(self.inputs()), bytes(self.outputs())),
        );
        let landed = self
            .outputs()
            .map(|manifest| manifest.manifest_path.clone())
            .collect();
        Ok(Drafted::Next(Draft {
            manifests,
            summary,
            new_files: Vec::new(),
            landed,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_files_than_the_list_says_are_refused() {
        let manifest = |added, existing| ManifestFile {
            added_files_count: added,
            existing_files_count: existing,
            ..ManifestFile::blank()
        };
        assert!(all_found(&manifest(Some(2), Some(3)), 5).is_ok());
        assert!(all_found(&manifest(Some(2), Some(3)), 6).is_ok());
        assert!(all_found(&manifest(None, Some(3)), 1).is_ok(), "not told");
        let refused = all_found(&manifest(Some(2), Some(3)), 4).unwrap_err();
        let want = "holds 4 live files, its list says 5";
        assert!(refused.to_string().contains(want), "{refused}");
    }
}
