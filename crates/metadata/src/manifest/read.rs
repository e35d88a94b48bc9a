//! The lean reader of manifests: the writer's schema is compiled once into steps that read or
//! skip, so a field nobody asked for costs no more than walking over its bytes.

use std::sync::Arc;

use bytes::Bytes;
use storage::Storage;

use super::partition::{PartitionReader, SpecTypes};
use super::{
    Bound, ColumnMap, Content, DataFile, Entry, EntryStatus, Fields, ManifestContent, ManifestFile,
};
use crate::avro::{Column, Container, Cursor, Kind, Malformed, Node};
use crate::{Error, TableMetadata};

/// All entries of one manifest, those already deleted included.
pub async fn read_manifest(
    storage: &Storage,
    manifest: &ManifestFile,
    table: &TableMetadata,
    fields: Fields,
) -> Result<Vec<Entry>, Error> {
    let types = Arc::new(SpecTypes::of(table));
    load(storage, manifest, types, fields).await
}

/// Reads and, on a thread that may block, decodes one manifest.
pub(crate) async fn load(
    storage: &Storage,
    manifest: &ManifestFile,
    types: Arc<SpecTypes>,
    fields: Fields,
) -> Result<Vec<Entry>, Error> {
    let push = |entries: &mut Vec<Entry>, entry| {
        entries.push(entry);
        Ok(())
    };
    fold(storage, manifest, types, fields, Vec::new(), push).await
}

/// As [`load`], but hands on one entry at a time and keeps none.
pub(crate) async fn fold<T: Send + 'static>(
    storage: &Storage,
    manifest: &ManifestFile,
    types: Arc<SpecTypes>,
    fields: Fields,
    mut folded: T,
    add: impl Fn(&mut T, Entry) -> Result<(), Malformed> + Send + 'static,
) -> Result<T, Error> {
    let bytes = storage.read(&manifest.manifest_path).await?;
    let (path, manifest) = (manifest.manifest_path.clone(), manifest.clone());
    let whole = tokio::task::spawn_blocking(move || {
        each(&bytes, &manifest, &types, fields, |entry| {
            add(&mut folded, entry)
        })
        .map_err(|why| malformed(&manifest, why))?;
        Ok(folded)
    });
    match whole.await {
        Ok(whole) => whole,
        Err(lost) => Err(panicked(&path, lost)),
    }
}

/// A manifest whose decoding panicked: an error like any other, for it is this file's alone.
pub(super) fn panicked(path: &str, lost: tokio::task::JoinError) -> Error {
    Error::Unreadable {
        at: path.to_owned(),
        source: lost.into(),
    }
}

/// Names the manifest in the error.
pub(crate) fn malformed(manifest: &ManifestFile, why: Malformed) -> Error {
    Error::malformed(&manifest.manifest_path, why)
}

pub(super) fn decode(
    bytes: &Bytes,
    manifest: &ManifestFile,
    types: &SpecTypes,
    fields: Fields,
) -> Result<Vec<Entry>, Malformed> {
    let mut entries = Vec::new();
    each(bytes, manifest, types, fields, |entry| {
        entries.push(entry);
        Ok(())
    })?;
    Ok(entries)
}

fn each(
    bytes: &Bytes,
    manifest: &ManifestFile,
    types: &SpecTypes,
    fields: Fields,
    mut take: impl FnMut(Entry) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut container = open(bytes, manifest)?;
    let reader = EntryReader::compile(&container, manifest, types, fields)?;
    container.each(|cursor| {
        let entry = reader.read(cursor)?;
        take(inherit(entry, manifest)?)
    })
}

/// Opens a manifest after checking that it is whole and readable.
pub(super) fn open<'a>(
    bytes: &'a Bytes,
    manifest: &ManifestFile,
) -> Result<Container<'a>, Malformed> {
    if manifest.key_metadata.is_some() {
        return Err(Malformed::new("the manifest is encrypted"));
    }
    // Avro cannot tell a file cut between two blocks from a whole one; the list can.
    if (bytes.len() as i64) < manifest.manifest_length {
        return Err(Malformed::new(format!(
            "{} bytes where the manifest list says {}",
            bytes.len(),
            manifest.manifest_length
        )));
    }
    Container::open(bytes)
}

