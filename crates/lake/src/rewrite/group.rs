//! Rewrites one group: opens and checks its inputs, writes its outputs, counts both.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::{StreamExt, TryStreamExt, stream};
use metadata::{Content, DataFile, PartitionSpec, TableMetadata};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::SchemaDescriptor;
use planner::rewrite::{Group, Plan};
use planner::{Attempt, ColumnChunks, Reserved, Spilled};
use storage::Storage;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Terms;
use super::destination::Destination;
use super::input::{Input, Opening};
use super::layout::{Limits, RowGroup, lay_out};
use super::row_group::{Encoder, Machine};
use super::ways::Wanted;
use crate::Error;
use crate::deletes::equality::{self, Equality};
use crate::files::output::{OutputFile, column_writers};
use crate::files::place::Places;
use crate::files::properties::WriteSettings;
use crate::files::schema::WriteSchema;
use crate::files::source::InputFile;

/// Row groups in the making at once: one being encoded, one being fetched.
const ROW_GROUPS_AHEAD: usize = 2;
/// Bytes of small inputs kept from opening to reading, all groups together: a share of the memory
/// budget, and no more than this. What is beyond it is read again, footers apart.
const KEEP_SHARE: u64 = 4;
const KEEP_BYTES_MAX: u64 = 64 << 20;
/// Share of the memory budget for the deleted keys of one group.
const KEYS_SHARE: u64 = 4;
/// Share of the memory budget one output row group may be.
const ROW_GROUP_SHARE: u64 = 4;

/// What a plan was made on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) snapshot_id: i64,
    pub(crate) sequence_number: i64,
}

/// A group whose outputs are written and not yet committed.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) group: Group,
    pub(crate) pin: Pin,
    pub(crate) terms: Arc<Terms>,
    pub(crate) outputs: Vec<DataFile>,
    pub(crate) rows_in: u64,
    pub(crate) deletes_applied: u64,
    pub(crate) rows_out: u64,
    pub(crate) column_chunks: ColumnChunks,
    pub(crate) spilled: Spilled,
}

/// The data files of a group.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) outputs: Vec<DataFile>,
    pub(super) column_chunks: ColumnChunks,
    pub(super) spilled: Spilled,
}

/// Writes data files for one action of one attempt.
#[derive(Debug)]
pub(crate) struct Rewriter<'a> {
    pub(crate) attempt: &'a Attempt<'a>,
    pub(crate) plan: &'a Plan,
    pub(crate) storage: Storage,
    pub(crate) table: Arc<TableMetadata>,
    pub(crate) schema: Arc<WriteSchema>,
    pub(crate) specs: Vec<Arc<PartitionSpec>>,
    pub(crate) settings: WriteSettings,
    pub(crate) properties: Arc<WriterProperties>,
    pub(crate) places: &'a Places,
    /// Where rows that are sorted go when there is no room for them.
    pub(crate) spill: &'a Path,
    pub(crate) machine: Machine,
    /// Groups rewritten at once.
    pub(crate) concurrent: u64,
    pub(crate) terms: Arc<Terms>,
}

