//! Single-value serialisation (spec, appendix D, "Binary single-value serialization").

use uuid::Uuid;

use crate::{Error, Literal, Primitive};

/// Bytes of the widest decimal read: 128 bits.
const DECIMAL_BYTES_MAX: usize = 16;

impl Literal {
    /// Reads a value of type `ty`. A value written before its column was widened (int to long,
    /// float to double) is read in its old width.
    pub fn from_bytes(ty: &Primitive, bytes: &[u8]) -> Result<Self, Error> {
        let wrong = || {
            Error::malformed(
                format!("value of type {ty}"),
                format!("{} bytes cannot be one", bytes.len()),
            )
        };
        let int = || {
            bytes
                .try_into()
                .map(i32::from_le_bytes)
                .map_err(|_| wrong())
        };
        let long = || match bytes.len() {
            4 => int().map(i64::from),
            _ => bytes
                .try_into()
                .map(i64::from_le_bytes)
                .map_err(|_| wrong()),
        };
        let float = || {
            bytes
                .try_into()
                .map(f32::from_le_bytes)
                .map_err(|_| wrong())
        };
        Ok(match ty {
            Primitive::Boolean => match bytes {
                [byte] => Self::Boolean(*byte != 0),
                _ => return Err(wrong()),
            },
            Primitive::Int => Self::Int(int()?),
            Primitive::Long => Self::Long(long()?),
            Primitive::Float => Self::Float(float()?),
            Primitive::Double if bytes.len() == 4 => Self::Double(float()?.into()),
            Primitive::Double => Self::Double(
                bytes
                    .try_into()
                    .map(f64::from_le_bytes)
                    .map_err(|_| wrong())?,
            ),
            Primitive::Decimal { scale, .. } => Self::Decimal {
                unscaled: unscaled(bytes).ok_or_else(wrong)?,
                scale: *scale,
            },
            Primitive::Date => Self::Date(int()?),
            Primitive::Time => Self::Time(long()?),
            Primitive::Timestamp => Self::Timestamp(long()?),
            Primitive::Timestamptz => Self::Timestamptz(long()?),
            Primitive::TimestampNs => Self::TimestampNs(long()?),
            Primitive::TimestamptzNs => Self::TimestamptzNs(long()?),
            Primitive::String => {
                Self::String(std::str::from_utf8(bytes).map_err(|_| wrong())?.to_owned())
            }
            Primitive::Uuid => Self::Uuid(Uuid::from_slice(bytes).map_err(|_| wrong())?),
            Primitive::Fixed(length) if *length != bytes.len() as u64 => return Err(wrong()),
            Primitive::Fixed(_) => Self::Fixed(bytes.to_vec()),
            Primitive::Binary => Self::Binary(bytes.to_vec()),
            Primitive::Other(name) => {
                return Err(Error::Unsupported(format!(
                    "values of type {name} cannot be read"
                )));
            }
        })
    }

    /// The single-value form: little-endian numbers, decimals as the shortest big-endian
    /// two's complement, UTF-8 text.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Boolean(value) => vec![u8::from(*value)],
            Self::Int(value) | Self::Date(value) => value.to_le_bytes().to_vec(),
            Self::Long(value)
            | Self::Time(value)
            | Self::Timestamp(value)
            | Self::Timestamptz(value)
            | Self::TimestampNs(value)
            | Self::TimestamptzNs(value) => value.to_le_bytes().to_vec(),
            Self::Float(value) => value.to_le_bytes().to_vec(),
            Self::Double(value) => value.to_le_bytes().to_vec(),
            Self::Decimal { unscaled, .. } => shortest(*unscaled),
            Self::String(value) => value.as_bytes().to_vec(),
            Self::Uuid(value) => value.as_bytes().to_vec(),
            Self::Fixed(value) | Self::Binary(value) => value.clone(),
        }
    }
}

