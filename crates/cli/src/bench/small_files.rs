//! The table that is compacted: many small files, written once and made part of a new table for
//! every round, and the plain reading of what became of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::SchemaRef;
use catalog::{Catalog, NewTable, Table};
use futures::{StreamExt, TryStreamExt, stream};
use lake::{Changes, FileWriter};
use metadata::{Content, DataFile, Fields, LiveFile, PartitionSpec, live_files};
use model::TableName;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterPropertiesBuilder;
use storage::Location;

use super::rows::{self, ID_FIELD, MANY_VALUES, Sums};
use crate::demo::event::Dice;
use crate::demo::steps::Step;

const NAMESPACE: &str = "bench";
const OWNER: &str = "bench";
/// What other writers use; the rewrite takes its own default.
const ZSTD_LEVEL: i32 = 3;
/// Above any dictionary of a file.
const DICTIONARY_BYTES_MAX: usize = 64 << 20;
/// Everything fits one output, whatever the default.
const TARGET_PER_BYTES: u64 = 2;
const TARGET_BYTES_MIN: u64 = 512 << 20;

/// How the files' columns are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// A dictionary in every column, as PyArrow writes by default.
    Z,
    /// No dictionary where nearly every value is another one, as parquet-java ends up.
    N,
}

impl Variant {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Z => "z",
            Self::N => "n",
        }
    }

    fn encode(self, asked: WriterPropertiesBuilder, level: ZstdLevel) -> WriterPropertiesBuilder {
        let mut asked = asked
            .set_compression(Compression::ZSTD(level))
            .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX);
        if self == Self::N {
            for name in MANY_VALUES {
                asked = asked
                    .set_column_dictionary_enabled(name.into(), false)
                    .set_column_encoding(name.into(), Encoding::PLAIN);
            }
        }
        asked
    }
}

/// How much of it, and which of its rows are deleted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) seed: u64,
    pub(super) files: u32,
    pub(super) rows_per_file: u32,
    /// Rows in a hundred that position deletes take, a delete file for each data file.
    pub(super) position_percent: u8,
    /// Rows that equality deletes take, spread evenly, in one delete file.
    pub(super) equality: u32,
}

impl Size {
    /// Another table of so many files and no deletes.
    pub(super) fn plain(self, files: u32) -> Self {
        Self {
            files,
            position_percent: 0,
            equality: 0,
            ..self
        }
    }

    pub(super) fn deletes(self) -> bool {
        0 < self.position_percent || 0 < self.equality
    }

    fn rows(self) -> i64 {
        i64::from(self.files) * i64::from(self.rows_per_file)
    }

    fn kept(self, id: i64) -> bool {
        !self.deleted_by_position(id) && !self.deleted_by_key(id)
    }

    fn deleted_by_position(self, id: i64) -> bool {
        0 < self.position_percent
            && Dice::new(!self.seed, id).below(100) < self.position_percent.into()
    }

    fn deleted_by_key(self, id: i64) -> bool {
        let Some(step) = self.rows().checked_div(self.equality.into()) else {
            return false;
        };
        let step = step.max(1);
        id % step == step - 1 && id / step < self.equality.into()
    }
}

/// Files that were written and belong to no table yet.
#[derive(Debug)]
pub(super) struct Files {
    /// What its tables' names begin with.
    name: &'static str,
    data: Changes,
    deletes: Changes,
    /// Of the rows that are not deleted.
    pub(super) sums: Sums,
    /// Of the data files.
    pub(super) bytes: u64,
    pub(super) rows: u64,
}

