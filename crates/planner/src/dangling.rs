//! `remove_dangling_deletes`: delete files that can apply to no data file any more (`lake.md`
//! section 5).
//!
//! Pure: [`find`] reads the live files of a snapshot. Position deletes apply to data files of their
//! partition that are as old as they or older, equality deletes to those that are older (Iceberg
//! spec, "Scan Planning"). In doubt a delete file stays.

use std::collections::{BTreeMap, HashMap, HashSet};

use metadata::{Content, Literal, LiveFile, LiveFiles, TableMetadata, is_typed};
use model::{Action, Advice};
use serde::{Deserialize, Serialize};

use crate::BadOption;
use crate::option::unknown;
use crate::rewrite::{is_global, path_of_bounds};

/// What planning and removing hold: the files of a snapshot, delete files with their bounds.
const MEMORY_BYTES: u64 = 64 << 20;
const DATA_FILE_BYTES: u64 = 1_024;
const DELETE_FILE_BYTES: u64 = 2_048;

/// It has no options, as Spark's has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {}

impl Options {
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        match options.keys().next() {
            None => Ok(Self {}),
            Some(key) => Err(unknown(Action::RemoveDanglingDeletes, &[], key)),
        }
    }
}

/// Why a delete file applies to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The one data file it names is not in the table.
    FileGone,
    /// The one data file it names was written after it.
    FileNewer,
    /// No data file lies where it could apply.
    NoData,
    /// Every data file it could apply to was written after it.
    DataNewer,
}

impl Why {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FileGone => "the data file it names is gone",
            Self::FileNewer => "the data file it names is newer",
            Self::NoData => "no data file is left in its partition",
            Self::DataNewer => "every data file of its partition is newer",
        }
    }
}

/// A delete file that applies to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dangling {
    pub path: String,
    pub bytes: u64,
    /// Deletes it holds.
    pub records: u64,
    pub why: Why,
}

/// A removal pinned to one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The table's full key (`namespace.table`).
    pub table: String,
    pub table_uuid: String,
    /// The snapshot planned on; `None` when the table has none.
    pub snapshot_id: Option<i64>,
    pub files: Vec<Dangling>,
    /// Delete files that may still apply.
    pub kept: u64,
    /// Estimated peak memory, in bytes.
    pub memory_bytes: u64,
}

impl Plan {
    /// Why there is nothing to do, when there is nothing.
    pub fn nothing(&self) -> Option<&str> {
        self.files.is_empty().then_some(if self.kept == 0 {
            "the table has no delete files"
        } else {
            "every delete file may still apply"
        })
    }

    pub(crate) fn message(&self) -> String {
        let records = self.files.iter().map(|file| file.records);
        format!(
            "would remove {} delete files with {} deletes that apply to nothing, and keep {}",
            self.files.len(),
            records.fold(0, u64::saturating_add),
            self.kept
        )
    }
}

/// The table rules a removal out; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "the table has format version {0}; remove_dangling_deletes supports versions 1 and 2 in this \
         version"
    )]
    FormatVersion(u8),
}

impl Refused {
    /// The table does not change by trying again.
    pub fn advice(&self) -> Advice {
        match self {
            Self::FormatVersion(_) => Advice::GiveUp,
        }
    }
}

/// Plans the removal of what dangles in the table's current snapshot, of which `live` are the files.
pub fn plan(table: &TableMetadata, key: &str, live: &LiveFiles) -> Result<Plan, Refused> {
    let version = table.format_version();
    if version > 2 {
        return Err(Refused::FormatVersion(version));
    }
    let mut files: Vec<Dangling> = find(table, live)
        .map(|(delete, why)| Dangling {
            path: delete.file.file_path.clone(),
            bytes: delete.file.file_size_in_bytes,
            records: delete.file.record_count,
            why,
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Plan {
        table: key.to_owned(),
        table_uuid: table.uuid().to_owned(),
        snapshot_id: table.current_snapshot().map(|now| now.snapshot_id),
        kept: (live.deletes.len() - files.len()) as u64,
        files,
        memory_bytes: live_bytes(live).saturating_add(MEMORY_BYTES),
    })
}

/// What the files of a snapshot take in memory, in bytes.
pub(crate) fn live_bytes(live: &LiveFiles) -> u64 {
    let data = (live.data.len() as u64).saturating_mul(DATA_FILE_BYTES);
    data.saturating_add((live.deletes.len() as u64).saturating_mul(DELETE_FILE_BYTES))
}

/// The delete files of a snapshot that apply to nothing in it. One whose partition's types nobody
/// knows any more stays: it cannot be compared with others.
pub fn find<'a>(
    table: &'a TableMetadata,
    live: &'a LiveFiles,
) -> impl Iterator<Item = (&'a LiveFile, Why)> {
    let data = || live.data.iter();
    let oldest = Oldest::of(data().map(|data| {
        let file = &data.file;
        (file.spec_id, &*file.partition, data.sequence_number)
    }));
    let numbers: HashMap<&str, i64> = data()
        .map(|data| (data.file.file_path.as_str(), data.sequence_number))
        .collect();
    // One that is listed twice is a table's fault that nobody mends by removing one of them.
    let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
    for delete in &live.deletes {
        let path = delete.file.file_path.as_str();
        if !seen.insert(path) {
            twice.insert(path);
        }
    }
    let specs = table.specs().iter().map(|spec| spec.spec_id);
    let typed: HashSet<i32> = specs.filter(|id| is_typed(table, *id)).collect();
    live.deletes.iter().filter_map(move |delete| {
        let path = delete.file.file_path.as_str();
        if twice.contains(path) || !typed.contains(&delete.file.spec_id) {
            return None;
        }
        let why = match delete.file.content {
            Content::EqualityDeletes => oldest.equality(table, delete),
            Content::PositionDeletes => oldest.position(delete, &numbers),
            Content::Data => None,
        };
        why.map(|why| (delete, why))
    })
}

