//! Reads the demo's table the plain way: every live Parquet file, minus the rows its position and
//! equality deletes hit.
//!
//! Shares nothing with the engine whose work it judges: no plan, no selection, no column tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use catalog::Table;
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{Content, Fields, LiveFile, live_files};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::event::{self, Fingerprint};

/// Row positions deleted in one data file, each with the sequence number of its delete.
type Deleted = BTreeMap<u64, i64>;

/// Ids deleted in one partition, each with the sequence number of its newest delete.
type Gone = BTreeMap<i64, i64>;

/// Field id of `id`, the one column the demo's equality deletes compare.
const KEY_ID: i32 = 1;

/// Every delete of the table.
#[derive(Debug, Default)]
struct Deletes {
    /// By data file.
    positions: BTreeMap<String, Deleted>,
    /// By the partition's path.
    ids: BTreeMap<String, Gone>,
}

/// What is in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Rows with an id below the boundary: those there before maintenance began.
    pub(crate) before: Fingerprint,
    /// The others: what the writer added meanwhile.
    pub(crate) meanwhile: Fingerprint,
}

/// Reads the current snapshot. Rows with ids from `boundary` on were added meanwhile.
pub(crate) async fn read(table: &Table, boundary: i64) -> Result<Contents> {
    let snapshot = table
        .metadata
        .current_snapshot()
        .context("the table has no snapshot")?;
    let live = live_files(
        &table.storage,
        &table.metadata,
        snapshot.snapshot_id,
        Fields::PLAN,
    )
    .await?;
    let deletes = Arc::new(deletes(table, &live.deletes).await?);
    let parts = stream::iter(&live.data)
        .map(|data| {
            let deletes = Arc::clone(&deletes);
            async move {
                let path = data.file.file_path.clone();
                let bytes = table.storage.read(&path).await?;
                let sequence = data.sequence_number;
                let partition = partition(table, data);
                let read = move || {
                    let hit = (deletes.positions.get(&path), deletes.ids.get(&partition));
                    file(bytes, hit, sequence, boundary).context(path)
                };
                tokio::task::spawn_blocking(read).await?
            }
        })
        .buffer_unordered(at_once())
        .try_collect::<Vec<(Fingerprint, Fingerprint)>>()
        .await?;
    let mut contents = Contents::default();
    for (before, meanwhile) in parts {
        contents.before.join(before);
        contents.meanwhile.join(meanwhile);
    }
    Ok(contents)
}

fn at_once() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// The rows of one data file that no delete applies to.
fn file(
    bytes: Bytes,
    (deleted, gone): (Option<&Deleted>, Option<&Gone>),
    sequence: i64,
    boundary: i64,
) -> Result<(Fingerprint, Fingerprint)> {
    let (mut before, mut meanwhile) = (Fingerprint::default(), Fingerprint::default());
    let mut position = 0;
    for batch in plain(bytes)?.build()? {
        for event in event::events(&batch?)? {
            // By position a delete applies to files of its own or an earlier sequence number, by
            // equality to earlier ones alone.
            let dead = deleted
                .and_then(|deleted| deleted.get(&position))
                .is_some_and(|at| sequence <= *at);
            let replaced = gone
                .and_then(|gone| gone.get(&event.id))
                .is_some_and(|at| sequence < *at);
            position += 1;
            if dead || replaced {
                continue;
            }
            if event.id < boundary {
                before.add(&event);
            } else {
                meanwhile.add(&event);
            }
        }
    }
    Ok((before, meanwhile))
}

fn partition(table: &Table, file: &LiveFile) -> String {
    let spec = table.metadata.spec(file.file.spec_id);
    spec.map_or_else(String::new, |spec| spec.path(&file.file.partition))
}

async fn deletes(table: &Table, files: &[LiveFile]) -> Result<Deletes> {
    let mut deletes = Deletes::default();
    let newest = |at: &mut i64, file: &LiveFile| *at = file.sequence_number.max(*at);
    for file in files {
        let path = &file.file.file_path;
        let bytes = table.storage.read(path).await?;
        for batch in plain(bytes)?.build()? {
            let batch = batch?;
            if file.file.content == Content::EqualityDeletes {
                ensure!(
                    file.file.equality_ids.as_deref() == Some(&[KEY_ID]),
                    "{path} compares other columns than `id`"
                );
                let gone = deletes.ids.entry(partition(table, file)).or_default();
                for id in ids(&batch).with_context(|| path.clone())? {
                    newest(gone.entry(id).or_default(), file);
                }
                continue;
            }
            for (data_file, position) in positions(&batch).with_context(|| path.clone())? {
                let of_file = deletes.positions.entry(data_file).or_default();
                newest(of_file.entry(position).or_default(), file);
            }
        }
    }
    Ok(deletes)
}

/// A reader that goes by the Parquet schema alone, whatever Arrow types the file's writer noted.
fn plain(bytes: Bytes) -> Result<ParquetRecordBatchReaderBuilder<Bytes>> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    Ok(ParquetRecordBatchReaderBuilder::try_new_with_options(
        bytes, options,
    )?)
}

fn positions(batch: &RecordBatch) -> Result<Vec<(String, u64)>> {
    let paths = batch
        .column_by_name("file_path")
        .and_then(|column| column.as_string_opt::<i32>());
    let positions = batch
        .column_by_name("pos")
        .and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (paths, positions) = paths
        .zip(positions)
        .context("it lacks `file_path` or `pos`")?;
    ensure!(
        paths.null_count() == 0 && positions.null_count() == 0,
        "it holds nulls"
    );
    let row = |row: usize| {
        Ok((
            paths.value(row).to_owned(),
            u64::try_from(positions.value(row))?,
        ))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn ids(batch: &RecordBatch) -> Result<Vec<i64>> {
    let ids = batch
        .column_by_name("id")
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .context("it lacks `id`")?;
    ensure!(ids.null_count() == 0, "it holds nulls");
    Ok(ids.values().to_vec())
}
