//! Reads manifest lists. Fields this crate does not know are kept as the bytes they were.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use storage::Storage;

use super::read::{binary, boolean, int, list, long, optional, text};
use super::{CarriedField, FieldSummary, ManifestContent, ManifestFile, embedded};
use crate::avro::{Column, Container, Cursor, Kind, Malformed, Node};
use crate::{Error, Snapshot};

/// The manifests of `snapshot`, in the order of its manifest list. Where an old v1 snapshot names
/// its manifests itself, they are read to tell what a list would.
pub async fn read_manifest_list(
    storage: &Storage,
    snapshot: &Snapshot,
) -> Result<Vec<ManifestFile>, Error> {
    let (id, location) = (snapshot.snapshot_id, &snapshot.manifest_list);
    if snapshot.key_id.is_some() {
        return Err(Error::Unsupported(format!(
            "snapshot {id}: encryption is not supported yet"
        )));
    }
    let manifests = if location.is_empty() {
        embedded::read(storage, snapshot).await?
    } else {
        let bytes = storage.read(location).await?;
        decode(&bytes).map_err(|why| Error::malformed(location, why))?
    };
    let mut seen = HashSet::with_capacity(manifests.len());
    let twice = manifests
        .iter()
        .find(|manifest| !seen.insert(manifest.manifest_path.as_str()));
    match twice {
        Some(twice) => {
            let why = format!("manifest {} is listed twice", twice.manifest_path);
            Err(Error::malformed(named(snapshot), why))
        }
        None => Ok(manifests),
    }
}

/// What an error calls the list of a snapshot.
fn named(snapshot: &Snapshot) -> String {
    if snapshot.manifest_list.is_empty() {
        format!("snapshot {}", snapshot.snapshot_id)
    } else {
        snapshot.manifest_list.clone()
    }
}

pub(super) fn decode(bytes: &Bytes) -> Result<Vec<ManifestFile>, Malformed> {
    let mut container = Container::open(bytes)?;
    let reader = ListReader::compile(&container.root)?;
    let mut manifests = Vec::new();
    container.each(|cursor| {
        manifests.push(reader.read(cursor)?);
        Ok(())
    })?;
    Ok(manifests)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Path,
    Length,
    SpecId,
    Content,
    SequenceNumber,
    MinSequenceNumber,
    AddedSnapshotId,
    AddedFiles,
    ExistingFiles,
    DeletedFiles,
    AddedRows,
    ExistingRows,
    DeletedRows,
    Partitions,
    KeyMetadata,
    FirstRowId,
}

impl Slot {
    fn of(column: &Column) -> Option<Self> {
        Some(match (column.id, column.name.as_str()) {
            (Some(500), _) | (None, "manifest_path") => Self::Path,
            (Some(501), _) | (None, "manifest_length") => Self::Length,
            (Some(502), _) | (None, "partition_spec_id") => Self::SpecId,
            (Some(517), _) | (None, "content") => Self::Content,
            (Some(515), _) | (None, "sequence_number") => Self::SequenceNumber,
            (Some(516), _) | (None, "min_sequence_number") => Self::MinSequenceNumber,
            (Some(503), _) | (None, "added_snapshot_id") => Self::AddedSnapshotId,
            // The longer names are those of early format v1 writers.
            (Some(504), _) | (None, "added_files_count" | "added_data_files_count") => {
                Self::AddedFiles
            }
            (Some(505), _) | (None, "existing_files_count" | "existing_data_files_count") => {
                Self::ExistingFiles
            }
            (Some(506), _) | (None, "deleted_files_count" | "deleted_data_files_count") => {
                Self::DeletedFiles
            }
            (Some(512), _) | (None, "added_rows_count") => Self::AddedRows,
            (Some(513), _) | (None, "existing_rows_count") => Self::ExistingRows,
            (Some(514), _) | (None, "deleted_rows_count") => Self::DeletedRows,
            (Some(507), _) | (None, "partitions") => Self::Partitions,
            (Some(519), _) | (None, "key_metadata") => Self::KeyMetadata,
            (Some(520), _) | (None, "first_row_id") => Self::FirstRowId,
            _ => return None,
        })
    }
}

#[derive(Debug)]
struct ListReader {
    steps: Vec<Step>,
    /// The partition summaries have fields we do not know.
    summaries_lossy: bool,
}

#[derive(Debug)]
struct Step {
    slot: Option<Slot>,
    node: Arc<Node>,
    declared: Arc<serde_json::Value>,
}

