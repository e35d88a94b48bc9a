//! A table's own history: every metadata file it ever had, as its log names them.
//!
//! The tables of a round never forget an entry of the log, so what was committed can be counted
//! even after its snapshots expired.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use metadata::{Snapshot, TableMetadata};
use model::TableName;

use crate::house::House;

/// How a writer of a round names its commit in the snapshot's summary.
pub(crate) const MARK: &str = "sim.commit";

/// Oldest first; the last one is current.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) documents: Vec<(String, TableMetadata)>,
}

impl History {
    pub(crate) async fn read(house: &House, table: &TableName) -> Result<Self> {
        let current = house.catalog.load(table).await?;
        let mut documents = Vec::new();
        for entry in current.metadata.metadata_log() {
            let location = entry.metadata_file.clone();
            let bytes = house.storage.read(&location).await;
            let bytes = bytes.with_context(|| format!("read {location}"))?;
            documents.push((location, TableMetadata::parse(&bytes)?));
        }
        let newest = TableMetadata::clone(&current.metadata);
        documents.push((current.metadata_location, newest));
        let first = &documents[0].1;
        ensure!(
            first.snapshots().is_empty(),
            "the log of {table} does not reach back to its beginning"
        );
        Ok(Self { documents })
    }

    /// Every snapshot that ever was, by its id.
    pub(crate) fn snapshots(&self) -> BTreeMap<i64, &Snapshot> {
        let documents = self.documents.iter();
        let all = documents.flat_map(|(_, document)| document.snapshots());
        all.map(|snapshot| (snapshot.snapshot_id, snapshot))
            .collect()
    }

    /// How often each commit of a writer is there.
    pub(crate) fn marks(&self) -> BTreeMap<String, usize> {
        let mut marks = BTreeMap::new();
        for snapshot in self.snapshots().values() {
            if let Some(mark) = snapshot.summary.get(MARK) {
                *marks.entry(mark.clone()).or_default() += 1;
            }
        }
        marks
    }
}
