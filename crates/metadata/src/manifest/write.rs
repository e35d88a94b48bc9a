//! Writes new manifests of formats v1 and v2.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::partition::{self, PartitionColumn, Summaries};
use super::schema;
use super::{
    Carried, ColumnMap, Content, DataFile, Entry, EntryStatus, ManifestContent, ManifestFile,
    Shape, unwritable, writable,
};
use crate::avro::{Codec, ContainerWriter, Encoder, header};
use crate::{Error, Literal, Schema, TableMetadata};

/// Format v1 asks for a block size nobody uses (field 105): Java's and PyIceberg's default, 64 MiB.
const BLOCK_SIZE: i64 = 67_108_864;

/// Collects the entries of one new manifest: files of one spec, data or deletes.
#[derive(Debug)]
pub struct ManifestWriter {
    content: ManifestContent,
    version: u8,
    spec_id: i32,
    snapshot_id: i64,
    columns: Vec<PartitionColumn>,
    header: BTreeMap<String, Vec<u8>>,
    container: ContainerWriter,
    entry: Encoder,
    tally: Tally,
}

/// What a manifest list tells of a manifest's entries.
#[derive(Debug)]
pub(super) struct Tally {
    /// Files and rows by status: existing, added, deleted.
    files: [i32; 3],
    rows: [i64; 3],
    min_sequence_number: Option<i64>,
    summaries: Summaries,
}

impl Tally {
    pub(super) fn new(partition_fields: usize) -> Self {
        let summaries = Summaries::new(partition_fields);
        Self {
            files: [0; 3],
            rows: [0; 3],
            min_sequence_number: None,
            summaries,
        }
    }

    /// Counts an entry. `sequence_number` is `None` where it will be inherited.
    pub(super) fn add(
        &mut self,
        status: EntryStatus,
        sequence_number: Option<i64>,
        records: u64,
        partition: &[Option<Literal>],
    ) {
        let index = status.code() as usize;
        self.files[index] = self.files[index].saturating_add(1);
        self.rows[index] = self.rows[index].saturating_add(records as i64);
        self.summaries.add(partition);
        if let (EntryStatus::Existing | EntryStatus::Added, Some(number)) =
            (status, sequence_number)
        {
            let least = self
                .min_sequence_number
                .map_or(number, |least| least.min(number));
            self.min_sequence_number = Some(least);
        }
    }

    pub(super) fn files(&self) -> usize {
        self.files.iter().map(|count| *count as usize).sum()
    }

    /// The list's entry for a manifest of `length` bytes that `snapshot_id` writes at `path`.
    pub(super) fn finish(
        self,
        path: &str,
        length: usize,
        content: ManifestContent,
        spec_id: i32,
        snapshot_id: i64,
    ) -> ManifestFile {
        let [existing_files, added_files, deleted_files] = self.files;
        let [existing_rows, added_rows, deleted_rows] = self.rows;
        ManifestFile {
            manifest_path: path.to_owned(),
            manifest_length: length as i64,
            partition_spec_id: spec_id,
            content,
            sequence_number: ManifestFile::UNASSIGNED,
            min_sequence_number: self.min_sequence_number.unwrap_or(ManifestFile::UNASSIGNED),
            added_snapshot_id: snapshot_id,
            added_files_count: Some(added_files),
            existing_files_count: Some(existing_files),
            deleted_files_count: Some(deleted_files),
            added_rows_count: Some(added_rows),
            existing_rows_count: Some(existing_rows),
            deleted_rows_count: Some(deleted_rows),
            partitions: Some(self.summaries.finish()),
            key_metadata: None,
            first_row_id: None,
            carried: Carried::default(),
        }
    }
}

/// The numbers of an entry; `None` is inherited.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    snapshot_id: i64,
    sequence_number: Option<i64>,
    file_sequence_number: Option<i64>,
}

fn existing(entry: &Entry) -> Result<Numbers, Error> {
    let snapshot_id = entry.snapshot_id.ok_or_else(|| {
        unwritable(
            &entry.file.file_path,
            "an existing file needs the snapshot that added it",
        )
    })?;
    Ok(Numbers {
        snapshot_id,
        sequence_number: Some(entry.sequence_number),
        file_sequence_number: Some(entry.file_sequence_number),
    })
}

