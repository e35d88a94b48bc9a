//! Position delete files: which rows of which data files are deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Fields};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use planner::Progress;
use storage::Storage;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::files::footer;
use crate::files::shape::field_id;
use crate::files::sound::{guarded, pages};
use crate::files::source::{WHOLE_BYTES_MAX, counted};

/// Field ids the specification reserves for position deletes.
pub(crate) const FILE_PATH_ID: i32 = 2_147_483_546;
pub(crate) const POSITION_ID: i32 = 2_147_483_545;

/// Delete files read at once.
const READS_MAX: usize = 16;
/// Rows decoded at once.
const BATCH_ROWS: usize = 16 * 1024;
/// What a position takes in memory, in bytes.
pub(crate) const POSITION_BYTES: u64 = 8;
/// Share of the memory for positions, each once; before equal ones go, there may be twice as many.
const POSITIONS_SHARE: u64 = 2;
/// Positions collected before equal ones are looked for.
const COLLECTED_MIN: usize = 64 * 1024;
/// What bytes of files being read are counted in, in bytes.
const ROOM_UNIT: u64 = 1 << 20;

/// Deleted positions by data file: ascending, each once.
pub(crate) type Positions = HashMap<String, Vec<u64>>;

/// One delete file, and the data files whose rows it may delete (by sequence number and scope).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeleteScope {
    pub(crate) location: String,
    /// As its manifest says. It may be longer: some writers copy a file and change the paths in it.
    pub(crate) bytes: u64,
    /// Deletes in it, as its manifest says.
    pub(crate) records: u64,
    pub(crate) wanted: Wanted,
}

/// Data files by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    These(HashSet<String>),
    /// Those of a partition that are as old or older.
    Reached {
        data: Arc<DataFiles>,
        partition: usize,
        sequence_number: i64,
    },
}

impl Wanted {
    /// Whether rows of the data file are wanted; an error where readers would disagree about it.
    fn has(&self, path: &str) -> Result<bool, &'static str> {
        match self {
            Self::These(paths) => Ok(paths.contains(path)),
            Self::Reached {
                data,
                partition,
                sequence_number,
            } => match data.get(path) {
                Some(file) if file.sequence_number > *sequence_number => Ok(false),
                Some(file) if file.partition != *partition => Err(
                    "which lies in another partition: some readers apply that and others do not",
                ),
                found => Ok(found.is_some()),
            },
        }
    }
}

/// The live data files by path.
pub(crate) type DataFiles = HashMap<String, Numbers>;

/// What tells whether a delete file reaches a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The caller's number of its spec and partition.
    pub(crate) partition: usize,
    /// Its data sequence number.
    pub(crate) sequence_number: i64,
}

/// What reading deletes may use.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    memory_bytes: u64,
    stop: CancellationToken,
}

impl Bounds {
    pub(crate) fn new(memory_bytes: u64, stop: CancellationToken) -> Self {
        Self { memory_bytes, stop }
    }

    /// Positions held, each once.
    fn held_max(&self) -> usize {
        let max = self.memory_bytes / POSITIONS_SHARE / POSITION_BYTES;
        usize::try_from(max).unwrap_or(usize::MAX).max(1)
    }

    /// Whether so long a file of so many deletes is read at all.
    pub(crate) fn admit(&self, file: &DeleteScope) -> bool {
        file.records <= self.memory_bytes / POSITION_BYTES && file.bytes <= self.file_bytes_max()
    }

    /// Longest file that is read.
    fn file_bytes_max(&self) -> u64 {
        self.memory_bytes.max(WHOLE_BYTES_MAX)
    }

    /// A file of `records` deletes, or one of so many files, does not fit.
    fn refuse(&self, location: &str, records: u64) -> Error {
        Error::Refused(format!(
            "{location}: {records} positions of deleted rows do not fit into the {} bytes this may take",
            self.memory_bytes
        ))
    }
}

