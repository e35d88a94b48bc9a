//! What a document remembers beside its snapshots: statistics files, earlier metadata files, and
//! which snapshot was current when.

use serde_json::{Value, json};

use crate::Error;
use crate::json::{At, optional};

/// A statistics or partition statistics file of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatisticsFile {
    pub snapshot_id: i64,
    pub statistics_path: String,
    pub file_size_in_bytes: Option<i64>,
}

impl StatisticsFile {
    pub(super) fn read(at: At<'_>) -> Result<Self, Error> {
        Ok(Self {
            snapshot_id: at.require("snapshot-id")?.i64()?,
            statistics_path: at.require("statistics-path")?.str()?.to_owned(),
            file_size_in_bytes: optional!(at, "file-size-in-bytes", i64),
        })
    }
}

/// An earlier metadata file of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When the earlier document was made.
    pub timestamp_ms: i64,
    pub metadata_file: String,
}

impl LogEntry {
    pub(super) fn read(at: At<'_>) -> Result<Self, Error> {
        Ok(Self {
            timestamp_ms: at.require("timestamp-ms")?.i64()?,
            metadata_file: at.require("metadata-file")?.str()?.to_owned(),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"timestamp-ms": self.timestamp_ms, "metadata-file": self.metadata_file})
    }
}

/// A snapshot that was made the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotLogEntry {
    pub timestamp_ms: i64,
    pub snapshot_id: i64,
}

impl SnapshotLogEntry {
    pub(super) fn read(at: At<'_>) -> Result<Self, Error> {
        Ok(Self {
            timestamp_ms: at.require("timestamp-ms")?.i64()?,
            snapshot_id: at.require("snapshot-id")?.i64()?,
        })
    }
}

/// The list at `key`; a document without it has none.
pub(super) fn listed<T>(
    at: At<'_>,
    key: &str,
    read: impl FnMut(At<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    match at.get(key)? {
        Some(list) => list.each(read),
        None => Ok(Vec::new()),
    }
}
