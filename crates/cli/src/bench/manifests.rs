//! Tables whose metadata is real and whose data files nobody ever wrote: who only reads metadata
//! does not miss them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bytes::Bytes;
use catalog::{Catalog, NewTable, Table};
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{
    Content, DataFile, Literal, ManifestContent, ManifestFile, ManifestWriter, PartitionField,
    PartitionSpec, Primitive, Ref, Snapshot, Transform, Update,
};
use model::TableName;
use storage::Location;

use super::rows::{self, COLUMNS};
use crate::demo::steps::Step;

const NAMESPACE: &str = "bench";
const MAIN: &str = "main";
/// The column tables are partitioned by, and how many values it has.
const PARTITION: &str = "count";
const PARTITIONS: u64 = 1_000;
const ROWS: u64 = 10_000;
const FILE_BYTES: u64 = 10_000_000;
const COLUMN_BYTES: i64 = 700_000;
/// Bounds of text are cut to so many characters by default.
const BOUND_CHARACTERS: usize = 16;
/// Snapshots are older than any is kept by default.
const AGE_MS: i64 = 100 * 24 * 60 * 60 * 1_000;
const BETWEEN_MS: i64 = 60_000;
/// Manifests that each snapshot of a long history shares with the one before.
const WINDOW: usize = 50;
const WRITES_AT_ONCE: usize = 4;
const ORPHANS_ONE_IN: u64 = 100;

/// A table of one snapshot: so many small files, in so many manifests.
pub(super) async fn wide(
    catalog: &dyn Catalog,
    name: &str,
    (files, manifests): (u32, u32),
    step: &Step<'_>,
) -> Result<Table> {
    let table = create(catalog, name).await?;
    let snapshot = snapshot(&table, 1, table.metadata.last_updated_ms());
    let (files, manifests) = (u64::from(files), u64::from(manifests));
    let written = (0..manifests).map(|number| {
        let numbers = number * files / manifests..(number + 1) * files / manifests;
        manifest(&table, (snapshot.snapshot_id, number), numbers)
    });
    let written: Vec<_> = written.collect();
    let mut written = stream::iter(written).buffered(WRITES_AT_ONCE);
    let mut all = Vec::new();
    while let Some(manifest) = written.try_next().await? {
        step.advance(
            manifest
                .added_files_count
                .unwrap_or(0)
                .unsigned_abs()
                .into(),
        );
        all.push(manifest);
    }
    drop(written);
    list(&table, &snapshot, &all).await?;
    commit(catalog, &table, vec![snapshot]).await
}

/// Puts empty files where the table's are, and one in a hundred more that nothing refers to. Says how
/// many those are.
pub(super) fn litter(table: &Table, files: u32, step: &Step<'_>) -> Result<u64> {
    let location = Location::parse(table.metadata.location())?;
    for partition in 0..PARTITIONS {
        std::fs::create_dir_all(format!("{}/data/{PARTITION}={partition}", location.path()))?;
    }
    let all = u64::from(files) + u64::from(files) / ORPHANS_ONE_IN;
    for number in 0..all {
        std::fs::File::create_new(data_path(location.path(), number))?;
        step.advance(1);
    }
    Ok(all - u64::from(files))
}

/// A table of so many snapshots, none of them young. Each adds one file in a manifest of its own
/// and has the fifty manifests added last.
pub(super) async fn long(
    catalog: &dyn Catalog,
    name: &str,
    snapshots: u32,
    step: &Step<'_>,
) -> Result<Table> {
    let table = create(catalog, name).await?;
    let first_ms = table.metadata.last_updated_ms() - AGE_MS;
    let made = (1..).take(snapshots as usize);
    let made: Vec<Snapshot> = made
        .map(|number| snapshot(&table, number, first_ms + number * BETWEEN_MS))
        .collect();
    let manifests = (0..).zip(&made).map(|(number, snapshot)| {
        manifest(&table, (snapshot.snapshot_id, number), number..number + 1)
    });
    let manifests: Vec<_> = manifests.collect();
    let manifests = stream::iter(manifests).buffered(WRITES_AT_ONCE);
    let mut manifests: Vec<ManifestFile> = manifests.try_collect().await?;
    for (manifest, snapshot) in manifests.iter_mut().zip(&made) {
        // Other snapshots list it with the number its own gave it.
        manifest.sequence_number = snapshot.sequence_number;
        manifest.min_sequence_number = snapshot.sequence_number;
    }
    let lists = made.iter().enumerate().map(|(at, snapshot)| {
        let listed = &manifests[(at + 1).saturating_sub(WINDOW)..=at];
        list(&table, snapshot, listed)
    });
    let lists: Vec<_> = lists.collect();
    let mut lists = stream::iter(lists).buffered(WRITES_AT_ONCE);
    while lists.try_next().await?.is_some() {
        step.advance(1);
    }
    drop(lists);
    commit(catalog, &table, made).await
}

