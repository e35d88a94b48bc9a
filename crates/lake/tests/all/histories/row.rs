//! Rows of the model: values by field id, as JSON the oracle speaks, as Arrow, as partition values.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, Date32Array, Float32Array, Float64Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringViewArray, StructArray,
};
use arrow_schema::{DataType, Field as ArrowField, FieldRef, Fields, SchemaRef};
use metadata::{Field, Literal, PartitionSpec, Primitive, Schema, Type};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};

/// Few values, so that keys meet rows.
const TEXTS: [&str; 6] = ["eu", "us", "asia/jp", "", "größe x", "e"];
const NULLS: f64 = 0.2;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Null,
    Number(i64),
    /// A number with a fraction, counted in quarters: exact in both widths.
    Quarters(i64),
    Day(i32),
    Text(String),
    Struct(Row),
    List(Vec<Cell>),
}

/// By field id; what is missing is null.
pub(super) type Row = BTreeMap<i32, Cell>;

/// A row of `schema` whose first column is `id`.
pub(super) fn random(rng: &mut StdRng, schema: &Schema, id: i64) -> Row {
    let mut row = random_row(rng, &schema.root.fields);
    row.insert(super::ID, Cell::Number(id));
    row
}

fn random_row(rng: &mut StdRng, fields: &[Field]) -> Row {
    let cells = fields.iter();
    cells
        .map(|field| (field.id, random_cell(rng, &field.ty)))
        .collect()
}

pub(super) fn random_cell(rng: &mut StdRng, ty: &Type) -> Cell {
    if rng.random_bool(NULLS) {
        return Cell::Null;
    }
    match ty {
        Type::Struct(inner) => Cell::Struct(random_row(rng, &inner.fields)),
        Type::List { element } => {
            let count = rng.random_range(0..3);
            Cell::List((0..count).map(|_| random_cell(rng, &element.ty)).collect())
        }
        Type::Map { .. } => panic!("histories have no maps"),
        Type::Primitive(ty) => match ty {
            Primitive::Int | Primitive::Long => Cell::Number(rng.random_range(0..6)),
            Primitive::Float | Primitive::Double => Cell::Quarters(rng.random_range(-4..8)),
            Primitive::Date => Cell::Day(rng.random_range(20_000..20_003)),
            Primitive::String => Cell::Text(TEXTS[pick(rng, TEXTS.len())].to_owned()),
            other => panic!("histories have no {other:?}"),
        },
    }
}

pub(super) fn pick(rng: &mut impl Rng, count: usize) -> usize {
    rng.random_range(0..count)
}

/// An object by the names of `fields`.
pub(super) fn to_json(fields: &[Field], row: &Row) -> Value {
    let values = fields.iter().map(|field| {
        let cell = row.get(&field.id).unwrap_or(&Cell::Null);
        (field.name.clone(), cell_json(&field.ty, cell))
    });
    Value::Object(values.collect::<Map<_, _>>())
}

fn cell_json(ty: &Type, cell: &Cell) -> Value {
    match (cell, ty) {
        (Cell::Null, _) => Value::Null,
        (Cell::Number(number), _) => json!(number),
        (Cell::Quarters(quarters), _) => json!(format!("q{quarters}")),
        (Cell::Day(day), _) => json!(format!("d{day}")),
        (Cell::Text(text), _) => json!(text),
        (Cell::Struct(row), Type::Struct(inner)) => to_json(&inner.fields, row),
        (Cell::List(cells), Type::List { element }) => cells
            .iter()
            .map(|cell| cell_json(&element.ty, cell))
            .collect(),
        (cell, ty) => panic!("{cell:?} is not of type {ty:?}"),
    }
}

/// The rows under an Arrow schema that carries field ids.
pub(super) fn batch(schema: &SchemaRef, rows: &[&Row]) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| column(field, rows));
    RecordBatch::try_new(schema.clone(), columns.collect()).expect("columns of the schema")
}

fn column(field: &ArrowField, rows: &[&Row]) -> ArrayRef {
    let id = field.metadata()["PARQUET:field_id"].parse().expect("an id");
    let cells = rows.iter().map(|row| row.get(&id).unwrap_or(&Cell::Null));
    array(field.data_type(), &cells.collect::<Vec<_>>())
}