/// An entry as written: nulls not yet inherited.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) status: EntryStatus,
    pub(super) snapshot_id: Option<i64>,
    pub(super) sequence_number: Option<i64>,
    pub(super) file_sequence_number: Option<i64>,
    pub(super) file: DataFile,
}

/// Fills nulls from the manifest (specification, "Sequence Number Inheritance").
pub(super) fn inherit(entry: Written, manifest: &ManifestFile) -> Result<Entry, Malformed> {
    // Only an added file may inherit; in manifests from format v1 every number is 0.
    let inherits = entry.status == EntryStatus::Added || manifest.sequence_number == 0;
    let sequence_number = match entry.sequence_number {
        Some(number) => number,
        None if inherits => manifest.sequence_number,
        None => {
            return Err(Malformed::new(format!(
                "the entry of {} has no sequence number and is not new",
                entry.file.file_path
            )));
        }
    };
    let file_sequence_number = match entry.file_sequence_number {
        Some(number) => number,
        None if inherits => manifest.sequence_number,
        // Written before the field existed.
        None => sequence_number,
    };
    Ok(Entry {
        status: entry.status,
        snapshot_id: entry.snapshot_id.or(Some(manifest.added_snapshot_id)),
        sequence_number,
        file_sequence_number,
        file: entry.file,
    })
}

/// A field of the entry's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntrySlot {
    Status,
    SnapshotId,
    SequenceNumber,
    FileSequenceNumber,
    DataFile,
}

impl EntrySlot {
    fn of(column: &Column) -> Option<Self> {
        Some(match (column.id, column.name.as_str()) {
            (Some(0), _) | (None, "status") => Self::Status,
            (Some(1), _) | (None, "snapshot_id") => Self::SnapshotId,
            (Some(2), _) | (None, "data_file") => Self::DataFile,
            (Some(3), _) | (None, "sequence_number") => Self::SequenceNumber,
            (Some(4), _) | (None, "file_sequence_number") => Self::FileSequenceNumber,
            _ => return None,
        })
    }
}

/// A field of the data file's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Content,
    FilePath,
    FileFormat,
    Partition,
    RecordCount,
    FileSize,
    ColumnSizes,
    ValueCounts,
    NullValueCounts,
    NanValueCounts,
    LowerBounds,
    UpperBounds,
    KeyMetadata,
    SplitOffsets,
    EqualityIds,
    SortOrderId,
    FirstRowId,
    ReferencedDataFile,
    ContentOffset,
    ContentSize,
}

impl Slot {
    fn of(column: &Column) -> Option<Self> {
        Some(match (column.id, column.name.as_str()) {
            (Some(134), _) | (None, "content") => Self::Content,
            (Some(100), _) | (None, "file_path") => Self::FilePath,
            (Some(101), _) | (None, "file_format") => Self::FileFormat,
            (Some(102), _) | (None, "partition") => Self::Partition,
            (Some(103), _) | (None, "record_count") => Self::RecordCount,
            (Some(104), _) | (None, "file_size_in_bytes") => Self::FileSize,
            (Some(108), _) | (None, "column_sizes") => Self::ColumnSizes,
            (Some(109), _) | (None, "value_counts") => Self::ValueCounts,
            (Some(110), _) | (None, "null_value_counts") => Self::NullValueCounts,
            (Some(137), _) | (None, "nan_value_counts") => Self::NanValueCounts,
            (Some(125), _) | (None, "lower_bounds") => Self::LowerBounds,
            (Some(128), _) | (None, "upper_bounds") => Self::UpperBounds,
            (Some(131), _) | (None, "key_metadata") => Self::KeyMetadata,
            (Some(132), _) | (None, "split_offsets") => Self::SplitOffsets,
            (Some(135), _) | (None, "equality_ids") => Self::EqualityIds,
            (Some(140), _) | (None, "sort_order_id") => Self::SortOrderId,
            (Some(142), _) | (None, "first_row_id") => Self::FirstRowId,
            (Some(143), _) | (None, "referenced_data_file") => Self::ReferencedDataFile,
            (Some(144), _) | (None, "content_offset") => Self::ContentOffset,
            (Some(145), _) | (None, "content_size_in_bytes") => Self::ContentSize,
            _ => return None,
        })
    }

