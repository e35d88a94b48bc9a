//! What is measured on a table, in the words of health payloads. Counted, never judged.

use serde::{Deserialize, Serialize};

/// Counts of one table at one metadata file. Sizes are bytes, times milliseconds since the epoch.
///
/// Everything but [`FileStats::small_file_count`] and what follows it there comes from
/// metadata.json and the manifest list; those few need manifests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub table_uuid: String,
    pub metadata_location: String,
    pub format_version: u8,
    /// Size of metadata.json.
    pub metadata_bytes: u64,
    /// When the table last changed (`last-updated-ms`).
    pub last_updated_ms: i64,
    pub current_snapshot_id: Option<i64>,
    pub file_stats: FileStats,
    pub delete_stats: DeleteStats,
    /// Rows in data files, deleted ones included.
    pub total_records: u64,
    pub snapshot_count: u64,
    pub snapshot_stats: SnapshotStats,
    /// Of the current snapshot.
    pub manifest_count: u64,
    pub manifest_stats: ManifestStats,
    /// The last snapshot within the last days that rewrote files and is not Snowpack's.
    pub rival: Option<Rival>,
    /// What files were compared with.
    pub thresholds: Thresholds,
}

/// What a rewrite of the table would choose files by: counts made with others do not compare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    pub target_file_size_bytes: u64,
    /// Fewer small files together are not worth a rewrite.
    pub min_input_files: u32,
    /// Delete files that apply to one data file and make it worth a rewrite.
    pub delete_file_threshold: u32,
    /// Share of a data file's rows, 0 to 1, that are deleted and make it worth a rewrite.
    pub delete_ratio_threshold: f64,
}

/// Of the current snapshot's data files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileStats {
    pub total_data_files: u64,
    pub total_delete_files: u64,
    /// Of data files.
    pub total_size_bytes: u64,
    pub avg_file_size_bytes: u64,
    /// Data files below 0.75 x target.
    pub small_file_count: u64,
    /// Of data files, 0 to 100.
    pub small_file_pct: f64,
    /// Small files that a rewrite would put together: a partition of the current spec has enough
    /// of them, or all other specs together have, for those move to the current one.
    pub compactable_file_count: u64,
    pub compactable_bytes: u64,
    /// The target the files were compared with.
    pub target_file_size_bytes: u64,
    /// Manifests opened; fewer than there are means that counts were scaled up from a sample.
    pub manifests_read: u64,
}

/// Of the current snapshot's delete files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteStats {
    pub position_delete_records: u64,
    pub equality_delete_records: u64,
    /// Delete files of equality deletes, deletion vectors and position deletes together.
    pub delete_bytes: u64,
    /// Data files whose deletes reach a threshold.
    pub heavy_file_count: u64,
}

/// What history costs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotStats {
    pub oldest_snapshot_ms: Option<i64>,
    /// Snapshots an expiry with the table's effective settings would take.
    pub expirable_count: u64,
    /// Bytes only they hold, as far as snapshot summaries tell.
    pub expirable_bytes: u64,
}

/// What planning a scan costs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ManifestStats {
    /// Of all manifests of the current snapshot.
    pub total_bytes: u64,
    /// Manifests smaller than half of `commit.manifest.target-size-bytes`.
    pub small_count: u64,
    /// Live files whose manifest is of another spec than the table's current one.
    pub old_spec_file_count: u64,
}

/// Another maintainer of the table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rival {
    /// `engine-name` of the snapshot's summary, else what tells it apart.
    pub name: String,
    pub snapshot_id: i64,
    pub at_ms: i64,
}
