//! One output row group: its column tasks, largest first, over all cores.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory};
use planner::ColumnChunks;
use planner::rewrite::Group;
use storage::Storage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::column::{ColumnTask, Made, Part, PartContent, produce};
use super::input::Input;
use super::layout::{RowGroup, Selected, select};
use super::ways::{Wanted, Way, look};
use crate::Error;
use crate::deletes::POSITION_BYTES;
use crate::files::output::Chunk;
use crate::files::schema::WriteSchema;
use crate::files::shape::Origin;
use crate::files::source::Fetched;

/// Reads of one task at once.
const READS_MAX: usize = 16;
/// What a task holds beside its column's compressed bytes: pages and batches, in bytes.
pub(super) const TASK_BYTES: u64 = 4 << 20;
/// Memory is counted in units of this, in bytes.
const MEMORY_UNIT: u64 = 1 << 20;

/// What all groups of an action share.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) cores: Arc<Semaphore>,
    pub(crate) cores_count: u64,
    /// In units of a mebibyte.
    memory: Arc<Semaphore>,
    memory_units: u32,
    /// For deleted positions: half as much, on its own, for they are held while row groups wait.
    positions: Arc<Semaphore>,
    /// Work units (rows x columns) done.
    pub(crate) done: Arc<AtomicU64>,
    /// Steps made that show in no unit.
    pub(crate) steps: Arc<AtomicU64>,
}

impl Machine {
    pub(crate) fn new(cores: usize, memory_bytes: u64) -> Self {
        let memory_units = u32::try_from(memory_bytes / MEMORY_UNIT)
            .unwrap_or(u32::MAX >> 3)
            .max(1);
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            cores_count: cores as u64,
            memory: Arc::new(Semaphore::new(memory_units as usize)),
            memory_units,
            positions: Arc::new(Semaphore::new(positions_units(memory_units) as usize)),
            done: Arc::default(),
            steps: Arc::default(),
        }
    }

    /// Waits until there is room for `bytes`; what is larger than all memory waits for all of it.
    pub(crate) async fn room(&self, bytes: u64) -> OwnedSemaphorePermit {
        let units = u32::try_from(bytes.div_ceil(MEMORY_UNIT)).unwrap_or(u32::MAX);
        let units = units.clamp(1, self.memory_units);
        let room = Arc::clone(&self.memory).acquire_many_owned(units).await;
        room.expect("the semaphore is never closed")
    }

    /// Waits until there is room for the deleted positions of a group, to be held until it ends.
    pub(super) async fn room_for_positions(&self, group: &Group) -> Option<OwnedSemaphorePermit> {
        let deletes = group.position_deletes.iter();
        let records = deletes.fold(0_u64, |sum, delete| sum.saturating_add(delete.records));
        let units = records.saturating_mul(POSITION_BYTES).div_ceil(MEMORY_UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let units = units.min(positions_units(self.memory_units));
        if units == 0 {
            return None;
        }
        let room = Arc::clone(&self.positions).acquire_many_owned(units).await;
        Some(room.expect("the semaphore is never closed"))
    }
}

fn positions_units(memory_units: u32) -> u32 {
    memory_units.div_ceil(2)
}

impl Machine {
    pub(super) async fn core(&self) -> OwnedSemaphorePermit {
        let core = Arc::clone(&self.cores).acquire_owned().await;
        core.expect("the semaphore is never closed")
    }
}

/// Everything needed to encode the row groups of one group.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) storage: Storage,
    pub(crate) schema: Arc<WriteSchema>,
    pub(crate) factory: ArrowRowGroupWriterFactory,
    /// What is wanted of each top-level column that is flat.
    pub(crate) wanted: Vec<Option<Wanted>>,
    pub(crate) inputs: Arc<Vec<Input>>,
    pub(crate) machine: Machine,
    /// One row group at a time is encoded, with all cores; what the next is made of is fetched
    /// meanwhile. Held until the last task has begun, so that no core waits for another's.
    pub(crate) turn: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
}

