//! `rewrite_data_files` by binpack: which files, in which groups, and why not the others.

use std::collections::BTreeMap;

use metadata::Literal;
use serde::{Deserialize, Serialize};

use crate::BadOption;

/// The options as asked; `None` means the table's property, then the default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {}

impl Options {
    pub fn parse(_options: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        Ok(Self {})
    }
}

/// A rewrite pinned to one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The table's full key (`namespace.table`).
    pub table: String,
    pub table_uuid: String,
    /// S0: the snapshot planned on; `None` for an empty table.
    pub snapshot_id: Option<i64>,
    /// S0's sequence number: the data sequence number of every output.
    pub sequence_number: i64,
    pub schema_id: i32,
    pub output_spec_id: i32,
    pub target_file_size_bytes: u64,
    pub groups: Vec<Group>,
    /// What was looked at and not chosen, with counts per reason.
    pub skipped: Vec<Skipped>,
    /// Groups per commit; `None` = one commit for all.
    pub groups_per_commit: Option<usize>,
    pub failed_commits_max: usize,
    pub concurrent_groups_max: usize,
    pub use_starting_sequence_number: bool,
    pub remove_dangling_deletes: bool,
    /// Estimated peak memory, in bytes.
    pub memory_bytes: u64,
}

impl Plan {
    /// Why there is nothing to do, when no group was planned.
    pub fn nothing(&self) -> Option<&str> {
        if self.groups.is_empty() {
            Some(self.skipped.first().map_or("the table has no data files", |skipped| &skipped.reason))
        } else {
            None
        }
    }
}

/// Files rewritten together: one spec, one partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub spec_id: i32,
    pub partition: Vec<Option<Literal>>,
    /// The partition for people, `region=eu/day=2026-01-01`; empty when unpartitioned.
    pub partition_path: String,
    pub inputs: Vec<Input>,
    /// How many files the group should become.
    pub output_files: usize,
    /// Why the group was chosen.
    pub reason: String,
}

/// One data file of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    pub path: String,
    pub bytes: u64,
    pub records: u64,
    pub sequence_number: i64,
    /// Position delete files that may apply to it.
    pub deletes: Vec<String>,
}

/// Files left alone, counted by reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub partition_path: String,
    pub files: usize,
    pub bytes: u64,
    pub reason: String,
}
