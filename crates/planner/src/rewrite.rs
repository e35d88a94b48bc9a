//! `rewrite_data_files`: which files, in which groups, and why not the others.
//!
//! Pure: [`plan`] reads a table's metadata and the list of its live files, nothing else, and the
//! same facts always give the same plan, in whatever order the files are listed.
//! [`Options::parse`] checks what the user asked, [`OPTIONS`] describes it. Defaults and size rules
//! are those of Iceberg's `RewriteDataFiles` for Spark (`SizeBasedFileRewritePlanner`,
//! `BinPackRewriteFilePlanner`).

mod decide;
mod deletes;
mod equality;
pub mod filter;
mod groups;
mod history;
mod keys;
mod moves;
mod options;
mod packing;
mod refused;
mod rules;
mod skips;
mod sorting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use metadata::Literal;
use serde::{Deserialize, Serialize};

pub use decide::plan;
pub use deletes::path_of_bounds;
pub(crate) use deletes::unreadable;
pub use equality::is_global;
pub use keys::key_column;
pub use moves::spread;
pub(crate) use options::max_of;
pub use options::{JobOrder, OPTIONS, Options, PartialProgress};
pub(crate) use packing::{Capacity, first_fit};
pub use refused::Refused;
pub use sorting::{SortKey, SortOptions, Sorting, Strategy, ZorderColumn};

/// Snapshot summary key under which a commit stores [`Plan::rules`].
pub const RULES_KEY: &str = "snowpack.rewrite-rules";

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
    /// Smaller files are candidates.
    pub min_file_size_bytes: u64,
    /// Larger files are candidates.
    pub max_file_size_bytes: u64,
    /// What the rows of each group are ordered by; `None` = as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sorting: Option<Sorting>,
    pub groups: Vec<Group>,
    /// What was looked at and not chosen, with counts per reason.
    pub skipped: Vec<Skipped>,
    /// Groups per commit; `None` = one commit for all.
    pub groups_per_commit: Option<usize>,
    pub failed_commits_max: usize,
    /// Groups rewritten at once; `None` = as many as the executing machine has cores.
    pub concurrent_groups_max: Option<usize>,
    pub use_starting_sequence_number: bool,
    pub remove_dangling_deletes: bool,
    /// Estimated peak memory, in bytes.
    pub memory_bytes: u64,
    /// The selection rules in one line. Goes into the summary of every snapshot committed for this
    /// plan under [`RULES_KEY`], so that the next plan knows what this one already looked at.
    pub rules: String,
}

impl Plan {
    /// Why there is nothing to do, when no group was planned: the reason most files were left for.
    pub fn nothing(&self) -> Option<&str> {
        if !self.groups.is_empty() {
            return None;
        }
        let mut files = BTreeMap::<&str, usize>::new();
        for skipped in &self.skipped {
            *files.entry(&skipped.reason).or_default() += skipped.files;
        }
        // The first of equals, so that the answer does not change from run to run.
        let most = files.iter().rev().max_by_key(|(_, files)| **files);
        Some(most.map_or("the table has no data files", |(reason, _)| reason))
    }

    pub(crate) fn message(&self) -> String {
        let inputs = || self.groups.iter().flat_map(|group| &group.inputs);
        format!(
            "would rewrite {} files ({} bytes) to {}, in {} groups",
            inputs().count(),
            inputs().map(|input| input.bytes).sum::<u64>(),
            self.groups
                .iter()
                .map(|group| group.output_files)
                .sum::<usize>(),
            self.groups.len()
        )
    }

    /// Data files that would be replaced.
    pub fn input_files(&self) -> usize {
        self.groups.iter().map(|group| group.inputs.len()).sum()
    }

    /// Bytes of the data files that would be replaced.
    pub fn input_bytes(&self) -> u64 {
        self.groups.iter().map(Group::input_bytes).sum()
    }

    /// Data files expected afterwards in place of [`Plan::input_files`].
    pub fn output_files(&self) -> usize {
        self.groups.iter().map(|group| group.output_files).sum()
    }
}

/// Where files lie: a spec and the partition values under it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub spec_id: i32,
    pub partition: Vec<Option<Literal>>,
}

/// Files rewritten together: of one spec and one partition, unless they move to another spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Where the inputs lie, each once; exactly one, the outputs' too, unless the group `moves`.
    pub places: Vec<Place>,
    /// The inputs are of other specs than [`Plan::output_spec_id`]: each row goes to the
    /// partition it has under that spec.
    pub moves: bool,
    /// The partition for people, `region=eu/day=2026-01-01`; empty when unpartitioned;
    /// `spec 0 -> 1` of a group that `moves`.
    pub partition_path: String,
    /// In the order their rows are written unless the plan has a [`Plan::sorting`], and then those of
    /// equal ones: by data sequence number, then path.
    pub inputs: Vec<Input>,
    /// Position delete files that may apply to inputs, by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub position_deletes: Vec<PositionDelete>,
    /// Equality delete files that may apply to inputs, oldest first.
    pub equality_deletes: Vec<EqualityDelete>,
    /// How many files the group should become, before its rows are looked at when it `moves`
    /// ([`spread`]). A group whose rows are all deleted becomes none.
    pub output_files: usize,
    /// What the outputs are expected to hold together, in bytes.
    pub output_bytes: u64,
    /// Why the group was chosen.
    pub reason: String,
}

impl Group {
    /// Where an input lies.
    pub fn place(&self, input: &Input) -> &Place {
        &self.places[input.place]
    }

    /// Where all outputs go; `None` when that depends on each row.
    pub fn output_place(&self) -> Option<&Place> {
        self.places.first().filter(|_| !self.moves)
    }

    pub fn input_bytes(&self) -> u64 {
        self.inputs.iter().map(|input| input.bytes).sum()
    }

    pub fn input_records(&self) -> u64 {
        self.inputs.iter().map(|input| input.records).sum()
    }
}

/// One data file of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    pub path: String,
    pub bytes: u64,
    pub records: u64,
    pub sequence_number: i64,
    /// Index into [`Group::places`].
    pub place: usize,
    /// Position delete files that may apply to it, oldest first.
    pub deletes: Vec<String>,
    /// Indices into [`Group::equality_deletes`] of those that apply to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equality_deletes: Vec<usize>,
}

/// One position delete file, as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionDelete {
    pub path: String,
    pub bytes: u64,
    pub records: u64,
}

/// One equality delete file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EqualityDelete {
    pub path: String,
    pub bytes: u64,
    pub records: u64,
    /// It deletes rows of files with a smaller one.
    pub sequence_number: i64,
    /// The ids of the columns whose values are compared, ascending.
    pub field_ids: Vec<i32>,
}

/// Files left alone, counted by reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Empty when unpartitioned; `*` stands for all partitions beyond the first
    /// thousand rows of this list.
    pub partition_path: String,
    pub files: usize,
    pub bytes: u64,
    pub reason: String,
}