/// An encoded row group that still occupies its share of the memory budget.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) ways: ColumnChunks,
    _room: OwnedSemaphorePermit,
}

/// What one slice reads, shared by the tasks of all columns.
#[derive(Debug, Clone)]
struct Reading {
    input: usize,
    location: Arc<str>,
    rows: u64,
    selected: Arc<Selected>,
    /// The whole file, when it is small.
    whole: Option<Bytes>,
}

impl Encoder {
    pub(crate) async fn encode(&self, group: &RowGroup) -> Result<Encoded, Error> {
        let room = self.machine.room(self.needed(group)).await;
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let readings = self.readings(group).await?;
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = Arc::new(turn.expect("the semaphore is never closed"));
        let mut tasks = JoinSet::new();
        for (column, writers) in self.columns_largest_first(&readings)? {
            let task = ColumnTask {
                field: Arc::clone(&self.schema.arrow.fields()[column]),
                writers,
                wanted: self.wanted[column].clone(),
                parts: Vec::new(),
                rows: group.rows,
                done: Arc::clone(&self.machine.done),
                stop: self.stop.clone(),
            };
            let run = run(
                task,
                column,
                readings.clone(),
                Arc::clone(&self.inputs),
                self.storage.clone(),
                (Arc::clone(&self.machine.cores), Arc::clone(&turn)),
            );
            tasks.spawn(async move { Ok((column, run.await?)) });
        }
        drop(turn);
        let (chunks, ways) = self.join(tasks).await?;
        Ok(Encoded {
            chunks,
            ways,
            _room: room,
        })
    }

    /// Which way each column of the row group would be made, in their order. Makes none.
    pub(super) async fn ways(&self, group: &RowGroup) -> Result<Vec<Way>, Error> {
        let _room = self.machine.room(self.needed(group)).await;
        let readings = self.readings(group).await?;
        let mut ways = Vec::with_capacity(self.wanted.len());
        for (column, wanted) in self.wanted.iter().cloned().enumerate() {
            let parts = parts(readings.clone(), column, &self.inputs, &self.storage).await?;
            let name = self.schema.arrow.field(column).name().clone();
            let (rows, stop) = (group.rows, self.stop.clone());
            let look = move || look((&name, wanted.as_ref()), &parts, rows, &stop);
            let looked = tokio::task::spawn_blocking(look).await;
            ways.push(looked.map_err(|lost| Error::Lost(lost.to_string()))?);
        }
        Ok(ways)
    }

    /// Estimated bytes held while the row group is made: inputs, outputs, running tasks.
    fn needed(&self, group: &RowGroup) -> u64 {
        let small = group
            .slices
            .iter()
            .map(|slice| &self.inputs[slice.of.input].file);
        let fetched: u64 = small
            .filter(|file| file.small())
            .map(|file| file.size - file.kept_bytes())
            .sum();
        group.bytes
            + group.touched.max(group.bytes)
            + fetched
            + self.machine.cores_count * TASK_BYTES
    }

    async fn readings(&self, group: &RowGroup) -> Result<Vec<Reading>, Error> {
        let readings = group.slices.iter().map(|slice| async move {
            let input = &self.inputs[slice.of.input];
            Ok::<_, Error>(Reading {
                input: slice.of.input,
                location: input.file.location.as_str().into(),
                rows: slice.live(),
                selected: Arc::new(select(&input.file.group_rows(), slice)),
                whole: input.whole(&self.storage, slice).await?,
            })
        });
        let readings: Vec<_> = readings.collect();
        stream::iter(readings)
            .buffered(READS_MAX)
            .try_collect()
            .await
    }

