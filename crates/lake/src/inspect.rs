//! Reads one file to its end, as the inputs of a rewrite are read, and says what it holds. For
//! whoever has only the bytes: the tests that feed broken ones.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow_row::{RowConverter, SortField};
use bytes::Bytes;
use metadata::TableMetadata;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::deletes::keys::{Chunk, KeyBatches, Keys};
use crate::deletes::{Bounds, DeleteScope, Wanted, positions_in};
use crate::files::footer;
use crate::files::shape::field_id;
use crate::files::sound::{guarded, pages};
use crate::files::source::{Fetched, InputFile, counted};

/// Rows decoded at once.
const BATCH_ROWS: usize = 16 * 1024;
/// What deleted positions may take, in bytes.
const POSITIONS_BYTES_MAX: u64 = 64 << 20;

/// What a data file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub records: u64,
    pub columns: Vec<Column>,
}

/// One top-level column of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub field_id: Option<i32>,
    pub name: String,
    /// Its Arrow type.
    pub ty: String,
    /// Of all its values, in order.
    pub fingerprint: u64,
}

/// What the Parquet file `bytes` holds, which its manifest says has `records` rows; nobody says
/// so of one that is not yet in a table.
pub fn inspect(location: &str, bytes: &Bytes, records: Option<u64>) -> Result<Held, Error> {
    let footer = footer::parse(location, bytes)?;
    let records = records.unwrap_or_else(|| said(&footer));
    counted(location, records, &footer)?;
    let fields = footer.schema().fields().clone();
    let columns = fields.iter().enumerate().map(|(root, field)| {
        Ok(Column {
            field_id: field_id(field),
            name: field.name().clone(),
            ty: field.data_type().to_string(),
            fingerprint: guarded(location, || column(location, bytes, &footer, root, records))?,
        })
    });
    let columns = columns.collect::<Result<_, Error>>()?;
    Ok(Held { records, columns })
}

/// The rows the position delete file `bytes` deletes of the files `wanted`; its manifest says that
/// it has `records` deletes, or nobody says so.
pub fn inspect_positions(
    location: &str,
    bytes: &Bytes,
    records: Option<u64>,
    wanted: &[String],
) -> Result<BTreeMap<String, Vec<u64>>, Error> {
    let records = match records {
        Some(records) => records,
        None => self::records(location, bytes)?,
    };
    let file = DeleteScope {
        location: location.to_owned(),
        bytes: bytes.len() as u64,
        records,
        wanted: Wanted::These(wanted.iter().cloned().collect()),
    };
    let bounds = Bounds::new(POSITIONS_BYTES_MAX, CancellationToken::new());
    positions_in(&file, bytes, &bounds).map(BTreeMap::from_iter)
}

/// How many keys the equality delete file `bytes` holds, which deletes the rows that are equal in
/// the columns `field_ids` of `table`; its manifest says that it has `records` of them.
pub fn inspect_keys(
    location: &str,
    bytes: &Bytes,
    records: u64,
    table: &TableMetadata,
    field_ids: &[i32],
) -> Result<u64, Error> {
    let keys = Arc::new(Keys::new(table, field_ids)?);
    let file = InputFile::of_bytes(location, bytes.clone(), records)?;
    let origins = keys.of_delete(&file)?;
    let mut held = 0;
    for row_group in 0..file.footer.metadata().num_row_groups() {
        let chunk = Chunk {
            location: location.to_owned(),
            fetched: Fetched::whole(bytes.clone()),
            footer: file.footer.clone(),
            row_group,
            origins: Arc::clone(&origins),
        };
        let keys = Arc::clone(&keys);
        held += guarded(location, || {
            let mut batches = KeyBatches::open(keys, chunk, BATCH_ROWS)?;
            batches.try_fold(0, |held, batch| Ok(held + batch?.num_rows() as u64))
        })?;
    }
    Ok(held)
}

/// How many rows the Parquet file `bytes` says it has.
pub fn records(location: &str, bytes: &Bytes) -> Result<u64, Error> {
    footer::parse(location, bytes).map(|footer| said(&footer))
}

/// How many rows a footer says the file has.
fn said(footer: &ArrowReaderMetadata) -> u64 {
    let rows = footer.metadata().file_metadata().num_rows();
    rows.unsigned_abs()
}

fn column(
    location: &str,
    bytes: &Bytes,
    footer: &ArrowReaderMetadata,
    root: usize,
    records: u64,
) -> Result<u64, Error> {
    let bad = |source| Error::Parquet {
        doing: "decode",
        location: location.to_owned(),
        source,
    };
    let groups: Vec<usize> = (0..footer.metadata().num_row_groups()).collect();
    pages(location, bytes, footer.metadata(), &[root], &groups)?;
    let mask = ProjectionMask::roots(footer.parquet_schema(), [root]);
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), footer.clone())
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(bad)?;
    let ty = footer.schema().field(root).data_type().clone();
    let rows = RowConverter::new(vec![SortField::new(ty)]).map_err(|source| bad(source.into()))?;
    let mut hash = DefaultHasher::new();
    let mut read = 0;
    for batch in reader {
        let batch = batch.map_err(|source| bad(ParquetError::from(source)))?;
        let values = rows
            .convert_columns(batch.columns())
            .map_err(|source| bad(source.into()))?;
        values
            .iter()
            .for_each(|value| value.as_ref().hash(&mut hash));
        read += batch.num_rows() as u64;
    }
    if read == records {
        return Ok(hash.finish());
    }
    let name = footer.schema().field(root).name();
    Err(Error::BadFile {
        location: location.to_owned(),
        why: format!("column {name} gave {read} rows, {records} were due"),
    })
}
