//! The rows of the table that is compacted: made from a seed, and summed column by column so that
//! neither their order nor their files matter.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float32Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, SchemaRef};
use metadata::{Field, Primitive, Schema, StructType, Type};

use crate::demo::event::Dice;

/// Names and types; field ids count from 1 in this order. Values of all but `day`, `country`,
/// `city`, `count` and `flag` are nearly all different.
pub(super) const COLUMNS: [(&str, Primitive); 13] = [
    (ID, Primitive::Long),
    ("customer", Primitive::Long),
    ("at", Primitive::Timestamptz),
    ("day", Primitive::Date),
    ("country", Primitive::String),
    ("city", Primitive::String),
    ("device", Primitive::String),
    ("key", Primitive::String),
    ("note", Primitive::String),
    ("price", Primitive::Double),
    ("score", Primitive::Float),
    ("count", Primitive::Int),
    ("flag", Primitive::Boolean),
];
/// Those a writer gives up the dictionary of, because it would be as large as the values.
pub(super) const MANY_VALUES: [&str; 8] = [
    ID, "customer", "at", "device", "key", "note", "price", "score",
];
/// No two rows have the same.
const ID: &str = "id";
pub(super) const ID_FIELD: i32 = 1;

const WORDS: [&str; 8] = [
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath",
];
const CUSTOMERS: u64 = 1_000_000;
const CITIES: u64 = 5_000;
const DEVICES: u64 = 500_000;
const NOTE_WORDS: usize = 8;
/// One note in so many is null.
const NULL_ONE_IN: u64 = 10;
const PRICE_MAX: f64 = 1_000.0;
const COUNT_MAX: u64 = 1_000;
const ROWS_A_DAY: i64 = 500_000;
/// 2022-01-08, as days since the epoch.
const FIRST_DAY: i64 = 19_000;
/// 2023-11-14T22:13:20Z in microseconds; a row a millisecond follows it.
const FIRST_AT: i64 = 1_700_000_000_000_000;
const BETWEEN_ROWS: i64 = 1_000;

/// As other writers declare it: every column may be null.
pub(super) fn schema() -> Schema {
    let fields = (1..).zip(COLUMNS);
    let fields = fields.map(|(id, (name, ty))| Field::new(id, name, false, Type::Primitive(ty)));
    Schema {
        schema_id: 0,
        root: StructType {
            fields: fields.collect(),
        },
        identifier_field_ids: Vec::new(),
    }
}

/// What of a row does not follow from its id alone.
struct Row {
    customer: i64,
    country: &'static str,
    city: String,
    device: String,
    key: String,
    note: Option<String>,
    price: f64,
    score: f32,
    count: i32,
    flag: bool,
}

impl Row {
    fn new(seed: u64, id: i64) -> Self {
        let mut dice = Dice::new(seed, id);
        let note = |dice: &mut Dice| {
            let words: Vec<&str> = (0..NOTE_WORDS).map(|_| dice.pick(&WORDS)).collect();
            words.join(" ")
        };
        Self {
            customer: dice.below(CUSTOMERS) as i64,
            country: dice.pick(&WORDS),
            city: format!("city-{}", dice.below(CITIES)),
            device: format!("device-{}", dice.below(DEVICES)),
            key: format!("{:016x}{:016x}", dice.throw(), dice.throw()),
            note: (dice.below(NULL_ONE_IN) != 0).then(|| note(&mut dice)),
            price: fraction(&mut dice) * PRICE_MAX,
            score: fraction(&mut dice) as f32,
            count: dice.below(COUNT_MAX) as i32,
            flag: dice.below(2) == 1,
        }
    }
}

/// From 0 to 1, with as many bits as a double holds.
fn fraction(dice: &mut Dice) -> f64 {
    (dice.throw() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The rows of these ids.
pub(super) fn batch(seed: u64, ids: Range<i64>, schema: SchemaRef) -> Result<RecordBatch> {
    let rows: Vec<Row> = ids.clone().map(|id| Row::new(seed, id)).collect();
    let rows = || rows.iter();
    let at = ids.clone().map(|id| FIRST_AT + id * BETWEEN_ROWS);
    let day = ids.clone().map(|id| (FIRST_DAY + id / ROWS_A_DAY) as i32);
    let texts = |get: fn(&Row) -> &str| StringViewArray::from_iter_values(rows().map(get));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids)),
        Arc::new(Int64Array::from_iter_values(rows().map(|row| row.customer))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC")),
        Arc::new(Date32Array::from_iter_values(day)),
        Arc::new(texts(|row| row.country)),
        Arc::new(texts(|row| &row.city)),
        Arc::new(texts(|row| &row.device)),
        Arc::new(texts(|row| &row.key)),
        Arc::new(
            rows()
                .map(|row| row.note.as_deref())
                .collect::<StringViewArray>(),
        ),
        Arc::new(Float64Array::from_iter_values(rows().map(|row| row.price))),
        Arc::new(Float32Array::from_iter_values(rows().map(|row| row.score))),
        Arc::new(Int32Array::from_iter_values(rows().map(|row| row.count))),
        Arc::new(rows().map(|row| Some(row.flag)).collect::<BooleanArray>()),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// Counts rows, and sums a hash of each value with its row's id modulo 2^64: the same for the same
/// rows, and another one when a value is in the wrong row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) rows: u64,
    columns: [u64; COLUMNS.len()],
}

/// One value as it is hashed, whatever Arrow type its reader gave it.
#[derive(Hash)]
enum Cell<'a> {
    Null,
    Bits(u64),
    Text(&'a str),
}

impl Sums {
    /// Adds those rows of `batch` that `kept` says are there.
    pub(super) fn add(&mut self, batch: &RecordBatch, kept: impl Fn(i64) -> bool) -> Result<()> {
        let column = |name: &str| {
            let column = batch.column_by_name(name);
            column.with_context(|| format!("column `{name}` is missing"))
        };
        let ids = column(ID)?.as_primitive_opt::<Int64Type>();
        let ids = ids.context("`id` is no long")?.values();
        let rows: Vec<(usize, i64)> = ids.iter().copied().enumerate().collect();
        let rows: Vec<_> = rows.into_iter().filter(|(_, id)| kept(*id)).collect();
        self.rows += rows.len() as u64;
        for (sum, (name, _)) in self.columns.iter_mut().zip(COLUMNS) {
            let column = column(name)?;
            let cell = cells(column).with_context(|| format!("column `{name}`"))?;
            for (row, id) in &rows {
                let value = if column.is_null(*row) {
                    Cell::Null
                } else {
                    cell(*row)
                };
                let mut hash = DefaultHasher::new();
                (id, value).hash(&mut hash);
                *sum = sum.wrapping_add(hash.finish());
            }
        }
        Ok(())
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.rows += other.rows;
        for (sum, more) in self.columns.iter_mut().zip(other.columns) {
            *sum = sum.wrapping_add(more);
        }
    }

    /// Names of the columns that are not the same.
    pub(super) fn differing(&self, other: &Self) -> Vec<&'static str> {
        let pairs = self.columns.iter().zip(&other.columns).zip(COLUMNS);
        let differing = pairs.filter(|((one, another), _)| one != another);
        differing.map(|(_, (name, _))| name).collect()
    }
}

