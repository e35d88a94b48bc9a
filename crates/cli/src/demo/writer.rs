//! The simulated streaming writer: checkpoints of small files, one per partition, and now and then
//! position deletes of rows written earlier, or new versions of some with equality deletes of the
//! old, as a job that keeps a table up to date does.
//!
//! Keeps an account of its own of every row it wrote and deleted, made from the rows and not from
//! the table: what is read back is held against it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::SchemaRef;
use catalog::{Catalog, NewTable};
use futures::{StreamExt, TryStreamExt, stream};
use lake::{Changes, FileWriter};
use metadata::{
    DataFile, Field, Literal, PartitionField, PartitionSpec, Primitive, Schema, StructType,
    Transform, Type,
};
use model::TableName;

use super::event::{self, COLUMNS, Event, Fingerprint, REGIONS};

/// Part of the names of its files.
const OWNER: &str = "writer";
/// Partitions written by one checkpoint; the next one goes on with the others.
const FILES_PER_CHECKPOINT: usize = 4;
/// Of so many checkpoints, one is followed by deletes and another holds updates.
const CHANGES_EVERY: u64 = 5;
/// Updates come so many checkpoints before deletes.
const UPDATES_BEFORE: u64 = 2;
/// One row in so many of the file that is hit; updates hit others than deletes.
const CHANGED_ONE_IN: i64 = 40;
const UPDATED_REST: i64 = CHANGED_ONE_IN / 2;
/// What a row costs on disk, about; decides the table's target size.
const ROW_BYTES: u64 = 15;
/// A partition becomes two files: its rows make a little less than twice the target size.
const TARGETS_PER_PARTITION: f64 = 1.95;
const TARGET_BYTES_MIN: u64 = 64 * 1024;
/// Field ids of `region` in the schema and in the partition spec.
const REGION_ID: i32 = 3;
/// Field id of `id`, the key of updates.
const KEY_ID: i32 = 1;
const REGION_FIELD_ID: i32 = 1000;

/// A data file the writer made.
#[derive(Debug, Clone)]
struct Made {
    path: String,
    region: &'static str,
    first_id: i64,
}

/// What one data file holds: new rows, and new versions of rows written before.
#[derive(Debug, Clone)]
struct Batch {
    region: &'static str,
    ids: Range<i64>,
    updated: Vec<i64>,
}

/// How a writer goes about it.
#[derive(Debug, Clone)]
pub(crate) struct Habit {
    pub(crate) seed: u64,
    /// It writes to the first so many partitions, at least one checkpoint's.
    pub(crate) regions: usize,
    pub(crate) rows_per_file: u32,
    /// Of so many checkpoints, one is followed by deletes and another holds updates; at least 2.
    pub(crate) changes_every: Option<u64>,
    pub(crate) target_bytes: u64,
    /// Of the table, on top of how it writes.
    pub(crate) properties: BTreeMap<String, String>,
}

impl Habit {
    /// A table of so many files whose partitions become two files each.
    pub(crate) fn streaming(seed: u64, files: u32, rows_per_file: u32) -> Self {
        Self {
            seed,
            regions: REGIONS.len(),
            rows_per_file,
            changes_every: Some(CHANGES_EVERY),
            target_bytes: target_bytes(files, rows_per_file),
            properties: BTreeMap::new(),
        }
    }
}

/// One writer of one table.
#[derive(Debug)]
pub(crate) struct Writer {
    catalog: Arc<dyn Catalog>,
    table: TableName,
    seed: u64,
    regions: &'static [&'static str],
    rows_per_file: u32,
    changes_every: Option<u64>,
    next_id: i64,
    /// The last file of each partition: what the next deletes hit.
    last: BTreeMap<&'static str, Made>,
    account: Fingerprint,
    deleted: u64,
    updated: u64,
    commits: u64,
    checkpoints: u64,
    files: BTreeSet<String>,
}

impl Writer {
    /// Creates the table.
    pub(crate) async fn create(
        catalog: Arc<dyn Catalog>,
        table: TableName,
        habit: Habit,
    ) -> Result<Self> {
        catalog
            .create_namespace(table.namespace(), &BTreeMap::new())
            .await?;
        let properties = [
            (
                "write.target-file-size-bytes",
                habit.target_bytes.to_string(),
            ),
            ("write.delete.mode", "merge-on-read".to_owned()),
            ("write.parquet.compression-codec", "zstd".to_owned()),
            ("write.metadata.compression-codec", "gzip".to_owned()),
        ];
        let mut properties: BTreeMap<String, String> = properties
            .map(|(key, value)| (key.to_owned(), value))
            .into();
        properties.extend(habit.properties);
        let new = NewTable {
            schema: schema(),
            spec: spec(),
            properties,
            location: None,
        };
        catalog.create_table(&table, new).await?;
        Ok(Self {
            catalog,
            table,
            seed: habit.seed,
            regions: &REGIONS[..habit.regions],
            rows_per_file: habit.rows_per_file,
            changes_every: habit.changes_every,
            next_id: 0,
            last: BTreeMap::new(),
            account: Fingerprint::default(),
            deleted: 0,
            updated: 0,
            commits: 0,
            checkpoints: 0,
            files: BTreeSet::new(),
        })
    }