    fn wanted(self, fields: Fields, content: ManifestContent) -> bool {
        match self {
            Self::LowerBounds | Self::UpperBounds => {
                fields.metrics || content == ManifestContent::Deletes
            }
            Self::ColumnSizes
            | Self::ValueCounts
            | Self::NullValueCounts
            | Self::NanValueCounts => fields.metrics,
            _ => true,
        }
    }
}

/// One field of a record: read into its slot, or skipped.
#[derive(Debug)]
struct Step<S> {
    slot: Option<S>,
    name: String,
    node: Arc<Node>,
}

/// A manifest's schema compiled for the fields wanted.
#[derive(Debug)]
pub(super) struct EntryReader {
    entry: Vec<Step<EntrySlot>>,
    file: Vec<Step<Slot>>,
    partition: PartitionReader,
    spec_id: i32,
    content: ManifestContent,
}

impl EntryReader {
    pub(super) fn compile(
        container: &Container<'_>,
        manifest: &ManifestFile,
        types: &SpecTypes,
        fields: Fields,
    ) -> Result<Self, Malformed> {
        let entry: Vec<_> = columns(&container.root, "the manifest's schema")?
            .iter()
            .map(|column| Step {
                slot: EntrySlot::of(column),
                name: column.name.clone(),
                node: column.node.clone(),
            })
            .collect();
        let data_file = step(&entry, EntrySlot::DataFile, "data_file")?;
        step(&entry, EntrySlot::Status, "status")?;
        let file: Vec<_> = columns(data_file.present(), "data_file")?
            .iter()
            .map(|column| {
                let wanted = |slot: &Slot| slot.wanted(fields, manifest.content);
                Step {
                    slot: Slot::of(column).filter(wanted),
                    name: column.name.clone(),
                    node: column.node.clone(),
                }
            })
            .collect();
        for (slot, name) in [
            (Slot::FilePath, "file_path"),
            (Slot::FileFormat, "file_format"),
            (Slot::RecordCount, "record_count"),
            (Slot::FileSize, "file_size_in_bytes"),
        ] {
            step(&file, slot, name)?;
        }
        let partition = step(&file, Slot::Partition, "partition")?;
        Ok(Self {
            partition: PartitionReader::compile(container, partition.present(), manifest, types)?,
            spec_id: manifest.partition_spec_id,
            content: manifest.content,
            entry,
            file,
        })
    }

    pub(super) fn partition(&self) -> &PartitionReader {
        &self.partition
    }

    /// Whether the manifest's schema has this field.
    pub(super) fn has(&self, slot: EntrySlot) -> bool {
        self.entry.iter().any(|step| step.slot == Some(slot))
    }

    pub(super) fn read(&self, cursor: &mut Cursor<'_>) -> Result<Written, Malformed> {
        self.read_with(cursor, |_, _, _| {})
    }

    /// Reads an entry, telling `seen` of every column: its slot, type and encoded bytes.
    pub(super) fn read_with<'a, 'n>(
        &'n self,
        cursor: &mut Cursor<'a>,
        mut seen: impl FnMut(Option<EntrySlot>, &'n Node, &'a [u8]),
    ) -> Result<Written, Malformed> {
        let mut status = None;
        let mut snapshot_id = None;
        let mut sequence_number = None;
        let mut file_sequence_number = None;
        let mut file = None;
        for Step { slot, node, .. } in &self.entry {
            let start = cursor.position();
            match slot {
                None => cursor.skip(node)?,
                Some(EntrySlot::Status) => {
                    let code = int(cursor, node)?;
                    status = EntryStatus::from_code(code);
                    if status.is_none() {
                        return Err(Malformed::new(format!(
                            "status {code} of an entry is unknown"
                        )));
                    }
                }
                Some(EntrySlot::SnapshotId) => snapshot_id = optional(cursor, node, long)?,
                Some(EntrySlot::SequenceNumber) => sequence_number = optional(cursor, node, long)?,
                Some(EntrySlot::FileSequenceNumber) => {
                    file_sequence_number = optional(cursor, node, long)?;
                }
                Some(EntrySlot::DataFile) => {
                    if matches!(cursor.branch(node)?.kind, Kind::Null) {
                        return Err(Malformed::new("an entry has no data_file"));
                    }
                    file = Some(self.file(cursor)?);
                }
            }
            seen(*slot, node, cursor.since(start));
        }
        let missing = || Malformed::new("an entry lacks a required field");
        Ok(Written {
            status: status.ok_or_else(missing)?,
            snapshot_id,
            sequence_number,
            file_sequence_number,
            file: file.ok_or_else(missing)?,
        })
    }