impl ListReader {
    fn compile(root: &Node) -> Result<Self, Malformed> {
        let columns = root
            .columns()
            .ok_or_else(|| Malformed::new("the manifest list's schema is no record"))?;
        let steps: Vec<_> = columns
            .iter()
            .map(|column| Step {
                slot: Slot::of(column),
                node: column.node.clone(),
                declared: column.declared.clone(),
            })
            .collect();
        for (slot, name) in [
            (Slot::Path, "manifest_path"),
            (Slot::Length, "manifest_length"),
            (Slot::SpecId, "partition_spec_id"),
            (Slot::AddedSnapshotId, "added_snapshot_id"),
        ] {
            match steps.iter().filter(|step| step.slot == Some(slot)).count() {
                1 => {}
                0 => return Err(Malformed::new(format!("the schema lacks {name}"))),
                _ => return Err(Malformed::new(format!("the schema has {name} twice"))),
            }
        }
        let summaries = steps
            .iter()
            .find(|step| step.slot == Some(Slot::Partitions));
        let summaries_lossy = summaries.is_some_and(|step| match &step.node.present().kind {
            Kind::Array(item) => item
                .columns()
                .is_none_or(|columns| columns.iter().any(|c| SummarySlot::of(c).is_none())),
            _ => true,
        });
        Ok(Self {
            steps,
            summaries_lossy,
        })
    }

    fn read(&self, cursor: &mut Cursor<'_>) -> Result<ManifestFile, Malformed> {
        let mut manifest = ManifestFile::blank();
        for Step {
            slot,
            node,
            declared,
        } in &self.steps
        {
            let Some(slot) = slot else {
                let start = cursor.position();
                let absent = matches!(cursor.clone().branch(node)?.kind, Kind::Null);
                cursor.skip(node)?;
                if !absent {
                    let encoded = cursor.since(start).to_vec();
                    manifest.carried.fields.push(CarriedField {
                        schema: declared.clone(),
                        encoded,
                    });
                }
                continue;
            };
            field(cursor, *slot, node, &mut manifest)?;
        }
        manifest.carried.summaries_lossy = self.summaries_lossy && manifest.partitions.is_some();
        Ok(manifest)
    }
}

fn field(
    cursor: &mut Cursor<'_>,
    slot: Slot,
    node: &Node,
    manifest: &mut ManifestFile,
) -> Result<(), Malformed> {
    match slot {
        Slot::Path => manifest.manifest_path = text(cursor, node)?,
        Slot::Length => manifest.manifest_length = long(cursor, node)?,
        Slot::SpecId => manifest.partition_spec_id = int(cursor, node)?,
        Slot::Content => {
            let code = optional(cursor, node, int)?.unwrap_or_default();
            manifest.content = ManifestContent::from_code(code)
                .ok_or_else(|| Malformed::new(format!("content {code} is unknown")))?;
        }
        Slot::SequenceNumber => {
            manifest.sequence_number = optional(cursor, node, long)?.unwrap_or_default();
        }
        Slot::MinSequenceNumber => {
            manifest.min_sequence_number = optional(cursor, node, long)?.unwrap_or_default();
        }
        Slot::AddedSnapshotId => {
            manifest.added_snapshot_id = optional(cursor, node, long)?
                .ok_or_else(|| Malformed::new("an entry lacks added_snapshot_id"))?;
        }
        Slot::AddedFiles => manifest.added_files_count = optional(cursor, node, int)?,
        Slot::ExistingFiles => manifest.existing_files_count = optional(cursor, node, int)?,
        Slot::DeletedFiles => manifest.deleted_files_count = optional(cursor, node, int)?,
        Slot::AddedRows => manifest.added_rows_count = optional(cursor, node, long)?,
        Slot::ExistingRows => manifest.existing_rows_count = optional(cursor, node, long)?,
        Slot::DeletedRows => manifest.deleted_rows_count = optional(cursor, node, long)?,
        Slot::Partitions => manifest.partitions = list(cursor, node, summary)?,
        Slot::KeyMetadata => manifest.key_metadata = optional(cursor, node, binary)?,
        Slot::FirstRowId => manifest.first_row_id = optional(cursor, node, long)?,
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum SummarySlot {
    ContainsNull,
    ContainsNan,
    LowerBound,
    UpperBound,
}

impl SummarySlot {
    fn of(column: &Column) -> Option<Self> {
        Some(match (column.id, column.name.as_str()) {
            (Some(509), _) | (None, "contains_null") => Self::ContainsNull,
            (Some(518), _) | (None, "contains_nan") => Self::ContainsNan,
            (Some(510), _) | (None, "lower_bound") => Self::LowerBound,
            (Some(511), _) | (None, "upper_bound") => Self::UpperBound,
            _ => return None,
        })
    }
}

fn summary(cursor: &mut Cursor<'_>, node: &Node) -> Result<FieldSummary, Malformed> {
    let node = cursor.branch(node)?;
    let columns = node
        .columns()
        .ok_or_else(|| Malformed::new("a partition summary is no record"))?;
    let mut summary = FieldSummary::default();
    for column in columns {
        let node = &column.node;
        match SummarySlot::of(column) {
            None => cursor.skip(node)?,
            Some(SummarySlot::ContainsNull) => summary.contains_null = boolean(cursor, node)?,
            Some(SummarySlot::ContainsNan) => {
                summary.contains_nan = optional(cursor, node, boolean)?;
            }
            Some(SummarySlot::LowerBound) => summary.lower_bound = optional(cursor, node, binary)?,
            Some(SummarySlot::UpperBound) => summary.upper_bound = optional(cursor, node, binary)?,
        }
    }
    Ok(summary)
}