/// Reads the deletes each file holds for the data files it may apply to.
pub(crate) async fn read_positions(
    storage: &Storage,
    files: Vec<DeleteScope>,
    bounds: &Bounds,
    progress: &dyn Progress,
) -> Result<Positions, Error> {
    let units = |bytes: u64| u32::try_from(bytes.div_ceil(ROOM_UNIT)).unwrap_or(u32::MAX >> 3);
    let all = units(bounds.file_bytes_max());
    let room = &Semaphore::new(all as usize);
    let reads = files.into_iter().map(|file| async move {
        if !bounds.admit(&file) {
            return Err(bounds.refuse(&file.location, file.records));
        }
        let max = file.bytes.max(WHOLE_BYTES_MAX);
        let room = room.acquire_many(units(max).min(all)).await;
        let room = room.expect("the semaphore is never closed");
        if bounds.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let bytes = storage.read_at_most(&file.location, max).await;
        let bytes = bytes.map_err(|source| Error::Storage {
            doing: "read a position delete file",
            source,
        })?;
        Ok((bytes, file, room))
    });
    let reads: Vec<_> = reads.collect();
    let mut reads = stream::iter(reads).buffer_unordered(READS_MAX);
    let mut collected = Collected::new(bounds);
    while let Some((bytes, file, _room)) = reads.try_next().await? {
        collected.add(&file, &bytes)?;
        progress.alive();
    }
    Ok(collected.end())
}

/// The deletes in the bytes of one file for the data files it may apply to.
pub(crate) fn positions_in(
    file: &DeleteScope,
    bytes: &Bytes,
    bounds: &Bounds,
) -> Result<Positions, Error> {
    if !bounds.admit(file) {
        return Err(bounds.refuse(&file.location, file.records));
    }
    let mut collected = Collected::new(bounds);
    collected.add(file, bytes)?;
    Ok(collected.end())
}

/// Positions as they are collected: equal ones go whenever there are twice as many as were left
/// the last time, so that many deletes of few rows take little memory.
struct Collected<'a> {
    positions: Positions,
    held: usize,
    sift_at: usize,
    bounds: &'a Bounds,
}

impl<'a> Collected<'a> {
    fn new(bounds: &'a Bounds) -> Self {
        Self {
            positions: Positions::new(),
            held: 0,
            sift_at: COLLECTED_MIN,
            bounds,
        }
    }

    fn add(&mut self, file: &DeleteScope, bytes: &Bytes) -> Result<(), Error> {
        guarded(&file.location, || decode(file, bytes, self))
    }

    fn push(&mut self, location: &str, path: &str, row: u64) -> Result<(), Error> {
        match self.positions.get_mut(path) {
            Some(rows) => rows.push(row),
            None => drop(self.positions.insert(path.to_owned(), vec![row])),
        }
        self.held += 1;
        if self.held < self.sift_at {
            return Ok(());
        }
        self.sift();
        if self.held > self.bounds.held_max() {
            return Err(self.bounds.refuse(location, self.held as u64));
        }
        self.sift_at = self.held + self.held.max(COLLECTED_MIN);
        Ok(())
    }

    /// Puts positions in order and leaves each once.
    fn sift(&mut self) {
        for rows in self.positions.values_mut() {
            rows.sort_unstable();
            rows.dedup();
        }
        self.held = self.positions.values().map(Vec::len).sum();
    }

    fn end(mut self) -> Positions {
        self.sift();
        self.positions
    }
}

fn decode(file: &DeleteScope, bytes: &Bytes, collected: &mut Collected<'_>) -> Result<(), Error> {
    let location = &file.location;
    let bad = |source| Error::Parquet {
        doing: "read",
        location: location.clone(),
        source,
    };
    let footer = footer::parse(location, bytes)?;
    counted(location, file.records, &footer)?;
    let (path, position) = columns(location, footer.schema().fields())?;
    let groups: Vec<usize> = (0..footer.metadata().num_row_groups()).collect();
    pages(
        location,
        bytes,
        footer.metadata(),
        &[path, position],
        &groups,
    )?;
    let mask = ProjectionMask::roots(footer.parquet_schema(), [path, position]);
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), footer)
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(bad)?;
    // A projection keeps the file's order of columns.
    let columns = if path < position { (0, 1) } else { (1, 0) };
    let mut read = 0;
    for batch in reader {
        if collected.bounds.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let batch = batch.map_err(|source| bad(ParquetError::from(source)))?;
        read += batch.num_rows() as u64;
        collect_batch(file, &batch, columns, collected)?;
    }
    if read == file.records {
        return Ok(());
    }
    // One that is left out brings its row back for good.
    Err(Error::BadFile {
        location: location.clone(),
        why: format!("it gave {read} rows, its manifest says {}", file.records),
    })
}