    /// The writers of each top-level column; the column with most compressed bytes first, for
    /// the longest task should not be the last to start.
    fn columns_largest_first(
        &self,
        readings: &[Reading],
    ) -> Result<Vec<(usize, Vec<ArrowColumnWriter>)>, Error> {
        let mut writers = self
            .factory
            .create_column_writers(0)
            .map_err(|source| Error::Parquet {
                doing: "make writers of",
                location: "a row group".into(),
                source,
            })?
            .into_iter();
        let mut columns = Vec::new();
        for column in 0..self.schema.arrow.fields().len() {
            let leaves = self.schema.leaves_of(column).count();
            let bytes: u64 = readings
                .iter()
                .map(|reading| self.bytes_of(reading, column))
                .sum();
            columns.push((bytes, column, writers.by_ref().take(leaves).collect()));
        }
        columns.sort_by_key(|(bytes, column, _)| (std::cmp::Reverse(*bytes), *column));
        Ok(columns
            .into_iter()
            .map(|(_, column, writers)| (column, writers))
            .collect())
    }

    fn bytes_of(&self, reading: &Reading, column: usize) -> u64 {
        let input = &self.inputs[reading.input];
        match &input.columns[column] {
            Origin::Column(root, _) => input.file.column_bytes(*root, &reading.selected.row_groups),
            Origin::Partition(_) | Origin::Nulls => 0,
        }
    }

    /// Waits for all tasks. The first failure stops the others.
    async fn join(
        &self,
        mut tasks: JoinSet<ColumnResult>,
    ) -> Result<(Vec<Chunk>, ColumnChunks), Error> {
        let mut columns = Vec::new();
        let mut failure: Option<Error> = None;
        while let Some(ended) = tasks.join_next().await {
            match ended.unwrap_or_else(|lost| Err(Error::Lost(lost.to_string()))) {
                Ok(column) => columns.push(column),
                Err(error) => {
                    self.stop.cancel();
                    if failure.is_none() || matches!(failure, Some(Error::Stopped)) {
                        failure = Some(error);
                    }
                }
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        columns.sort_by_key(|(column, _)| *column);
        let mut ways = ColumnChunks::default();
        for (_, made) in &columns {
            made.way.count(made.chunks.len() as u64, &mut ways);
        }
        let chunks = columns.into_iter().flat_map(|(_, made)| made.chunks);
        Ok((chunks.collect(), ways))
    }
}

type ColumnResult = Result<(usize, Made), Error>;

/// Fetches what the task needs, waits for a core, and runs it there; the turn is over when the last
/// task has one.
async fn run(
    mut task: ColumnTask,
    column: usize,
    readings: Vec<Reading>,
    inputs: Arc<Vec<Input>>,
    storage: Storage,
    (cores, turn): (Arc<Semaphore>, Arc<OwnedSemaphorePermit>),
) -> Result<Made, Error> {
    task.parts = parts(readings, column, &inputs, &storage).await?;
    let core = cores
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    drop(turn);
    let run = tokio::task::spawn_blocking(move || {
        let _core = core;
        produce(task)
    });
    run.await.map_err(|lost| Error::Lost(lost.to_string()))?
}

async fn parts(
    readings: Vec<Reading>,
    column: usize,
    inputs: &[Input],
    storage: &Storage,
) -> Result<Vec<Part>, Error> {
    let readings = readings.into_iter();
    let parts = readings.map(|reading| part(reading, column, inputs, storage));
    let parts: Vec<_> = parts.collect();
    stream::iter(parts).buffered(READS_MAX).try_collect().await
}

async fn part(
    reading: Reading,
    column: usize,
    inputs: &[Input],
    storage: &Storage,
) -> Result<Part, Error> {
    let input = &inputs[reading.input];
    let content = match &input.columns[column] {
        Origin::Nulls => PartContent::Same(None),
        Origin::Partition(value) => PartContent::Same(Some(value.clone())),
        Origin::Column(root, shape) => PartContent::Column {
            fetched: match reading.whole {
                Some(whole) => Fetched::whole(whole),
                None => {
                    input
                        .file
                        .fetch(storage, &[*root], &reading.selected.row_groups)
                        .await?
                }
            },
            footer: input.file.footer.clone(),
            root: *root,
            shape: shape.clone(),
            selected: reading.selected,
        },
    };
    Ok(Part {
        location: reading.location,
        rows: reading.rows,
        content,
    })
}
