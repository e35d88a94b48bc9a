//! Rows in, rows out in order: in memory as far as the budget goes, then in runs that are merged.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::ArrayRef;
use arrow_row::{RowConverter, SortField};
use arrow_schema::ArrowError;
use parquet::errors::ParquetError;
use planner::Spilled;
use planner::rewrite::Sorting;
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use super::merge::Merge;
use super::runs::{Block, Held, READ_BYTES, Run, Spill};
use crate::Error;
use crate::files::schema::WriteSchema;

/// Rows merged between two looks at whether to stop.
const ROWS_AT_ONCE: usize = 4096;
/// Runs merged at once: two at least, and no more files open than this at each level.
const RUNS_MIN: u64 = 2;
const RUNS_MAX: u64 = 256;

/// What sorting may use.
#[derive(Debug, Clone)]
pub(super) struct Means {
    pub(super) folder: Arc<Path>,
    /// Rows and their keys held before they are spilled.
    pub(super) held_bytes: u64,
    /// For reading what was spilled.
    pub(super) read_bytes: u64,
    pub(super) steps: Arc<AtomicU64>,
    pub(super) stop: CancellationToken,
}

impl Means {
    fn runs_max(&self) -> usize {
        (self.read_bytes / READ_BYTES).clamp(RUNS_MIN, RUNS_MAX) as usize
    }

    fn step(&self) -> Result<(), Error> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        Ok(())
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> Error {
        let folder = self.folder.display().to_string();
        move |source| Error::Spill {
            doing,
            folder: folder.clone(),
            source,
        }
    }
}

const WRITE: &str = "write rows that are sorted to a temporary file";
const READ: &str = "read rows that are sorted from a temporary file";

/// Takes rows. All of it blocks.
#[derive(Debug)]
pub(super) struct Sorter {
    keys: Keys,
    values: RowConverter,
    means: Means,
    blocks: Vec<Block>,
    held_bytes: u64,
    /// Runs that were written: those of a level are each merged of as many of the one before, and
    /// hold earlier rows than all of the levels before.
    levels: Vec<Vec<Run>>,
    spilled: Spilled,
}

impl Sorter {
    pub(super) fn new(
        sorting: &Sorting,
        schema: &WriteSchema,
        means: Means,
    ) -> Result<Self, Error> {
        let fields = schema.arrow.fields().iter();
        let fields = fields.map(|field| SortField::new(field.data_type().clone()));
        let values = RowConverter::new(fields.collect());
        Ok(Self {
            keys: Keys::new(sorting, schema)?,
            values: values.map_err(|why| Error::Refused(why.to_string()))?,
            means,
            blocks: Vec::new(),
            held_bytes: 0,
            levels: Vec::new(),
            spilled: Spilled::default(),
        })
    }

    /// Adds rows that come after all others where their keys are equal.
    pub(super) fn add(&mut self, columns: &[ArrayRef]) -> Result<(), Error> {
        self.means.step()?;
        let block = Block {
            keys: self.keys.of(columns).map_err(arranged)?,
            values: self.values.convert_columns(columns).map_err(arranged)?,
        };
        let bytes = block.bytes();
        if self.held_bytes + bytes > self.means.held_bytes && !self.blocks.is_empty() {
            self.spill()?;
        }
        self.held_bytes += bytes;
        self.blocks.push(block);
        Ok(())
    }

    fn held(&mut self) -> Run {
        self.held_bytes = 0;
        Run::Held(Held::new(std::mem::take(&mut self.blocks)))
    }

    fn spill(&mut self) -> Result<(), Error> {
        let run = self.held();
        let run = self.written(vec![run])?;
        self.place(run, 0)
    }

    /// A level that is full becomes one run of the next.
    fn place(&mut self, run: Run, level: usize) -> Result<(), Error> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(run);
        if self.levels[level].len() < self.means.runs_max() {
            return Ok(());
        }
        let runs = std::mem::take(&mut self.levels[level]);
        let run = self.written(runs)?;
        self.place(run, level + 1)
    }

    /// Runs that follow one another as one, in a file.
    fn written(&mut self, runs: Vec<Run>) -> Result<Run, Error> {
        let means = &self.means;
        let mut merge = Merge::new(runs).map_err(means.failed(READ))?;
        let mut spill = Spill::begin(&means.folder).map_err(means.failed(WRITE))?;
        let mut rows = 0;
        while let Some(row) = merge.peek() {
            if rows % ROWS_AT_ONCE == 0 {
                means.step()?;
            }
            spill.add(row).map_err(means.failed(WRITE))?;
            merge.advance().map_err(means.failed(READ))?;
            rows += 1;
        }
        let (run, bytes) = spill.finish().map_err(means.failed(WRITE))?;
        self.spilled.runs += 1;
        self.spilled.bytes += bytes;
        tracing::debug!(rows, bytes, "sorted rows spilled");
        Ok(run)
    }

    /// All rows in order.
    pub(super) fn finish(mut self) -> Result<Sorted, Error> {
        if self.levels.is_empty() {
            let run = self.held();
            return self.merged(vec![run]);
        }
        self.spill()?;
        let levels = std::mem::take(&mut self.levels).into_iter().rev();
        let mut runs: Vec<Run> = levels.flatten().collect();
        // The last ones are the shortest.
        let runs_max = self.means.runs_max();
        while runs.len() > runs_max {
            let last = runs.split_off(runs.len() - runs_max);
            runs.push(self.written(last)?);
        }
        self.merged(runs)
    }

    fn merged(self, runs: Vec<Run>) -> Result<Sorted, Error> {
        let merge = Merge::new(runs).map_err(self.means.failed(READ))?;
        Ok(Sorted {
            merge,
            values: self.values,
            means: self.means,
            spilled: self.spilled,
        })
    }
}

/// Gives rows. All of it blocks.
#[derive(Debug)]
pub(super) struct Sorted {
    merge: Merge,
    values: RowConverter,
    means: Means,
    pub(super) spilled: Spilled,
}

impl Sorted {
    /// The next rows as columns of the schema, `rows_max` at most and no more than take about
    /// `bytes_max`; without rows at the end.
    pub(super) fn batch(
        &mut self,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<ArrayRef>, Error> {
        self.means.step()?;
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        while ends.len() < rows_max
            && bytes.len() < bytes_max
            && let Some(row) = self.merge.peek()
        {
            bytes.extend_from_slice(&row.values);
            ends.push(bytes.len());
            self.merge.advance().map_err(self.means.failed(READ))?;
        }
        let parser = self.values.parser();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let rows = starts.zip(&ends);
        let rows = rows.map(|(start, end)| parser.parse(&bytes[start..*end]));
        self.values.convert_rows(rows).map_err(arranged)
    }
}

fn arranged(source: ArrowError) -> Error {
    Error::Parquet {
        doing: "arrange",
        location: "rows that are sorted".to_owned(),
        source: ParquetError::from(source),
    }
}
