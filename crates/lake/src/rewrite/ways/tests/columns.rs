//! Columns of every type, of a chosen variety.

use std::sync::Arc;

use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{
    ArrayRef, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, StringViewArray,
};
use arrow_schema::DataType;
use metadata::Primitive;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Every type a table may have.
pub(super) fn types() -> Vec<Primitive> {
    let decimal = |precision, scale| Primitive::Decimal { precision, scale };
    vec![
        Primitive::Boolean,
        Primitive::Int,
        Primitive::Long,
        Primitive::Float,
        Primitive::Double,
        decimal(9, 2),
        decimal(18, 4),
        decimal(38, 10),
        Primitive::Date,
        Primitive::Time,
        Primitive::Timestamp,
        Primitive::Timestamptz,
        Primitive::String,
        Primitive::Uuid,
        Primitive::Fixed(3),
        Primitive::Binary,
    ]
}

/// What a column holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    pub(super) rows: usize,
    /// The first value; others follow if they are unique.
    pub(super) start: u64,
    /// So many different values at most; `None`: each is another.
    pub(super) variety: Option<u64>,
    pub(super) nulls: f64,
    pub(super) nans: f64,
}

/// The number behind each row's value, or none.
pub(super) fn column(ty: &DataType, content: Content, rng: &mut StdRng) -> ArrayRef {
    let keys: Vec<Option<u64>> = (0..content.rows as u64)
        .map(|row| {
            let key = match content.variety {
                None => content.start + row,
                Some(variety) => content.start + rng.random_range(0..variety),
            };
            (!rng.random_bool(content.nulls)).then_some(key)
        })
        .collect();
    let nan = |key: u64| content.nans > 0.0 && StdRng::seed_from_u64(key).random_bool(content.nans);
    match ty {
        DataType::Float32 | DataType::Float64 => {
            let values: Vec<Option<f64>> = keys
                .iter()
                .map(|key| key.map(|key| if nan(key) { f64::NAN } else { number(key) }))
                .collect();
            if *ty == DataType::Float64 {
                return Arc::new(PrimitiveArray::<Float64Type>::from(values));
            }
            let values = values.iter().map(|value| value.map(|value| value as f32));
            Arc::new(PrimitiveArray::<Float32Type>::from(
                values.collect::<Vec<_>>(),
            ))
        }
        _ => of(ty, &keys),
    }
}

/// Both zeros among them.
fn number(key: u64) -> f64 {
    match key % 50 {
        0 => 0.0,
        1 => -0.0,
        2 => f64::INFINITY,
        _ => mixed(key) as i64 as f64 / 1e9,
    }
}

/// Each key gives another number, in no order.
fn mixed(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn text(key: u64) -> String {
    let filler = [
        "",
        "größe ",
        "𝄞✓",
        "a long text, the same for many of them ",
    ];
    let filler = filler[(mixed(key) >> 62) as usize];
    format!("{filler}{:x}", mixed(key) >> 20)
}

fn of(ty: &DataType, keys: &[Option<u64>]) -> ArrayRef {
    macro_rules! numbers {
        ($ty:ty, $of:expr) => {{
            let values = keys.iter().map(|key| key.map($of));
            let values = PrimitiveArray::<$ty>::from(values.collect::<Vec<_>>());
            Arc::new(values.with_data_type(ty.clone())) as ArrayRef
        }};
    }
    match ty {
        DataType::Boolean => {
            let values = keys.iter().map(|key| key.map(|key| mixed(key) >> 63 == 1));
            Arc::new(BooleanArray::from(values.collect::<Vec<_>>()))
        }
        DataType::Int32 => numbers!(Int32Type, |key| mixed(key) as i32),
        DataType::Int64 => numbers!(Int64Type, |key| mixed(key) as i64),
        DataType::Date32 => numbers!(Date32Type, |key| key as i32 * 37 % 1_000_003),
        DataType::Time64(_) => {
            numbers!(Time64MicrosecondType, |key| (mixed(key) >> 30) as i64
                % 86_400_000_000)
        }
        DataType::Timestamp(_, _) => {
            numbers!(TimestampMicrosecondType, |key| (mixed(key) >> 12) as i64)
        }
        DataType::Decimal128(9, _) => numbers!(Decimal128Type, |key| {
            i128::from(mixed(key) as i32 % 1_000_000_000)
        }),
        DataType::Decimal128(18, _) => {
            numbers!(Decimal128Type, |key| i128::from(mixed(key) as i64 >> 5))
        }
        DataType::Decimal128(_, _) => {
            numbers!(Decimal128Type, |key| i128::from(mixed(key) as i64) << 40)
        }
        DataType::Utf8View => {
            let values = keys.iter().map(|key| key.map(text));
            Arc::new(values.collect::<StringViewArray>())
        }
        DataType::BinaryView => {
            let values = keys.iter().map(|key| key.map(|key| text(key).into_bytes()));
            Arc::new(values.collect::<BinaryViewArray>())
        }
        DataType::FixedSizeBinary(length) => {
            let value = |key: u64| {
                let bytes = mixed(key).to_be_bytes();
                (0..*length as usize)
                    .map(|at| bytes[at % 8])
                    .collect::<Vec<u8>>()
            };
            let values = keys.iter().map(|key| key.map(value));
            let values = FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, *length);
            Arc::new(values.unwrap())
        }
        other => panic!("no column of {other}"),
    }
}
