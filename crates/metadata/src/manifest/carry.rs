//! Carries an entry from one manifest into another as the bytes it is: only its status and the
//! numbers it would have inherited are written anew. Fields this crate does not know survive
//! without being understood.

use bytes::Bytes;

use super::partition::SpecTypes;
use super::read::{EntryReader, EntrySlot, inherit, open};
use super::{Entry, EntryStatus, Fields, ManifestFile};
use crate::avro::{Cursor, Encoder, Kind, Malformed, Node};

/// Whether the manifest's own schema has room for sequence numbers; that of format v1 does not.
pub(super) fn numbered(
    bytes: &Bytes,
    manifest: &ManifestFile,
    types: &SpecTypes,
) -> Result<bool, Malformed> {
    let source = open(bytes, manifest)?;
    let lean = EntryReader::compile(&source, manifest, types, Fields::PLAN)?;
    Ok(lean.has(EntrySlot::SequenceNumber))
}

/// Reads an entry, and encodes it into `copy` as `EXISTING`, with explicit snapshot and sequence
/// numbers. `None` of one that is `DELETED`: it is not carried.
pub(super) fn carry(
    lean: &EntryReader,
    cursor: &mut Cursor<'_>,
    manifest: &ManifestFile,
    copy: &mut Encoder,
) -> Result<Option<Entry>, Malformed> {
    let mut columns = Vec::with_capacity(5);
    let written = lean.read_with(cursor, |slot, node, bytes| {
        columns.push((slot, node, bytes));
    })?;
    copy.clear();
    if written.status == EntryStatus::Deleted {
        return Ok(None);
    }
    // Where an older writer left it null for a file that is not new, it stays null.
    let file_number_inherited = written.file_sequence_number.is_none()
        && (written.status == EntryStatus::Added || manifest.sequence_number == 0);
    let entry = inherit(written, manifest)?;
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
            Some(number) => put(copy, node, number)?,
            None => copy.raw(bytes),
        }
    }
    Ok(Some(entry))
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