    /// Commits at most `files_max` files, one per partition, and every few times deletes or
    /// updates rows of the files before them. Says how many files it was.
    pub(crate) async fn checkpoint(&mut self, files_max: usize) -> Result<usize> {
        let before: Vec<Made> = self.last.values().cloned().collect();
        let files = FILES_PER_CHECKPOINT.min(files_max);
        let first = self.checkpoints as usize * FILES_PER_CHECKPOINT;
        let regions = self.regions.iter().cycle();
        let regions = regions.skip(first % self.regions.len()).take(files);
        let regions: Vec<&'static str> = regions.copied().collect();
        let at = self.checkpoints;
        let every = self.changes_every;
        let updates = every.is_some_and(|every| at % every == every - UPDATES_BEFORE);
        self.write(&regions, updates).await?;
        self.checkpoints += 1;
        if every.is_some_and(|every| self.checkpoints.is_multiple_of(every)) {
            self.delete_some(&before).await?;
        }
        Ok(files)
    }

    /// Commits one file per partition, and deletes nothing.
    pub(crate) async fn append(&mut self) -> Result<()> {
        self.write(self.regions, false).await
    }

    /// Begins a new account: what is written from here on is counted alone.
    pub(crate) fn fresh_account(mut self) -> Self {
        self.account = Fingerprint::default();
        (self.deleted, self.updated, self.commits) = (0, 0, 0);
        self.files.clear();
        self
    }

    pub(crate) fn table(&self) -> &TableName {
        &self.table
    }

    /// Every row written later has this id or a greater one.
    pub(crate) fn next_id(&self) -> i64 {
        self.next_id
    }

    /// Rows written, less those deleted again.
    pub(crate) fn account(&self) -> Fingerprint {
        self.account
    }

    pub(crate) fn deleted(&self) -> u64 {
        self.deleted
    }

    /// Rows that were given a new version.
    pub(crate) fn updated(&self) -> u64 {
        self.updated
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }

    /// Data files written.
    pub(crate) fn files(&self) -> &BTreeSet<String> {
        &self.files
    }

    async fn write(&mut self, regions: &[&'static str], with_updates: bool) -> Result<()> {
        let table = self.catalog.load(&self.table).await?;
        let writer = FileWriter::new(&table, OWNER)?;
        let schema = lake::arrow_schema(table.metadata.current_schema())?;
        let mut changes = Changes::default();
        let mut making = Vec::new();
        for region in regions {
            let ids = self.next_id..self.next_id + i64::from(self.rows_per_file);
            self.next_id = ids.end;
            let updated = if with_updates {
                self.updates(region)
            } else {
                Vec::new()
            };
            if !updated.is_empty() {
                changes
                    .deletes
                    .push(old_versions(&writer, region, &updated).await?);
                self.replace(region, &updated);
            }
            let batch = Batch {
                region,
                ids,
                updated,
            };
            making.push(make(&writer, &schema, self.seed, batch));
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let made: Vec<_> = stream::iter(making).buffered(cores).try_collect().await?;
        for (made, file, rows) in made {
            self.account.join(rows);
            self.files.insert(made.path.clone());
            self.last.insert(made.region, made);
            changes.data.push(file);
        }
        self.commit(&changes).await
    }

    /// Rows of the partition's last file that get a new version.
    fn updates(&self, region: &str) -> Vec<i64> {
        let ids = self.last.get(region).map(|made| {
            let ids = made.first_id..made.first_id + i64::from(self.rows_per_file);
            ids.filter(|id| id % CHANGED_ONE_IN == UPDATED_REST)
        });
        ids.into_iter().flatten().collect()
    }

    /// Takes the old versions out of the account; the new ones are counted when written.
    fn replace(&mut self, region: &str, updated: &[i64]) {
        for id in updated {
            self.account.remove(&Event::new(self.seed, *id, region));
        }
        self.updated += updated.len() as u64;
    }

    async fn delete_some(&mut self, from: &[Made]) -> Result<()> {
        let table = self.catalog.load(&self.table).await?;
        let writer = FileWriter::new(&table, OWNER)?;
        let mut changes = Changes::default();
        for made in from {
            let positions = 0..i64::from(self.rows_per_file);
            let hit = positions.filter(|position| (made.first_id + position) % CHANGED_ONE_IN == 0);
            let deletes: Vec<(String, i64)> =
                hit.map(|position| (made.path.clone(), position)).collect();
            if deletes.is_empty() {
                continue;
            }
            for (_, position) in &deletes {
                self.account.remove(&Event::new(
                    self.seed,
                    made.first_id + position,
                    made.region,
                ));
            }
            self.deleted += deletes.len() as u64;
            changes.must_exist.push(made.path.clone());
            changes.deletes.push(
                writer
                    .position_deletes(partition(made.region), deletes)
                    .await?,
            );
        }
        if changes.deletes.is_empty() {
            Ok(())
        } else {
            self.commit(&changes).await
        }
    }

    async fn commit(&mut self, changes: &Changes) -> Result<()> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        lake::commit_changes(self.catalog.as_ref(), &self.table, changes, now_ms).await?;
        self.commits += 1;
        Ok(())
    }
}

/// The equality deletes of rows that get a new version: they hit what was committed before.
async fn old_versions(writer: &FileWriter, region: &str, ids: &[i64]) -> Result<DataFile> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.iter().copied()));
    let keys = RecordBatch::try_from_iter([("id", ids)])?;
    Ok(writer
        .equality_deletes(partition(region), &[KEY_ID], &[keys])
        .await?)
}

