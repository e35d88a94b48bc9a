//! The words of manifests and manifest lists: what one entry, one file and one manifest is.

use std::sync::Arc;

use litemap::LiteMap;
use smallvec::SmallVec;

use crate::Literal;

/// What is known of columns, by their ids: one allocation, for a table's manifests hold millions.
pub type ColumnMap<T> = LiteMap<i32, T>;

/// The bound of a column. Most are short, and writers cut the others at 16 bytes.
pub type Bound = SmallVec<[u8; 16]>;

/// What a file holds (field 134).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    Data,
    PositionDeletes,
    EqualityDeletes,
}

impl Content {
    /// The number stored in manifests.
    pub fn code(self) -> i32 {
        match self {
            Self::Data => 0,
            Self::PositionDeletes => 1,
            Self::EqualityDeletes => 2,
        }
    }

    pub fn from_code(code: i32) -> Option<Self> {
        match code {
            0 => Some(Self::Data),
            1 => Some(Self::PositionDeletes),
            2 => Some(Self::EqualityDeletes),
            _ => None,
        }
    }
}

/// What a manifest tracks (field 517): data files or delete files, never both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManifestContent {
    Data,
    Deletes,
}

impl ManifestContent {
    /// The number stored in manifest lists.
    pub fn code(self) -> i32 {
        match self {
            Self::Data => 0,
            Self::Deletes => 1,
        }
    }

    pub fn from_code(code: i32) -> Option<Self> {
        match code {
            0 => Some(Self::Data),
            1 => Some(Self::Deletes),
            _ => None,
        }
    }

    /// The word stored in a manifest's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Deletes => "deletes",
        }
    }
}

/// What a manifest says about a file in the snapshot that wrote the entry (field 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryStatus {
    Existing,
    Added,
    Deleted,
}

impl EntryStatus {
    /// The number stored in manifests.
    pub fn code(self) -> i32 {
        match self {
            Self::Existing => 0,
            Self::Added => 1,
            Self::Deleted => 2,
        }
    }

    pub fn from_code(code: i32) -> Option<Self> {
        match code {
            0 => Some(Self::Existing),
            1 => Some(Self::Added),
            2 => Some(Self::Deleted),
            _ => None,
        }
    }
}

/// The range of one partition field over a manifest's entries (record 508).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSummary {
    pub contains_null: bool,
    pub contains_nan: Option<bool>,
    /// Iceberg single-value serialization.
    pub lower_bound: Option<Vec<u8>>,
    /// Iceberg single-value serialization.
    pub upper_bound: Option<Vec<u8>>,
}

/// One manifest of a snapshot: an entry of its manifest list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    pub manifest_path: String,
    /// Bytes.
    pub manifest_length: i64,
    pub partition_spec_id: i32,
    pub content: ManifestContent,
    /// [`ManifestFile::UNASSIGNED`] until the manifest is put into a list.
    pub sequence_number: i64,
    /// The lowest data sequence number of live entries, or [`ManifestFile::UNASSIGNED`].
    pub min_sequence_number: i64,
    pub added_snapshot_id: i64,
    pub added_files_count: Option<i32>,
    pub existing_files_count: Option<i32>,
    pub deleted_files_count: Option<i32>,
    pub added_rows_count: Option<i64>,
    pub existing_rows_count: Option<i64>,
    pub deleted_rows_count: Option<i64>,
    pub partitions: Option<Vec<FieldSummary>>,
    pub key_metadata: Option<Vec<u8>>,
    pub first_row_id: Option<i64>,
    /// Fields of the list this crate does not know, carried byte for byte.
    pub carried: Carried,
}

impl ManifestFile {
    /// The sequence number of a manifest no list holds yet.
    pub const UNASSIGNED: i64 = -1;

    /// Live files (added and existing), where the list counts them.
    pub fn live_files_count(&self) -> Option<i64> {
        Some(i64::from(self.added_files_count?) + i64::from(self.existing_files_count?))
    }

    /// Whether its list tells all of its counts.
    pub fn counted(&self) -> bool {
        let files = self.files_counts().iter().all(Option::is_some);
        files && self.rows_counts().iter().all(Option::is_some)
    }

    /// Whether its list says nothing of it that one made of several could not say.
    pub fn mergeable(&self) -> bool {
        let carries = !self.carried.fields.is_empty() || self.carried.summaries_lossy;
        !carries && self.first_row_id.is_none()
    }

