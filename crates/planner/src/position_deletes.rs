//! `rewrite_position_delete_files`: which delete files of a partition become few, and why the others
//! stay (`lake.md` section 5).
//!
//! Pure: [`plan`] reads the live files of a snapshot. The rules of sizes and groups are those of
//! Java's `SizeBasedFileRewritePlanner`, as for data files.

mod options;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use metadata::{Content, Literal, LiveFile, LiveFiles, TableMetadata, is_typed};
use model::Advice;
use serde::{Deserialize, Serialize};

use crate::BadOption;
use crate::dangling::live_bytes;
use crate::rewrite::{Capacity, first_fit, path_of_bounds, unreadable};
pub use options::{OPTIONS, Options};

const TARGET_KEY: &str = "write.delete.target-file-size-bytes";
/// 64 MiB.
const TARGET_DEFAULT: u64 = 67_108_864;
/// What a position takes in memory: 8 bytes, twice that while they are collected, and encoded.
const POSITION_BYTES: u64 = 24;
/// What an execution holds beside them.
const MEMORY_BYTES: u64 = 64 << 20;

const RIGHT_SIZE: &str = "neither small nor large";
const TOO_FEW: &str = "fewer than min-input-files in its partition";
const UNTYPED: &str = "of a partition spec whose types no schema tells any more";
const ELSEWHERE: &str = "of one data file that lies in another partition";
const UNREADABLE: &str = "not readable: encrypted, or not Parquet";

/// A rewrite pinned to one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The table's full key (`namespace.table`).
    pub table: String,
    pub table_uuid: String,
    /// The snapshot planned on; `None` when the table has none.
    pub snapshot_id: Option<i64>,
    pub options: Options,
    /// The size a new delete file should have, in bytes.
    pub target_size_bytes: u64,
    /// A delete file above this is split.
    pub max_size_bytes: u64,
    pub groups: Vec<Group>,
    /// Position delete files that stay, counted by reason.
    pub kept: BTreeMap<String, u64>,
    /// Estimated peak memory, in bytes.
    pub memory_bytes: u64,
}

/// Delete files of one partition that are rewritten together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub spec_id: i32,
    pub partition: Vec<Option<Literal>>,
    /// As in paths; empty when unpartitioned.
    pub partition_path: String,
    pub inputs: Vec<Input>,
}

/// A delete file to be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub path: String,
    pub bytes: u64,
    /// Deletes in it.
    pub records: u64,
}

impl Group {
    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        let bytes = self.inputs.iter().map(|input| input.bytes);
        bytes.fold(0, u64::saturating_add)
    }

    /// Deletes in its files.
    pub fn records(&self) -> u64 {
        let records = self.inputs.iter().map(|input| input.records);
        records.fold(0, u64::saturating_add)
    }
}

impl Plan {
    /// Why there is nothing to do, when there is nothing.
    pub fn nothing(&self) -> Option<&str> {
        self.groups.is_empty().then_some(if self.kept.is_empty() {
            "the table has no position delete files"
        } else {
            "no position delete files are worth a rewrite"
        })
    }

    /// Files rewritten, in all groups.
    pub fn inputs(&self) -> u64 {
        let inputs = self.groups.iter().map(|group| group.inputs.len() as u64);
        inputs.sum()
    }

    pub(crate) fn message(&self) -> String {
        let bytes = self.groups.iter().map(Group::bytes);
        format!(
            "would rewrite {} position delete files ({} bytes) in {} groups, and keep {}",
            self.inputs(),
            bytes.fold(0, u64::saturating_add),
            self.groups.len(),
            self.kept.values().sum::<u64>()
        )
    }
}

/// The table or the options rule a rewrite out; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "the table has format version {0}; rewrite_position_delete_files supports versions 1 and 2 in \
         this version"
    )]
    FormatVersion(u8),
    #[error(transparent)]
    Option(#[from] BadOption),
}

impl Refused {
    /// Neither the table nor the options change by trying again.
    pub fn advice(&self) -> Advice {
        match self {
            Self::FormatVersion(_) | Self::Option(_) => Advice::GiveUp,
        }
    }
}

