//! Delete files: what they add up to, and how much of it each data file has to apply.
//!
//! Follows the specification ("Scan Planning") as `planner::rewrite` does: a position delete file
//! applies to files of its partition that are not newer, an equality delete file to older ones of
//! its partition, or of all when its spec is unpartitioned.

use std::collections::{HashMap, HashSet};

use model::health::Thresholds;

use super::files::{Group, group_of, number_of};
use crate::{Content, DataFile, Entry, TableMetadata, Transform};

/// Delete files told apart; further ones are counted, but make no data file heavy.
const DELETES_MAX: usize = 1 << 20;
/// Field id of `file_path` in position delete files (Iceberg spec, "Reserved Field IDs").
const FILE_PATH_ID: i32 = 2_147_483_546;

/// What live delete files add up to.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) position_records: u64,
    pub(super) equality_records: u64,
}

/// Delete files by what they apply to; sequence numbers, and the rows of those that name a file.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_path: HashMap<u64, Vec<(i64, u64)>>,
    wide: HashMap<Group, Vec<i64>>,
    equality: HashMap<Group, Vec<i64>>,
    global: Vec<i64>,
    indexed: usize,
}

/// What the manifests of delete files tell.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) counts: Counts,
    pub(super) index: Index,
}

/// What one data file has to apply.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weight {
    files: u64,
    /// Rows of delete files that name this data file.
    records: u64,
}

impl Weight {
    pub(super) fn reaches(self, thresholds: &Thresholds, file: &DataFile) -> bool {
        let share = self.records as f64 / file.record_count as f64;
        let many = self.files > 0 && self.files >= u64::from(thresholds.delete_file_threshold);
        many || (self.records > 0
            && file.record_count > 0
            && share >= thresholds.delete_ratio_threshold)
    }
}

/// Specs whose equality deletes apply to every partition.
pub(super) fn global_specs(table: &TableMetadata) -> HashSet<i32> {
    let global = table.specs().iter().filter(|spec| {
        let mut fields = spec.fields.iter();
        fields.all(|field| field.transform == Transform::Void)
    });
    global.map(|spec| spec.spec_id).collect()
}

impl Found {
    pub(super) fn add(&mut self, entry: &Entry, global: &HashSet<i32>) {
        let file = &entry.file;
        let counts = &mut self.counts;
        counts.files += 1;
        // Deletion vectors share a Puffin file: each has its part of it.
        let part = file
            .content_size_in_bytes
            .and_then(|size| u64::try_from(size).ok());
        let bytes = part.unwrap_or(file.file_size_in_bytes);
        counts.bytes = counts.bytes.saturating_add(bytes);
        let records = match file.content {
            Content::EqualityDeletes => &mut counts.equality_records,
            Content::PositionDeletes | Content::Data => &mut counts.position_records,
        };
        *records = records.saturating_add(file.record_count);
        self.index.add(entry, global);
    }

    pub(super) fn merge(&mut self, other: Self) {
        let counts = &mut self.counts;
        counts.files += other.counts.files;
        counts.bytes = counts.bytes.saturating_add(other.counts.bytes);
        counts.position_records = counts
            .position_records
            .saturating_add(other.counts.position_records);
        counts.equality_records = counts
            .equality_records
            .saturating_add(other.counts.equality_records);
        self.index.merge(other.index);
    }
}

impl Index {
    fn add(&mut self, entry: &Entry, global: &HashSet<i32>) {
        if self.indexed >= DELETES_MAX {
            return;
        }
        self.indexed += 1;
        let (file, number) = (&entry.file, entry.sequence_number);
        if file.content == Content::EqualityDeletes {
            if global.contains(&file.spec_id) {
                self.global.push(number);
            } else {
                self.equality
                    .entry(group_of(file))
                    .or_default()
                    .push(number);
            }
        } else if let Some(path) = path_of(file) {
            let there = self.by_path.entry(number_of(path)).or_default();
            there.push((number, file.record_count));
        } else {
            self.wide.entry(group_of(file)).or_default().push(number);
        }
    }

    fn merge(&mut self, other: Self) {
        if self.indexed >= DELETES_MAX {
            return;
        }
        self.indexed += other.indexed;
        for (path, deletes) in other.by_path {
            self.by_path.entry(path).or_default().extend(deletes);
        }
        for (group, numbers) in other.wide {
            self.wide.entry(group).or_default().extend(numbers);
        }
        for (group, numbers) in other.equality {
            self.equality.entry(group).or_default().extend(numbers);
        }
        self.global.extend(other.global);
    }

    /// Once all is in it, before [`Self::weigh`].
    pub(super) fn sort(&mut self) {
        self.wide
            .values_mut()
            .for_each(|numbers| numbers.sort_unstable());
        self.equality
            .values_mut()
            .for_each(|numbers| numbers.sort_unstable());
        self.global.sort_unstable();
    }

    pub(super) fn weigh(&self, data: &Entry) -> Weight {
        let mut weight = Weight::default();
        if self.indexed == 0 {
            return weight;
        }
        let own = data.sequence_number;
        let path = number_of(data.file.file_path.as_str());
        for (number, records) in self.by_path.get(&path).into_iter().flatten() {
            if own <= *number {
                weight.files += 1;
                weight.records = weight.records.saturating_add(*records);
            }
        }
        let group = group_of(&data.file);
        let from = |numbers: &[i64], first: i64| {
            (numbers.len() - numbers.partition_point(|number| *number < first)) as u64
        };
        let newer = own.saturating_add(1);
        weight.files += self
            .wide
            .get(&group)
            .map_or(0, |numbers| from(numbers, own));
        weight.files += self
            .equality
            .get(&group)
            .map_or(0, |numbers| from(numbers, newer));
        weight.files += from(&self.global, newer);
        weight
    }
}

/// The one data file that a position delete file speaks of, where it says so.
fn path_of(file: &DataFile) -> Option<&str> {
    if let Some(path) = &file.referenced_data_file {
        return Some(path);
    }
    let lower = file.lower_bounds.get(&FILE_PATH_ID)?;
    let upper = file.upper_bounds.get(&FILE_PATH_ID)?;
    (lower == upper).then(|| str::from_utf8(lower).ok())?
}
