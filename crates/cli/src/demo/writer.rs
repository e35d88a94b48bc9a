//! The simulated streaming writer: checkpoints of one small file per partition, and now and then
//! position deletes of rows written earlier, as a job that keeps a table up to date does.
//!
//! Shares nothing with the engine that will maintain its table: it brings its own Parquet writer
//! ([`super::files`]) and its own commits ([`super::commit`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use catalog::{Catalog, NewTable};
use metadata::{
    DataFile, Field, PartitionField, PartitionSpec, Primitive, Schema, StructType, Transform, Type,
};
use model::TableName;

use super::commit::{self, Change};
use super::event::{COLUMNS, Event, Fingerprint, REGIONS};
use super::files;

/// Every so many checkpoints some rows are deleted again.
const DELETES_EVERY: u64 = 5;
/// One row in so many of the file that is hit.
const DELETED_ONE_IN: i64 = 40;
/// What a row costs on disk, about; decides the table's target size.
const ROW_BYTES: u64 = 30;
/// Small files that make one file of the target size, about.
const FILES_PER_TARGET: u64 = 16;
const TARGET_BYTES_MIN: u64 = 1024 * 1024;
/// Field ids of `region` in the schema and in the partition spec.
const REGION_ID: i32 = 3;
const REGION_FIELD_ID: i32 = 1000;

/// A data file the writer made.
#[derive(Debug, Clone)]
struct Made {
    file: DataFile,
    region: &'static str,
    first_id: i64,
}

/// One writer of one table.
#[derive(Debug)]
pub(crate) struct Writer {
    catalog: Arc<dyn Catalog>,
    table: TableName,
    seed: u64,
    rows_per_file: u32,
    next_id: i64,
    /// The last file of each partition: what the next deletes hit.
    last: BTreeMap<&'static str, Made>,
    account: Fingerprint,
    deleted: u64,
    commits: u64,
    files: BTreeSet<String>,
}

impl Writer {
    /// Creates the table.
    pub(crate) async fn create(
        catalog: Arc<dyn Catalog>,
        table: TableName,
        seed: u64,
        rows_per_file: u32,
    ) -> Result<Self> {
        catalog
            .create_namespace(table.namespace(), &BTreeMap::new())
            .await?;
        let target = TARGET_BYTES_MIN.max(u64::from(rows_per_file) * ROW_BYTES * FILES_PER_TARGET);
        let properties = [
            ("write.target-file-size-bytes", target.to_string()),
            ("write.delete.mode", "merge-on-read".to_owned()),
            ("write.parquet.compression-codec", "zstd".to_owned()),
        ];
        let properties = properties
            .map(|(key, value)| (key.to_owned(), value))
            .into();
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
            seed,
            rows_per_file,
            next_id: 0,
            last: BTreeMap::new(),
            account: Fingerprint::default(),
            deleted: 0,
            commits: 0,
            files: BTreeSet::new(),
        })
    }

    /// Commits at most `files_max` files, one per partition, and every few times deletes rows of
    /// the files before them. Says how many files it was.
    pub(crate) async fn checkpoint(&mut self, files_max: usize) -> Result<usize> {
        let before: Vec<Made> = self.last.values().cloned().collect();
        let wrote = self.write(REGIONS.len().min(files_max)).await?;
        if self.commits.is_multiple_of(DELETES_EVERY) {
            self.delete_some(&before).await?;
        }
        Ok(wrote)
    }

    /// Commits one file per partition, and deletes nothing.
    pub(crate) async fn append(&mut self) -> Result<()> {
        self.write(REGIONS.len()).await.map(drop)
    }

    /// Begins a new account: what is written from here on is counted alone.
    pub(crate) fn fresh_account(mut self) -> Self {
        self.account = Fingerprint::default();
        (self.deleted, self.commits) = (0, 0);
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

    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }

    /// Data files written.
    pub(crate) fn files(&self) -> &BTreeSet<String> {
        &self.files
    }

    async fn write(&mut self, files: usize) -> Result<usize> {
        let table = self.catalog.load(&self.table).await?;
        let mut change = Change::default();
        for &region in &REGIONS[..files] {
            let ids = self.next_id..self.next_id + i64::from(self.rows_per_file);
            self.next_id = ids.end;
            let first_id = ids.start;
            let seed = self.seed;
            // Making rows and encoding them keeps a core busy: not on the threads that wait.
            let encode = move || {
                let events: Vec<Event> = ids.map(|id| Event::new(seed, id, region)).collect();
                let mut rows = Fingerprint::default();
                events.iter().for_each(|event| rows.add(event));
                files::encode(&events).map(|bytes| (bytes, rows))
            };
            let (bytes, rows) = tokio::task::spawn_blocking(encode).await??;
            let file = files::put(&table, region, bytes, rows.rows).await?;
            self.account.join(rows);
            self.files.insert(file.file_path.clone());
            self.last.insert(
                region,
                Made {
                    file: file.clone(),
                    region,
                    first_id,
                },
            );
            change.data.push(file);
        }
        commit::commit(self.catalog.as_ref(), &self.table, &change).await?;
        self.commits += 1;
        Ok(files)
    }

    async fn delete_some(&mut self, from: &[Made]) -> Result<()> {
        let table = self.catalog.load(&self.table).await?;
        let mut change = Change::default();
        for made in from {
            let positions: Vec<i64> = (0..i64::from(self.rows_per_file))
                .filter(|position| (made.first_id + position) % DELETED_ONE_IN == 0)
                .collect();
            if positions.is_empty() {
                continue;
            }
            for position in &positions {
                self.account.remove(&Event::new(
                    self.seed,
                    made.first_id + position,
                    made.region,
                ));
            }
            self.deleted += positions.len() as u64;
            change
                .deletes
                .push(files::put_deletes(&table, &made.file, made.region, &positions).await?);
        }
        if change.deletes.is_empty() {
            return Ok(());
        }
        commit::commit(self.catalog.as_ref(), &self.table, &change).await
    }
}

fn schema() -> Schema {
    let fields = (1..).zip(COLUMNS).map(|(id, (name, ty))| Field {
        id,
        name: name.to_owned(),
        required: name != "note",
        ty: Type::Primitive(primitive(ty)),
        doc: None,
        initial_default: None,
        write_default: None,
    });
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
        assert!(
            schema
                .root
                .fields
                .iter()
                .all(|field| !matches!(field.ty, Type::Primitive(Primitive::Other(_))))
        );
    }
}
