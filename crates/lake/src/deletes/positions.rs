//! Position delete files: which rows of which data files are deleted.

use std::collections::{HashMap, HashSet};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Fields};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use storage::Storage;

use crate::Error;
use crate::files::footer;
use crate::files::shape::field_id;
use crate::files::sound::{guarded, pages};

/// Field ids the specification reserves for position deletes.
pub(crate) const FILE_PATH_ID: i32 = 2_147_483_546;
pub(crate) const POSITION_ID: i32 = 2_147_483_545;

/// Delete files read at once.
const READS_MAX: usize = 16;
/// Rows decoded at once.
const BATCH_ROWS: usize = 16 * 1024;

/// Deleted positions by data file: ascending, each once.
pub(crate) type Positions = HashMap<String, Vec<u64>>;

/// One delete file, and the data files whose rows it may delete (by sequence number and scope).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeleteScope {
    pub(crate) location: String,
    pub(crate) wanted: HashSet<String>,
}

/// Reads the deletes each file holds for the data files it may apply to.
pub(crate) async fn read_positions(
    storage: &Storage,
    files: Vec<DeleteScope>,
) -> Result<Positions, Error> {
    let reads = files.into_iter().map(|file| async move {
        let doing = "read a position delete file";
        let bytes = storage.read(&file.location).await;
        Ok::<_, Error>((
            bytes.map_err(|source| Error::Storage { doing, source })?,
            file,
        ))
    });
    let reads: Vec<_> = reads.collect();
    let mut reads = stream::iter(reads).buffer_unordered(READS_MAX);
    let mut positions = Positions::new();
    while let Some((bytes, file)) = reads.try_next().await? {
        collect(&file.location, &bytes, &file.wanted, &mut positions)?;
    }
    for rows in positions.values_mut() {
        rows.sort_unstable();
        rows.dedup();
    }
    Ok(positions)
}

/// The deletes in the bytes of one file for the data files it may apply to, as they stand there.
pub(crate) fn positions_in(
    location: &str,
    bytes: &Bytes,
    wanted: &HashSet<String>,
) -> Result<Positions, Error> {
    let mut positions = Positions::new();
    collect(location, bytes, wanted, &mut positions)?;
    Ok(positions)
}

fn collect(
    location: &str,
    bytes: &Bytes,
    wanted: &HashSet<String>,
    positions: &mut Positions,
) -> Result<(), Error> {
    guarded(location, || decode(location, bytes, wanted, positions))
}

fn decode(
    location: &str,
    bytes: &Bytes,
    wanted: &HashSet<String>,
    positions: &mut Positions,
) -> Result<(), Error> {
    let bad = |source| Error::Parquet {
        doing: "read",
        location: location.to_owned(),
        source,
    };
    let footer = footer::parse(location, bytes)?;
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
    let (path, position) = if path < position { (0, 1) } else { (1, 0) };
    for batch in reader {
        let batch = batch.map_err(|source| bad(ParquetError::from(source)))?;
        collect_batch(location, &batch, (path, position), wanted, positions)?;
    }
    Ok(())
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
    location: &str,
    batch: &RecordBatch,
    (path, position): (usize, usize),
    wanted: &HashSet<String>,
    positions: &mut Positions,
) -> Result<(), Error> {
    let paths = batch.column(path).as_string_view();
    let rows = batch.column(position).as_primitive::<Int64Type>();
    if paths.null_count() > 0 || rows.null_count() > 0 {
        let why = "a position delete is null".to_owned();
        return Err(Error::BadFile {
            location: location.to_owned(),
            why,
        });
    }
    for (path, row) in paths.iter().flatten().zip(rows.values()) {
        if !wanted.contains(path) {
            continue;
        }
        let row = u64::try_from(*row).map_err(|_| Error::BadFile {
            location: location.to_owned(),
            why: format!("position {row} of {path} is negative"),
        })?;
        match positions.get_mut(path) {
            Some(rows) => rows.push(row),
            None => drop(positions.insert(path.to_owned(), vec![row])),
        }
    }
    Ok(())
}
