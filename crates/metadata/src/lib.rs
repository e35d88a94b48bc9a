//! What an Iceberg table *is*: metadata documents, manifests and manifest lists.
//!
//! Lossless: fields we do not know survive a commit, and an entry we carry keeps every field.
//! No Arrow, no Parquet, no catalogs, no decisions. PyIceberg is the oracle of every byte.

mod avro;
mod change;
mod document;
mod error;
mod facts;
mod json;
mod literal;
mod manifest;
mod measure;
mod scan;
mod schema;
mod spec;

pub use change::{Requirement, Update};
pub use document::{
    LogEntry, Ref, RefKind, Snapshot, SnapshotLogEntry, SortField, SortOrder, StatisticsFile,
    TableMetadata, Weight,
};
pub use error::Error;
pub use facts::{TARGET_FILE_SIZE_DEFAULT, TARGET_FILE_SIZE_KEY, TableFacts, small_below};
pub use literal::Literal;
pub use manifest::{
    Bound, Carried, ColumnMap, Content, DataFile, Entry, EntryStatus, FieldSummary, Fields,
    Gathered, ManifestContent, ManifestFile, ManifestWriter, Merge, Rewritten, Shape, check_codec,
    counted, is_typed, read_manifest, read_manifest_list, rewrite_manifest, write_manifest_list,
};
pub use measure::{
    MANIFEST_TARGET_MAX, MANIFESTS_READ_MAX, Measuring, manifest_target, measure,
    small_manifest_below, snapshot_stats,
};
pub use scan::{LiveFile, LiveFiles, live_files};
pub use schema::{Field, Primitive, Schema, StructType, Type};
pub use spec::{PartitionField, PartitionSpec, Transform};