    fn file(&self, cursor: &mut Cursor<'_>) -> Result<DataFile, Malformed> {
        let mut file = DataFile::new(Content::Data, String::new());
        file.spec_id = self.spec_id;
        for Step { slot, name, node } in &self.file {
            let Some(slot) = slot else {
                cursor.skip(node)?;
                continue;
            };
            self.field(cursor, *slot, node, &mut file)
                .map_err(|why| why.within(&format!("{name} of {:?}", file.file_path)))?;
        }
        let belongs = match self.content {
            ManifestContent::Data => file.content == Content::Data,
            ManifestContent::Deletes => file.content != Content::Data,
        };
        if !belongs {
            return Err(Malformed::new(format!(
                "{} ({:?}) does not belong into a manifest of {}",
                file.file_path,
                file.content,
                self.content.as_str()
            )));
        }
        Ok(file)
    }

    fn field(
        &self,
        cursor: &mut Cursor<'_>,
        slot: Slot,
        node: &Node,
        file: &mut DataFile,
    ) -> Result<(), Malformed> {
        match slot {
            Slot::Content => {
                let code = optional(cursor, node, int)?.unwrap_or_default();
                file.content = Content::from_code(code)
                    .ok_or_else(|| Malformed::new(format!("content {code} is unknown")))?;
            }
            Slot::FilePath => file.file_path = text(cursor, node)?,
            Slot::FileFormat => file.file_format = text(cursor, node)?,
            Slot::Partition => file.partition = self.partition.read(cursor, node)?,
            Slot::RecordCount => file.record_count = unsigned(cursor, node)?,
            Slot::FileSize => file.file_size_in_bytes = unsigned(cursor, node)?,
            Slot::ColumnSizes => file.column_sizes = map(cursor, node, long)?,
            Slot::ValueCounts => file.value_counts = map(cursor, node, long)?,
            Slot::NullValueCounts => file.null_value_counts = map(cursor, node, long)?,
            Slot::NanValueCounts => file.nan_value_counts = map(cursor, node, long)?,
            Slot::LowerBounds => file.lower_bounds = map(cursor, node, bound)?,
            Slot::UpperBounds => file.upper_bounds = map(cursor, node, bound)?,
            Slot::KeyMetadata => file.key_metadata = optional(cursor, node, binary)?,
            Slot::SplitOffsets => file.split_offsets = list(cursor, node, long)?,
            Slot::EqualityIds => file.equality_ids = list(cursor, node, int)?,
            Slot::SortOrderId => file.sort_order_id = optional(cursor, node, int)?,
            Slot::FirstRowId => file.first_row_id = optional(cursor, node, long)?,
            Slot::ReferencedDataFile => file.referenced_data_file = optional(cursor, node, text)?,
            Slot::ContentOffset => file.content_offset = optional(cursor, node, long)?,
            Slot::ContentSize => file.content_size_in_bytes = optional(cursor, node, long)?,
        }
        Ok(())
    }
}

fn columns<'a>(node: &'a Node, what: &str) -> Result<&'a [Column], Malformed> {
    node.columns()
        .ok_or_else(|| Malformed::new(format!("{what} is no record")))
}

/// The one step with this slot. A field that is there twice could be read either way: refused.
fn step<'a, S: PartialEq + Copy>(
    steps: &'a [Step<S>],
    slot: S,
    name: &str,
) -> Result<&'a Node, Malformed> {
    let mut found = steps.iter().filter(|step| step.slot == Some(slot));
    match (found.next(), found.next()) {
        (Some(step), None) => Ok(&step.node),
        (None, _) => Err(Malformed::new(format!("the schema lacks {name}"))),
        (Some(_), Some(_)) => Err(Malformed::new(format!("the schema has {name} twice"))),
    }
}

