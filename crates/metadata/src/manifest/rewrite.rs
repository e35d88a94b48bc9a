//! Replaces a manifest by one without some of its files.
//!
//! Entries that stay are carried as the bytes they are ([`carry`]), under the file's own schema and
//! header. In a table of format v1 nothing has numbers. A manifest of v1 in a table of v2 has no
//! place for them: its survivors are written anew.

use std::collections::HashSet;
use std::hash::BuildHasher;

use bytes::Bytes;

use super::carry::{carry, numbered};
use super::partition::SpecTypes;
use super::read::{EntryReader, decode, inherit, malformed, open};
use super::write::{ManifestWriter, Tally};
use super::{Entry, EntryStatus, Fields, ManifestFile, unwritable, writable};
use crate::avro::{ContainerWriter, Encoder, Malformed};
use crate::{Error, TableMetadata};

/// A manifest without its removed files.
#[derive(Debug)]
pub struct Rewritten {
    /// The new manifest, to be written at its path; none when no live file is left.
    pub survivors: Option<(Bytes, ManifestFile)>,
    /// The removed files, live until now, every field decoded:
    /// for [`ManifestWriter::add_deleted`](super::ManifestWriter::add_deleted).
    pub removed: Vec<Entry>,
}

/// Replaces `manifest`, whose content is `bytes`, by one at `path` without the files of `removed`.
///
/// Survivors become `EXISTING` with explicit snapshot and sequence numbers; entries that were
/// `DELETED` already are dropped.
pub fn rewrite_manifest<S: BuildHasher>(
    bytes: &Bytes,
    manifest: &ManifestFile,
    table: &TableMetadata,
    removed: &HashSet<String, S>,
    snapshot_id: i64,
    path: &str,
) -> Result<Rewritten, Error> {
    let unwritable = |why: &str| Err(unwritable(&manifest.manifest_path, why));
    let version = writable("manifest", table)?;
    if manifest.first_row_id.is_some() {
        return unwritable("row lineage (first_row_id) needs format version 3");
    }
    let types = SpecTypes::of(table);
    let gone = |path: &str| removed.contains(path);
    let numbered = numbered(bytes, manifest, &types).map_err(|why| malformed(manifest, why))?;
    if version > 1 && !numbered {
        return upgrade((bytes, manifest), (table, &types), &gone, snapshot_id, path);
    }
    if version == 1 && numbered {
        return unwritable("it has sequence numbers, its table is of format version 1");
    }
    let split = Splitter {
        bytes,
        manifest,
        types: &types,
        gone: &gone,
    };
    let split = split.run().map_err(|why| malformed(manifest, why))?;
    let survivors = (split.tally.files() > 0).then(|| {
        let bytes = Bytes::from(split.container.finish());
        let (content, spec_id) = (manifest.content, manifest.partition_spec_id);
        let manifest = split
            .tally
            .finish(path, bytes.len(), content, spec_id, snapshot_id);
        (bytes, manifest)
    });
    Ok(Rewritten {
        survivors,
        removed: split.removed,
    })
}

/// Writes the survivors of a format v1 manifest, from before the table was upgraded, as format v2,
/// as Java does. Only what v2 no longer has is left behind (block sizes, sort columns).
fn upgrade(
    (bytes, manifest): (&Bytes, &ManifestFile),
    (table, types): (&TableMetadata, &SpecTypes),
    gone: &dyn Fn(&str) -> bool,
    snapshot_id: i64,
    path: &str,
) -> Result<Rewritten, Error> {
    let entries = decode(bytes, manifest, types, Fields::ALL);
    let entries = entries.map_err(|why| malformed(manifest, why))?;
    let spec_id = manifest.partition_spec_id;
    let mut writer = ManifestWriter::new(manifest.content, table, spec_id, snapshot_id)?;
    let mut removed = Vec::new();
    for entry in entries {
        if entry.status == EntryStatus::Deleted {
            continue;
        }
        if gone(&entry.file.file_path) {
            removed.push(entry);
        } else {
            writer.add_existing(&entry)?;
        }
    }
    let survivors = if writer.is_empty() {
        None
    } else {
        Some(writer.finish(path)?)
    };
    Ok(Rewritten { survivors, removed })
}

struct Splitter<'a> {
    bytes: &'a Bytes,
    manifest: &'a ManifestFile,
    types: &'a SpecTypes,
    gone: &'a dyn Fn(&str) -> bool,
}

struct Split {
    container: ContainerWriter,
    tally: Tally,
    removed: Vec<Entry>,
}

impl Splitter<'_> {
    fn run(&self) -> Result<Split, Malformed> {
        let mut source = open(self.bytes, self.manifest)?;
        let compile = |fields| EntryReader::compile(&source, self.manifest, self.types, fields);
        let (lean, full) = (compile(Fields::PLAN)?, compile(Fields::ALL)?);
        let mut split = Split {
            container: ContainerWriter::with_header(&source.header, source.codec),
            tally: Tally::new(lean.partition().columns().len()),
            removed: Vec::new(),
        };
        let mut copy = Encoder::default();
        source.each(|cursor| {
            let mut again = cursor.clone();
            let Some(entry) = carry(&lean, cursor, self.manifest, &mut copy)? else {
                return Ok(());
            };
            if (self.gone)(&entry.file.file_path) {
                split
                    .removed
                    .push(inherit(full.read(&mut again)?, self.manifest)?);
                return Ok(());
            }
            split.container.push(copy.as_bytes());
            let (number, file) = (Some(entry.sequence_number), entry.file);
            let tally = &mut split.tally;
            tally.add(
                EntryStatus::Existing,
                number,
                file.record_count,
                &file.partition,
            );
            Ok(())
        })?;
        Ok(split)
    }
}
