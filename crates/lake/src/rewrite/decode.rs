//! Some columns of some rows of one input, decoded into the form the outputs have.

use std::collections::HashMap;

use arrow_array::{ArrayRef, new_null_array};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;

use super::layout::Selected;
use crate::Error;
use crate::files::constant::repeated;
use crate::files::schema::WriteSchema;
use crate::files::shape::{Origin, reshape};
use crate::files::source::Fetched;

/// Where the columns of one input come from.
pub(super) struct Sources {
    pub(super) location: String,
    pub(super) footer: ArrowReaderMetadata,
    pub(super) fetched: Fetched,
    pub(super) selected: Selected,
    /// Ascending.
    pub(super) roots: Vec<usize>,
    pub(super) columns: Vec<(usize, Origin)>,
}

impl Sources {
    pub(super) fn decode(&self, source: ParquetError) -> Error {
        Error::Parquet {
            doing: "decode",
            location: self.location.clone(),
            source,
        }
    }

    pub(super) fn reader(
        &self,
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader, ParquetError> {
        let (fetched, footer) = (self.fetched.clone(), self.footer.clone());
        let mask = ProjectionMask::roots(footer.parquet_schema(), self.roots.iter().copied());
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(fetched, footer)
            .with_projection(mask)
            .with_row_groups(self.selected.row_groups.clone())
            .with_batch_size(batch_rows);
        if let Some(selection) = &self.selected.selection {
            reader = reader.with_row_selection(selection.clone());
        }
        reader.build()
    }

    /// The columns in the write schema's form; `batch` holds the file's own, in order.
    pub(super) fn columns(
        &self,
        schema: &WriteSchema,
        batch: &[ArrayRef],
        length: usize,
    ) -> Result<Vec<ArrayRef>, ParquetError> {
        let column = |(column, origin): &(usize, Origin)| {
            let ty = schema.arrow.field(*column).data_type();
            Ok(match origin {
                Origin::Nulls => new_null_array(ty, length),
                Origin::Partition(value) => repeated(value, ty, length).ok_or_else(|| {
                    ParquetError::General(format!("{value} is no value of type {ty}"))
                })?,
                Origin::Column(root, shape) => {
                    let at = self.roots.partition_point(|other| other < root);
                    reshape(&batch[at], shape, ty)?
                }
            })
        };
        self.columns.iter().map(column).collect()
    }

    /// The same by their positions in the schema.
    pub(super) fn arrays(
        &self,
        schema: &WriteSchema,
        batch: &[ArrayRef],
        length: usize,
    ) -> Result<HashMap<usize, ArrayRef>, ParquetError> {
        let numbers = self.columns.iter().map(|(number, _)| *number);
        Ok(numbers.zip(self.columns(schema, batch, length)?).collect())
    }
}
