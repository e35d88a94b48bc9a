//! Which delete files may apply to which data file (Iceberg spec, "Scan Planning").
//!
//! A position delete file applies to a data file of the same spec and partition whose data sequence
//! number is not above its own; one that refers to a single data file applies to that file alone.
//! In doubt it applies: reading a delete file for nothing costs time, leaving one out revives rows.
//! Equality delete files are in `equality`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::str;

use metadata::{Content, Literal, LiveFile, LiveFiles, TableMetadata};

use super::Refused;
use super::equality::Equality;

/// Field id of `file_path` in position delete files (Iceberg spec, "Reserved Field IDs").
const FILE_PATH_ID: i32 = 2_147_483_546;

/// A spec and the partition values under it.
pub(super) type Partition<'a> = (i32, &'a [Option<Literal>]);

pub(super) fn partition(file: &LiveFile) -> Partition<'_> {
    (file.file.spec_id, &file.file.partition)
}

/// Refuses what cannot be applied yet: deletion vectors.
pub(super) fn refuse_unsupported(live: &LiveFiles) -> Result<(), Refused> {
    let vectors: Vec<&LiveFile> = live
        .deletes
        .iter()
        .filter(|delete| is_vector(delete))
        .collect();
    match vectors.first() {
        Some(example) => Err(Refused::DeletionVectors {
            files: vectors.len(),
            example: example.file.file_path.clone(),
        }),
        None => Ok(()),
    }
}

fn is_vector(delete: &LiveFile) -> bool {
    delete.file.file_format.eq_ignore_ascii_case("puffin")
}

/// The delete files of a snapshot, by what they may apply to.
#[derive(Debug)]
pub(super) struct Deletes<'a> {
    by_path: HashMap<&'a str, Vec<&'a LiveFile>>,
    /// Ordered by data sequence number.
    by_partition: BTreeMap<Partition<'a>, Vec<Wide<'a>>>,
    equality: Equality<'a>,
}

/// A delete file that is not scoped to one live data file.
#[derive(Debug)]
struct Wide<'a> {
    delete: &'a LiveFile,
    /// Its bounds name one path that is no live file's: surely dangling if the bounds are exact.
    /// It is applied all the same, for a writer may have cut the bounds, but not counted.
    dangling: bool,
}

/// What may apply to one data file.
#[derive(Debug, Default)]
pub(super) struct Applying<'a> {
    /// Position delete files, oldest first.
    pub(super) files: Vec<&'a LiveFile>,
    /// Equality delete files, oldest first.
    pub(super) equality: Vec<&'a LiveFile>,
    /// Those that can name the file's rows: a delete file committed before the data file cannot.
    pub(super) count: usize,
    /// Rows surely aimed at by delete files scoped to this file.
    pub(super) known_records: u64,
    /// Why the deletes cannot be applied.
    pub(super) unusable: Option<String>,
}

impl<'a> Deletes<'a> {
    pub(super) fn index(table: &TableMetadata, live: &'a LiveFiles) -> Self {
        let paths: HashSet<&str> = live
            .data
            .iter()
            .map(|f| f.file.file_path.as_str())
            .collect();
        let mut index = Self {
            by_path: HashMap::new(),
            by_partition: BTreeMap::new(),
            equality: Equality::index(table, live),
        };
        let positions = live
            .deletes
            .iter()
            .filter(|delete| delete.file.content == Content::PositionDeletes);
        for delete in positions {
            let bounds = path_of_bounds(delete);
            let scope = delete
                .file
                .referenced_data_file
                .as_deref()
                .or_else(|| bounds.filter(|path| paths.contains(path)));
            if let Some(path) = scope {
                index.by_path.entry(path).or_default().push(delete);
            } else {
                let wide = Wide {
                    delete,
                    dangling: bounds.is_some(),
                };
                index
                    .by_partition
                    .entry(partition(delete))
                    .or_default()
                    .push(wide);
            }
        }
        for wide in index.by_partition.values_mut() {
            wide.sort_by_key(|wide| wide.delete.sequence_number);
        }
        index
    }

    pub(super) fn applying(&self, data: &LiveFile) -> Applying<'a> {
        let mut applying = Applying::default();
        for &delete in self
            .by_path
            .get(data.file.file_path.as_str())
            .into_iter()
            .flatten()
        {
            if delete.sequence_number < data.sequence_number {
                continue;
            }
            if partition(delete) != partition(data) {
                applying.unusable = Some("a delete file of another partition names it".to_owned());
            }
            applying.known_records = applying
                .known_records
                .saturating_add(delete.file.record_count);
            applying.count += 1;
            applying.files.push(delete);
        }
        if let Some(wide) = self.by_partition.get(&partition(data)) {
            let from = wide.partition_point(|w| w.delete.sequence_number < data.sequence_number);
            for wide in &wide[from..] {
                let can_name_it =
                    !wide.dangling && wide.delete.file_sequence_number >= data.file_sequence_number;
                applying.count += usize::from(can_name_it);
                applying.files.push(wide.delete);
            }
        }
        applying.known_records = applying.known_records.min(data.file.record_count);
        applying
            .files
            .sort_by_key(|d| (d.sequence_number, d.file.file_path.as_str()));
        applying
            .files
            .dedup_by_key(|delete| delete.file.file_path.as_str());
        let unreadable = applying.files.iter().find_map(|delete| unreadable(delete));
        applying.unusable = applying.unusable.or(unreadable);
        self.equality.add_applying(data, &mut applying);
        applying
    }
}

/// The one path a position delete file's bounds allow; some writers cut bounds short.
pub fn path_of_bounds(delete: &LiveFile) -> Option<&str> {
    let lower = delete.file.lower_bounds.get(&FILE_PATH_ID)?;
    let upper = delete.file.upper_bounds.get(&FILE_PATH_ID)?;
    if lower == upper {
        str::from_utf8(lower).ok()
    } else {
        None
    }
}

pub(crate) fn unreadable(delete: &LiveFile) -> Option<String> {
    if delete.file.key_metadata.is_some() {
        Some("a delete file that applies to it is encrypted".to_owned())
    } else if delete.file.file_format.eq_ignore_ascii_case("parquet") {
        None
    } else {
        let format = delete.file.file_format.to_lowercase();
        Some(format!(
            "a delete file that applies to it is {format}, not parquet"
        ))
    }
}