impl ManifestWriter {
    /// A manifest of the table's format for files of one spec, written by `snapshot_id`.
    pub fn new(
        content: ManifestContent,
        table: &TableMetadata,
        spec_id: i32,
        snapshot_id: i64,
    ) -> Result<Self, Error> {
        let version = writable("manifest", table)?;
        if version == 1 && content == ManifestContent::Deletes {
            return Err(unwritable("manifest", "delete files need format version 2"));
        }
        let spec = table.spec(spec_id).ok_or_else(|| {
            unwritable(
                "manifest",
                format!("the table has no partition spec {spec_id}"),
            )
        })?;
        // Readers resolve the spec against this schema, so it must know every source column.
        let knows = |schema: &Schema| {
            spec.fields
                .iter()
                .all(|field| schema.field(field.source_id).is_some())
        };
        let current = table.current_schema();
        let older = table.schemas().iter().rev().find(|schema| knows(schema));
        let declared = if knows(current) {
            current
        } else {
            older.unwrap_or(current)
        };
        let columns = partition::columns(spec, table);
        let partition = partition::record_schema(&columns);
        let mut entries = vec![
            ("schema", declared.to_json().to_string()),
            ("schema-id", declared.schema_id.to_string()),
            ("partition-spec", spec.fields_json().to_string()),
            ("partition-spec-id", spec_id.to_string()),
            ("format-version", version.to_string()),
        ];
        if version > 1 {
            entries.push(("content", content.as_str().to_owned()));
        }
        let partition = partition.map_err(|why| unwritable("manifest", why))?;
        let schema = schema::entry(partition, version);
        let header = header(&schema, &entries);
        Ok(Self {
            content,
            version,
            spec_id,
            snapshot_id,
            container: ContainerWriter::with_header(&header, codec(table)?),
            header,
            entry: Encoder::default(),
            tally: Tally::new(columns.len()),
            columns,
        })
    }

    /// A file this snapshot adds. `None` inherits the sequence number of the commit.
    pub fn add(&mut self, file: &DataFile, data_sequence_number: Option<i64>) -> Result<(), Error> {
        let numbers = Numbers {
            snapshot_id: self.snapshot_id,
            sequence_number: data_sequence_number,
            file_sequence_number: None,
        };
        self.push(EntryStatus::Added, numbers, file)
    }

    /// A live file another snapshot added; its snapshot and sequence numbers are kept.
    pub fn add_existing(&mut self, entry: &Entry) -> Result<(), Error> {
        self.push(EntryStatus::Existing, existing(entry)?, &entry.file)
    }

    /// What [`Self::add_existing`] writes, without adding it.
    pub(super) fn encode_existing(&mut self, entry: &Entry) -> Result<&[u8], Error> {
        self.encode(EntryStatus::Existing, existing(entry)?, &entry.file)?;
        Ok(self.entry.as_bytes())
    }

    /// A file this snapshot removes; its sequence numbers are kept.
    pub fn add_deleted(&mut self, entry: &Entry) -> Result<(), Error> {
        let numbers = Numbers {
            snapshot_id: self.snapshot_id,
            sequence_number: Some(entry.sequence_number),
            file_sequence_number: Some(entry.file_sequence_number),
        };
        self.push(EntryStatus::Deleted, numbers, &entry.file)
    }

    /// What its entries are encoded as.
    pub(super) fn shape(&self) -> Shape {
        Shape::of_header(&self.header)
    }

    /// Avro's header, all but the codec.
    pub(super) fn header(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.header
    }

    /// How many entries were added.
    pub fn len(&self) -> usize {
        self.tally.files()
    }

    /// Whether no entry was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The manifest's bytes, to be written at `path`, and its entry for the manifest list.
    pub fn finish(self, path: &str) -> Result<(Bytes, ManifestFile), Error> {
        if self.is_empty() {
            return Err(unwritable(path, "the manifest is empty"));
        }
        let bytes = Bytes::from(self.container.finish());
        let manifest = self.tally.finish(
            path,
            bytes.len(),
            self.content,
            self.spec_id,
            self.snapshot_id,
        );
        Ok((bytes, manifest))
    }

    fn push(
        &mut self,
        status: EntryStatus,
        numbers: Numbers,
        file: &DataFile,
    ) -> Result<(), Error> {
        self.encode(status, numbers, file)?;
        self.container.push(self.entry.as_bytes());
        let (records, number) = (file.record_count, numbers.sequence_number);
        self.tally.add(status, number, records, &file.partition);
        Ok(())
    }

    fn encode(
        &mut self,
        status: EntryStatus,
        numbers: Numbers,
        file: &DataFile,
    ) -> Result<(), Error> {
        self.check(file)?;
        let Numbers {
            snapshot_id,
            sequence_number,
            file_sequence_number,
        } = numbers;
        self.check_numbers(file, [sequence_number, file_sequence_number])?;
        self.entry.clear();
        let out = &mut self.entry;
        out.int(status.code());
        if self.version == 1 {
            out.long(snapshot_id);
        } else {
            out.optional(Some(snapshot_id), Encoder::long);
            out.optional(sequence_number, Encoder::long);
            out.optional(file_sequence_number, Encoder::long);
        }
        encode_file(out, file, &self.columns, self.version)
            .map_err(|why| unwritable(&file.file_path, why))
    }

