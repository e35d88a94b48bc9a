//! What one looks at to tell whether a table is healthy.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use catalog::Table;
use metadata::{Fields, TableFacts, live_files};

/// Counts of the current snapshot's files, and of snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) files: TableFacts,
    pub(crate) snapshots: u64,
}

impl Facts {
    pub(crate) async fn of(table: &Table) -> Result<Self> {
        Self::without(table, &BTreeSet::new()).await
    }

    /// As if the data files at these paths were not there.
    pub(crate) async fn without(table: &Table, left_out: &BTreeSet<String>) -> Result<Self> {
        let metadata = &table.metadata;
        let snapshots = metadata.snapshots().len() as u64;
        let Some(current) = metadata.current_snapshot() else {
            let files = TableFacts::default();
            return Ok(Self { files, snapshots });
        };
        let mut live = live_files(&table.storage, metadata, current.snapshot_id, Fields::PLAN)
            .await
            .with_context(|| format!("read the manifests of {}", table.name))?;
        live.data
            .retain(|data| !left_out.contains(&data.file.file_path));
        let files = TableFacts::of(metadata, &live);
        Ok(Self { files, snapshots })
    }
}
