//! Manifests that an old v1 snapshot names itself, without a list: each is read to learn what a
//! list would say of it, counted as Java counts them (`SnapshotProducer.addMetadata`).

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use storage::Storage;

use super::count::count;
use super::partition::SpecTypes;
use super::read::{decode, open, panicked};
use super::{EntryStatus, Fields, ManifestFile};
use crate::avro::Malformed;
use crate::{Error, Snapshot};

/// Manifests read and decoded at once.
const MANIFESTS_AT_ONCE: usize = 16;

pub(super) async fn read(
    storage: &Storage,
    snapshot: &Snapshot,
) -> Result<Vec<ManifestFile>, Error> {
    // What is counted needs no partition's type, so the manifests' own headers do.
    let types = Arc::new(SpecTypes::default());
    let reads: Vec<_> = snapshot
        .manifests
        .iter()
        .map(|path| read_one(storage, path, snapshot.snapshot_id, types.clone()))
        .collect();
    stream::iter(reads)
        .buffered(MANIFESTS_AT_ONCE)
        .try_collect()
        .await
}

async fn read_one(
    storage: &Storage,
    path: &str,
    snapshot_id: i64,
    types: Arc<SpecTypes>,
) -> Result<ManifestFile, Error> {
    let bytes = storage.read(path).await?;
    let manifest = ManifestFile {
        manifest_path: path.to_owned(),
        manifest_length: bytes.len() as i64,
        added_snapshot_id: snapshot_id,
        ..ManifestFile::blank()
    };
    let told = tokio::task::spawn_blocking(move || tell(&bytes, manifest, &types));
    match told.await {
        Ok(told) => told.map_err(|why| Error::malformed(path, why)),
        Err(lost) => Err(panicked(path, lost)),
    }
}

fn tell(
    bytes: &Bytes,
    mut manifest: ManifestFile,
    types: &SpecTypes,
) -> Result<ManifestFile, Malformed> {
    // Without an id it was written before specs could change: under the first one.
    manifest.partition_spec_id = match open(bytes, &manifest)?.text("partition-spec-id") {
        None => 0,
        Some(id) => id
            .parse()
            .map_err(|_| Malformed::new(format!("partition-spec-id {id:?} is no spec's id")))?,
    };
    let entries = decode(bytes, &manifest, types, Fields::PLAN)?;
    let changed = entries
        .iter()
        .find(|entry| entry.status != EntryStatus::Existing)
        .and_then(|entry| entry.snapshot_id);
    let newest = entries.iter().filter_map(|entry| entry.snapshot_id).max();
    if let Some(id) = changed.or(newest) {
        manifest.added_snapshot_id = id;
    }
    count(&mut manifest, &entries)?;
    Ok(manifest)
}