    /// Format v1 has no sequence numbers: leaving one out must lose nothing.
    fn check_numbers(&self, file: &DataFile, numbers: [Option<i64>; 2]) -> Result<(), Error> {
        let lost = numbers.into_iter().flatten().find(|number| *number != 0);
        match lost {
            Some(number) if self.version == 1 => Err(unwritable(
                &file.file_path,
                format!("its sequence number {number} has no place in format version 1"),
            )),
            _ => Ok(()),
        }
    }

    fn check(&self, file: &DataFile) -> Result<(), Error> {
        let fits = match self.content {
            ManifestContent::Data => file.content == Content::Data,
            ManifestContent::Deletes => file.content != Content::Data,
        };
        let why = if !fits {
            format!(
                "{:?} does not belong into a manifest of {}",
                file.content,
                self.content.as_str()
            )
        } else if file.spec_id != self.spec_id {
            format!(
                "its spec is {}, the manifest's {}",
                file.spec_id, self.spec_id
            )
        } else if file.partition.len() != self.columns.len() {
            format!(
                "{} partition values for {} fields",
                file.partition.len(),
                self.columns.len()
            )
        } else if file.first_row_id.is_some()
            || file.content_offset.is_some()
            || file.content_size_in_bytes.is_some()
        {
            "row lineage and deletion vectors need format version 3".to_owned()
        } else if i64::try_from(file.record_count.max(file.file_size_in_bytes)).is_err() {
            "its counts do not fit 63 bits".to_owned()
        } else {
            return Ok(());
        };
        Err(unwritable(&file.file_path, why))
    }
}

fn encode_file(
    out: &mut Encoder,
    file: &DataFile,
    columns: &[PartitionColumn],
    version: u8,
) -> Result<(), String> {
    if version > 1 {
        out.int(file.content.code());
    }
    out.string(&file.file_path);
    out.string(&file.file_format);
    for (column, value) in columns.iter().zip(&file.partition) {
        let ty = column.ty.as_ref().ok_or("a partition field has no type")?;
        partition::encode(out, value.as_ref(), ty)?;
    }
    out.long(file.record_count as i64);
    out.long(file.file_size_in_bytes as i64);
    if version == 1 {
        out.long(BLOCK_SIZE);
    }
    for counts in [
        &file.column_sizes,
        &file.value_counts,
        &file.null_value_counts,
        &file.nan_value_counts,
    ] {
        encode_map(out, counts, |out, count| out.long(*count));
    }
    for bounds in [&file.lower_bounds, &file.upper_bounds] {
        encode_map(out, bounds, |out, bound| out.bytes(bound));
    }
    out.optional(file.key_metadata.as_deref(), Encoder::bytes);
    out.optional(file.split_offsets.as_ref(), |out, offsets| {
        out.array(offsets.iter(), |out, offset| out.long(*offset));
    });
    if version > 1 {
        out.optional(file.equality_ids.as_ref(), |out, ids| {
            out.array(ids.iter(), |out, id| out.int(*id));
        });
    }
    out.optional(file.sort_order_id, Encoder::int);
    if version > 1 {
        out.optional(file.referenced_data_file.as_deref(), Encoder::string);
    }
    Ok(())
}

/// A map by column id; an empty one is null.
fn encode_map<T>(out: &mut Encoder, map: &ColumnMap<T>, value: impl Fn(&mut Encoder, &T)) {
    let map = Some(map).filter(|map| !map.is_empty());
    out.optional(map, |out, map| {
        out.array(map.iter(), |out, (key, item)| {
            out.int(*key);
            value(out, item);
        });
    });
}

/// Refuses a table whose properties name a codec that manifests are not written with.
pub fn check_codec(table: &TableMetadata) -> Result<(), Error> {
    codec(table).map(drop)
}

/// The codec of `write.avro.compression-codec` and `-level` (Java's names and defaults).
pub(super) fn codec(table: &TableMetadata) -> Result<Codec, Error> {
    let level = match table.property("write.avro.compression-level") {
        None => None,
        Some(level) => Some(level.parse::<i32>().map_err(|_| {
            unwritable(
                "manifest",
                format!("write.avro.compression-level {level:?} is no number"),
            )
        })?),
    };
    let name = table
        .property("write.avro.compression-codec")
        .unwrap_or("gzip");
    Ok(match name.to_ascii_lowercase().as_str() {
        "gzip" | "deflate" => match level {
            None => Codec::DEFLATE,
            Some(level) => Codec::Deflate {
                level: level.clamp(0, 9) as u32,
            },
        },
        "snappy" => Codec::Snappy,
        "zstd" | "zstandard" => Codec::Zstandard {
            level: level.unwrap_or(1),
        },
        "uncompressed" | "null" => Codec::Null,
        other => {
            let why = format!("write.avro.compression-codec {other:?} is unknown");
            return Err(unwritable("manifest", why));
        }
    })
}
