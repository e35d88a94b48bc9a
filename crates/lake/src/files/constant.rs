//! Values a file does not store because its partition has them: the value of an identity partition
//! stands for every row (specification, "Column Projection").

use std::collections::HashMap;
use std::iter::repeat_n;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, StringViewArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, TimeUnit};
use metadata::{Literal, PartitionSpec, Transform};

/// The values of a partition's identity fields, by the id of their source column.
pub(crate) fn identities(
    spec: &PartitionSpec,
    partition: &[Option<Literal>],
) -> HashMap<i32, Literal> {
    let fields = spec.fields.iter().zip(partition);
    fields
        .filter(|(field, _)| field.transform == Transform::Identity)
        .filter_map(|(field, value)| Some((field.source_id, value.clone()?)))
        .collect()
}

/// `rows` times `value`, which may come from before its column was widened; `None` when it is no
/// value of `ty`.
pub(crate) fn repeated(value: &Literal, ty: &DataType, rows: usize) -> Option<ArrayRef> {
    Some(match (value, ty) {
        (Literal::Boolean(value), DataType::Boolean) => {
            Arc::new(BooleanArray::from(vec![*value; rows]))
        }
        (Literal::Int(value), DataType::Int32) => Arc::new(Int32Array::from_value(*value, rows)),
        (Literal::Int(value), DataType::Int64) => {
            Arc::new(Int64Array::from_value(i64::from(*value), rows))
        }
        (Literal::Long(value), DataType::Int64) => Arc::new(Int64Array::from_value(*value, rows)),
        (Literal::Float(value), DataType::Float32) => {
            Arc::new(Float32Array::from_value(*value, rows))
        }
        (Literal::Float(value), DataType::Float64) => {
            Arc::new(Float64Array::from_value(f64::from(*value), rows))
        }
        (Literal::Double(value), DataType::Float64) => {
            Arc::new(Float64Array::from_value(*value, rows))
        }
        (Literal::Decimal { unscaled, scale }, DataType::Decimal128(precision, wanted))
            if i64::from(*scale) == i64::from(*wanted) =>
        {
            let values = Decimal128Array::from_value(*unscaled, rows);
            Arc::new(values.with_precision_and_scale(*precision, *wanted).ok()?)
        }
        (Literal::Date(value), DataType::Date32) => Arc::new(Date32Array::from_value(*value, rows)),
        (Literal::Time(value), DataType::Time64(TimeUnit::Microsecond)) => {
            Arc::new(Time64MicrosecondArray::from_value(*value, rows))
        }
        (Literal::Timestamp(value), DataType::Timestamp(TimeUnit::Microsecond, None)) => {
            Arc::new(TimestampMicrosecondArray::from_value(*value, rows))
        }
        (Literal::Timestamptz(value), DataType::Timestamp(TimeUnit::Microsecond, Some(zone))) => {
            let values = TimestampMicrosecondArray::from_value(*value, rows);
            Arc::new(values.with_timezone(Arc::clone(zone)))
        }
        (Literal::String(value), DataType::Utf8View) => {
            Arc::new(StringViewArray::from_iter_values(repeat_n(value, rows)))
        }
        (Literal::Binary(value), DataType::BinaryView) => {
            Arc::new(BinaryViewArray::from_iter_values(repeat_n(value, rows)))
        }
        (Literal::Uuid(value), DataType::FixedSizeBinary(16)) => fixed(value.as_bytes(), 16, rows)?,
        (Literal::Fixed(value), DataType::FixedSizeBinary(length)) => fixed(value, *length, rows)?,
        _ => return None,
    })
}

fn fixed(value: &[u8], length: i32, rows: usize) -> Option<ArrayRef> {
    let values = repeat_n(Some(value), rows);
    let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, length).ok()?;
    Some(Arc::new(array))
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;

    use super::*;

    #[test]
    fn a_value_is_repeated_only_as_what_it_is() {
        let zone = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (value, ty) in [
            (Literal::Boolean(true), DataType::Boolean),
            (Literal::Int(1), DataType::Int32),
            (Literal::Int(1), DataType::Int64),
            (Literal::Float(f32::NAN), DataType::Float64),
            (
                Literal::Decimal {
                    unscaled: -1,
                    scale: 2,
                },
                DataType::Decimal128(9, 2),
            ),
            (Literal::Date(3), DataType::Date32),
            (Literal::Timestamptz(3), zone()),
            (Literal::String("größe".into()), DataType::Utf8View),
            (Literal::Fixed(vec![1, 2]), DataType::FixedSizeBinary(2)),
        ] {
            let array = repeated(&value, &ty, 3).unwrap();
            assert_eq!((array.data_type(), array.len()), (&ty, 3), "{value}");
            assert_eq!(array.null_count(), 0, "{value}");
        }
        for (value, ty) in [
            (Literal::Long(1), DataType::Int32),
            (Literal::Timestamp(3), zone()),
            (
                Literal::Decimal {
                    unscaled: 1,
                    scale: 3,
                },
                DataType::Decimal128(9, 2),
            ),
            (Literal::Fixed(vec![1]), DataType::FixedSizeBinary(2)),
        ] {
            assert!(repeated(&value, &ty, 3).is_none(), "{value} as {ty}");
        }
    }
}
