//! What the retained snapshots of a table refer to.
//!
//! Reads every snapshot of the document, named by a ref or not. Anything retained that cannot be
//! read is an error. Memory: one line for each manifest of the table, and [`MANIFESTS_AT_ONCE`]
//! decoded manifest lists.

use std::collections::{BTreeMap, HashSet};

use catalog::Table;
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{ManifestContent, ManifestFile, Snapshot, read_manifest_list};
use planner::Progress;
use planner::expire::Needed;
use storage::Location;

use crate::Error;

/// Manifest lists and manifests read at once.
pub const MANIFESTS_AT_ONCE: usize = 8;

/// The manifests of every snapshot of a table, each once.
#[derive(Debug)]
pub struct Retained {
    manifests: BTreeMap<Location, ManifestFile>,
}

impl Retained {
    /// Reads every manifest list.
    pub async fn of(table: &Table, progress: &dyn Progress) -> Result<Self, Error> {
        Self::without(table, &HashSet::new(), progress).await
    }

    /// Reads the manifest lists of all snapshots but some.
    pub async fn without(
        table: &Table,
        left_out: &HashSet<i64>,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let mut manifests = BTreeMap::new();
        let reads: Vec<_> = table
            .metadata
            .snapshots()
            .iter()
            .filter(|snapshot| !left_out.contains(&snapshot.snapshot_id))
            .map(|snapshot| manifests_of(table, snapshot))
            .collect();
        let mut reads = std::pin::pin!(stream::iter(reads).buffer_unordered(MANIFESTS_AT_ONCE));
        while let Some(listed) = reads.try_next().await? {
            progress.alive();
            for mut manifest in listed {
                let location = Location::parse(&manifest.manifest_path);
                let location = location.map_err(|source| Error::Storage {
                    doing: "compare a reachable manifest with those to delete",
                    source,
                })?;
                // Nothing here looks at partitions, and tables have many manifests.
                manifest.partitions = None;
                manifest.carried = metadata::Carried::default();
                manifests.entry(location).or_insert(manifest);
            }
        }
        Ok(Self { manifests })
    }

    pub fn holds(&self, manifest: &Location) -> bool {
        self.manifests.contains_key(manifest)
    }

    /// In the order of their locations.
    pub fn manifests(&self) -> impl Iterator<Item = &ManifestFile> {
        self.manifests.values()
    }

    /// What the manifests need of the table's definitions.
    pub fn needed(&self) -> Needed {
        let manifests = || self.manifests.values();
        Needed {
            specs: manifests()
                .map(|manifest| manifest.partition_spec_id)
                .collect(),
            delete_files: manifests().any(|manifest| manifest.content == ManifestContent::Deletes),
        }
    }
}

async fn manifests_of(table: &Table, snapshot: &Snapshot) -> Result<Vec<ManifestFile>, Error> {
    let listed = read_manifest_list(&table.storage, snapshot).await;
    listed.map_err(|source| Error::Metadata {
        doing: "read a retained snapshot's manifest list",
        source,
    })
}
