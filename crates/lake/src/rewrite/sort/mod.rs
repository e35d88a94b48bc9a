//! Writes a group's rows in order, over all its outputs and within each partition.
//!
//! Every column is decoded and encoded: the rows of a group are read once, in the order of its
//! inputs ([`Sorter`]), and written once ([`Encoding`]); what does not fit into memory is spilled in
//! between. Start at [`Rewriter::write_sorted`].

mod encode;
mod keys;
mod merge;
mod runs;
mod sorter;
#[cfg(test)]
mod tests;
mod zorder;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::ArrayRef;
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{Content, DataFile};
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::errors::ParquetError;
use planner::rewrite::Sorting;
use planner::{ColumnChunks, Reserved};
use tokio_util::sync::CancellationToken;

use self::encode::Encoding;
use self::sorter::{Means, Sorted, Sorter};
use super::decode::Sources;
use super::destination::Destination;
use super::group::{Rewriter, Written};
use super::input::Input;
use super::layout::{InputRows, ROW_GROUP_ROWS_MAX, Slice, select};
use super::row_group::Machine;
use crate::Error;
use crate::files::output::{OutputFile, column_writers};
use crate::files::schema::WriteSchema;
use crate::files::shape::Origin;
use crate::files::sound::{guarded, pages};
use crate::files::source::Fetched;

/// Rows decoded or encoded at once.
const BATCH_ROWS: u64 = 16 * 1024;
/// Bytes of these rows, at most.
const BATCH_BYTES_MAX: u64 = 8 << 20;
/// Bytes of rows per byte of a file.
const DECODED_PER_COMPRESSED: u64 = 4;
/// A group is not sorted with less than this beside the largest part of an input, in bytes.
const MEMORY_MIN: u64 = 512 << 10;
/// Parts of inputs fetched ahead, at most.
const FETCHES_MAX: u64 = 16;

/// How a group's share of memory is used, in bytes.
#[derive(Debug, Clone, Copy)]
struct Budget {
    total: u64,
    /// Of the largest part of an input that is read at once.
    part: u64,
    batch: u64,
    row_group: u64,
}

/// One group being written in order.
struct Sort<'a> {
    rewriter: &'a Rewriter<'a>,
    sorting: &'a Sorting,
    inputs: &'a [Input],
    factory: ArrowRowGroupWriterFactory,
    budget: Budget,
    stop: &'a CancellationToken,
}

impl Rewriter<'_> {
    /// Nothing is written before all rows of a partition are in order.
    pub(super) async fn write_sorted(
        &self,
        sorting: &Sorting,
        to: &[Destination],
        inputs: &[Input],
        stop: &CancellationToken,
    ) -> Result<Written, Error> {
        let sort = Sort {
            rewriter: self,
            sorting,
            inputs,
            factory: column_writers(&self.schema, &self.properties)?,
            budget: self.budget(inputs)?,
            stop,
        };
        let _room = self.machine.room(sort.budget.total).await;
        let mut written = Written::default();
        for to in to {
            sort.write(to, &mut written).await?;
        }
        Ok(written)
    }

    fn budget(&self, inputs: &[Input]) -> Result<Budget, Error> {
        let memory = self.attempt.memory_bytes;
        let groups = (self.plan.groups.len() as u64).clamp(1, self.concurrent.max(1));
        let parts = inputs.iter().map(|input| (part_bytes(input), input));
        let largest = parts.max_by_key(|(bytes, _)| *bytes);
        let part = largest.map_or(0, |(bytes, _)| bytes);
        let needed = part + MEMORY_MIN;
        if needed > memory {
            let location = largest.map_or("", |(_, input)| &input.file.location);
            return Err(Error::Refused(format!(
                "{needed} bytes of memory are needed to sort the rows of {location}, of which {part} \
                 bytes are read at once; {memory} are allowed"
            )));
        }
        let total = (memory / groups).max(needed);
        let row_group = self.settings.row_group_bytes.min(total / 4).max(1);
        Ok(Budget {
            total,
            part,
            batch: (total / 16).min(BATCH_BYTES_MAX).min(row_group),
            row_group,
        })
    }
}

/// Bytes of an input that are read at once, at most.
fn part_bytes(input: &Input) -> u64 {
    if input.file.small() {
        return input.file.size;
    }
    let roots = roots(input);
    let groups = 0..input.file.group_rows().len();
    let bytes = groups.map(|group| {
        let columns = roots.iter();
        columns
            .map(|root| input.file.column_bytes(*root, &[group]))
            .sum()
    });
    bytes.max().unwrap_or(0)
}

