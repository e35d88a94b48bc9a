//! What one looks at to tell whether a table is healthy.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use catalog::Table;
use metadata::{Fields, live_files};
use serde::Serialize;

const TARGET_PROPERTY: &str = "write.target-file-size-bytes";
const TARGET_DEFAULT_BYTES: u64 = 536_870_912;

/// Counts of one snapshot, the current one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Facts {
    pub(crate) data_files: u64,
    pub(crate) data_bytes: u64,
    /// Rows in data files, deleted ones included.
    pub(crate) records: u64,
    /// Data files below 0.75 of the table's target size: what a rewrite would look at.
    pub(crate) small_files: u64,
    pub(crate) delete_files: u64,
    pub(crate) snapshots: u64,
}

impl Facts {
    pub(crate) async fn of(table: &Table) -> Result<Self> {
        Self::without(table, &BTreeSet::new()).await
    }

    /// As if the data files at these paths were not there.
    pub(crate) async fn without(table: &Table, left_out: &BTreeSet<String>) -> Result<Self> {
        let metadata = &table.metadata;
        let mut facts = Self {
            snapshots: metadata.snapshots().len() as u64,
            ..Self::default()
        };
        let Some(current) = metadata.current_snapshot() else {
            return Ok(facts);
        };
        let live = live_files(&table.storage, metadata, current.snapshot_id, Fields::PLAN)
            .await
            .with_context(|| format!("read the manifests of {}", table.name))?;
        let small_below = small_below(metadata.property(TARGET_PROPERTY));
        for data in live
            .data
            .iter()
            .filter(|data| !left_out.contains(&data.file.file_path))
        {
            facts.data_files += 1;
            facts.data_bytes += data.file.file_size_in_bytes;
            facts.records += data.file.record_count;
            facts.small_files += u64::from(data.file.file_size_in_bytes < small_below);
        }
        facts.delete_files = live.deletes.len() as u64;
        Ok(facts)
    }

    /// From 0 to 1; 0 of nothing.
    pub(crate) fn small_file_share(&self) -> f64 {
        if self.data_files == 0 {
            0.0
        } else {
            self.small_files as f64 / self.data_files as f64
        }
    }
}

/// The smallest size of a file that is not small, in bytes. A property that is no number is the
/// planner's to refuse; here the default counts.
pub(crate) fn small_below(target: Option<&str>) -> u64 {
    let target = target
        .and_then(|text| text.parse().ok())
        .unwrap_or(TARGET_DEFAULT_BYTES);
    (u128::from(target) * 3 / 4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_is_below_three_quarters_of_the_target() {
        assert_eq!(
            [
                small_below(None),
                small_below(Some("1000")),
                small_below(Some("x"))
            ],
            [402_653_184, 750, 402_653_184]
        );
    }

    #[test]
    fn a_share_of_nothing_is_zero() {
        let facts = Facts {
            data_files: 4,
            small_files: 1,
            ..Facts::default()
        };
        assert!((facts.small_file_share() - 0.25).abs() < f64::EPSILON);
        assert!(Facts::default().small_file_share().abs() < f64::EPSILON);
    }
}