/// The lowest data sequence numbers of data files: by spec and partition, and of all.
#[derive(Debug, Default)]
pub struct Oldest<'a> {
    by_partition: HashMap<(i32, &'a [Option<Literal>]), i64>,
    of_all: Option<i64>,
}

impl<'a> Oldest<'a> {
    /// Of data files: spec, partition and data sequence number of each.
    pub fn of(data: impl Iterator<Item = (i32, &'a [Option<Literal>], i64)>) -> Self {
        let mut oldest = Self::default();
        for (spec_id, partition, number) in data {
            let there = oldest.by_partition.entry((spec_id, partition));
            there
                .and_modify(|least| *least = number.min(*least))
                .or_insert(number);
            oldest.of_all = Some(oldest.of_all.map_or(number, |least| number.min(least)));
        }
        oldest
    }

    /// Why the equality delete file applies to none of them; `None` when it may, or in doubt.
    pub fn equality(&self, table: &TableMetadata, delete: &LiveFile) -> Option<Why> {
        let spec = table.spec(delete.file.spec_id)?;
        let oldest = if is_global(spec) {
            self.of_all
        } else {
            self.there(delete)
        };
        match oldest {
            None => Some(Why::NoData),
            Some(oldest) => (delete.sequence_number <= oldest).then_some(Why::DataNewer),
        }
    }

    /// Likewise of a position delete file; `numbers` are those of all data files by path.
    fn position(&self, delete: &LiveFile, numbers: &HashMap<&str, i64>) -> Option<Why> {
        if let Some(path) = delete.file.referenced_data_file.as_deref() {
            return match numbers.get(path) {
                None => Some(Why::FileGone),
                Some(number) => (delete.sequence_number < *number).then_some(Why::FileNewer),
            };
        }
        // Bounds may be cut short: they tell surely only of a file that is there.
        let named = path_of_bounds(delete).and_then(|path| numbers.get(path));
        if let Some(number) = named {
            return (delete.sequence_number < *number).then_some(Why::FileNewer);
        }
        match self.there(delete) {
            None => Some(Why::NoData),
            Some(oldest) => (delete.sequence_number < oldest).then_some(Why::DataNewer),
        }
    }

    fn there(&self, delete: &LiveFile) -> Option<i64> {
        let place = (delete.file.spec_id, &*delete.file.partition);
        self.by_partition.get(&place).copied()
    }
}

#[cfg(test)]
mod tests {
    use metadata::DataFile;
    use serde_json::json;

    use super::*;

    fn table(version: u8) -> TableMetadata {
        let document = json!({
            "format-version": version, "table-uuid": "5a7b1cf3-8d3e-4e2f-9c61-1f2e3d4c5b6a",
            "location": "file:///t", "last-sequence-number": 9, "last-updated-ms": 0,
            "last-column-id": 1, "current-schema-id": 0, "schemas": [
                {"type": "struct", "schema-id": 0, "fields": [
                    {"id": 1, "name": "k", "required": false, "type": "int"}]}],
            "partition-specs": [{"spec-id": 0, "fields": []}, {"spec-id": 1, "fields": [
                {"source-id": 1, "field-id": 1000, "name": "k", "transform": "identity"}]},
                {"spec-id": 2, "fields": [
                {"source-id": 9, "field-id": 1001, "name": "gone", "transform": "identity"}]}],
            "default-spec-id": 1, "last-partition-id": 1001,
            "sort-orders": [{"order-id": 0, "fields": []}], "default-sort-order-id": 0,
            "snapshots": [], "refs": {}, "properties": {}, "next-row-id": 0,
        });
        TableMetadata::parse(document.to_string().as_bytes()).unwrap()
    }