impl Rewriter<'_> {
    /// Nothing is written before every input was opened and matched.
    pub(crate) async fn rewrite(&self, group: Group, pin: Pin) -> Result<Rewritten, Error> {
        // A failure here stops the group's own tasks; a cancel from outside stops them too.
        let stop = self.attempt.signals.cancel.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let _positions_held = self.machine.room_for_positions(&group).await;
        let mut inputs = self.open(&group, &stop).await?;
        self.delete_equal(&group, &mut inputs, &stop).await?;
        let rows = || inputs.iter().map(|input| &input.rows);
        let rows_in: u64 = rows().map(|rows| rows.records).sum();
        let deletes_applied: u64 = rows().map(|rows| rows.deleted_count()).sum();
        let to = self.destinations(&group, &inputs, &stop).await?;
        let written = match &self.plan.sorting {
            None => self.write_all(&to, inputs, stop).await?,
            Some(sorting) => self.write_sorted(sorting, &to, &inputs, &stop).await?,
        };
        let columns = self.schema.arrow.fields().len() as u64;
        self.machine
            .done
            .fetch_add(deletes_applied * columns, Ordering::Relaxed);
        let rows_out = written.outputs.iter().map(|file| file.record_count).sum();
        if rows_in - deletes_applied != rows_out {
            return Err(Error::Counts(format!(
                "group {}: {rows_in} rows in, {deletes_applied} deletes applied, {rows_out} rows out",
                group.partition_path
            )));
        }
        let terms = Arc::clone(&self.terms);
        Ok(Rewritten {
            group,
            pin,
            terms,
            outputs: written.outputs,
            rows_in,
            deletes_applied,
            rows_out,
            column_chunks: written.column_chunks,
            spilled: written.spilled,
        })
    }

    async fn open(&self, group: &Group, stop: &CancellationToken) -> Result<Vec<Input>, Error> {
        let opening = Opening {
            storage: &self.storage,
            schema: &self.schema,
            specs: &self.specs,
            memory_bytes: self.attempt.memory_bytes,
            progress: self.attempt.progress,
            stop,
        };
        let keep = (self.attempt.memory_bytes / KEEP_SHARE).min(KEEP_BYTES_MAX);
        opening.open(group, keep / self.concurrent.max(1)).await
    }

    /// Adds what equality deletes delete to the deleted rows of the inputs.
    async fn delete_equal(
        &self,
        group: &Group,
        inputs: &mut [Input],
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        if group.equality_deletes.is_empty() {
            return Ok(());
        }
        let share = self.attempt.memory_bytes / KEYS_SHARE / self.concurrent.max(1);
        let budget_bytes = equality::needed(group).min(share);
        let _room = self.machine.room(budget_bytes).await;
        let equality = Equality {
            storage: &self.storage,
            table: &self.table,
            cores: Arc::clone(&self.machine.cores),
            cores_count: self.machine.cores_count as usize,
            budget_bytes: share,
            progress: self.attempt.progress,
            stop: stop.clone(),
        };
        let files: Vec<&InputFile> = inputs.iter().map(|input| &input.file).collect();
        let found = equality.deleted_rows(group, &files).await?;
        for (input, rows) in inputs.iter_mut().zip(found) {
            if !rows.is_empty() {
                input.rows = Arc::new(input.rows.also_without(rows));
            }
        }
        Ok(())
    }

    /// Writes rows in the order of the inputs.
    async fn write_all(
        &self,
        to: &[Destination],
        inputs: Vec<Input>,
        stop: CancellationToken,
    ) -> Result<Written, Error> {
        let limits = limits(&self.settings, self.attempt.memory_bytes);
        let encoder = Encoder {
            storage: self.storage.clone(),
            schema: Arc::clone(&self.schema),
            factory: column_writers(&self.schema, &self.properties)?,
            wanted: wanted(&self.schema, &self.properties),
            inputs: Arc::new(inputs),
            machine: self.machine.clone(),
            turn: Arc::new(Semaphore::new(1)),
            stop,
        };
        let mut work = Vec::new();
        for to in to {
            for row_groups in lay_out(&to.rows, to.files, limits) {
                work.push((to, self.places.data_file(&to.path, ""), row_groups));
            }
        }
        let reserved: Vec<Reserved> = work
            .iter()
            .map(|(_, path, _)| Reserved {
                path: path.clone(),
                kind: "data",
            })
            .collect();
        if !reserved.is_empty() {
            self.attempt
                .ledger
                .reserve(&self.plan.table_uuid, &reserved)
                .await?;
        }
        let mut written = Written::default();
        for (to, path, row_groups) in work {
            let (file, ways) = self.write(to, &encoder, path, &row_groups).await?;
            written.outputs.push(file);
            written.column_chunks.add(&ways);
        }
        Ok(written)
    }

    async fn write(
        &self,
        to: &Destination,
        encoder: &Encoder,
        path: String,
        row_groups: &[RowGroup],
    ) -> Result<(DataFile, ColumnChunks), Error> {
        let mut ways = ColumnChunks::default();
        let mut output =
            OutputFile::create(&self.storage, path, &self.schema, &self.properties).await?;
        let work = row_groups.iter().map(|row_group| encoder.encode(row_group));
        let work: Vec<_> = work.collect();
        let mut done = stream::iter(work).buffered(ROW_GROUPS_AHEAD);
        while let Some(row_group) = done.try_next().await? {
            output.append(row_group.chunks).await?;
            ways.add(&row_group.ways);
            self.attempt.progress.alive();
        }
        drop(done);
        let place = (to.spec_id, to.partition.clone());
        let file = output.finish(Content::Data, &self.schema, &self.settings.metrics, place);
        Ok((file.await?, ways))
    }
}

/// What a row group may be, with so much memory for the action.
pub(super) fn limits(settings: &WriteSettings, memory_bytes: u64) -> Limits {
    let touched = (memory_bytes / ROW_GROUP_SHARE).max(1);
    Limits {
        row_group: settings.row_group_bytes.min(touched),
        touched,
    }
}

/// What is wanted of each top-level column that is flat.
pub(super) fn wanted(schema: &WriteSchema, properties: &WriterProperties) -> Vec<Option<Wanted>> {
    let leaves = SchemaDescriptor::new(Arc::clone(&schema.parquet));
    let mut wanted = vec![None; schema.arrow.fields().len()];
    for (leaf, column) in schema.leaves.iter().zip(leaves.columns()) {
        wanted[leaf.column] = Wanted::new(column, properties);
    }
    wanted
}