    /// Added, existing, deleted: the order of lists.
    pub(super) fn files_counts(&self) -> [Option<i32>; 3] {
        [
            self.added_files_count,
            self.existing_files_count,
            self.deleted_files_count,
        ]
    }

    /// Added, existing, deleted: the order of lists.
    pub(super) fn rows_counts(&self) -> [Option<i64>; 3] {
        [
            self.added_rows_count,
            self.existing_rows_count,
            self.deleted_rows_count,
        ]
    }

    /// A manifest of which a list has said nothing yet: empty, and of data.
    pub fn blank() -> Self {
        Self {
            manifest_path: String::new(),
            manifest_length: 0,
            partition_spec_id: 0,
            content: ManifestContent::Data,
            sequence_number: 0,
            min_sequence_number: 0,
            added_snapshot_id: 0,
            added_files_count: None,
            existing_files_count: None,
            deleted_files_count: None,
            added_rows_count: None,
            existing_rows_count: None,
            deleted_rows_count: None,
            partitions: None,
            key_metadata: None,
            first_row_id: None,
            carried: Carried::default(),
        }
    }
}

/// Fields of a manifest list entry this crate does not know: carried, never read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    pub(crate) fields: Vec<CarriedField>,
    /// The partition summaries hold fields we do not know, which we could not write again.
    pub(crate) summaries_lossy: bool,
}

/// One unknown field: its Avro schema as it was written, and its encoded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CarriedField {
    pub(crate) schema: Arc<serde_json::Value>,
    pub(crate) encoded: Vec<u8>,
}

/// One file of one manifest, with sequence numbers and snapshot id inherited where they were null.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub status: EntryStatus,
    /// The snapshot that added (or, for `Deleted`, removed) the file.
    pub snapshot_id: Option<i64>,
    /// The data sequence number: what deletes are compared with.
    pub sequence_number: i64,
    pub file_sequence_number: i64,
    pub file: DataFile,
}

/// A data or delete file as its manifest describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFile {
    pub content: Content,
    pub file_path: String,
    /// As written, e.g. `PARQUET`; compare without case.
    pub file_format: String,
    pub spec_id: i32,
    /// One value per field of the partition spec, in its order.
    pub partition: Vec<Option<Literal>>,
    pub record_count: u64,
    pub file_size_in_bytes: u64,
    pub column_sizes: ColumnMap<i64>,
    pub value_counts: ColumnMap<i64>,
    pub null_value_counts: ColumnMap<i64>,
    pub nan_value_counts: ColumnMap<i64>,
    /// Iceberg single-value serialization by column id.
    pub lower_bounds: ColumnMap<Bound>,
    /// Iceberg single-value serialization by column id.
    pub upper_bounds: ColumnMap<Bound>,
    pub key_metadata: Option<Vec<u8>>,
    pub split_offsets: Option<Vec<i64>>,
    pub equality_ids: Option<Vec<i32>>,
    pub sort_order_id: Option<i32>,
    pub first_row_id: Option<i64>,
    /// The one data file all deletes of this file refer to.
    pub referenced_data_file: Option<String>,
    pub content_offset: Option<i64>,
    pub content_size_in_bytes: Option<i64>,
}

impl DataFile {
    /// A Parquet file without partition values, metrics or anything else optional.
    pub fn new(content: Content, file_path: impl Into<String>) -> Self {
        Self {
            content,
            file_path: file_path.into(),
            file_format: "PARQUET".to_owned(),
            spec_id: 0,
            partition: Vec::new(),
            record_count: 0,
            file_size_in_bytes: 0,
            column_sizes: ColumnMap::new(),
            value_counts: ColumnMap::new(),
            null_value_counts: ColumnMap::new(),
            nan_value_counts: ColumnMap::new(),
            lower_bounds: ColumnMap::new(),
            upper_bounds: ColumnMap::new(),
            key_metadata: None,
            split_offsets: None,
            equality_ids: None,
            sort_order_id: None,
            first_row_id: None,
            referenced_data_file: None,
            content_offset: None,
            content_size_in_bytes: None,
        }
    }
}

/// Which fields of an entry a reader decodes; the others are skipped and stay empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    pub(crate) metrics: bool,
}

impl Fields {
    /// Everything but the metric maps (sizes, counts, bounds). Bounds of delete files are kept:
    /// they say which data file a position delete file refers to.
    pub const PLAN: Self = Self { metrics: false };
    /// Everything.
    pub const ALL: Self = Self { metrics: true };
}
