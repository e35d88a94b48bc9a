//! Counts of what was not chosen, by partition and reason.

use std::collections::BTreeMap;

use super::Skipped;

/// Rows listed one by one; the rest is folded by reason, or a plan of a table with a million
/// partitions could not be stored.
const ROWS_MAX: usize = 1_000;
/// Stands for every partition beyond the listed rows.
const FOLDED: &str = "*";

#[derive(Debug, Default)]
pub(super) struct Skips {
    counts: BTreeMap<(String, String), Count>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    files: usize,
    bytes: u64,
}

impl Skips {
    pub(super) fn add(&mut self, partition_path: &str, reason: impl Into<String>, bytes: u64) {
        let count = self
            .counts
            .entry((partition_path.to_owned(), reason.into()))
            .or_default();
        count.files += 1;
        count.bytes = count.bytes.saturating_add(bytes);
    }

    pub(super) fn into_rows(self) -> Vec<Skipped> {
        let mut rows = Vec::new();
        let mut folded = BTreeMap::<String, Count>::new();
        for ((partition_path, reason), Count { files, bytes }) in self.counts {
            if rows.len() < ROWS_MAX {
                rows.push(Skipped {
                    partition_path,
                    files,
                    bytes,
                    reason,
                });
            } else {
                let count = folded.entry(reason).or_default();
                count.files += files;
                count.bytes = count.bytes.saturating_add(bytes);
            }
        }
        rows.extend(
            folded
                .into_iter()
                .map(|(reason, Count { files, bytes })| Skipped {
                    partition_path: FOLDED.to_owned(),
                    files,
                    bytes,
                    reason,
                }),
        );
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_by_partition_and_reason() {
        let mut skips = Skips::default();
        skips.add("day=2", "fine", 5);
        skips.add("day=1", "fine", 7);
        skips.add("day=2", "fine", 6);
        let row = |path: &str, files, bytes| Skipped {
            partition_path: path.to_owned(),
            files,
            bytes,
            reason: "fine".to_owned(),
        };
        assert_eq!(skips.into_rows(), [row("day=1", 1, 7), row("day=2", 2, 11)]);
    }

    #[test]
    fn rows_beyond_the_limit_are_folded_and_no_file_is_lost() {
        let mut skips = Skips::default();
        for partition in 0..ROWS_MAX + 50 {
            skips.add(&format!("p={partition:05}"), "fine", 2);
        }
        let rows = skips.into_rows();
        assert_eq!(rows.len(), ROWS_MAX + 1);
        assert_eq!(
            rows.iter().map(|row| row.files).sum::<usize>(),
            ROWS_MAX + 50
        );
        let last = rows.last().expect("rows");
        assert_eq!(
            (last.partition_path.as_str(), last.files, last.bytes),
            ("*", 50, 100)
        );
    }
}