impl Files {
    /// Writes them, below the location of a table that stays empty.
    pub(super) async fn write(
        catalog: &dyn Catalog,
        name: &'static str,
        (variant, size): (Variant, Size),
        step: &Step<'_>,
    ) -> Result<Self> {
        let table = TableName::new([NAMESPACE], format!("{name}_files"))?;
        let table = create(catalog, &table, 0).await?;
        let level = ZstdLevel::try_new(ZSTD_LEVEL)?;
        let writer = FileWriter::new(&table, OWNER)?;
        let writer = Arc::new(writer.encoded(|asked| variant.encode(asked, level)));
        let schema = lake::arrow_schema(table.metadata.current_schema())?;
        let (data, sums) = data(&writer, &schema, size, step).await?;
        let paths: Vec<String> = data.iter().map(|file| file.file_path.clone()).collect();
        Ok(Self {
            name,
            bytes: data.iter().map(|file| file.file_size_in_bytes).sum(),
            rows: data.iter().map(|file| file.record_count).sum(),
            data: Changes {
                data,
                ..Changes::default()
            },
            deletes: Changes {
                deletes: deletes(&writer, &paths, size).await?,
                must_exist: paths,
                ..Changes::default()
            },
            sums,
        })
    }

    /// A new table of these files.
    pub(super) async fn table(&self, catalog: &dyn Catalog, round: u32) -> Result<TableName> {
        let name = TableName::new([NAMESPACE], format!("{}_round_{round}", self.name))?;
        let table = create(catalog, &name, self.bytes).await?;
        let now_ms = table.metadata.last_updated_ms();
        lake::commit_changes(catalog, &name, &self.data, now_ms).await?;
        if !self.deletes.deletes.is_empty() {
            lake::commit_changes(catalog, &name, &self.deletes, now_ms).await?;
        }
        Ok(name)
    }

    /// The data files, one a line.
    pub(super) fn list(&self) -> Result<String> {
        let paths = self.data.data.iter().map(|file| local(&file.file_path));
        let paths: Vec<PathBuf> = paths.collect::<Result<_>>()?;
        let lines = paths.iter().map(|path| format!("{}\n", path.display()));
        Ok(lines.collect())
    }
}

async fn create(catalog: &dyn Catalog, name: &TableName, bytes: u64) -> Result<Table> {
    catalog
        .create_namespace(name.namespace(), &BTreeMap::new())
        .await?;
    let target = TARGET_BYTES_MIN.max(bytes * TARGET_PER_BYTES);
    let properties = [("write.target-file-size-bytes", target.to_string())];
    let new = NewTable {
        schema: rows::schema(),
        spec: PartitionSpec::unpartitioned(),
        properties: properties
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        location: None,
    };
    Ok(catalog.create_table(name, new).await?)
}

async fn data(
    writer: &Arc<FileWriter>,
    schema: &SchemaRef,
    size: Size,
    step: &Step<'_>,
) -> Result<(Vec<DataFile>, Sums)> {
    let rows = i64::from(size.rows_per_file);
    let tasks = (0..i64::from(size.files)).map(|number| {
        let (writer, schema) = (Arc::clone(writer), Arc::clone(schema));
        // A task each: encoding keeps a core busy.
        tokio::spawn(async move {
            let ids = number * rows..(number + 1) * rows;
            let batch = rows::batch(size.seed, ids, schema)?;
            let mut sums = Sums::default();
            sums.add(&batch, |id| size.kept(id))?;
            let file = writer.data_file(Vec::new(), &[batch]).await?;
            anyhow::Ok((file, sums))
        })
    });
    let mut written = stream::iter(tasks).buffered(cores());
    let (mut files, mut sums) = (Vec::new(), Sums::default());
    while let Some(ended) = written.next().await {
        let (file, more) = ended.context("a writing task ended badly")??;
        files.push(file);
        sums.join(&more);
        step.advance(1);
    }
    Ok((files, sums))
}

async fn deletes(writer: &FileWriter, paths: &[String], size: Size) -> Result<Vec<DataFile>> {
    let mut files = Vec::new();
    let rows = i64::from(size.rows_per_file);
    for (number, path) in (0..).zip(paths) {
        let first: i64 = number * rows;
        let gone = (0..rows).filter(|row| size.deleted_by_position(first + row));
        let gone: Vec<(String, i64)> = gone.map(|row| (path.clone(), row)).collect();
        if !gone.is_empty() {
            files.push(writer.position_deletes(Vec::new(), gone).await?);
        }
    }
    if 0 < size.equality {
        let keys = (0..size.rows()).filter(|id| size.deleted_by_key(*id));
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
        let keys = [RecordBatch::try_from_iter([("id", keys)])?];
        let file = writer.equality_deletes(Vec::new(), &[ID_FIELD], &keys);
        files.push(file.await?);
    }
    Ok(files)
}