    /// A file of partition `k`, or of the unpartitioned spec.
    fn file(content: Content, path: &str, k: Option<i32>, number: i64) -> LiveFile {
        let mut file = DataFile::new(content, path);
        (file.spec_id, file.partition) = match k {
            None => (0, vec![]),
            Some(k) => (1, vec![Some(Literal::Int(k))]),
        };
        LiveFile {
            file,
            sequence_number: number,
            file_sequence_number: number,
            snapshot_id: None,
            manifest: 0,
        }
    }

    /// Why a delete dangles beside data of partitions 1 (numbers 3 and 6) and 2 (number 5).
    fn why(delete: LiveFile) -> Option<Why> {
        let live = LiveFiles {
            data: vec![
                file(Content::Data, "a", Some(1), 3),
                file(Content::Data, "b", Some(1), 6),
                file(Content::Data, "c", Some(2), 5),
            ],
            deletes: vec![delete],
            ..LiveFiles::default()
        };
        let planned = plan(&table(2), "db.t", &live).unwrap();
        assert_eq!(planned.files.len() as u64 + planned.kept, 1);
        planned.files.first().map(|file| file.why)
    }

    #[test]
    fn position_deletes_of_a_partition_apply_to_what_is_as_old_or_older() {
        let of = |k, number| why(file(Content::PositionDeletes, "d", Some(k), number));
        assert_eq!(of(1, 2), Some(Why::DataNewer));
        assert_eq!(of(1, 3), None, "written with the data itself");
        assert_eq!(of(2, 4), Some(Why::DataNewer));
        assert_eq!(of(3, 9), Some(Why::NoData));
        let elsewhere = file(Content::PositionDeletes, "d", None, 9);
        assert_eq!(why(elsewhere), Some(Why::NoData), "of another spec");
    }

    #[test]
    fn position_deletes_that_name_one_file_go_by_it() {
        let of = |path: &str, number| {
            let mut delete = file(Content::PositionDeletes, "d", Some(1), number);
            delete.file.referenced_data_file = Some(path.to_owned());
            why(delete)
        };
        assert_eq!(of("gone", 9), Some(Why::FileGone));
        assert_eq!(of("b", 5), Some(Why::FileNewer));
        assert_eq!(of("b", 6), None);
        assert_eq!(of("c", 9), None, "a writer put it into the wrong partition");
    }

    #[test]
    fn bounds_that_may_be_cut_short_prove_nothing_of_a_file_that_is_not_there() {
        let of = |path: &str, number| {
            let mut delete = file(Content::PositionDeletes, "d", Some(1), number);
            let bound = [(2_147_483_546, path.as_bytes().into())];
            delete.file.lower_bounds = bound.clone().into_iter().collect();
            delete.file.upper_bounds = bound.into_iter().collect();
            why(delete)
        };
        assert_eq!(of("gone", 9), None);
        assert_eq!(of("gone", 2), Some(Why::DataNewer));
        assert_eq!(of("b", 4), Some(Why::FileNewer));
        assert_eq!(of("c", 9), None);
    }

    #[test]
    fn equality_deletes_apply_to_what_is_older() {
        let of = |k, number| why(file(Content::EqualityDeletes, "d", k, number));
        assert_eq!(of(Some(1), 3), Some(Why::DataNewer));
        assert_eq!(of(Some(1), 4), None);
        assert_eq!(of(Some(3), 9), Some(Why::NoData));
        assert_eq!(of(None, 3), Some(Why::DataNewer), "one for all partitions");
        assert_eq!(of(None, 4), None);
        let mut unknown = file(Content::EqualityDeletes, "d", Some(1), 1);
        unknown.file.spec_id = 7;
        assert_eq!(why(unknown), None, "of a spec nobody knows");
    }

    #[test]
    fn what_lies_under_a_column_no_schema_knows_cannot_be_compared_and_stays() {
        for content in [Content::PositionDeletes, Content::EqualityDeletes] {
            let mut delete = file(content, "d", Some(1), 1);
            assert!(why(delete.clone()).is_some());
            delete.file.spec_id = 2;
            assert_eq!(why(delete), None, "{content:?}");
        }
    }

    #[test]
    fn a_plan_says_why_there_is_nothing() {
        let none = plan(&table(2), "db.t", &LiveFiles::default()).unwrap();
        assert_eq!(none.nothing(), Some("the table has no delete files"));
        let live = LiveFiles {
            data: vec![file(Content::Data, "a", None, 1)],
            deletes: vec![file(Content::PositionDeletes, "d", None, 2)],
            ..LiveFiles::default()
        };
        let kept = plan(&table(2), "db.t", &live).unwrap();
        assert_eq!(kept.nothing(), Some("every delete file may still apply"));
        let v3 = plan(&table(3), "db.t", &live).unwrap_err();
        assert_eq!(v3, Refused::FormatVersion(3));
    }

    #[test]
    fn options_are_refused() {
        let options = BTreeMap::from([("force".to_owned(), "true".to_owned())]);
        let refused = Options::parse(&options).unwrap_err().to_string();
        assert!(
            refused.ends_with("unknown option `force`; allowed: none"),
            "{refused}"
        );
    }
}
