//! The rows of a table as its writer knows them, and how they are written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow_schema::SchemaRef;
use metadata::{Field, Literal, PartitionField, PartitionSpec, Primitive, Schema, StructType};
use metadata::{Transform, Type};

pub(crate) const REGIONS: [&str; 3] = ["east", "north", "west"];
/// Field id of `id`.
pub(crate) const KEY_ID: i32 = 1;
/// Field id of `region`.
const REGION_ID: i32 = 2;
const REGION_FIELD_ID: i32 = 1000;
/// Of so many rows, one has no note.
const NOTELESS: i64 = 7;

/// A row: its other columns follow from these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) version: i64,
}

impl Row {
    pub(crate) fn region(self) -> &'static str {
        REGIONS[self.id.rem_euclid(REGIONS.len() as i64) as usize]
    }

    fn quarters(self) -> i64 {
        (self.id * 31 + self.version * 7) % 100_000
    }

    fn note(self) -> Option<String> {
        (self.id % NOTELESS != 0).then(|| format!("row {} at {}", self.id, self.version))
    }

    /// As `tests/oracle/fleet_tables.py` writes it.
    fn line(self) -> String {
        let note = self.note().unwrap_or_else(|| "-".to_owned());
        let (id, version, quarters) = (self.id, self.version, self.quarters());
        format!("{id}|{}|{version}|{quarters}|{note}", self.region())
    }
}

/// Every row there must be, by its id: a row has one version at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reference(BTreeMap<i64, i64>);

impl Reference {
    pub(crate) fn insert(&mut self, row: Row) {
        self.0.insert(row.id, row.version);
    }

    pub(crate) fn remove(&mut self, id: i64) {
        self.0.remove(&id);
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        let rows = self.0.iter();
        rows.map(|(id, version)| Row {
            id: *id,
            version: *version,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Every row as a line, sorted.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.rows().map(Row::line).collect();
        lines.sort_unstable();
        lines
    }
}

/// The rows as a table's columns.
pub(crate) fn batch(rows: &[Row], schema: SchemaRef) -> Result<RecordBatch> {
    let longs = |get: fn(&Row) -> i64| Int64Array::from_iter_values(rows.iter().map(get));
    let amounts = rows.iter().map(|row| row.quarters() as f64 / 4.0);
    let notes = rows.iter().map(|row| row.note());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(longs(|row| row.id)),
        Arc::new(StringViewArray::from_iter_values(
            rows.iter().map(|row| row.region()),
        )),
        Arc::new(longs(|row| row.version)),
        Arc::new(Float64Array::from_iter_values(amounts)),
        Arc::new(notes.collect::<StringViewArray>()),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// What deletes the rows by their keys.
pub(crate) fn keys(rows: &[Row]) -> Result<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id)));
    Ok(RecordBatch::try_from_iter([("id", ids)])?)
}

pub(crate) fn schema() -> Schema {
    let field = |(id, (name, required, ty))| Field::new(id, name, required, Type::Primitive(ty));
    let columns = [
        ("id", true, Primitive::Long),
        ("region", true, Primitive::String),
        ("version", true, Primitive::Long),
        ("amount", true, Primitive::Double),
        ("note", false, Primitive::String),
    ];
    Schema {
        schema_id: 0,
        root: StructType {
            fields: (1..).zip(columns).map(field).collect(),
        },
        identifier_field_ids: Vec::new(),
    }
}

/// By region, or none.
pub(crate) fn spec(partitioned: bool) -> PartitionSpec {
    let region = PartitionField {
        source_id: REGION_ID,
        field_id: REGION_FIELD_ID,
        name: "region".to_owned(),
        transform: Transform::Identity,
    };
    PartitionSpec {
        spec_id: 0,
        fields: partitioned.then_some(region).into_iter().collect(),
    }
}

pub(crate) fn partition(partitioned: bool, region: &str) -> Vec<Option<Literal>> {
    let region = partitioned.then(|| Some(Literal::String(region.to_owned())));
    region.into_iter().collect()
}
