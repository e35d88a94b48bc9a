//! The live files of a snapshot: what a reader of it sees, and where each file is tracked.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use storage::Storage;

use crate::manifest::{SpecTypes, load};
use crate::{
    DataFile, EntryStatus, Error, Fields, ManifestContent, ManifestFile, TableMetadata,
    read_manifest_list,
};

/// Manifests read and decoded at once.
const MANIFESTS_AT_ONCE: usize = 16;

/// The files a reader of one snapshot sees.
#[derive(Debug, Clone, Default)]
pub struct LiveFiles {
    /// The snapshot's manifests, in the order of its list.
    pub manifests: Vec<ManifestFile>,
    pub data: Vec<LiveFile>,
    pub deletes: Vec<LiveFile>,
}

/// One live file and where it is tracked.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveFile {
    pub file: DataFile,
    /// The data sequence number: what deletes are compared with.
    pub sequence_number: i64,
    pub file_sequence_number: i64,
    /// The snapshot that added the file.
    pub snapshot_id: Option<i64>,
    /// Index into [`LiveFiles::manifests`].
    pub manifest: usize,
}

/// Reads every live file of a snapshot, in the order of its manifests. A data file that is live
/// twice is a corrupt table: its rows would count twice, and a rewrite would make that last.
pub async fn live_files(
    storage: &Storage,
    table: &TableMetadata,
    snapshot_id: i64,
    fields: Fields,
) -> Result<LiveFiles, Error> {
    let snapshot = table.snapshot(snapshot_id).ok_or_else(|| {
        Error::malformed(
            table.location(),
            format!("snapshot {snapshot_id} does not exist"),
        )
    })?;
    let manifests = read_manifest_list(storage, snapshot).await?;
    let types = Arc::new(SpecTypes::of(table));
    let mut files = LiveFiles::default();
    {
        // Collected, for a closure over references in the stream would make this future not `Send`.
        let reads: Vec<_> = manifests
            .iter()
            .map(|manifest| load(storage, manifest, types.clone(), fields))
            .collect();
        let mut reads = std::pin::pin!(
            stream::iter(reads)
                .buffered(MANIFESTS_AT_ONCE)
                .enumerate()
                .map(|(index, entries)| entries.map(|entries| (index, entries)))
        );
        while let Some((index, entries)) = reads.try_next().await? {
            let kind = match manifests[index].content {
                ManifestContent::Data => &mut files.data,
                ManifestContent::Deletes => &mut files.deletes,
            };
            let live = entries
                .into_iter()
                .filter(|entry| entry.status != EntryStatus::Deleted);
            kind.extend(live.map(|entry| LiveFile {
                file: entry.file,
                sequence_number: entry.sequence_number,
                file_sequence_number: entry.file_sequence_number,
                snapshot_id: entry.snapshot_id,
                manifest: index,
            }));
        }
    }
    files.manifests = manifests;
    distinct(&files, snapshot.manifest_list.as_str())?;
    Ok(files)
}

fn distinct(files: &LiveFiles, list: &str) -> Result<(), Error> {
    let mut seen = HashSet::with_capacity(files.data.len() + files.deletes.len());
    for live in files.data.iter().chain(&files.deletes) {
        let file = &live.file;
        // Deletion vectors of several data files share one Puffin file.
        if !seen.insert((file.file_path.as_str(), file.content_offset)) {
            return Err(Error::malformed(
                list,
                format!("{} is live twice", file.file_path),
            ));
        }
    }
    Ok(())
}
