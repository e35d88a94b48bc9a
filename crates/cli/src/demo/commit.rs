//! The writer's own commits: a fast append, or a row delta, on top of whatever is there.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use bytes::Bytes;
use catalog::{Catalog, Table};
use metadata::{
    DataFile, ManifestContent, ManifestFile, ManifestWriter, Ref, Requirement, Snapshot, Update,
    read_manifest_list, write_manifest_list,
};
use model::TableName;
use uuid::Uuid;

/// Maintenance commits too: a commit that lost is made again on the new base, so often at most.
const TRIES_MAX: u32 = 20;
const MAIN: &str = "main";

/// Files to add in one commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    pub(crate) data: Vec<DataFile>,
    pub(crate) deletes: Vec<DataFile>,
}

pub(crate) async fn commit(catalog: &dyn Catalog, name: &TableName, change: &Change) -> Result<()> {
    for _ in 0..TRIES_MAX {
        let base = catalog.load(name).await?;
        let (requirements, updates) = prepare(&base, change).await?;
        match catalog.commit(&base, requirements, updates).await {
            Ok(_) => return Ok(()),
            Err(catalog::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("{name}: other writers were quicker {TRIES_MAX} times in a row")
}

/// Writes manifests and the list; nothing is visible yet.
async fn prepare(base: &Table, change: &Change) -> Result<(Vec<Requirement>, Vec<Update>)> {
    let metadata = &base.metadata;
    let parent = metadata.current_snapshot();
    let snapshot_id = (Uuid::new_v4().as_u64_pair().0 >> 1) as i64;
    let sequence_number = metadata.last_sequence_number() + 1;
    let mut manifests = Vec::new();
    for (content, files) in [
        (ManifestContent::Data, &change.data),
        (ManifestContent::Deletes, &change.deletes),
    ] {
        if !files.is_empty() {
            manifests.push(manifest(base, content, files, snapshot_id).await?);
        }
    }
    if let Some(parent) = parent {
        manifests.extend(read_manifest_list(&base.storage, parent).await?);
    }
    let parent_id = parent.map(|parent| parent.snapshot_id);
    let list = write_manifest_list(
        &manifests,
        metadata,
        snapshot_id,
        parent_id,
        sequence_number,
    )?;
    let manifest_list = write(base, &format!("snap-{snapshot_id}"), list).await?;
    let snapshot = Snapshot {
        snapshot_id,
        parent_snapshot_id: parent_id,
        sequence_number,
        timestamp_ms: jiff::Timestamp::now()
            .as_millisecond()
            .max(metadata.last_updated_ms()),
        manifest_list,
        summary: summary(parent, change),
        schema_id: Some(metadata.current_schema().schema_id),
        ..Snapshot::default()
    };
    let requirements = vec![
        Requirement::AssertTableUuid {
            uuid: metadata.uuid().to_owned(),
        },
        Requirement::AssertRefSnapshotId {
            r#ref: MAIN.to_owned(),
            snapshot_id: parent_id,
        },
    ];
    let main = Ref::branch(snapshot_id);
    let updates = vec![
        Update::AddSnapshot { snapshot },
        Update::SetSnapshotRef {
            ref_name: MAIN.to_owned(),
            reference: main,
        },
    ];
    Ok((requirements, updates))
}

async fn manifest(
    base: &Table,
    content: ManifestContent,
    files: &[DataFile],
    snapshot_id: i64,
) -> Result<ManifestFile> {
    let spec_id = base.metadata.default_spec().spec_id;
    let mut writer = ManifestWriter::new(content, &base.metadata, spec_id, snapshot_id)?;
    for file in files {
        writer.add(file, None)?;
    }
    let path = location(base, &format!("{}-m0", Uuid::new_v4()));
    let (bytes, manifest) = writer.finish(&path)?;
    base.storage.write_new(&path, bytes).await?;
    Ok(manifest)
}

async fn write(base: &Table, name: &str, bytes: Bytes) -> Result<String> {
    let path = location(base, &format!("{name}-{}", Uuid::new_v4()));
    base.storage.write_new(&path, bytes).await?;
    Ok(path)
}

fn location(base: &Table, name: &str) -> String {
    format!("{}/metadata/{name}.avro", base.metadata.location())
}

/// Counts of this commit, and the totals carried on from the one before.
fn summary(parent: Option<&Snapshot>, change: &Change) -> BTreeMap<String, String> {
    let sum = |files: &[DataFile], what: fn(&DataFile) -> u64| files.iter().map(what).sum::<u64>();
    let (data, deletes) = (change.data.len() as u64, change.deletes.len() as u64);
    let records = sum(&change.data, |file| file.record_count);
    let deleted = sum(&change.deletes, |file| file.record_count);
    let bytes = |files| sum(files, |file| file.file_size_in_bytes);
    let size = bytes(&change.data) + bytes(&change.deletes);
    let operation = if change.deletes.is_empty() {
        "append"
    } else {
        "overwrite"
    };
    let mut summary = BTreeMap::from([("operation".to_owned(), operation.to_owned())]);
    for (name, count) in [
        ("added-data-files", data),
        ("added-delete-files", deletes),
        ("added-position-delete-files", deletes),
        ("added-records", records),
        ("added-position-deletes", deleted),
        ("added-files-size", size),
    ] {
        if count > 0 {
            summary.insert(name.to_owned(), count.to_string());
        }
    }
    let total = |name: &str| -> u64 {
        parent
            .and_then(|parent| parent.summary.get(name)?.parse().ok())
            .unwrap_or_default()
    };
    for (name, added) in [
        ("total-data-files", data),
        ("total-delete-files", deletes),
        ("total-records", records),
        ("total-position-deletes", deleted),
        ("total-equality-deletes", 0),
        ("total-files-size", size),
    ] {
        summary.insert(name.to_owned(), (total(name) + added).to_string());
    }
    summary
}