pub(super) fn optional<T>(
    cursor: &mut Cursor<'_>,
    node: &Node,
    read: impl FnOnce(&mut Cursor<'_>, &Node) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    let node = cursor.branch(node)?;
    if matches!(node.kind, Kind::Null) {
        Ok(None)
    } else {
        read(cursor, node).map(Some)
    }
}

pub(super) fn int(cursor: &mut Cursor<'_>, node: &Node) -> Result<i32, Malformed> {
    match cursor.branch(node)?.kind {
        // PyIceberg writes equality ids as longs.
        Kind::Int | Kind::Long => cursor.int(),
        _ => Err(Malformed::new("an int is written as another type")),
    }
}

pub(super) fn long(cursor: &mut Cursor<'_>, node: &Node) -> Result<i64, Malformed> {
    match cursor.branch(node)?.kind {
        Kind::Int | Kind::Long => cursor.long(),
        _ => Err(Malformed::new("a long is written as another type")),
    }
}

fn unsigned(cursor: &mut Cursor<'_>, node: &Node) -> Result<u64, Malformed> {
    let value = long(cursor, node)?;
    u64::try_from(value).map_err(|_| Malformed::new(format!("{value} is negative")))
}

pub(super) fn boolean(cursor: &mut Cursor<'_>, node: &Node) -> Result<bool, Malformed> {
    match cursor.branch(node)?.kind {
        Kind::Boolean => cursor.boolean(),
        _ => Err(Malformed::new("a boolean is written as another type")),
    }
}

pub(super) fn text(cursor: &mut Cursor<'_>, node: &Node) -> Result<String, Malformed> {
    match cursor.branch(node)?.kind {
        Kind::String | Kind::Bytes => cursor.string().map(str::to_owned),
        _ => Err(Malformed::new("a string is written as another type")),
    }
}

pub(super) fn binary(cursor: &mut Cursor<'_>, node: &Node) -> Result<Vec<u8>, Malformed> {
    bytes(cursor, node).map(<[u8]>::to_vec)
}

fn bound(cursor: &mut Cursor<'_>, node: &Node) -> Result<Bound, Malformed> {
    bytes(cursor, node).map(Bound::from_slice)
}

fn bytes<'a>(cursor: &mut Cursor<'a>, node: &Node) -> Result<&'a [u8], Malformed> {
    match cursor.branch(node)?.kind {
        Kind::String | Kind::Bytes => cursor.bytes(),
        Kind::Fixed(size) => cursor.take(size),
        _ => Err(Malformed::new("binary is written as another type")),
    }
}

pub(super) fn list<T>(
    cursor: &mut Cursor<'_>,
    node: &Node,
    read: impl Fn(&mut Cursor<'_>, &Node) -> Result<T, Malformed>,
) -> Result<Option<Vec<T>>, Malformed> {
    optional(cursor, node, |cursor, node| {
        let Kind::Array(item) = &node.kind else {
            return Err(Malformed::new("a list is written as another type"));
        };
        let mut items = Vec::new();
        cursor.items(|cursor| {
            items.push(read(cursor, item)?);
            Ok(())
        })?;
        Ok(items)
    })
}

/// A map by column id: Iceberg writes it as an array of (key, value) records.
fn map<T>(
    cursor: &mut Cursor<'_>,
    node: &Node,
    read: impl Fn(&mut Cursor<'_>, &Node) -> Result<T, Malformed>,
) -> Result<ColumnMap<T>, Malformed> {
    let pairs = optional(cursor, node, |cursor, node| {
        let pair = match &node.kind {
            Kind::Array(item) => item.columns(),
            _ => None,
        };
        let Some([key, value]) = pair else {
            return Err(Malformed::new("a map is not written as a list of pairs"));
        };
        if key.name != "key" || value.name != "value" {
            return Err(Malformed::new("a map's pairs are not (key, value)"));
        }
        let mut pairs = ColumnMap::with_capacity(cursor.items_ahead());
        cursor.items(|cursor| {
            pairs.insert(int(cursor, &key.node)?, read(cursor, &value.node)?);
            Ok(())
        })?;
        Ok(pairs)
    })?;
    Ok(pairs.unwrap_or_default())
}