/// Makes one file, and says what it adds to the account.
async fn make(
    writer: &FileWriter,
    schema: &SchemaRef,
    seed: u64,
    batch: Batch,
) -> Result<(Made, DataFile, Fingerprint)> {
    let (region, first_id, schema) = (batch.region, batch.ids.start, Arc::clone(schema));
    // Making rows keeps a core busy: not on the threads that wait.
    let rows = move || rows(seed, &batch, schema);
    let (rows, counted) = tokio::task::spawn_blocking(rows).await??;
    let file = writer.data_file(partition(region), &[rows]).await?;
    Ok((
        Made {
            path: file.file_path.clone(),
            region,
            first_id,
        },
        file,
        counted,
    ))
}

/// The rows of a batch, and what they add to the account.
fn rows(seed: u64, batch: &Batch, schema: SchemaRef) -> Result<(RecordBatch, Fingerprint)> {
    let new = batch.ids.clone();
    let new = new.map(|id| Event::new(seed, id, batch.region));
    let updated = batch.updated.iter();
    let updated = updated.map(|id| Event::new(seed.wrapping_add(1), *id, batch.region));
    let events: Vec<Event> = new.chain(updated).collect();
    let mut rows = Fingerprint::default();
    for event in &events {
        rows.add(event);
    }
    Ok((RecordBatch::try_new(schema, event::columns(&events))?, rows))
}

/// A target size at which the small files are small and what they become is not.
fn target_bytes(files: u32, rows_per_file: u32) -> u64 {
    let bytes = u64::from(files) * u64::from(rows_per_file) * ROW_BYTES;
    let partition = bytes as f64 / REGIONS.len() as f64;
    TARGET_BYTES_MIN.max((partition / TARGETS_PER_PARTITION) as u64)
}

fn partition(region: &str) -> Vec<Option<Literal>> {
    vec![Some(Literal::String(region.to_owned()))]
}

fn schema() -> Schema {
    let field =
        |(id, (name, ty))| Field::new(id, name, name != "note", Type::Primitive(primitive(ty)));
    let fields = (1..).zip(COLUMNS).map(field);
    Schema {
        schema_id: 0,
        root: StructType {
            fields: fields.collect(),
        },
        identifier_field_ids: Vec::new(),
    }
}

fn primitive(name: &str) -> Primitive {
    match name {
        "long" => Primitive::Long,
        "timestamptz" => Primitive::Timestamptz,
        "double" => Primitive::Double,
        "string" => Primitive::String,
        other => Primitive::Other(other.to_owned()),
    }
}

fn spec() -> PartitionSpec {
    let region = PartitionField {
        source_id: REGION_ID,
        field_id: REGION_FIELD_ID,
        name: "region".to_owned(),
        transform: Transform::Identity,
    };
    PartitionSpec {
        spec_id: 0,
        fields: vec![region],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_column_is_where_the_spec_looks_for_it() {
        let schema = schema();
        let found = schema
            .root
            .fields
            .iter()
            .find(|field| field.id == REGION_ID)
            .unwrap();
        assert_eq!(found.name, "region");
        assert_eq!(schema.field(KEY_ID).unwrap().name, "id");
        assert!(
            schema
                .root
                .fields
                .iter()
                .all(|field| !matches!(field.ty, Type::Primitive(Primitive::Other(_))))
        );
    }
}