/// Plans a rewrite in the table's current snapshot, of which `live` are the files.
pub fn plan(
    table: &TableMetadata,
    key: &str,
    live: &LiveFiles,
    options: &Options,
) -> Result<Plan, Refused> {
    let version = table.format_version();
    if version > 2 {
        return Err(Refused::FormatVersion(version));
    }
    let target = options.target_file_size_bytes.unwrap_or(target(table));
    let (min, max) = options.sizes(target)?;
    let mut kept = BTreeMap::new();
    let partitions = candidates(table, live, (min, max, options.rewrite_all), &mut kept);
    let mut keep = |why: &str, files| *kept.entry(why.to_owned()).or_default() += files;
    let mut groups = Vec::new();
    for ((spec_id, partition), mut files) in partitions {
        files.sort_by_key(|live| (live.sequence_number, live.file.file_path.as_str()));
        let path = table.spec(spec_id).map(|spec| spec.path(partition));
        for inputs in binned(&files, options.group_bytes_max) {
            let group = Group {
                spec_id,
                partition: partition.to_vec(),
                partition_path: path.clone().unwrap_or_default(),
                inputs,
            };
            let count = group.inputs.len();
            let large = group.inputs.iter().any(|input| input.bytes > max);
            let many = count > 1 && (count >= options.min_input_files || group.bytes() > target);
            if many || large || options.rewrite_all {
                groups.push(group);
            } else {
                keep(TOO_FEW, count as u64);
            }
        }
    }
    let bytes = |group: &Group| {
        let positions = group.records().saturating_mul(POSITION_BYTES);
        positions.saturating_add(group.bytes())
    };
    let most = groups.iter().map(bytes).max().unwrap_or(0);
    Ok(Plan {
        table: key.to_owned(),
        table_uuid: table.uuid().to_owned(),
        snapshot_id: table.current_snapshot().map(|now| now.snapshot_id),
        options: options.clone(),
        target_size_bytes: target,
        max_size_bytes: max,
        groups,
        kept,
        memory_bytes: live_bytes(live)
            .saturating_add(most)
            .saturating_add(MEMORY_BYTES),
    })
}

type Partitions<'a> = BTreeMap<Place<'a>, Vec<&'a LiveFile>>;

/// The files that may be rewritten, by partition; the others are counted with their reason.
fn candidates<'a>(
    table: &TableMetadata,
    live: &'a LiveFiles,
    (min, max, all): (u64, u64, bool),
    kept: &mut BTreeMap<String, u64>,
) -> Partitions<'a> {
    let mut keep = |why: &str, files| *kept.entry(why.to_owned()).or_default() += files;
    let data = live.data.iter().map(|data| {
        let file = &data.file;
        (file.file_path.as_str(), (file.spec_id, &*file.partition))
    });
    let places: HashMap<&str, Place<'_>> = data.collect();
    let mut partitions: Partitions<'_> = BTreeMap::new();
    for delete in &live.deletes {
        let file = &delete.file;
        let small_or_large = file.file_size_in_bytes < min || file.file_size_in_bytes > max;
        if file.content != Content::PositionDeletes {
            continue;
        }
        if unreadable(delete).is_some() {
            keep(UNREADABLE, 1);
        } else if names_elsewhere(delete, |path| places.get(path).copied()) {
            keep(ELSEWHERE, 1);
        } else if !is_typed(table, file.spec_id) {
            keep(UNTYPED, 1);
        } else if !small_or_large && !all {
            keep(RIGHT_SIZE, 1);
        } else {
            let place = (file.spec_id, &*file.partition);
            partitions.entry(place).or_default().push(delete);
        }
    }
    partitions
}

/// A spec and the partition values under it.
pub type Place<'a> = (i32, &'a [Option<Literal>]);

/// Readers apply such a file by the path it names; among others of its partition it would not reach
/// that any more.
pub fn names_elsewhere<'a>(
    delete: &LiveFile,
    place_of: impl Fn(&str) -> Option<Place<'a>>,
) -> bool {
    let file = &delete.file;
    let named = file.referenced_data_file.as_deref();
    let place = named.or_else(|| path_of_bounds(delete)).and_then(place_of);
    place.is_some_and(|place| place != (file.spec_id, &*file.partition))
}

fn target(table: &TableMetadata) -> u64 {
    let target = table
        .property(TARGET_KEY)
        .and_then(|value| value.parse().ok());
    target
        .filter(|target| *target > 0)
        .unwrap_or(TARGET_DEFAULT)
}

/// The files in bins of at most so many bytes.
fn binned(files: &[&LiveFile], bytes_max: u64) -> Vec<Vec<Input>> {
    let sizes: Vec<u64> = files
        .iter()
        .map(|live| live.file.file_size_in_bytes)
        .collect();
    let capacity = Capacity {
        bytes: bytes_max,
        files: usize::MAX,
    };
    let input = |at: &usize| {
        let file = &files[*at].file;
        Input {
            path: file.file_path.clone(),
            bytes: file.file_size_in_bytes,
            records: file.record_count,
        }
    };
    let bins = first_fit(&sizes, capacity);
    bins.iter()
        .map(|bin| bin.iter().map(input).collect())
        .collect()
}
