//! What rows are compared by: bytes whose order is the order that was asked for.
//!
//! Nulls and directions are those of each key. Numbers, dates and decimals come by value, texts and
//! bytes by their unsigned bytes, false before true, -0.0 before 0.0, and NaN after every number
//! (specification, "Sort Orders").

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, Decimal128Array, Int32Array, Int64Array, StringViewArray,
};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::{ArrowError, DataType, SortOptions};
use metadata::{Literal, Primitive, Transform};
use planner::rewrite::{SortKey, Sorting};

use super::zorder::Zorder;
use crate::Error;
use crate::files::schema::WriteSchema;
use crate::rewrite::partition::literal;

/// Makes the keys of rows of one schema.
#[derive(Debug)]
pub(super) struct Keys {
    by: By,
    converter: RowConverter,
}

#[derive(Debug)]
enum By {
    Columns(Vec<Key>),
    Zorder(Zorder),
}

#[derive(Debug)]
struct Key {
    column: usize,
    transform: Transform,
    ty: Primitive,
}

impl Keys {
    /// Fails when the schema does not have the columns as they were planned with.
    pub(super) fn new(sorting: &Sorting, schema: &WriteSchema) -> Result<Self, Error> {
        let (by, fields) = match sorting {
            Sorting::Sort { keys, .. } => {
                let found = keys.iter().map(|key| Key::new(key, schema));
                let found = found.collect::<Result<Vec<_>, _>>()?;
                let fields = keys.iter().zip(&found);
                let fields = fields
                    .map(|(asked, key)| key.field(asked, schema))
                    .collect();
                (By::Columns(found), fields)
            }
            Sorting::Zorder {
                columns,
                var_length_bytes,
                value_bytes_max,
            } => {
                let columns = columns.iter();
                let columns = columns.map(|of| column(of.field_id, &of.column, schema));
                let columns = columns.collect::<Result<Vec<_>, _>>()?;
                let zorder = Zorder::new(columns, *var_length_bytes, *value_bytes_max)?;
                let field = SortField::new(zorder.data_type());
                (By::Zorder(zorder), vec![field])
            }
        };
        let converter = RowConverter::new(fields);
        let converter = converter.map_err(|why| Error::Refused(why.to_string()))?;
        Ok(Self { by, converter })
    }

    /// The keys of rows in the schema's form.
    pub(super) fn of(&self, columns: &[ArrayRef]) -> Result<Rows, ArrowError> {
        let arrays = match &self.by {
            By::Columns(keys) => {
                let arrays = keys.iter().map(|key| key.array(&columns[key.column]));
                arrays.collect::<Result<Vec<_>, _>>()?
            }
            By::Zorder(zorder) => vec![zorder.values(columns)?],
        };
        self.converter.convert_columns(&arrays)
    }
}

/// The column of that id and its type.
fn column(id: i32, name: &str, schema: &WriteSchema) -> Result<(usize, Primitive), Error> {
    let mut fields = schema.iceberg.root.fields.iter();
    let found = fields.position(|field| field.id == id);
    let ty = |at: usize| schema.iceberg.root.fields[at].ty.primitive().cloned();
    found
        .and_then(|at| Some((at, ty(at)?)))
        .ok_or_else(|| Error::Moved(format!("column {name}, which rows are ordered by, is gone")))
}

impl Key {
    fn new(key: &SortKey, schema: &WriteSchema) -> Result<Self, Error> {
        let (column, ty) = column(key.field_id, &key.column, schema)?;
        let transform = Transform::parse(&key.transform);
        Ok(Self {
            column,
            transform,
            ty,
        })
    }

    fn field(&self, asked: &SortKey, schema: &WriteSchema) -> SortField {
        let ty = self.made(schema.arrow.field(self.column).data_type());
        let options = SortOptions {
            descending: asked.descending,
            nulls_first: asked.nulls_first,
        };
        SortField::new_with_options(ty, options)
    }

    /// The type of what the transform makes of a column of type `ty`.
    fn made(&self, ty: &DataType) -> DataType {
        match self.transform {
            Transform::Identity | Transform::Truncate(_) => ty.clone(),
            _ => DataType::Int32,
        }
    }

    fn array(&self, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        if self.transform == Transform::Identity {
            return Ok(one_nan(column));
        }
        let value = |row| self.transform.apply(&literal(column, row, &self.ty)?);
        let values = (0..column.len()).map(value).collect();
        array_of(values, &self.made(column.data_type()))
    }
}

/// Every NaN comes after all numbers, also one with a sign.
fn one_nan(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let column = column.as_primitive::<Float32Type>();
            let plain = |value: f32| if value.is_nan() { f32::NAN } else { value };
            Arc::new(column.unary::<_, Float32Type>(plain))
        }
        DataType::Float64 => {
            let column = column.as_primitive::<Float64Type>();
            let plain = |value: f64| if value.is_nan() { f64::NAN } else { value };
            Arc::new(column.unary::<_, Float64Type>(plain))
        }
        _ => Arc::clone(column),
    }
}

/// Values that a transform gave, as an array of type `ty`.
fn array_of(values: Vec<Option<Literal>>, ty: &DataType) -> Result<ArrayRef, ArrowError> {
    macro_rules! gathered {
        ($array:ty, $($kind:pat => $value:expr),+) => {{
            let values = values.into_iter().map(|value| match value {
                $(Some($kind) => Some($value),)+
                _ => None,
            });
            values.collect::<$array>()
        }};
    }
    Ok(match ty {
        DataType::Int64 => Arc::new(gathered!(Int64Array, Literal::Long(value) => value)),
        DataType::Utf8View => Arc::new(gathered!(StringViewArray, Literal::String(value) => value)),
        DataType::BinaryView => {
            Arc::new(gathered!(BinaryViewArray, Literal::Binary(value) => value))
        }
        DataType::Decimal128(precision, scale) => {
            let values = gathered!(Decimal128Array, Literal::Decimal { unscaled, .. } => unscaled);
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        _ => Arc::new(gathered!(
            Int32Array,
            Literal::Int(value) => value,
            Literal::Date(value) => value
        )),
    })
}
