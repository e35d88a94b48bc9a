//! The one Arrow and Parquet form of an Iceberg schema: what outputs are written under.
//!
//! Types and names follow the specification's Parquet appendix as Java and PyIceberg write it:
//! `list.element`, `key_value.key`, decimals in the smallest physical type, a field id everywhere.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, Fields, SchemaRef, TimeUnit};
use metadata::{Field, Primitive, Schema, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::basic::{LogicalType, Repetition, TimeUnit as ParquetTimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{Type as ParquetType, TypePtr};

use crate::Error;

/// Largest decimal precision of the specification.
const DECIMAL_PRECISION_MAX: u32 = 38;
/// Decimals up to this precision are INT32.
const DECIMAL_INT32_PRECISION_MAX: u32 = 9;
/// Decimals up to this precision are INT64.
const DECIMAL_INT64_PRECISION_MAX: u32 = 18;

/// One schema in the three forms a writer needs.
#[derive(Debug, Clone)]
pub(crate) struct WriteSchema {
    pub(crate) iceberg: Arc<Schema>,
    pub(crate) arrow: SchemaRef,
    pub(crate) parquet: TypePtr,
    /// Every leaf in the order of Parquet's columns.
    pub(crate) leaves: Vec<Leaf>,
}

/// One Parquet column.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) field_id: i32,
    pub(crate) ty: Primitive,
    /// Below a list or a map: has more or fewer values than rows, and no bounds.
    pub(crate) repeated: bool,
    /// The full name, `location.lat`, as metric properties name it.
    pub(crate) name: String,
    /// The top-level field it belongs to.
    pub(crate) column: usize,
}

impl WriteSchema {
    /// Fails when the schema holds a type this version cannot write.
    pub(crate) fn new(iceberg: &Arc<Schema>) -> Result<Self, Error> {
        let fields = &iceberg.root.fields;
        let arrow = arrow_fields(fields)?;
        let parquet = fields
            .iter()
            .map(parquet_field)
            .collect::<Result<Vec<_>, _>>()?;
        let parquet = ParquetType::group_type_builder("table")
            .with_fields(parquet)
            .build()
            .map_err(|source| bad_schema(&source))?;
        let mut leaves = Vec::new();
        for (column, field) in fields.iter().enumerate() {
            collect_leaves(field, &field.name, column, false, &mut leaves);
        }
        Ok(Self {
            iceberg: Arc::clone(iceberg),
            arrow: Arc::new(arrow_schema::Schema::new(arrow)),
            parquet: Arc::new(parquet),
            leaves,
        })
    }

    /// The leaves of one top-level field, in order.
    pub(crate) fn leaves_of(&self, column: usize) -> impl Iterator<Item = &Leaf> {
        self.leaves.iter().filter(move |leaf| leaf.column == column)
    }
}

fn bad_schema(source: &ParquetError) -> Error {
    Error::Refused(format!("the table's schema has no Parquet form: {source}"))
}

fn collect_leaves(field: &Field, name: &str, column: usize, repeated: bool, out: &mut Vec<Leaf>) {
    match &field.ty {
        Type::Primitive(ty) => {
            let name = name.to_owned();
            out.push(Leaf {
                field_id: field.id,
                ty: ty.clone(),
                repeated,
                name,
                column,
            });
        }
        Type::Struct(inner) => {
            for child in &inner.fields {
                collect_leaves(
                    child,
                    &format!("{name}.{}", child.name),
                    column,
                    repeated,
                    out,
                );
            }
        }
        Type::List { element } => {
            collect_leaves(element, &format!("{name}.element"), column, true, out);
        }
        Type::Map { key, value } => {
            collect_leaves(key, &format!("{name}.key"), column, true, out);
            collect_leaves(value, &format!("{name}.value"), column, true, out);
        }
    }
}

fn arrow_fields(fields: &[Field]) -> Result<Fields, Error> {
    fields
        .iter()
        .map(|field| arrow_field(field, &field.name).map(Arc::new))
        .collect()
}

/// The Arrow form of one field, under `name` (nested ones have fixed names).
pub(crate) fn arrow_field(field: &Field, name: &str) -> Result<ArrowField, Error> {
    let ty = match &field.ty {
        Type::Primitive(ty) => arrow_primitive(ty).ok_or_else(|| {
            Error::Refused(format!(
                "column {name} has type {ty:?}, which is not supported"
            ))
        })?,
        Type::Struct(inner) => DataType::Struct(arrow_fields(&inner.fields)?),
        Type::List { element } => DataType::List(Arc::new(arrow_field(element, "element")?)),
        Type::Map { key, value } => {
            let entries =
                Fields::from(vec![arrow_field(key, "key")?, arrow_field(value, "value")?]);
            DataType::Map(
                Arc::new(ArrowField::new(
                    "key_value",
                    DataType::Struct(entries),
                    false,
                )),
                false,
            )
        }
    };
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), field.id.to_string())]);
    Ok(ArrowField::new(name, ty, !field.required).with_metadata(id))
}

fn arrow_primitive(ty: &Primitive) -> Option<DataType> {
    Some(match ty {
        Primitive::Boolean => DataType::Boolean,
        Primitive::Int => DataType::Int32,
        Primitive::Long => DataType::Int64,
        Primitive::Float => DataType::Float32,
        Primitive::Double => DataType::Float64,
        Primitive::Decimal { precision, scale } => {
            if *precision > DECIMAL_PRECISION_MAX {
                return None;
            }
            DataType::Decimal128(u8::try_from(*precision).ok()?, i8::try_from(*scale).ok()?)
        }
        Primitive::Date => DataType::Date32,
        Primitive::Time => DataType::Time64(TimeUnit::Microsecond),
        Primitive::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Primitive::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Primitive::String => DataType::Utf8View,
        Primitive::Uuid => DataType::FixedSizeBinary(16),
        Primitive::Fixed(length) => DataType::FixedSizeBinary(i32::try_from(*length).ok()?),
        Primitive::Binary => DataType::BinaryView,
        _ => return None,
    })
}