async fn create(catalog: &dyn Catalog, name: &str) -> Result<Table> {
    let name = TableName::new([NAMESPACE], name.to_owned())?;
    catalog
        .create_namespace(name.namespace(), &BTreeMap::new())
        .await?;
    let source = COLUMNS.iter().position(|(name, _)| *name == PARTITION);
    let spec = PartitionSpec {
        spec_id: 0,
        fields: vec![PartitionField {
            source_id: source.context("there is no column to partition by")? as i32 + 1,
            field_id: 0,
            name: PARTITION.to_owned(),
            transform: Transform::Identity,
        }],
    };
    let new = NewTable {
        schema: rows::schema(),
        spec,
        properties: BTreeMap::new(),
        location: None,
    };
    Ok(catalog.create_table(&name, new).await?)
}

/// The snapshots follow one another, and `main` names the last.
async fn commit(catalog: &dyn Catalog, table: &Table, snapshots: Vec<Snapshot>) -> Result<Table> {
    let last = snapshots.last().context("a table has a snapshot")?;
    let main = Update::SetSnapshotRef {
        ref_name: MAIN.to_owned(),
        reference: Ref::branch(last.snapshot_id),
    };
    let snapshots = snapshots.into_iter();
    let add = snapshots.map(|snapshot| Update::AddSnapshot { snapshot });
    let updates: Vec<Update> = add.chain([main]).collect();
    Ok(catalog.commit(table, Vec::new(), updates).await?)
}

fn snapshot(table: &Table, number: i64, timestamp_ms: i64) -> Snapshot {
    let location = table.metadata.location();
    Snapshot {
        snapshot_id: number,
        parent_snapshot_id: Some(number - 1).filter(|parent| 0 < *parent),
        sequence_number: number,
        timestamp_ms,
        manifest_list: format!("{location}/metadata/snap-{number}.avro"),
        summary: [("operation".to_owned(), "append".to_owned())].into(),
        schema_id: Some(0),
        ..Snapshot::default()
    }
}

/// Writes one manifest, on a task of its own: to compress it keeps a core busy.
async fn manifest(
    table: &Table,
    (snapshot_id, number): (i64, u64),
    files: std::ops::Range<u64>,
) -> Result<ManifestFile> {
    let table = table.clone();
    let written = tokio::spawn(async move {
        let location = table.metadata.location();
        let path = format!("{location}/metadata/{snapshot_id}-m{number}.avro");
        let metadata = &table.metadata;
        let mut writer = ManifestWriter::new(ManifestContent::Data, metadata, 0, snapshot_id)?;
        for number in files {
            writer.add(&file(location, number), None)?;
        }
        let (bytes, manifest) = writer.finish(&path)?;
        write(&table, &path, bytes).await?;
        Ok(manifest)
    });
    written.await.context("a writing task ended badly")?
}

async fn list(table: &Table, snapshot: &Snapshot, manifests: &[ManifestFile]) -> Result<()> {
    let bytes = metadata::write_manifest_list(
        manifests,
        &table.metadata,
        snapshot.snapshot_id,
        snapshot.parent_snapshot_id,
        snapshot.sequence_number,
    )?;
    write(table, &snapshot.manifest_list, bytes).await
}

async fn write(table: &Table, path: &str, bytes: Bytes) -> Result<()> {
    Ok(table.storage.write_new(path, bytes).await?)
}

/// A small file as writers describe it: sizes, counts and bounds of every column.
fn file(location: &str, number: u64) -> DataFile {
    let partition = number % PARTITIONS;
    let mut file = DataFile::new(Content::Data, data_path(location, number));
    file.partition = vec![Some(Literal::Int(partition as i32))];
    file.record_count = ROWS;
    file.file_size_in_bytes = FILE_BYTES + number % 1_000;
    file.split_offsets = Some(vec![4]);
    for (id, (_, ty)) in (1..).zip(COLUMNS) {
        file.column_sizes.insert(id, COLUMN_BYTES + number as i64);
        file.value_counts.insert(id, ROWS as i64);
        file.null_value_counts.insert(id, 0);
        file.lower_bounds.insert(id, bound(&ty, number).into());
        file.upper_bounds
            .insert(id, bound(&ty, number + ROWS).into());
    }
    file
}

fn data_path(location: &str, number: u64) -> String {
    let partition = number % PARTITIONS;
    format!("{location}/data/{PARTITION}={partition}/{number:016x}-0-00001.parquet")
}

/// As long as a bound of this type is.
fn bound(ty: &Primitive, number: u64) -> Vec<u8> {
    match ty {
        Primitive::Boolean => vec![(number % 2) as u8],
        Primitive::Int | Primitive::Date | Primitive::Float => {
            (number as u32).to_le_bytes().to_vec()
        }
        Primitive::String => format!("{number:0BOUND_CHARACTERS$}").into_bytes(),
        _ => number.to_le_bytes().to_vec(),
    }
}
