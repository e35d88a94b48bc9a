//! The values of key columns as bytes that are equal when the values are.
//!
//! Equal as Java compares them: null equals null, every NaN equals every NaN, and `-0.0` is not
//! `0.0`. Columns are found by field id alone, whatever they are called and whether or not the
//! table still has them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{ArrowError, DataType, Field as ArrowField};
use metadata::{Field, Literal, TableMetadata};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use planner::rewrite::key_column;

use crate::Error;
use crate::files::constant::repeated;
use crate::files::schema::arrow_field;
use crate::files::shape::{Matched, Origin, match_column, reshape};
use crate::files::sound::{guarded, pages};
use crate::files::source::{Fetched, InputFile};

/// The columns of one set of equality ids, each in the widest type it ever had.
#[derive(Debug)]
pub(crate) struct Keys {
    columns: Vec<(Field, ArrowField)>,
}

/// Where one file has each key column.
pub(crate) type Origins = Arc<[Origin]>;

impl Keys {
    pub(crate) fn new(table: &TableMetadata, field_ids: &[i32]) -> Result<Self, Error> {
        let column = |id: &i32| {
            let field = key_column(table, *id)
                .map_err(|why| Error::Refused(format!("an equality delete file {why}")))?;
            let arrow = arrow_field(&field, &field.name)?;
            Ok((field, arrow))
        };
        let columns = field_ids.iter().map(column).collect::<Result<_, Error>>()?;
        Ok(Self { columns })
    }

    /// Where a data file has the columns: those it lacks are null or its partition's values.
    pub(crate) fn of_data(
        &self,
        file: &InputFile,
        identities: &HashMap<i32, Literal>,
    ) -> Result<Origins, Error> {
        let matched = Matched {
            location: &file.location,
            identities,
        };
        let fields = file.footer.schema().fields();
        self.columns
            .iter()
            .map(|(wanted, target)| match_column(wanted, target, fields, matched))
            .collect()
    }

    /// Where a delete file has the columns: it must have them all.
    pub(crate) fn of_delete(&self, file: &InputFile) -> Result<Origins, Error> {
        let origins = self.of_data(file, &HashMap::new())?;
        let lacking = origins
            .iter()
            .zip(&self.columns)
            .find(|(origin, _)| !matches!(origin, Origin::Column(..)));
        match lacking {
            None => Ok(origins),
            Some((_, (field, _))) => Err(Error::Refused(format!(
                "{} is said to delete rows equal in column {} (field id {}), which it does not have",
                file.location, field.name, field.id
            ))),
        }
    }

    fn converter(&self) -> Result<RowConverter, ArrowError> {
        let fields = self.columns.iter();
        let fields = fields.map(|(_, arrow)| SortField::new(arrow.data_type().clone()));
        RowConverter::new(fields.collect())
    }
}

/// The top-level columns `origins` are read from.
pub(crate) fn roots(origins: &Origins) -> Vec<usize> {
    let roots: BTreeSet<usize> = origins
        .iter()
        .filter_map(|origin| match origin {
            Origin::Column(root, _) => Some(*root),
            Origin::Partition(_) | Origin::Nulls => None,
        })
        .collect();
    roots.into_iter().collect()
}

/// The key columns of one row group, fetched.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) location: String,
    pub(crate) fetched: Fetched,
    pub(crate) footer: ArrowReaderMetadata,
    pub(crate) row_group: usize,
    pub(crate) origins: Origins,
}

/// The keys of a row group's rows, batch by batch, in order. Decoding blocks.
pub(crate) struct KeyBatches {
    pub(crate) location: String,
    keys: Arc<Keys>,
    origins: Origins,
    roots: Vec<usize>,
    converter: RowConverter,
    reader: ParquetRecordBatchReader,
    /// Rows of the group that have not come yet. A key that never comes would leave a deleted row
    /// alive; one too many would move the rows behind it.
    due: u64,
}

impl KeyBatches {
    pub(crate) fn open(keys: Arc<Keys>, chunk: Chunk, batch_rows: usize) -> Result<Self, Error> {
        let location = chunk.location.clone();
        guarded(&location, || Self::begin(keys, chunk, batch_rows))
    }

    fn begin(keys: Arc<Keys>, chunk: Chunk, batch_rows: usize) -> Result<Self, Error> {
        let roots = roots(&chunk.origins);
        pages(
            &chunk.location,
            &chunk.fetched,
            chunk.footer.metadata(),
            &roots,
            &[chunk.row_group],
        )?;
        let due = chunk
            .footer
            .metadata()
            .row_group(chunk.row_group)
            .num_rows();
        let mask = ProjectionMask::roots(chunk.footer.parquet_schema(), roots.clone());
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(chunk.fetched, chunk.footer)
                .with_projection(mask)
                .with_row_groups(vec![chunk.row_group])
                .with_batch_size(batch_rows)
                .build()
                .map_err(|source| bad(&chunk.location, source))?;
        let converter = keys
            .converter()
            .map_err(|source| bad(&chunk.location, source.into()))?;
        Ok(Self {
            location: chunk.location,
            keys,
            origins: chunk.origins,
            roots,
            converter,
            reader,
            due: due.unsigned_abs(),
        })
    }

    fn rows(&self, batch: &RecordBatch) -> Result<Rows, Error> {
        let failed = |source: ArrowError| bad(&self.location, source.into());
        let columns = self.origins.iter().zip(&self.keys.columns);
        let columns = columns.map(|(origin, (field, arrow))| {
            let target = arrow.data_type();
            let column = match origin {
                // A projection keeps the file's order of columns.
                Origin::Column(root, shape) => {
                    let at = self.roots.partition_point(|known| known < root);
                    reshape(batch.column(at), shape, target).map_err(failed)?
                }
                Origin::Nulls => new_null_array(target, batch.num_rows()),
                Origin::Partition(value) => {
                    repeated(value, target, batch.num_rows()).ok_or_else(|| {
                        Error::Refused(format!("{value} is no value of {}", field.name))
                    })?
                }
            };
            Ok(one_nan(column))
        });
        let columns = columns.collect::<Result<Vec<_>, Error>>()?;
        self.converter.convert_columns(&columns).map_err(failed)
    }
}

impl Iterator for KeyBatches {
    type Item = Result<Rows, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.reader.next() {
            None if self.due == 0 => None,
            None => {
                let why = format!(
                    "its key columns lack {} rows",
                    std::mem::take(&mut self.due)
                );
                let location = self.location.clone();
                Some(Err(Error::BadFile { location, why }))
            }
            Some(Ok(batch)) => {
                let Some(due) = self.due.checked_sub(batch.num_rows() as u64) else {
                    let why = "its key columns have more rows than it".to_owned();
                    let location = self.location.clone();
                    return Some(Err(Error::BadFile { location, why }));
                };
                self.due = due;
                Some(self.rows(&batch))
            }
            Some(Err(source)) => Some(Err(bad(&self.location, source.into()))),
        }
    }
}

/// Every NaN made the same.
fn one_nan(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let one = |value: f32| if value.is_nan() { f32::NAN } else { value };
            Arc::new(
                column
                    .as_primitive::<Float32Type>()
                    .unary::<_, Float32Type>(one),
            )
        }
        DataType::Float64 => {
            let one = |value: f64| if value.is_nan() { f64::NAN } else { value };
            Arc::new(
                column
                    .as_primitive::<Float64Type>()
                    .unary::<_, Float64Type>(one),
            )
        }
        _ => column,
    }
}

fn bad(location: &str, source: ParquetError) -> Error {
    Error::Parquet {
        doing: "decode the key columns of",
        location: location.to_owned(),
        source,
    }
}