fn parquet_field(field: &Field) -> Result<TypePtr, Error> {
    named_parquet_field(field, &field.name)
}

fn named_parquet_field(field: &Field, name: &str) -> Result<TypePtr, Error> {
    let repetition = if field.required {
        Repetition::REQUIRED
    } else {
        Repetition::OPTIONAL
    };
    let built = match &field.ty {
        Type::Primitive(ty) => return parquet_primitive(field, ty, name, repetition),
        Type::Struct(inner) => {
            let fields = inner
                .fields
                .iter()
                .map(parquet_field)
                .collect::<Result<Vec<_>, _>>()?;
            ParquetType::group_type_builder(name).with_fields(fields)
        }
        Type::List { element } => ParquetType::group_type_builder(name)
            .with_logical_type(Some(LogicalType::List))
            .with_fields(vec![repeated(
                "list",
                vec![named_parquet_field(element, "element")?],
            )?]),
        Type::Map { key, value } => ParquetType::group_type_builder(name)
            .with_logical_type(Some(LogicalType::Map))
            .with_fields(vec![repeated(
                "key_value",
                vec![
                    named_parquet_field(key, "key")?,
                    named_parquet_field(value, "value")?,
                ],
            )?]),
    };
    let built = built
        .with_repetition(repetition)
        .with_id(Some(field.id))
        .build();
    built.map(Arc::new).map_err(|source| bad_schema(&source))
}

fn repeated(name: &str, fields: Vec<TypePtr>) -> Result<TypePtr, Error> {
    ParquetType::group_type_builder(name)
        .with_repetition(Repetition::REPEATED)
        .with_fields(fields)
        .build()
        .map(Arc::new)
        .map_err(|source| bad_schema(&source))
}

fn parquet_primitive(
    field: &Field,
    ty: &Primitive,
    name: &str,
    repetition: Repetition,
) -> Result<TypePtr, Error> {
    let (physical, logical) = match ty {
        Primitive::Boolean => (Physical::BOOLEAN, None),
        Primitive::Int => (Physical::INT32, None),
        Primitive::Long => (Physical::INT64, None),
        Primitive::Float => (Physical::FLOAT, None),
        Primitive::Double => (Physical::DOUBLE, None),
        Primitive::Decimal { precision, scale } => {
            let logical = LogicalType::decimal(*scale as i32, *precision as i32);
            (decimal_physical(*precision), Some(logical))
        }
        Primitive::Date => (Physical::INT32, Some(LogicalType::Date)),
        Primitive::Time => (
            Physical::INT64,
            Some(LogicalType::time(false, ParquetTimeUnit::MICROS)),
        ),
        Primitive::Timestamp => (
            Physical::INT64,
            Some(LogicalType::timestamp(false, ParquetTimeUnit::MICROS)),
        ),
        Primitive::Timestamptz => (
            Physical::INT64,
            Some(LogicalType::timestamp(true, ParquetTimeUnit::MICROS)),
        ),
        Primitive::String => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Primitive::Uuid => (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Uuid)),
        Primitive::Fixed(_) => (Physical::FIXED_LEN_BYTE_ARRAY, None),
        Primitive::Binary => (Physical::BYTE_ARRAY, None),
        other => {
            return Err(Error::Refused(format!(
                "column {name} has type {other:?}, which is not supported"
            )));
        }
    };
    let mut built = ParquetType::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .with_id(Some(field.id));
    match ty {
        Primitive::Decimal { precision, scale } => {
            built = built
                .with_precision(*precision as i32)
                .with_scale(*scale as i32);
            if physical == Physical::FIXED_LEN_BYTE_ARRAY {
                built = built.with_length(decimal_bytes(*precision));
            }
        }
        Primitive::Uuid => built = built.with_length(16),
        Primitive::Fixed(length) => {
            let length = i32::try_from(*length).map_err(|_| {
                Error::Refused(format!("column {name}: fixed[{length}] is too long"))
            })?;
            built = built.with_length(length);
        }
        _ => {}
    }
    built
        .build()
        .map(Arc::new)
        .map_err(|source| bad_schema(&source))
}

fn decimal_physical(precision: u32) -> Physical {
    if precision <= DECIMAL_INT32_PRECISION_MAX {
        Physical::INT32
    } else if precision <= DECIMAL_INT64_PRECISION_MAX {
        Physical::INT64
    } else {
        Physical::FIXED_LEN_BYTE_ARRAY
    }
}

/// Bytes the largest unscaled value of `precision` digits needs in two's complement.
fn decimal_bytes(precision: u32) -> i32 {
    let bits = 10_u128.pow(precision.min(DECIMAL_PRECISION_MAX)).ilog2() + 2;
    bits.div_ceil(8) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_take_the_fewest_bytes_that_hold_them() {
        // Java's TypeUtil.decimalRequiredBytes.
        for (precision, bytes) in [(1, 1), (2, 1), (3, 2), (4, 2), (19, 9), (20, 9), (38, 16)] {
            assert_eq!(decimal_bytes(precision), bytes, "precision {precision}");
        }
    }
}
