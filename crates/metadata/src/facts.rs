//! Facts of a table's current files, for people and for plans: counted, never judged.

use crate::{LiveFile, LiveFiles, TableMetadata};

/// `write.target-file-size-bytes`.
pub const TARGET_FILE_SIZE_KEY: &str = "write.target-file-size-bytes";
/// What a data file should have when the table does not say: 512 MiB, Java's default.
pub const TARGET_FILE_SIZE_DEFAULT: u64 = 536_870_912;

/// Counts of one snapshot's live files. Sizes are bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableFacts {
    pub data_files: u64,
    pub delete_files: u64,
    /// Of data files.
    pub bytes: u64,
    pub delete_bytes: u64,
    /// Rows in data files, deleted ones included.
    pub records: u64,
    /// Rows of position and equality delete files.
    pub delete_records: u64,
    /// Data files below [`small_below`] the target: what a rewrite looks at by default.
    pub small_files: u64,
}

/// The size below which a file is small: 0.75 x target, rounded down (Java's default of
/// `min-file-size-bytes`).
pub fn small_below(target: u64) -> u64 {
    (u128::from(target) * 3 / 4) as u64
}

impl TableFacts {
    /// Counts files against the table's own target. A target property that is no number above 0
    /// counts as the default here; refusing it is the planner's.
    pub fn of(table: &TableMetadata, live: &LiveFiles) -> Self {
        let asked = table
            .property(TARGET_FILE_SIZE_KEY)
            .and_then(|value| value.parse().ok());
        let target = asked
            .filter(|target| *target > 0)
            .unwrap_or(TARGET_FILE_SIZE_DEFAULT);
        Self::measure(&live.data, &live.deletes, target)
    }

    /// Counts data and delete files against a target size.
    pub fn measure<'a>(
        data: impl IntoIterator<Item = &'a LiveFile>,
        deletes: impl IntoIterator<Item = &'a LiveFile>,
        target: u64,
    ) -> Self {
        let mut facts = Self::default();
        let small_below = small_below(target);
        for live in data {
            facts.data_files += 1;
            facts.bytes = facts.bytes.saturating_add(live.file.file_size_in_bytes);
            facts.records = facts.records.saturating_add(live.file.record_count);
            facts.small_files += u64::from(live.file.file_size_in_bytes < small_below);
        }
        for live in deletes {
            facts.delete_files += 1;
            facts.delete_bytes = facts
                .delete_bytes
                .saturating_add(live.file.file_size_in_bytes);
            facts.delete_records = facts.delete_records.saturating_add(live.file.record_count);
        }
        facts
    }

    /// From 0 to 1; 0 of no files.
    pub fn small_file_share(&self) -> f64 {
        if self.data_files == 0 {
            0.0
        } else {
            self.small_files as f64 / self.data_files as f64
        }
    }

    /// The mean size of data files, in bytes; 0 of no files.
    pub fn average_file_bytes(&self) -> u64 {
        self.bytes.checked_div(self.data_files).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, DataFile};

    fn live(content: Content, bytes: u64, records: u64) -> LiveFile {
        let file = DataFile {
            file_size_in_bytes: bytes,
            record_count: records,
            ..DataFile::new(content, "f")
        };
        LiveFile {
            file,
            sequence_number: 1,
            file_sequence_number: 1,
            snapshot_id: None,
            manifest: 0,
        }
    }

    #[test]
    fn files_are_counted_against_the_target() {
        let data = [74, 75, 100, 1].map(|bytes| live(Content::Data, bytes, 10));
        let deletes = [
            live(Content::PositionDeletes, 7, 3),
            live(Content::EqualityDeletes, 5, 2),
        ];
        let facts = TableFacts::measure(&data, &deletes, 100);
        let want = TableFacts {
            data_files: 4,
            delete_files: 2,
            bytes: 250,
            delete_bytes: 12,
            records: 40,
            delete_records: 5,
            small_files: 2,
        };
        assert_eq!(facts, want);
        assert!((facts.small_file_share() - 0.5).abs() < f64::EPSILON);
        assert_eq!(facts.average_file_bytes(), 62);
    }

    #[test]
    fn no_files_have_no_share_and_no_size() {
        let facts = TableFacts::measure([], [], 100);
        assert_eq!(facts, TableFacts::default());
        assert!(facts.small_file_share().abs() < f64::EPSILON);
        assert_eq!(facts.average_file_bytes(), 0);
    }

    #[test]
    fn the_largest_target_does_not_overflow() {
        assert_eq!(small_below(u64::MAX), u64::MAX / 4 * 3 + 2);
        assert_eq!(small_below(TARGET_FILE_SIZE_DEFAULT), 402_653_184);
    }
}
