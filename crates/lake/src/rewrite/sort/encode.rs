//! Columns that are here already become chunks of one row group, several columns at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::ArrayRef;
use arrow_schema::FieldRef;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use tokio::task::JoinSet;

use crate::Error;
use crate::files::output::Chunk;
use crate::files::schema::WriteSchema;
use crate::rewrite::column::encode_error;
use crate::rewrite::row_group::Machine;

/// A row group in the making.
#[derive(Debug)]
pub(super) struct Encoding {
    machine: Machine,
    /// Columns of one core each.
    lanes: Vec<Vec<Column>>,
    pub(super) rows: u64,
}

#[derive(Debug)]
struct Column {
    number: usize,
    field: FieldRef,
    /// One for each leaf.
    writers: Vec<ArrowColumnWriter>,
}

impl Encoding {
    pub(super) fn begin(
        factory: &ArrowRowGroupWriterFactory,
        schema: &WriteSchema,
        machine: &Machine,
    ) -> Result<Self, Error> {
        let writers = factory.create_column_writers(0);
        let writers = writers.map_err(|source| encode_error("a row group", source))?;
        let mut writers = writers.into_iter();
        let fields = schema.arrow.fields();
        let lanes = (machine.cores_count as usize).clamp(1, fields.len().max(1));
        let mut lanes: Vec<Vec<Column>> = (0..lanes).map(|_| Vec::new()).collect();
        let count = lanes.len();
        for (number, field) in fields.iter().enumerate() {
            let leaves = schema.leaves_of(number).count();
            lanes[number % count].push(Column {
                number,
                field: Arc::clone(field),
                writers: writers.by_ref().take(leaves).collect(),
            });
        }
        Ok(Self {
            machine: machine.clone(),
            lanes,
            rows: 0,
        })
    }

    /// What it takes of the file so far, about, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let columns = self.lanes.iter().flatten();
        let writers = columns.flat_map(|column| &column.writers);
        writers
            .map(|writer| writer.get_estimated_total_bytes() as u64)
            .sum()
    }

    /// Adds rows.
    pub(super) async fn write(mut self, batch: &[ArrayRef]) -> Result<Self, Error> {
        let Some(rows) = batch.first().map(|column| column.len() as u64) else {
            return Ok(self);
        };
        let write = |mut lane: Vec<Column>| {
            let batch = batch.to_vec();
            move || {
                for column in &mut lane {
                    column.write(&batch[column.number])?;
                }
                Ok(lane)
            }
        };
        let work = std::mem::take(&mut self.lanes).into_iter().map(write);
        self.lanes = on_cores(&self.machine, work).await?;
        self.rows += rows;
        let units = rows * batch.len() as u64;
        self.machine.done.fetch_add(units, Ordering::Relaxed);
        Ok(self)
    }

    /// The chunks, in the order of the columns.
    pub(super) async fn finish(self) -> Result<Vec<Chunk>, Error> {
        let close = |lane: Vec<Column>| {
            move || {
                let columns = lane.into_iter();
                let closed = columns.map(|column| Ok((column.number, column.close()?)));
                closed.collect::<Result<Vec<_>, Error>>()
            }
        };
        let lanes = on_cores(&self.machine, self.lanes.into_iter().map(close)).await?;
        let mut columns: Vec<(usize, Vec<Chunk>)> = lanes.into_iter().flatten().collect();
        columns.sort_unstable_by_key(|(number, _)| *number);
        Ok(columns.into_iter().flat_map(|(_, chunks)| chunks).collect())
    }
}

impl Column {
    fn write(&mut self, values: &ArrayRef) -> Result<(), Error> {
        let failed = |source| encode_error(self.field.name(), source);
        let leaves = compute_leaves(&self.field, values).map_err(failed)?;
        for (leaf, writer) in leaves.iter().zip(&mut self.writers) {
            writer.write(leaf).map_err(failed)?;
        }
        Ok(())
    }

    fn close(self) -> Result<Vec<Chunk>, Error> {
        let failed = |source| encode_error(self.field.name(), source);
        let close = |writer: ArrowColumnWriter| writer.close().map(Chunk::Encoded).map_err(failed);
        self.writers.into_iter().map(close).collect()
    }
}

/// Does all of it, each part on a core of its own, and gives the results in no order.
async fn on_cores<T: Send + 'static>(
    machine: &Machine,
    work: impl Iterator<Item = impl FnOnce() -> Result<T, Error> + Send + 'static>,
) -> Result<Vec<T>, Error> {
    let mut tasks = JoinSet::new();
    for part in work {
        let core = machine.core().await;
        tasks.spawn_blocking(move || {
            let _core = core;
            part()
        });
    }
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        done.push(ended.map_err(|lost| Error::Lost(lost.to_string()))??);
    }
    Ok(done)
}
