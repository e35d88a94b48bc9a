//! The metadata document: kept as it was read, with typed views over it.
//!
//! [`TableMetadata::parse`] checks what every reader relies on; [`TableMetadata::apply`] makes the
//! next document and leaves what it does not know as it is.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};

use crate::json::At;
use crate::{Error, PartitionSpec, Schema};

mod log;
mod new;
mod snapshot;
#[cfg(test)]
mod tests;
mod view;
mod weight;

pub use log::{LogEntry, SnapshotLogEntry, StatisticsFile};
pub use snapshot::{Ref, RefKind, Snapshot, SortField, SortOrder};
use view::View;
pub use weight::Weight;

/// The branch readers see when they name none.
pub(crate) const MAIN: &str = "main";
/// Longest document read, unpacked, in bytes: beyond it is an attack or a broken file.
const DOCUMENT_BYTES_MAX: u64 = 512 << 20;
/// How a document's errors call it.
const WHAT: &str = "table metadata";
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const PREVIOUS_VERSIONS_MAX: &str = "write.metadata.previous-versions-max";
/// Java's default of [`PREVIOUS_VERSIONS_MAX`].
const PREVIOUS_VERSIONS_MAX_DEFAULT: usize = 100;

/// One version of a table's metadata.
#[derive(Clone)]
pub struct TableMetadata {
    raw: Map<String, Value>,
    view: View,
}