/// Big-endian two's complement of any length up to 16 bytes.
fn unscaled(bytes: &[u8]) -> Option<i128> {
    let first = bytes.first()?;
    let padding = DECIMAL_BYTES_MAX.checked_sub(bytes.len())?;
    let sign = if *first & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [sign; DECIMAL_BYTES_MAX];
    wide[padding..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

fn shortest(unscaled: i128) -> Vec<u8> {
    let bytes = unscaled.to_be_bytes();
    let spare = |at: usize| {
        let sign = if bytes[at + 1] & 0x80 == 0 { 0 } else { 0xff };
        bytes[at] == sign
    };
    let start = (0..DECIMAL_BYTES_MAX - 1)
        .find(|at| !spare(*at))
        .unwrap_or(DECIMAL_BYTES_MAX - 1);
    bytes[start..].to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::literal::tests::any_literal;

    fn ty(value: &Literal) -> Primitive {
        match value {
            Literal::Boolean(_) => Primitive::Boolean,
            Literal::Int(_) => Primitive::Int,
            Literal::Long(_) => Primitive::Long,
            Literal::Float(_) => Primitive::Float,
            Literal::Double(_) => Primitive::Double,
            Literal::Decimal { scale, .. } => Primitive::Decimal {
                precision: 38,
                scale: *scale,
            },
            Literal::Date(_) => Primitive::Date,
            Literal::Time(_) => Primitive::Time,
            Literal::Timestamp(_) => Primitive::Timestamp,
            Literal::Timestamptz(_) => Primitive::Timestamptz,
            Literal::TimestampNs(_) => Primitive::TimestampNs,
            Literal::TimestamptzNs(_) => Primitive::TimestamptzNs,
            Literal::String(_) => Primitive::String,
            Literal::Uuid(_) => Primitive::Uuid,
            Literal::Fixed(bytes) => Primitive::Fixed(bytes.len() as u64),
            Literal::Binary(_) => Primitive::Binary,
        }
    }

    #[test]
    fn decimals_are_as_short_as_they_can_be() {
        for (unscaled, want) in [
            (0, vec![0]),
            (127, vec![0x7f]),
            (128, vec![0, 0x80]),
            (-1, vec![0xff]),
            (-128, vec![0x80]),
            (-129, vec![0xff, 0x7f]),
            (1420, vec![0x05, 0x8c]),
        ] {
            assert_eq!(
                Literal::Decimal { unscaled, scale: 2 }.to_bytes(),
                want,
                "{unscaled}"
            );
        }
    }

    #[test]
    fn values_of_a_widened_column_are_read_in_their_old_width() {
        let int = Literal::Int(-7).to_bytes();
        assert_eq!(
            Literal::from_bytes(&Primitive::Long, &int).unwrap(),
            Literal::Long(-7)
        );
        let float = Literal::Float(1.5).to_bytes();
        assert_eq!(
            Literal::from_bytes(&Primitive::Double, &float).unwrap(),
            Literal::Double(1.5)
        );
    }

    #[test]
    fn wrong_lengths_and_bad_text_are_errors() {
        for (ty, bytes) in [
            (Primitive::Int, &[0u8; 8][..]),
            (Primitive::Boolean, &[]),
            (
                Primitive::Decimal {
                    precision: 9,
                    scale: 2,
                },
                &[],
            ),
            (
                Primitive::Decimal {
                    precision: 9,
                    scale: 2,
                },
                &[0; 17],
            ),
            (Primitive::String, &[0xff]),
            (Primitive::Uuid, &[0; 15]),
            (Primitive::Fixed(3), &[0; 4]),
        ] {
            let error = Literal::from_bytes(&ty, bytes).unwrap_err().to_string();
            assert!(error.contains(&ty.to_string()), "{error}");
        }
    }

    proptest! {
        #[test]
        fn bytes_read_back_to_the_value(value in any_literal()) {
            let again = Literal::from_bytes(&ty(&value), &value.to_bytes()).unwrap();
            prop_assert_eq!(again, value);
        }

        #[test]
        fn no_bytes_make_it_panic(value in any_literal(), bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            drop(Literal::from_bytes(&ty(&value), &bytes));
        }
    }
}