/// What a reader finds in the table that looks at its data files alone; fails when a delete still
/// applies to one.
pub(super) async fn read(table: &Table) -> Result<Sums> {
    let snapshot = table.metadata.current_snapshot();
    let snapshot = snapshot.context("the table has no snapshot")?.snapshot_id;
    let live = live_files(&table.storage, &table.metadata, snapshot, Fields::PLAN).await?;
    let mut parts = Vec::new();
    for file in &live.data {
        let delete = live.deletes.iter().find(|delete| applies(delete, file));
        let path = local(&file.file.file_path)?;
        if let Some(delete) = delete {
            let (delete, path) = (&delete.file.file_path, path.display());
            bail!("the delete file {delete} still applies to {path}");
        }
        let footer = footer(&path)?;
        for group in 0..footer.metadata().num_row_groups() {
            parts.push((path.clone(), footer.clone(), group));
        }
    }
    let parts = parts.into_iter().map(|(path, footer, group)| async move {
        let sums = tokio::task::spawn_blocking(move || row_group(&path, footer, group));
        sums.await.context("a reading task ended badly")?
    });
    let parts = stream::iter(parts).buffer_unordered(cores());
    let parts: Vec<Sums> = parts.try_collect().await?;
    let mut sums = Sums::default();
    for part in &parts {
        sums.join(part);
    }
    Ok(sums)
}

/// The bench's position deletes name their data file; by equality a delete applies to what was
/// there before it.
fn applies(delete: &LiveFile, data: &LiveFile) -> bool {
    match delete.file.content {
        Content::EqualityDeletes => data.sequence_number < delete.sequence_number,
        _ => delete.file.referenced_data_file.as_ref() == Some(&data.file.file_path),
    }
}

fn row_group(path: &Path, footer: ArrowReaderMetadata, group: usize) -> Result<Sums> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer);
    let mut sums = Sums::default();
    for batch in reader.with_row_groups(vec![group]).build()? {
        sums.add(&batch?, |_| true)?;
    }
    Ok(sums)
}

/// Read by the Parquet schema alone, whatever Arrow types the file's writer noted.
fn footer(path: &Path) -> Result<ArrowReaderMetadata> {
    let reading = || format!("read the footer of {}", path.display());
    let file = File::open(path).with_context(reading)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ArrowReaderMetadata::load(&file, options).with_context(reading)
}

/// Rows of one Parquet file, as its footer says.
pub(super) fn rows_in(path: &Path) -> Result<u64> {
    let rows = footer(path)?.metadata().file_metadata().num_rows();
    Ok(rows.unsigned_abs())
}

/// Deletes what the table wrote; the data files it began with lie elsewhere.
pub(super) fn remove(table: &Table) -> Result<()> {
    let folder = local(table.metadata.location())?;
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
}

fn local(location: &str) -> Result<PathBuf> {
    let path = Location::parse(location)?.path().to_owned();
    ensure!(
        Path::new(&path).is_absolute(),
        "{location} is no local file"
    );
    Ok(path.into())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_are_deleted_as_were_asked_for() {
        let size = Size {
            seed: 7,
            files: 10,
            rows_per_file: 1_000,
            position_percent: 20,
            equality: 300,
        };
        let count = |of: &dyn Fn(i64) -> bool| (0..size.rows()).filter(|id| of(*id)).count();
        assert_eq!(count(&|id| size.deleted_by_key(id)), 300);
        let positions = count(&|id| size.deleted_by_position(id));
        assert!((1_800..2_200).contains(&positions), "{positions}");
        let plain = size.plain(5);
        assert!(!plain.deletes() && (0..plain.rows()).all(|id| plain.kept(id)));
        let all = Size {
            equality: 50_000,
            ..size
        };
        assert_eq!(count(&|id| all.deleted_by_key(id)), 10_000);
    }
}
