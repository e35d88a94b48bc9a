//! From a file's own form of a column to the form it is written in, matched by field id.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ListArray, MapArray, StructArray, new_null_array};
use arrow_schema::{
    ArrowError, DataType, Field as ArrowField, Fields, Schema as ArrowSchema, SchemaRef,
};
use metadata::{Field, Literal, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::constant::repeated;
use crate::Error;

/// How one value of a file's column becomes one of the output's column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As it is: the same primitive type.
    Same,
    /// A primitive type the column was promoted from (spec, "Schema Evolution").
    Narrower,
    /// Each child from the file's child of that position, or all null.
    Struct(Vec<Option<(usize, Shape)>>),
    List(Box<Shape>),
    Map(Box<Shape>, Box<Shape>),
}

/// The schema a file is asked to be read with: strings and bytes as views, which are not copied.
pub(crate) fn with_views(schema: &ArrowSchema) -> SchemaRef {
    let fields: Fields = schema
        .fields()
        .iter()
        .map(|field| Arc::new(view_field(field)))
        .collect();
    Arc::new(ArrowSchema::new_with_metadata(
        fields,
        schema.metadata().clone(),
    ))
}

fn view_field(field: &ArrowField) -> ArrowField {
    field.clone().with_data_type(match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|child| Arc::new(view_field(child)))
                .collect(),
        ),
        DataType::List(element) => DataType::List(Arc::new(view_field(element))),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(view_field(entries)), *sorted),
        other => other.clone(),
    })
}

/// The id a file's field carries.
pub(crate) fn field_id(field: &ArrowField) -> Option<i32> {
    field
        .metadata()
        .get(PARQUET_FIELD_ID_META_KEY)?
        .parse()
        .ok()
}

/// Where the values of an output's column come from in one input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    /// The file's top-level field of that position.
    Column(usize, Shape),
    /// The file does not store it: every row has the value of the file's partition.
    Partition(Literal),
    /// The file does not have it: every row is null.
    Nulls,
}

/// A file that columns are matched with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matched<'a> {
    pub(crate) location: &'a str,
    /// Values of its identity partition fields, by column id.
    pub(crate) identities: &'a HashMap<i32, Literal>,
}

/// Matches one column of the output with the `fields` of a file.
pub(crate) fn match_column(
    wanted: &Field,
    target: &ArrowField,
    fields: &Fields,
    file: Matched<'_>,
) -> Result<Origin, Error> {
    let stored = fields
        .iter()
        .any(|field| field_id(field) == Some(wanted.id));
    if !stored && let Some(value) = file.identities.get(&wanted.id) {
        if repeated(value, target.data_type(), 1).is_none() {
            return Err(Error::Refused(format!(
                "{} has {value} as its partition's {}, the table's schema says {}",
                file.location,
                wanted.name,
                target.data_type()
            )));
        }
        return Ok(Origin::Partition(value.clone()));
    }
    let found = match_child(wanted, target, fields, &wanted.name, file)?;
    Ok(found.map_or(Origin::Nulls, |(position, shape)| {
        Origin::Column(position, shape)
    }))
}

/// Whether the field or one below it has a value in the file's partition.
fn in_partition(field: &Field, identities: &HashMap<i32, Literal>) -> bool {
    let below = |fields: &[Field]| fields.iter().any(|field| in_partition(field, identities));
    identities.contains_key(&field.id)
        || match &field.ty {
            Type::Struct(inner) => below(&inner.fields),
            // The specification allows no partition source below a list or a map.
            Type::Primitive(_) | Type::List { .. } | Type::Map { .. } => false,
        }
}

fn match_child(
    wanted: &Field,
    target: &ArrowField,
    fields: &Fields,
    name: &str,
    file: Matched<'_>,
) -> Result<Option<(usize, Shape)>, Error> {
    let location = file.location;
    let found = fields
        .iter()
        .position(|field| field_id(field) == Some(wanted.id));
    let Some(position) = found else {
        if in_partition(wanted, file.identities) {
            return Err(Error::Refused(format!(
                "{location} has {name} or a part of it in its partition only, which is not filled in below a struct in this version"
            )));
        }
        if wanted.required {
            return Err(Error::Refused(format!(
                "{location} does not have the required column {name} (field id {})",
                wanted.id
            )));
        }
        // A file written before the field had a default reads as that default, not as null.
        if wanted.initial_default.is_some() {
            return Err(Error::Refused(format!(
                "column {name} has a default value, which needs format v3"
            )));
        }
        return Ok(None);
    };
    let shape = match_type(wanted, target, &fields[position], name, file)?;
    Ok(Some((position, shape)))
}

