//! What manifest lists count, from the entries themselves: filled in where early writers counted
//! nothing, and refused where a list hides a manifest's files.

use storage::Storage;

use super::read::malformed;
use super::{Entry, EntryStatus, Fields, ManifestFile, read_manifest};
use crate::avro::Malformed;
use crate::{Error, TableMetadata};

/// Files and rows of a manifest's entries.
#[derive(Debug, Default)]
struct Counts {
    files: i32,
    rows: i64,
}

fn counts(entries: &[Entry], status: EntryStatus) -> Counts {
    let mut counts = Counts::default();
    for entry in entries.iter().filter(|entry| entry.status == status) {
        counts.files = counts.files.saturating_add(1);
        let rows = i64::try_from(entry.file.record_count).unwrap_or(i64::MAX);
        counts.rows = counts.rows.saturating_add(rows);
    }
    counts
}

/// Readers skip a manifest that its list says has no live files, so one that has some is an error:
/// its rows are there for some readers and gone for others.
pub(super) fn hidden(manifest: &ManifestFile, live: u64) -> Result<(), Malformed> {
    if manifest.live_files_count() == Some(0) && live > 0 {
        return Err(Malformed::new(format!(
            "{live} live files where added_files_count and existing_files_count are 0"
        )));
    }
    Ok(())
}

/// The manifest with the counts its list does not tell, from its entries.
pub async fn counted(
    storage: &Storage,
    manifest: &ManifestFile,
    table: &TableMetadata,
) -> Result<ManifestFile, Error> {
    let entries = read_manifest(storage, manifest, table, Fields::PLAN).await?;
    let mut counted = manifest.clone();
    count(&mut counted, &entries).map_err(|why| malformed(manifest, why))?;
    Ok(counted)
}

/// Fills in the counts a list does not tell. Those it tells may be wrong and stay, for nothing
/// here relies on them, but that one has no live files ([`hidden`]).
pub(crate) fn count(manifest: &mut ManifestFile, entries: &[Entry]) -> Result<(), Malformed> {
    let added = counts(entries, EntryStatus::Added);
    let existing = counts(entries, EntryStatus::Existing);
    let live = i64::from(added.files) + i64::from(existing.files);
    hidden(manifest, live.unsigned_abs())?;
    let deleted = counts(entries, EntryStatus::Deleted);
    manifest.added_files_count.get_or_insert(added.files);
    manifest.added_rows_count.get_or_insert(added.rows);
    manifest.existing_files_count.get_or_insert(existing.files);
    manifest.existing_rows_count.get_or_insert(existing.rows);
    manifest.deleted_files_count.get_or_insert(deleted.files);
    manifest.deleted_rows_count.get_or_insert(deleted.rows);
    Ok(())
}