fn array(ty: &DataType, cells: &[&Cell]) -> ArrayRef {
    let number = |cell: &&Cell| match cell {
        Cell::Number(number) | Cell::Quarters(number) => Some(*number),
        Cell::Day(day) => Some(i64::from(*day)),
        _ => None,
    };
    let numbers = cells.iter().map(number);
    match ty {
        DataType::Int32 => Arc::new(numbers.map(|n| n.map(|n| n as i32)).collect::<Int32Array>()),
        DataType::Int64 => Arc::new(numbers.collect::<Int64Array>()),
        DataType::Date32 => Arc::new(
            numbers
                .map(|n| n.map(|n| n as i32))
                .collect::<Date32Array>(),
        ),
        DataType::Float32 => Arc::new(
            numbers
                .map(|n| n.map(|n| n as f32 / 4.0))
                .collect::<Float32Array>(),
        ),
        DataType::Float64 => Arc::new(
            numbers
                .map(|n| n.map(|n| n as f64 / 4.0))
                .collect::<Float64Array>(),
        ),
        DataType::Utf8View => {
            let texts = cells.iter().map(|cell| match cell {
                Cell::Text(text) => Some(text.as_str()),
                _ => None,
            });
            Arc::new(texts.collect::<StringViewArray>())
        }
        DataType::Struct(fields) => Arc::new(structs(fields, cells)),
        DataType::List(element) => Arc::new(lists(element, cells)),
        other => panic!("histories have no {other}"),
    }
}

fn structs(fields: &Fields, cells: &[&Cell]) -> StructArray {
    let empty = Row::new();
    let rows = cells.iter().map(|cell| match cell {
        Cell::Struct(row) => row,
        _ => &empty,
    });
    let rows: Vec<&Row> = rows.collect();
    let columns = fields.iter().map(|field| column(field, &rows)).collect();
    // Its nulls are those of numbers of the same shape.
    let valid = cells.iter();
    let shape: Int32Array = valid
        .map(|cell| (**cell != Cell::Null).then_some(0))
        .collect();
    StructArray::try_new(fields.clone(), columns, shape.nulls().cloned()).expect("a struct")
}

fn lists(element: &FieldRef, cells: &[&Cell]) -> ListArray {
    // Its offsets and nulls are those of a list of numbers of the same shape.
    let shape = cells.iter().map(|cell| match cell {
        Cell::List(cells) => Some(vec![Some(0); cells.len()]),
        _ => None,
    });
    let shape = ListArray::from_iter_primitive::<Int32Type, _, _>(shape);
    let inner = cells.iter().flat_map(|cell| match cell {
        Cell::List(cells) => cells.iter().collect(),
        _ => Vec::new(),
    });
    let values = array(element.data_type(), &inner.collect::<Vec<_>>());
    let (offsets, nulls) = (shape.offsets().clone(), shape.nulls().cloned());
    ListArray::try_new(element.clone(), offsets, values, nulls).expect("a list")
}

/// The partition of a row.
pub(super) fn partition(schema: &Schema, spec: &PartitionSpec, row: &Row) -> Vec<Option<Literal>> {
    let fields = spec.fields.iter();
    fields
        .map(|field| {
            let ty = schema
                .field(field.source_id)
                .and_then(|field| field.ty.primitive());
            let value = literal(ty?, row.get(&field.source_id)?)?;
            field.transform.apply(&value)
        })
        .collect()
}

fn literal(ty: &Primitive, cell: &Cell) -> Option<Literal> {
    Some(match (cell, ty) {
        (Cell::Number(number), Primitive::Int) => Literal::Int(*number as i32),
        (Cell::Number(number), Primitive::Long) => Literal::Long(*number),
        (Cell::Day(day), _) => Literal::Date(*day),
        (Cell::Text(text), _) => Literal::String(text.clone()),
        _ => return None,
    })
}

/// The value of a field, nested in structs or not.
pub(super) fn value(row: &Row, id: i32) -> Cell {
    for (field, cell) in row {
        if *field == id {
            return cell.clone();
        }
        if let Cell::Struct(inner) = cell
            && let found = value(inner, id)
            && found != Cell::Null
        {
            return found;
        }
    }
    Cell::Null
}

/// A row of keys: `ids` with `cells`, nested as `fields` are.
pub(super) fn key_row(fields: &[Field], key: &BTreeMap<i32, Cell>) -> Row {
    let mut row = Row::new();
    for field in fields {
        if let Some(cell) = key.get(&field.id) {
            row.insert(field.id, cell.clone());
        } else if let Type::Struct(inner) = &field.ty {
            row.insert(field.id, Cell::Struct(key_row(&inner.fields, key)));
        }
    }
    row
}