/// The file's top-level fields that are read, ascending.
fn roots(input: &Input) -> Vec<usize> {
    let columns = input.columns.iter();
    let roots: BTreeSet<usize> = columns
        .filter_map(|origin| match origin {
            Origin::Column(root, _) => Some(*root),
            Origin::Partition(_) | Origin::Nulls => None,
        })
        .collect();
    roots.into_iter().collect()
}

/// Rows of one input, fetched.
struct Part {
    sources: Sources,
    rows: u64,
    batch_rows: usize,
}

impl Sort<'_> {
    async fn write(&self, to: &Destination, written: &mut Written) -> Result<(), Error> {
        let rewriter = self.rewriter;
        let live = |rows: &Arc<InputRows>| rows.live(&(0..rows.records));
        let rows: u64 = to.rows.iter().map(live).sum();
        let files = (to.files as u64).clamp(1, rows.max(1));
        if rows == 0 {
            return Ok(());
        }
        let mut sorted = self.sorted(to).await?;
        let paths = (0..files).map(|_| rewriter.places.data_file(&to.path, ""));
        let reserved: Vec<Reserved> = paths.map(|path| Reserved { path, kind: "data" }).collect();
        let ledger = rewriter.attempt.ledger;
        ledger.reserve(&rewriter.plan.table_uuid, &reserved).await?;
        for (number, Reserved { path, .. }) in (0..).zip(reserved) {
            let rows = share(rows, number + 1, files) - share(rows, number, files);
            let (file, chunks, rest) = self.write_file(to, path, rows, sorted).await?;
            sorted = rest;
            written.outputs.push(file);
            written.column_chunks.add(&chunks);
        }
        written.spilled.add(sorted.spilled);
        Ok(())
    }

    /// Reads the rows of a partition.
    async fn sorted(&self, to: &Destination) -> Result<Sorted, Error> {
        let rewriter = self.rewriter;
        let means = Means {
            folder: rewriter.spill.into(),
            held_bytes: (self.budget.total - self.budget.part) / 2,
            read_bytes: self.budget.total / 4,
            steps: Arc::clone(&rewriter.machine.steps),
            stop: self.stop.clone(),
        };
        let mut sorter = Sorter::new(self.sorting, &rewriter.schema, means)?;
        let ahead = self.budget.total / 8 / self.budget.part.max(1);
        let parts = to.rows.iter().flat_map(|rows| self.slices(rows));
        let parts: Vec<_> = parts.map(|slice| self.part(slice)).collect();
        let mut parts = stream::iter(parts).buffered(ahead.clamp(1, FETCHES_MAX) as usize);
        while let Some(part) = parts.try_next().await? {
            let schema = Arc::clone(&rewriter.schema);
            let add = move || {
                let location = part.sources.location.clone();
                guarded(&location, || part.add_to(&mut sorter, &schema))?;
                Ok(sorter)
            };
            sorter = on_a_core(&rewriter.machine, add).await?;
            rewriter.attempt.progress.alive();
        }
        on_a_core(&rewriter.machine, || sorter.finish()).await
    }

    /// Rows that are read at once: all of a small file, a row group of a large one.
    fn slices(&self, rows: &Arc<InputRows>) -> Vec<Slice> {
        let file = &self.inputs[rows.input].file;
        let groups = if file.small() {
            vec![rows.records]
        } else {
            file.group_rows()
        };
        let mut start = 0;
        let slices = groups.into_iter().map(|count| {
            let slice = Slice {
                of: Arc::clone(rows),
                rows: start..start + count,
            };
            start += count;
            slice
        });
        slices.filter(|slice| slice.live() > 0).collect()
    }

    async fn part(&self, slice: Slice) -> Result<Part, Error> {
        let input = &self.inputs[slice.of.input];
        let storage = &self.rewriter.storage;
        let selected = select(&input.file.group_rows(), &slice);
        let roots = roots(input);
        let fetched = if let Some(whole) = input.whole(storage, &slice).await? {
            Fetched::whole(whole)
        } else {
            let groups = &selected.row_groups;
            input.file.fetch(storage, &roots, groups).await?
        };
        let decoded = input.file.size.saturating_mul(DECODED_PER_COMPRESSED);
        let row_bytes = (decoded / input.rows.records.max(1)).max(1);
        let batch_rows = (self.budget.batch / row_bytes).clamp(1, BATCH_ROWS);
        Ok(Part {
            rows: slice.live(),
            batch_rows: batch_rows as usize,
            sources: Sources {
                location: input.file.location.clone(),
                footer: input.file.footer.clone(),
                fetched,
                selected,
                roots,
                columns: input.columns.iter().cloned().enumerate().collect(),
            },
        })
    }

    /// The first rows of what is left become one file.
    async fn write_file(
        &self,
        to: &Destination,
        path: String,
        rows: u64,
        sorted: Sorted,
    ) -> Result<(DataFile, ColumnChunks, Sorted), Error> {
        let rewriter = self.rewriter;
        let schema = &rewriter.schema;
        let mut output =
            OutputFile::create(&rewriter.storage, path, schema, &rewriter.properties).await?;
        let mut chunks = ColumnChunks::default();
        let mut encoding = self.encoding()?;
        let mut left = rows;
        let (mut sorted, mut batch) = self.pull(sorted, left).await?;
        while let Some(rows) = length(&batch) {
            left -= rows;
            if encoding.rows + rows > ROW_GROUP_ROWS_MAX
                || encoding.bytes() >= self.budget.row_group
            {
                self.close(encoding, &mut output, &mut chunks).await?;
                encoding = self.encoding()?;
            }
            // The next rows are merged while these are encoded.
            let pull = self.pull(sorted, left);
            let pulled;
            (encoding, pulled) = tokio::try_join!(encoding.write(&batch), pull)?;
            (sorted, batch) = pulled;
        }
        if left > 0 {
            let why = format!("{left} rows that are sorted are missing");
            return Err(Error::Counts(why));
        }
        self.close(encoding, &mut output, &mut chunks).await?;
        let place = (to.spec_id, to.partition.clone());
        let metrics = &rewriter.settings.metrics;
        let file = output.finish(Content::Data, schema, metrics, place);
        let mut file = file.await?;
        file.sort_order_id = Some(self.sorting.order_id());
        Ok((file, chunks, sorted))
    }

    fn encoding(&self) -> Result<Encoding, Error> {
        let (schema, machine) = (&self.rewriter.schema, &self.rewriter.machine);
        Encoding::begin(&self.factory, schema, machine)
    }

    /// The next rows, `left` at most.
    async fn pull(&self, mut sorted: Sorted, left: u64) -> Result<(Sorted, Vec<ArrayRef>), Error> {
        let rows_max = left.min(BATCH_ROWS) as usize;
        let bytes_max = self.budget.batch as usize;
        let pull = move || {
            let batch = sorted.batch(rows_max, bytes_max)?;
            Ok((sorted, batch))
        };
        on_a_core(&self.rewriter.machine, pull).await
    }

    async fn close(
        &self,
        encoding: Encoding,
        output: &mut OutputFile,
        chunks: &mut ColumnChunks,
    ) -> Result<(), Error> {
        if encoding.rows == 0 {
            return Ok(());
        }
        let encoded = encoding.finish().await?;
        chunks.transcoded += encoded.len() as u64;
        chunks.because("sorted", encoded.len() as u64);
        output.append(encoded).await?;
        self.rewriter.attempt.progress.alive();
        Ok(())
    }
}

