//! One task of the executor: one top-level column of one output row group.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{ArrayRef, new_null_array};
use arrow_schema::FieldRef;
use metadata::Literal;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use parquet::errors::ParquetError;
use tokio_util::sync::CancellationToken;

use super::layout::Selected;
use super::ways::{Wanted, Way, assemble};
use crate::Error;
use crate::files::constant::repeated;
use crate::files::output::Chunk;
use crate::files::shape::{Shape, reshape};
use crate::files::sound::{guarded, pages};
use crate::files::source::Fetched;

/// Rows decoded and encoded at once.
const BATCH_ROWS: usize = 16 * 1024;

/// One column over all inputs of a row group, ready to be produced without further I/O.
#[derive(Debug)]
pub(crate) struct ColumnTask {
    pub(crate) field: FieldRef,
    /// One writer for each leaf, in order.
    pub(crate) writers: Vec<ArrowColumnWriter>,
    /// Of a flat column.
    pub(crate) wanted: Option<Wanted>,
    pub(crate) parts: Vec<Part>,
    /// Rows it must write.
    pub(crate) rows: u64,
    /// Work units done, read by whoever shows progress.
    pub(crate) done: Arc<AtomicU64>,
    pub(crate) stop: CancellationToken,
}

/// What one input gives to the column.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) location: Arc<str>,
    /// Rows it gives.
    pub(crate) rows: u64,
    pub(crate) content: PartContent,
}

#[derive(Debug)]
pub(crate) enum PartContent {
    /// The input does not store the column: every row has this value, or is null.
    Same(Option<Literal>),
    Column {
        fetched: Fetched,
        footer: ArrowReaderMetadata,
        root: usize,
        shape: Shape,
        selected: Arc<Selected>,
    },
}

/// A column's chunks, one for each leaf, and how they were made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) way: Way,
}

/// Makes the column's chunks. Blocks: runs on a thread of its own.
pub(crate) fn produce(task: ColumnTask) -> Result<Made, Error> {
    if task.stop.is_cancelled() {
        return Err(Error::Stopped);
    }
    let column = task.field.name().clone();
    let made = match assemble(&task) {
        Ok((way, assembled)) => {
            task.done.fetch_add(task.rows, Ordering::Relaxed);
            let chunks = vec![Chunk::Assembled(assembled)];
            Made { chunks, way }
        }
        Err(reason) => Made {
            chunks: transcode(task)?,
            way: Way::Transcode(reason),
        },
    };
    tracing::trace!(column, way = %made.way, "column chunk made");
    Ok(made)
}

fn transcode(mut task: ColumnTask) -> Result<Vec<Chunk>, Error> {
    let mut written = 0;
    for part in std::mem::take(&mut task.parts) {
        let location = Arc::clone(&part.location);
        let rows = guarded(&location, || transcode_part(&mut task, part))?;
        written += rows;
        tracing::trace!(%location, column = task.field.name(), rows, "column part written");
    }
    if written != task.rows {
        let (name, rows) = (task.field.name(), task.rows);
        return Err(Error::Counts(format!(
            "column {name} has {written} rows, the row group {rows}"
        )));
    }
    let name = task.field.name().clone();
    let close = |writer: ArrowColumnWriter| {
        let chunk = writer.close().map(Chunk::Encoded);
        chunk.map_err(|source| encode_error(&name, source))
    };
    task.writers.into_iter().map(close).collect()
}

fn transcode_part(task: &mut ColumnTask, part: Part) -> Result<u64, Error> {
    let (fetched, footer, root, shape, selected) = match part.content {
        PartContent::Same(value) => return write_same(task, value.as_ref(), part.rows),
        PartContent::Column {
            fetched,
            footer,
            root,
            shape,
            selected,
        } => (fetched, footer, root, shape, selected),
    };
    pages(
        &part.location,
        &fetched,
        footer.metadata(),
        &[root],
        &selected.row_groups,
    )?;
    let mask = ProjectionMask::roots(footer.parquet_schema(), [root]);
    let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(fetched, footer)
        .with_projection(mask)
        .with_row_groups(selected.row_groups.clone())
        .with_batch_size(BATCH_ROWS);
    if let Some(selection) = &selected.selection {
        reader = reader.with_row_selection(selection.clone());
    }
    let decode = |source| Error::Parquet {
        doing: "decode",
        location: part.location.to_string(),
        source,
    };
    let mut written = 0;
    for batch in reader.build().map_err(decode)? {
        let batch = batch.map_err(|source| decode(ParquetError::from(source)))?;
        let column = reshape(batch.column(0), &shape, task.field.data_type())
            .map_err(|source| decode(ParquetError::from(source)))?;
        write_batch(task, &column)?;
        written += column.len() as u64;
    }
    if written != part.rows {
        return Err(Error::BadFile {
            location: part.location.to_string(),
            why: format!(
                "column {} gave {written} rows, {} were due",
                task.field.name(),
                part.rows
            ),
        });
    }
    Ok(written)
}

fn write_same(task: &mut ColumnTask, value: Option<&Literal>, rows: u64) -> Result<u64, Error> {
    let mut left = rows as usize;
    while left > 0 {
        let length = left.min(BATCH_ROWS);
        let ty = task.field.data_type();
        let batch = match value {
            None => new_null_array(ty, length),
            Some(value) => repeated(value, ty, length).ok_or_else(|| {
                Error::Refused(format!("{value} is no value of {}", task.field.name()))
            })?,
        };
        write_batch(task, &batch)?;
        left -= length;
    }
    Ok(rows)
}

fn write_batch(task: &mut ColumnTask, column: &ArrayRef) -> Result<(), Error> {
    if task.stop.is_cancelled() {
        return Err(Error::Stopped);
    }
    let failed = |source| encode_error(task.field.name(), source);
    let leaves = compute_leaves(&task.field, column).map_err(failed)?;
    for (leaf, writer) in leaves.iter().zip(&mut task.writers) {
        writer.write(leaf).map_err(failed)?;
    }
    task.done.fetch_add(column.len() as u64, Ordering::Relaxed);
    Ok(())
}

pub(super) fn encode_error(column: &str, source: ParquetError) -> Error {
    Error::Parquet {
        doing: "encode column",
        location: column.to_owned(),
        source,
    }
}
