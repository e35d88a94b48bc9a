//! Replaces a manifest by one without some of its files.
//!
//! Entries that stay are copied as the bytes they are: only their status and the numbers they
//! would have inherited are written anew, under the file's own schema and header. Fields this
//! crate does not know survive without being understood. In a table of format v1 nothing has numbers. A
//! manifest of v1 in a table of v2 has no place for them: its survivors are written anew.

use std::collections::HashSet;
use std::hash::BuildHasher;

use bytes::Bytes;

use super::partition::SpecTypes;
use super::read::{EntryReader, EntrySlot, decode, inherit, malformed, open};
use super::write::{ManifestWriter, Tally};
use super::{Entry, EntryStatus, Fields, ManifestFile, unwritable, writable};
use crate::avro::{ContainerWriter, Encoder, Kind, Malformed, Node};
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

/// Whether the manifest's own schema has room for sequence numbers; that of format v1 does not.
fn numbered(bytes: &Bytes, manifest: &ManifestFile, types: &SpecTypes) -> Result<bool, Malformed> {
    let source = open(bytes, manifest)?;
    let lean = EntryReader::compile(&source, manifest, types, Fields::PLAN)?;
    Ok(lean.has(EntrySlot::SequenceNumber))
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
            let mut columns = Vec::with_capacity(5);
            let written = lean.read_with(cursor, |slot, node, bytes| {
                columns.push((slot, node, bytes));
            })?;
            if written.status == EntryStatus::Deleted {
                return Ok(());
            }
            if (self.gone)(&written.file.file_path) {
                split
                    .removed
                    .push(inherit(full.read(&mut again)?, self.manifest)?);
                return Ok(());
            }
            // Where an older writer left it null for a file that is not new, it stays null.
            let file_number_inherited = written.file_sequence_number.is_none()
                && (written.status == EntryStatus::Added || self.manifest.sequence_number == 0);
            let entry = inherit(written, self.manifest)?;
            copy.clear();
            for (slot, node, bytes) in columns {
                let number = match slot {
                    Some(EntrySlot::Status) => Some(i64::from(EntryStatus::Existing.code())),
                    Some(EntrySlot::SnapshotId) => entry.snapshot_id,
                    Some(EntrySlot::SequenceNumber) => Some(entry.sequence_number),
                    Some(EntrySlot::FileSequenceNumber) if file_number_inherited => {
                        Some(entry.file_sequence_number)
                    }
                    _ => None,
                };
                match number {
                    Some(number) => put(&mut copy, node, number)?,
                    None => copy.raw(bytes),
                }
            }
            split.container.push(copy.as_bytes());
            let number = Some(entry.sequence_number);
            split.tally.add(EntryStatus::Existing, number, &entry.file);
            Ok(())
        })?;
        Ok(split)
    }
}

/// Writes a number where the schema has an int, a long, or a union with one of them.
fn put(out: &mut Encoder, node: &Node, number: i64) -> Result<(), Malformed> {
    let is_number = |node: &Node| matches!(node.kind, Kind::Int | Kind::Long);
    match &node.kind {
        Kind::Int | Kind::Long => out.long(number),
        Kind::Union(branches) => {
            let branch = branches.iter().position(|node| is_number(node));
            let branch = branch.ok_or_else(|| Malformed::new("a number's union has no number"))?;
            out.long(branch as i64);
            out.long(number);
        }
        _ => return Err(Malformed::new("a number is written as another type")),
    }
    Ok(())
}