/// `None`: there are no rows any more.
fn length(batch: &[ArrayRef]) -> Option<u64> {
    let rows = batch.first()?.len() as u64;
    (rows > 0).then_some(rows)
}

/// The rows of the first `number` of `files` files.
fn share(rows: u64, number: u64, files: u64) -> u64 {
    (u128::from(rows) * u128::from(number) / u128::from(files)) as u64
}

async fn on_a_core<T: Send + 'static>(
    machine: &Machine,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let core = machine.core().await;
    let work = tokio::task::spawn_blocking(move || {
        let _core = core;
        work()
    });
    work.await.map_err(|lost| Error::Lost(lost.to_string()))?
}

impl Part {
    /// Decodes the rows. Blocks.
    fn add_to(&self, sorter: &mut Sorter, schema: &WriteSchema) -> Result<(), Error> {
        let sources = &self.sources;
        let failed = |source| sources.decode(source);
        let mut added = 0;
        if sources.roots.is_empty() {
            // Every row has the same values.
            while added < self.rows {
                let length = (self.rows - added).min(self.batch_rows as u64);
                let columns = sources.columns(schema, &[], length as usize);
                sorter.add(&columns.map_err(failed)?)?;
                added += length;
            }
            return Ok(());
        }
        let groups = &sources.selected.row_groups;
        let (footer, roots) = (sources.footer.metadata(), &sources.roots);
        pages(&sources.location, &sources.fetched, footer, roots, groups)?;
        for batch in sources.reader(self.batch_rows).map_err(failed)? {
            let batch = batch.map_err(|source| failed(ParquetError::from(source)))?;
            let columns = sources.columns(schema, batch.columns(), batch.num_rows());
            sorter.add(&columns.map_err(failed)?)?;
            added += batch.num_rows() as u64;
        }
        if added != self.rows {
            return Err(Error::BadFile {
                location: sources.location.clone(),
                why: format!("{added} rows could be read, {} were due", self.rows),
            });
        }
        Ok(())
    }
}
