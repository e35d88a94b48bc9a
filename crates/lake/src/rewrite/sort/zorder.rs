//! Z-order values: the bits of several columns interleaved, so that rows near each other in all of
//! them come near each other, as Iceberg's `ZOrderByteUtils` makes them.
//!
//! Each column gives a fixed number of bytes whose unsigned order is that of its values: eight, or
//! as many as were asked for of a text or of bytes, cut or filled up with zeros. Null is all zeros.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray};
use arrow_schema::{ArrowError, DataType};
use metadata::Primitive;

use crate::Error;

/// Bytes a number gives.
const NUMBER_BYTES: usize = 8;
/// What Iceberg writes for true; the other bytes are zeros, as all of false.
const TRUE_BYTE: u8 = 0x81;

#[derive(Debug)]
pub(super) struct Zorder {
    columns: Vec<Part>,
    /// Of a row's value.
    bytes: usize,
}

#[derive(Debug)]
struct Part {
    column: usize,
    ty: Primitive,
    bytes: usize,
}

impl Zorder {
    /// `columns` are positions in the schema.
    pub(super) fn new(
        columns: Vec<(usize, Primitive)>,
        var_length_bytes: usize,
        value_bytes_max: Option<usize>,
    ) -> Result<Self, Error> {
        let part = |(column, ty): (usize, Primitive)| {
            let bytes = match ty {
                Primitive::String | Primitive::Uuid | Primitive::Fixed(_) | Primitive::Binary => {
                    var_length_bytes
                }
                _ => NUMBER_BYTES,
            };
            Part { column, ty, bytes }
        };
        let columns: Vec<Part> = columns.into_iter().map(part).collect();
        let bytes: usize = columns.iter().map(|part| part.bytes).sum();
        let bytes = bytes.min(value_bytes_max.unwrap_or(usize::MAX));
        if i32::try_from(bytes).is_err() || bytes == 0 {
            return Err(Error::Refused(format!(
                "z-order values of {bytes} bytes cannot be made"
            )));
        }
        Ok(Self { columns, bytes })
    }

    pub(super) fn data_type(&self) -> DataType {
        DataType::FixedSizeBinary(self.bytes as i32)
    }

    /// The value of each row; `columns` are all of the schema's.
    pub(super) fn values(&self, columns: &[ArrayRef]) -> Result<ArrayRef, ArrowError> {
        let parts = self.columns.iter();
        let parts: Vec<(usize, Vec<u8>)> = parts
            .map(|part| (part.bytes, ordered(&columns[part.column], part)))
            .collect();
        let rows = columns.first().map_or(0, Array::len);
        let mut value = vec![0; self.bytes];
        let mut of_row = Vec::with_capacity(parts.len());
        let values = (0..rows).map(|row| {
            of_row.clear();
            let bytes = parts.iter();
            of_row.extend(bytes.map(|(width, all)| &all[row * width..(row + 1) * width]));
            interleave(&of_row, &mut value);
            Some(value.clone())
        });
        let made = FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, self.bytes as i32)?;
        Ok(Arc::new(made))
    }
}

/// Fills `out` with the first bits of all columns, then the second ones; a column that is shorter
/// than others is passed over once it ends.
fn interleave(columns: &[&[u8]], out: &mut [u8]) {
    out.fill(0);
    let bits = out.len() * 8;
    let longest = columns.iter().map(|column| column.len()).max().unwrap_or(0);
    let mut at = 0;
    for byte in 0..longest {
        for bit in (0..8).rev() {
            for column in columns {
                let Some(value) = column.get(byte) else {
                    continue;
                };
                if at == bits {
                    return;
                }
                out[at / 8] |= (value >> bit & 1) << (7 - at % 8);
                at += 1;
            }
        }
    }
}

/// The bytes of all rows, one after the other.
fn ordered(array: &ArrayRef, part: &Part) -> Vec<u8> {
    let mut out = vec![0; array.len() * part.bytes];
    for (row, out) in out.chunks_exact_mut(part.bytes).enumerate() {
        if !array.is_null(row) {
            fill(array, row, &part.ty, out);
        }
    }
    out
}

fn fill(array: &ArrayRef, row: usize, ty: &Primitive, out: &mut [u8]) {
    let number = match ty {
        Primitive::Boolean => {
            out[0] = if array.as_boolean().value(row) {
                TRUE_BYTE
            } else {
                0
            };
            return;
        }
        Primitive::String => return cut(array.as_string_view().value(row).as_bytes(), out),
        Primitive::Binary => return cut(array.as_binary_view().value(row), out),
        Primitive::Uuid | Primitive::Fixed(_) => {
            return cut(array.as_fixed_size_binary().value(row), out);
        }
        Primitive::Float => real(f64::from(array.as_primitive::<Float32Type>().value(row))),
        Primitive::Double => real(array.as_primitive::<Float64Type>().value(row)),
        Primitive::Int => whole(array.as_primitive::<Int32Type>().value(row).into()),
        Primitive::Date => whole(array.as_primitive::<Date32Type>().value(row).into()),
        Primitive::Long => whole(array.as_primitive::<Int64Type>().value(row)),
        Primitive::Time => whole(array.as_primitive::<Time64MicrosecondType>().value(row)),
        // No more digits than fit are planned with.
        Primitive::Decimal { .. } => {
            whole(array.as_primitive::<Decimal128Type>().value(row) as i64)
        }
        Primitive::Timestamp | Primitive::Timestamptz => {
            whole(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        // A schema with another type is refused before a file is opened.
        _ => return,
    };
    out.copy_from_slice(&number.to_be_bytes());
}

fn whole(value: i64) -> u64 {
    value as u64 ^ 1 << 63
}

fn real(value: f64) -> u64 {
    let value = if value.is_nan() { f64::NAN } else { value };
    let bits = value.to_bits();
    if value.is_sign_negative() {
        !bits
    } else {
        bits | 1 << 63
    }
}

fn cut(value: &[u8], out: &mut [u8]) {
    let length = value.len().min(out.len());
    out[..length].copy_from_slice(&value[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(columns: &[&[u8]], want: &[u8]) {
        let mut out = vec![0xee; want.len()];
        interleave(columns, &mut out);
        assert_eq!(out, want, "of {columns:x?}");
    }

    /// `TestZOrderByteUtil` of Iceberg 1.9 has these.
    #[test]
    fn bits_are_interleaved_as_java_does() {
        check(&[&[0xff, 0xff], &[0, 0]], &[0xaa; 4]);
        check(
            &[&[0xff], &[0], &[0]],
            &[0b1001_0010, 0b0100_1001, 0b0010_0100],
        );
        // A column that ended is passed over.
        check(
            &[&[0b1010_1010, 0b1010_1010], &[0b1100_1100]],
            &[0b1101_1000, 0b1101_1000, 0b1010_1010],
        );
        check(&[&[], &[0xff]], &[0xff]);
        // What does not fit is left out.
        check(&[&[0xff, 0xff], &[0, 0]], &[0xaa]);
    }

    #[test]
    fn numbers_give_bytes_in_their_order() {
        let wholes = [i64::MIN, -2, -1, 0, 1, i64::MAX];
        assert!(wholes.map(whole).is_sorted());
        let reals = [
            f64::NEG_INFINITY,
            -1.5,
            -0.0,
            0.0,
            f64::MIN_POSITIVE,
            2.0,
            f64::INFINITY,
            f64::NAN,
        ];
        assert!(reals.map(real).windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(real(-f64::NAN), real(f64::NAN));
    }
}
