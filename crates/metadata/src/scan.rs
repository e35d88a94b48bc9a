//! The live files of a snapshot: what a reader of it sees, and where each file is tracked.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use storage::Storage;

use crate::avro::Malformed;
use crate::manifest::{SpecTypes, count, load, malformed};
use crate::{
    DataFile, Entry, EntryStatus, Error, Fields, ManifestContent, ManifestFile, TableMetadata,
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

/// Reads every live file of a snapshot, in the order of its manifests; counts a list does not tell
/// are filled in. What readers would disagree about is a corrupt table, for a rewrite would make one
/// answer last: a data file that is live twice, files in a manifest the list says has none, a
/// sequence number the table never gave.
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
    let mut files = LiveFiles {
        manifests: manifests.clone(),
        ..LiveFiles::default()
    };
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
            let manifest = &mut files.manifests[index];
            check_entries(table, manifest, &entries)
                .and_then(|()| count(manifest, &entries))
                .map_err(|why| malformed(manifest, why))?;
            let kind = match manifest.content {
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
    distinct(&files, snapshot.manifest_list.as_str())?;
    countable(&files, snapshot.manifest_list.as_str())?;
    Ok(files)
}

fn check_entries(
    table: &TableMetadata,
    manifest: &ManifestFile,
    entries: &[Entry],
) -> Result<(), Malformed> {
    let known = Known::of(table);
    known.check(manifest)?;
    entries
        .iter()
        .try_for_each(|entry| known.check_entry(entry))
}

/// What a table of this format and history can hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    format_version: u8,
    last_sequence_number: i64,
}

impl Known {
    pub(crate) fn of(table: &TableMetadata) -> Self {
        Self {
            format_version: table.format_version(),
            last_sequence_number: table.last_sequence_number(),
        }
    }

    // A file from the future would escape the deletes to come.
    fn given(self, number: i64) -> bool {
        (0..=self.last_sequence_number).contains(&number)
    }

    pub(crate) fn check(self, manifest: &ManifestFile) -> Result<(), Malformed> {
        if self.format_version == 1 && manifest.content == ManifestContent::Deletes {
            return Err(Malformed::new(
                "it tracks delete files, which format version 1 does not have",
            ));
        }
        if !self.given(manifest.sequence_number) {
            return Err(Malformed::new(format!(
                "its sequence_number is {}, the table's last is {}",
                manifest.sequence_number, self.last_sequence_number
            )));
        }
        Ok(())
    }

    pub(crate) fn check_entry(self, entry: &Entry) -> Result<(), Malformed> {
        let numbers = [entry.sequence_number, entry.file_sequence_number];
        let live = entry.status != EntryStatus::Deleted;
        if live && !numbers.into_iter().all(|number| self.given(number)) {
            return Err(Malformed::new(format!(
                "{} has sequence_number {} and file_sequence_number {}, the table's last is {}",
                entry.file.file_path,
                entry.sequence_number,
                entry.file_sequence_number,
                self.last_sequence_number
            )));
        }
        Ok(())
    }
}

/// Refuses counts that no sum can hold, once for all who add them up.
fn countable(files: &LiveFiles, list: &str) -> Result<(), Error> {
    let live = || files.data.iter().chain(&files.deletes);
    let fits = |sum: u128| i64::try_from(sum).is_ok();
    let records = live().map(|live| u128::from(live.file.record_count));
    let bytes = live().map(|live| u128::from(live.file.file_size_in_bytes));
    let field = match (fits(records.sum()), fits(bytes.sum())) {
        (true, true) => return Ok(()),
        (false, _) => "record_count",
        (true, false) => "file_size_in_bytes",
    };
    let why = format!("the {field} of its files adds up to more than 63 bits");
    Err(Error::malformed(list, why))
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
