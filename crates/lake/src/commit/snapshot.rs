//! The next snapshot of `main`, or of another branch: its manifest list, and what a catalog is asked for.

use std::collections::BTreeMap;

use catalog::Table;
use metadata::{ManifestFile, Ref, Requirement, Snapshot, Update, write_manifest_list};

use super::swap::NewFile;
use crate::Error;

/// The branch maintained.
pub(crate) const MAIN: &str = "main";

/// A random positive id, as Java's `SnapshotIdGeneratorUtil` makes them.
pub(crate) fn new_id() -> i64 {
    rand::random_range(1..=i64::MAX)
}

/// A snapshot without a place for its manifest list.
#[derive(Debug)]
pub(crate) struct Next<'a> {
    base: &'a Table,
    branch: &'a str,
    snapshot: Snapshot,
    manifests: Vec<ManifestFile>,
}

/// A snapshot ready to be committed once its list is written.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) list: NewFile,
    pub(crate) requirements: Vec<Requirement>,
    pub(crate) updates: Vec<Update>,
}

/// The snapshot after `base`'s current one. Time never runs backwards.
pub(crate) fn next(
    base: &Table,
    snapshot_id: i64,
    manifests: Vec<ManifestFile>,
    summary: BTreeMap<String, String>,
    now_ms: i64,
) -> Next<'_> {
    let metadata = &base.metadata;
    let parent = metadata.current_snapshot();
    let newest = metadata
        .snapshots()
        .iter()
        .map(|snapshot| snapshot.timestamp_ms)
        .max();
    let snapshot = Snapshot {
        snapshot_id,
        parent_snapshot_id: parent.map(|parent| parent.snapshot_id),
        sequence_number: match metadata.format_version() {
            // Format v1 has no sequence numbers, and stays v1.
            1 => 0,
            _ => metadata.last_sequence_number() + 1,
        },
        timestamp_ms: now_ms
            .max(metadata.last_updated_ms())
            .max(newest.unwrap_or(i64::MIN)),
        summary,
        schema_id: Some(metadata.current_schema().schema_id),
        ..Snapshot::default()
    };
    Next {
        base,
        branch: MAIN,
        snapshot,
        manifests,
    }
}

impl<'a> Next<'a> {
    /// On `branch`; a new one begins at the snapshot of `main`.
    pub(crate) fn on(mut self, branch: &'a str) -> Self {
        if let Some(head) = self.base.metadata.refs().get(branch) {
            self.snapshot.parent_snapshot_id = Some(head.snapshot_id);
        }
        self.branch = branch;
        self
    }

    pub(crate) fn place(mut self, list: String) -> Result<Placed, Error> {
        let (metadata, snapshot) = (&self.base.metadata, &mut self.snapshot);
        let head = metadata.refs().get(self.branch);
        let bytes = write_manifest_list(
            &self.manifests,
            metadata,
            snapshot.snapshot_id,
            snapshot.parent_snapshot_id,
            snapshot.sequence_number,
        )
        .map_err(|source| Error::Metadata {
            doing: "make the manifest list",
            source,
        })?;
        snapshot.manifest_list.clone_from(&list);
        let requirements = vec![
            Requirement::AssertTableUuid {
                uuid: metadata.uuid().to_owned(),
            },
            Requirement::AssertRefSnapshotId {
                r#ref: self.branch.to_owned(),
                snapshot_id: head.map(|head| head.snapshot_id),
            },
        ];
        // The branch keeps its retention settings.
        let mut reference = head.cloned().unwrap_or_else(|| Ref::branch(0));
        reference.snapshot_id = snapshot.snapshot_id;
        let updates = vec![
            Update::AddSnapshot {
                snapshot: self.snapshot,
            },
            Update::SetSnapshotRef {
                ref_name: self.branch.to_owned(),
                reference,
            },
        ];
        Ok(Placed {
            list: NewFile {
                path: list,
                bytes,
                kind: "manifest_list",
            },
            requirements,
            updates,
        })
    }
}