/// How a column's values that are not null are read.
fn cells<'a>(column: &'a ArrayRef) -> Result<Box<dyn Fn(usize) -> Cell<'a> + 'a>> {
    macro_rules! bits {
        ($ty:ty, $bits:expr) => {{
            let values = column.as_primitive::<$ty>().values();
            Box::new(move |row| Cell::Bits($bits(values[row])))
        }};
    }
    Ok(match column.data_type() {
        DataType::Int64 => bits!(Int64Type, |value| value as u64),
        DataType::Timestamp(..) => {
            let values = column.as_primitive_opt::<TimestampMicrosecondType>();
            let values = values.context("it is not in microseconds")?.values();
            Box::new(|row| Cell::Bits(values[row] as u64))
        }
        DataType::Int32 => bits!(Int32Type, |value| value as u64),
        DataType::Date32 => bits!(Date32Type, |value| value as u64),
        DataType::Float64 => bits!(Float64Type, f64::to_bits),
        DataType::Float32 => bits!(Float32Type, |value| u64::from(f32::to_bits(value))),
        DataType::Boolean => {
            let values = column.as_boolean();
            Box::new(|row| Cell::Bits(values.value(row).into()))
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            Box::new(|row| Cell::Text(values.value(row)))
        }
        DataType::Utf8View => {
            let values = column.as_string_view();
            Box::new(|row| Cell::Text(values.value(row)))
        }
        other => bail!("it has a type that was not written: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;

    use super::*;

    fn rows(ids: Range<i64>) -> RecordBatch {
        let schema = lake::arrow_schema(&Arc::new(schema())).unwrap();
        batch(7, ids, schema).unwrap()
    }

    fn sums<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> Sums {
        let mut sums = Sums::default();
        for batch in batches {
            sums.add(batch, |_| true).unwrap();
        }
        sums
    }

    #[test]
    fn order_and_files_do_not_matter() {
        let whole = sums([&rows(0..100)]);
        let mut parts = sums([&rows(60..100)]);
        parts.join(&sums([&rows(0..60)]));
        assert_eq!(whole, parts);
        assert_eq!(whole.rows, 100);
        assert_ne!(whole, sums([&rows(0..99)]), "a row was lost");
        let kept = |id: i64| id % 2 == 0;
        let (mut even, mut odd) = (Sums::default(), Sums::default());
        even.add(&rows(0..100), kept).unwrap();
        odd.add(&rows(0..100), |id| !kept(id)).unwrap();
        even.join(&odd);
        assert_eq!(even, whole);
    }

    #[test]
    fn every_column_is_looked_at_in_its_own_row() {
        let batch = rows(0..2);
        let want = sums([&batch]);
        for (at, (name, _)) in COLUMNS.iter().enumerate().skip(1) {
            // Two rows exchange their values: no sum that forgets the row notices it.
            let row = |row: usize| {
                let mut columns = batch.slice(row, 1).columns().to_vec();
                columns[at] = batch.column(at).slice(1 - row, 1);
                RecordBatch::try_new(batch.schema(), columns).unwrap()
            };
            let same = batch.column(at).slice(0, 1) == batch.column(at).slice(1, 1);
            let differing = want.differing(&sums([&row(0), &row(1)]));
            assert_eq!(differing.is_empty(), same, "{name}");
            assert!(differing.iter().all(|found| found == name), "{name}");
        }
    }

    #[test]
    fn a_readers_arrow_type_does_not_matter() {
        let batch = rows(0..100);
        let plain = |column: &ArrayRef| match column.as_string_view_opt() {
            Some(text) => Arc::new(text.iter().collect::<StringArray>()),
            None => Arc::clone(column),
        };
        let columns = batch.columns().iter().map(plain);
        let named = COLUMNS.iter().map(|(name, _)| *name).zip(columns);
        let read = RecordBatch::try_from_iter(named).unwrap();
        assert_eq!(sums([&read]), sums([&batch]));
        assert!(batch["note"].null_count() > 0 && batch["note"].null_count() < 50);
    }
}