fn columns(location: &str, fields: &Fields) -> Result<(usize, usize), Error> {
    let find = |id: i32, name: &str, ty: &DataType| {
        let found = fields
            .iter()
            .position(|field| field_id(field) == Some(id) || field.name() == name);
        found
            .filter(|index| fields[*index].data_type() == ty)
            .ok_or_else(|| {
                let why = format!("a position delete file has a column {name} of type {ty}");
                Error::BadFile {
                    location: location.to_owned(),
                    why,
                }
            })
    };
    Ok((
        find(FILE_PATH_ID, "file_path", &DataType::Utf8View)?,
        find(POSITION_ID, "pos", &DataType::Int64)?,
    ))
}

fn collect_batch(
    file: &DeleteScope,
    batch: &RecordBatch,
    (path, position): (usize, usize),
    collected: &mut Collected<'_>,
) -> Result<(), Error> {
    let bad = |why: String| Error::BadFile {
        location: file.location.clone(),
        why,
    };
    let paths = batch.column(path).as_string_view();
    let rows = batch.column(position).as_primitive::<Int64Type>();
    if paths.null_count() > 0 || rows.null_count() > 0 {
        return Err(bad("a position delete is null".to_owned()));
    }
    for (path, row) in paths.iter().flatten().zip(rows.values()) {
        let wanted = file.wanted.has(path);
        let wanted = wanted.map_err(|why| {
            let location = &file.location;
            Error::Refused(format!("{location} deletes rows of {path}, {why}"))
        })?;
        if !wanted {
            continue;
        }
        let row = u64::try_from(*row)
            .map_err(|_| bad(format!("position {row} of {path} is negative")))?;
        collected.push(&file.location, path, row)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(positions: u64) -> Bounds {
        let bytes = positions * POSITION_BYTES * POSITIONS_SHARE;
        Bounds::new(bytes, CancellationToken::new())
    }

    #[test]
    fn a_position_named_again_and_again_takes_the_memory_of_one() {
        let bounds = bounds(10);
        let mut collected = Collected::new(&bounds);
        for row in [7, 3].iter().cycle().take(20 * COLLECTED_MIN) {
            collected.push("/d", "/a", *row).unwrap();
        }
        let capacity = collected.positions["/a"].capacity();
        assert!(capacity <= 4 * COLLECTED_MIN, "{capacity}");
        assert_eq!(collected.end(), [("/a".to_owned(), vec![3, 7])].into());
    }

    #[test]
    fn more_positions_than_fit_are_refused_with_the_file() {
        let max = 5 * COLLECTED_MIN as u64;
        let bounds = bounds(max);
        let mut collected = Collected::new(&bounds);
        let mut rows = 0..u64::MAX;
        let path = |row: u64| if row.is_multiple_of(2) { "/a" } else { "/b" };
        let ended = rows.try_for_each(|row| collected.push("/d", path(row), row));
        let why = ended.unwrap_err().to_string();
        assert!(why.starts_with("/d: "), "{why}");
        assert!((max..=4 * max).contains(&rows.start), "{rows:?}");
    }

    #[test]
    fn what_a_manifest_says_decides_whether_a_file_is_read() {
        let bounds = Bounds::new(64 << 20, CancellationToken::new());
        for (records, bytes, want) in [
            (8 << 20, 64 << 20, true),
            ((8 << 20) + 1, 1, false),
            (1, (64 << 20) + 1, false),
            (u64::MAX, 1, false),
        ] {
            let file = DeleteScope {
                location: "/d".to_owned(),
                bytes,
                records,
                wanted: Wanted::These(HashSet::new()),
            };
            assert_eq!(bounds.admit(&file), want, "{records} {bytes}");
        }
    }
}