impl TableMetadata {
    /// Reads a metadata.json, plain or gzipped.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable {
            at: WHAT.to_owned(),
            source,
        };
        let unpacked;
        let mut text = bytes;
        if bytes.starts_with(&GZIP_MAGIC) {
            let mut buffer = Vec::new();
            let mut packed = MultiGzDecoder::new(bytes).take(DOCUMENT_BYTES_MAX + 1);
            packed
                .read_to_end(&mut buffer)
                .map_err(|error| unreadable(error.into()))?;
            unpacked = buffer;
            text = &unpacked;
        }
        if text.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(Error::malformed(
                WHAT,
                format!("is longer than {DOCUMENT_BYTES_MAX} bytes"),
            ));
        }
        match crate::json::parse(text).map_err(|error| unreadable(error.into()))? {
            Value::Object(raw) => Self::from_raw(raw),
            other => At::root(&other, WHAT)
                .object()
                .map(|_| unreachable!("it is no object")),
        }
    }

    pub(crate) fn from_raw(raw: Map<String, Value>) -> Result<Self, Error> {
        let value = Value::Object(raw);
        let view = View::read(At::root(&value, WHAT))?;
        let Value::Object(raw) = value else {
            unreachable!("it was made an object above")
        };
        Ok(Self { raw, view })
    }

    /// The document as JSON; fields this version does not know are in it, in their places.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.raw).expect("text keys and JSON values always serialise")
    }

    /// The document as gzipped JSON, for a name that ends in `.gz.metadata.json`.
    pub fn to_gzip(&self) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed
            .write_all(&self.to_json())
            .and_then(|()| packed.finish())
            .expect("writing to memory does not fail")
    }

    /// 1, 2 or 3.
    pub fn format_version(&self) -> u8 {
        self.view.format_version
    }

    /// The table's identity; empty in a v1 document that has none.
    pub fn uuid(&self) -> &str {
        &self.view.uuid
    }

    /// Base location, as it was written.
    pub fn location(&self) -> &str {
        &self.view.location
    }

    /// The highest sequence number given so far; 0 in format v1.
    pub fn last_sequence_number(&self) -> i64 {
        self.view.last_sequence_number
    }

    pub fn last_updated_ms(&self) -> i64 {
        self.view.last_updated_ms
    }

    pub fn last_column_id(&self) -> i32 {
        self.view.last_column_id
    }

    /// The highest partition field id given so far; 999 when none was.
    pub fn last_partition_id(&self) -> i32 {
        self.view.last_partition_id
    }

    pub fn schemas(&self) -> &[Arc<Schema>] {
        &self.view.schemas
    }

    pub fn schema(&self, id: i32) -> Option<&Arc<Schema>> {
        self.view
            .schemas
            .iter()
            .find(|schema| schema.schema_id == id)
    }

    pub fn current_schema(&self) -> &Arc<Schema> {
        &self.view.schemas[self.view.current_schema]
    }

    pub fn specs(&self) -> &[Arc<PartitionSpec>] {
        &self.view.specs
    }

    pub fn spec(&self, id: i32) -> Option<&Arc<PartitionSpec>> {
        self.view.specs.iter().find(|spec| spec.spec_id == id)
    }

    pub fn default_spec(&self) -> &Arc<PartitionSpec> {
        &self.view.specs[self.view.default_spec]
    }

    pub fn sort_orders(&self) -> &[SortOrder] {
        &self.view.sort_orders
    }

    pub fn default_sort_order_id(&self) -> i32 {
        self.view.default_sort_order_id
    }

    pub fn properties(&self) -> &BTreeMap<String, String> {
        &self.view.properties
    }

    pub fn property(&self, key: &str) -> Option<&str> {
        self.view.properties.get(key).map(String::as_str)
    }

    pub fn snapshots(&self) -> &[Snapshot] {
        &self.view.snapshots
    }

    pub fn snapshot(&self, id: i64) -> Option<&Snapshot> {
        self.view
            .snapshot_at
            .get(&id)
            .map(|at| &self.view.snapshots[*at])
    }

    /// The snapshot `main` names; `None` for an empty table.
    pub fn current_snapshot(&self) -> Option<&Snapshot> {
        self.view
            .refs
            .get(MAIN)
            .and_then(|main| self.snapshot(main.snapshot_id))
    }

    pub fn refs(&self) -> &BTreeMap<String, Ref> {
        &self.view.refs
    }

    /// The snapshot with this id and its parents, newest first, as far as they are kept.
    pub fn history(&self, snapshot_id: i64) -> impl Iterator<Item = &Snapshot> {
        let parent = |snapshot: &&Snapshot| self.snapshot(snapshot.parent_snapshot_id?);
        // A document whose parents form a ring must not make us walk for ever.
        std::iter::successors(self.snapshot(snapshot_id), parent).take(self.view.snapshots.len())
    }

    /// Format v3: the next row id.
    pub fn next_row_id(&self) -> Option<i64> {
        self.view.next_row_id
    }

    /// Statistics files, at most one a snapshot.
    pub fn statistics(&self) -> &[StatisticsFile] {
        &self.view.statistics
    }

    /// Partition statistics files, at most one a snapshot.
    pub fn partition_statistics(&self) -> &[StatisticsFile] {
        &self.view.partition_statistics
    }

    /// Earlier metadata files of the table, oldest first, as far as they are kept.
    pub fn metadata_log(&self) -> &[LogEntry] {
        &self.view.metadata_log
    }

    /// Which snapshot became the current one when, oldest first.
    pub fn snapshot_log(&self) -> &[SnapshotLogEntry] {
        &self.view.snapshot_log
    }

    /// Notes the metadata file this document replaces, and forgets the oldest ones beyond
    /// `write.metadata.previous-versions-max`. What a catalog without a server does at commit.
    #[must_use]
    pub fn with_metadata_log(mut self, previous_location: &str, previous_updated_ms: i64) -> Self {
        let max = self
            .property(PREVIOUS_VERSIONS_MAX)
            .and_then(|max| max.parse().ok());
        let max = max.unwrap_or(PREVIOUS_VERSIONS_MAX_DEFAULT).max(1);
        let entry = LogEntry {
            timestamp_ms: previous_updated_ms,
            metadata_file: previous_location.to_owned(),
        };
        let log = self.raw.entry("metadata-log").or_insert_with(|| json!([]));
        if !log.is_array() {
            *log = json!([]);
        }
        if let Value::Array(entries) = log {
            entries.push(entry.to_json());
            entries.drain(..entries.len().saturating_sub(max));
        }
        let read = &mut self.view.metadata_log;
        read.push(entry);
        read.drain(..read.len().saturating_sub(max));
        self
    }

    pub(crate) fn raw(&self) -> &Map<String, Value> {
        &self.raw
    }
}

/// Two documents are equal when nothing in them differs, known or unknown.
impl PartialEq for TableMetadata {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl fmt::Debug for TableMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableMetadata")
            .field("uuid", &self.uuid())
            .field("location", &self.location())
            .field(
                "snapshot",
                &self.current_snapshot().map(|snapshot| snapshot.snapshot_id),
            )
            .finish_non_exhaustive()
    }
}

type Places = HashMap<i64, usize>;