fn match_type(
    wanted: &Field,
    target: &ArrowField,
    field: &ArrowField,
    name: &str,
    file: Matched<'_>,
) -> Result<Shape, Error> {
    let location = file.location;
    let differs = || {
        Error::Refused(format!(
            "{location} holds column {name} as {}, the table's schema says {}",
            field.data_type(),
            target.data_type()
        ))
    };
    match (&wanted.ty, target.data_type(), field.data_type()) {
        (Type::Primitive(_), target, stored) if target == stored => Ok(Shape::Same),
        (Type::Primitive(_), target, stored) if promotes(stored, target) => Ok(Shape::Narrower),
        (Type::Struct(inner), DataType::Struct(targets), DataType::Struct(files)) => {
            let children = inner.fields.iter().zip(targets).map(|(child, target)| {
                match_child(
                    child,
                    target,
                    files,
                    &format!("{name}.{}", child.name),
                    file,
                )
            });
            Ok(Shape::Struct(children.collect::<Result<_, _>>()?))
        }
        (Type::List { element }, DataType::List(target), DataType::List(stored)) => {
            let name = format!("{name}.element");
            same_id(element, stored, &name, location)?;
            Ok(Shape::List(Box::new(match_type(
                element, target, stored, &name, file,
            )?)))
        }
        (Type::Map { key, value }, DataType::Map(target, _), DataType::Map(stored, _)) => {
            let (DataType::Struct(target), DataType::Struct(stored)) =
                (target.data_type(), stored.data_type())
            else {
                return Err(differs());
            };
            let part = |index: usize, field: &Field, part: &str| {
                let name = format!("{name}.{part}");
                same_id(field, &stored[index], &name, location)?;
                match_type(field, &target[index], &stored[index], &name, file)
            };
            Ok(Shape::Map(
                Box::new(part(0, key, "key")?),
                Box::new(part(1, value, "value")?),
            ))
        }
        _ => Err(differs()),
    }
}

fn same_id(wanted: &Field, file: &ArrowField, name: &str, location: &str) -> Result<(), Error> {
    match field_id(file) {
        Some(id) if id == wanted.id => Ok(()),
        Some(id) => Err(Error::Refused(format!(
            "{location} has field id {id} for {name}, not {}",
            wanted.id
        ))),
        None => Err(Error::Refused(format!(
            "{location} has no field id for {name}"
        ))),
    }
}

/// Brings `array` into the form of `target`.
pub(crate) fn reshape(
    array: &ArrayRef,
    shape: &Shape,
    target: &DataType,
) -> Result<ArrayRef, ArrowError> {
    match (shape, target) {
        (Shape::Struct(children), DataType::Struct(fields)) => {
            let array = array.as_struct();
            let columns = children
                .iter()
                .zip(fields)
                .map(|(child, field)| match child {
                    Some((position, shape)) => {
                        reshape(array.column(*position), shape, field.data_type())
                    }
                    None => Ok(new_null_array(field.data_type(), array.len())),
                });
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let made = StructArray::try_new_with_length(
                fields.clone(),
                columns,
                array.nulls().cloned(),
                array.len(),
            )?;
            Ok(Arc::new(made))
        }
        (Shape::List(element), DataType::List(field)) => {
            let array = array.as_list::<i32>();
            let values = reshape(array.values(), element, field.data_type())?;
            let made = ListArray::try_new(
                Arc::clone(field),
                array.offsets().clone(),
                values,
                array.nulls().cloned(),
            )?;
            Ok(Arc::new(made))
        }
        (Shape::Map(key, value), DataType::Map(entries_field, sorted)) => {
            let array = array.as_map();
            let DataType::Struct(fields) = entries_field.data_type() else {
                return Err(ArrowError::SchemaError(
                    "a map's entries are a struct".to_owned(),
                ));
            };
            let columns = vec![
                reshape(array.keys(), key, fields[0].data_type())?,
                reshape(array.values(), value, fields[1].data_type())?,
            ];
            let entries = StructArray::try_new(fields.clone(), columns, None)?;
            let made = MapArray::try_new(
                Arc::clone(entries_field),
                array.offsets().clone(),
                entries,
                array.nulls().cloned(),
                *sorted,
            )?;
            Ok(Arc::new(made))
        }
        (Shape::Narrower, target) => promoted(array, target),
        _ => Ok(Arc::clone(array)),
    }
}

/// The promotions format v2 allows.
fn promotes(stored: &DataType, target: &DataType) -> bool {
    match (stored, target) {
        (DataType::Int32, DataType::Int64) | (DataType::Float32, DataType::Float64) => true,
        (DataType::Decimal128(from, scale), DataType::Decimal128(to, same)) => {
            from < to && scale == same
        }
        _ => false,
    }
}

fn promoted(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    Ok(match target {
        DataType::Int64 => {
            let narrow = array.as_primitive::<Int32Type>();
            Arc::new(narrow.unary::<_, Int64Type>(i64::from))
        }
        DataType::Float64 => {
            let narrow = array.as_primitive::<Float32Type>();
            Arc::new(narrow.unary::<_, Float64Type>(f64::from))
        }
        DataType::Decimal128(precision, scale) => {
            let narrow = array.as_primitive::<Decimal128Type>().clone();
            Arc::new(narrow.with_precision_and_scale(*precision, *scale)?)
        }
        other => {
            let why = format!("nothing is promoted to {other}");
            return Err(ArrowError::SchemaError(why));
        }
    })
}
