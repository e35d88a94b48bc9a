//! Single values of primitive types: what partitions and bounds are made of.
//!
//! Equality, order and hash are total, and as Java's: `-0.0` and `0.0` are two values, every NaN is
//! one, above all others, whatever its bits. Bytes are in `bytes`, JSON in `json`, text in `text`.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

mod bytes;
mod json;
mod serial;
pub(crate) mod text;

/// A value that is not null.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Literal {
    Boolean(bool),
    Int(i32),
    Long(i64),
    #[serde(with = "serial::float")]
    Float(f32),
    #[serde(with = "serial::double")]
    Double(f64),
    Decimal {
        #[serde(with = "serial::wide")]
        unscaled: i128,
        scale: u32,
    },
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds from midnight.
    Time(i64),
    /// Microseconds since 1970-01-01, without a zone.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 in UTC.
    Timestamptz(i64),
    /// Nanoseconds since 1970-01-01, without a zone.
    TimestampNs(i64),
    /// Nanoseconds since 1970-01-01 in UTC.
    TimestamptzNs(i64),
    String(String),
    Uuid(Uuid),
    #[serde(with = "serial::hex")]
    Fixed(Vec<u8>),
    #[serde(with = "serial::hex")]
    Binary(Vec<u8>),
}

impl Literal {
    /// Values of different types are ordered by type.
    fn rank(&self) -> u8 {
        match self {
            Self::Boolean(_) => 0,
            Self::Int(_) => 1,
            Self::Long(_) => 2,
            Self::Float(_) => 3,
            Self::Double(_) => 4,
            Self::Decimal { .. } => 5,
            Self::Date(_) => 6,
            Self::Time(_) => 7,
            Self::Timestamp(_) => 8,
            Self::Timestamptz(_) => 9,
            Self::TimestampNs(_) => 10,
            Self::TimestamptzNs(_) => 11,
            Self::String(_) => 12,
            Self::Uuid(_) => 13,
            Self::Fixed(_) => 14,
            Self::Binary(_) => 15,
        }
    }
}

impl Ord for Literal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) | (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::Long(a), Self::Long(b))
            | (Self::Time(a), Self::Time(b))
            | (Self::Timestamp(a), Self::Timestamp(b))
            | (Self::Timestamptz(a), Self::Timestamptz(b))
            | (Self::TimestampNs(a), Self::TimestampNs(b))
            | (Self::TimestamptzNs(a), Self::TimestamptzNs(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => one_nan_f32(*a).total_cmp(&one_nan_f32(*b)),
            (Self::Double(a), Self::Double(b)) => one_nan_f64(*a).total_cmp(&one_nan_f64(*b)),
            // Within one column the scale is one; across scales any fixed order will do.
            (
                Self::Decimal {
                    unscaled: a,
                    scale: a_scale,
                },
                Self::Decimal {
                    unscaled: b,
                    scale: b_scale,
                },
            ) => (a_scale, a).cmp(&(b_scale, b)),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Uuid(a), Self::Uuid(b)) => a.cmp(b),
            (Self::Fixed(a), Self::Fixed(b)) | (Self::Binary(a), Self::Binary(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Literal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Literal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Literal {}

impl Hash for Literal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Self::Boolean(value) => value.hash(state),
            Self::Int(value) | Self::Date(value) => value.hash(state),
            Self::Long(value)
            | Self::Time(value)
            | Self::Timestamp(value)
            | Self::Timestamptz(value)
            | Self::TimestampNs(value)
            | Self::TimestamptzNs(value) => value.hash(state),
            Self::Float(value) => one_nan_f32(*value).to_bits().hash(state),
            Self::Double(value) => one_nan_f64(*value).to_bits().hash(state),
            Self::Decimal { unscaled, scale } => (unscaled, scale).hash(state),
            Self::String(value) => value.hash(state),
            Self::Uuid(value) => value.hash(state),
            Self::Fixed(value) | Self::Binary(value) => value.hash(state),
        }
    }
}

fn one_nan_f32(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value }
}

fn one_nan_f64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::hash_map::DefaultHasher;

    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_literal() -> impl Strategy<Value = Literal> {
        prop_oneof![
            any::<bool>().prop_map(Literal::Boolean),
            any::<i32>().prop_map(Literal::Int),
            any::<i64>().prop_map(Literal::Long),
            any::<u32>().prop_map(|bits| Literal::Float(f32::from_bits(bits))),
            any::<u64>().prop_map(|bits| Literal::Double(f64::from_bits(bits))),
            (any::<i128>(), 0u32..39).prop_map(|(unscaled, scale)| Literal::Decimal {
                unscaled: unscaled >> 2,
                scale
            }),
            any::<i32>().prop_map(Literal::Date),
            (0i64..86_400_000_000).prop_map(Literal::Time),
            any::<i64>().prop_map(Literal::Timestamp),
            any::<i64>().prop_map(Literal::Timestamptz),
            any::<i64>().prop_map(Literal::TimestampNs),
            any::<i64>().prop_map(Literal::TimestamptzNs),
            ".{0,8}".prop_map(Literal::String),
            any::<u128>().prop_map(|bits| Literal::Uuid(Uuid::from_u128(bits))),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(Literal::Fixed),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(Literal::Binary),
        ]
    }

    fn hashed(value: &Literal) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn floats_are_values_like_any_other() {
        let nan = Literal::Double(f64::NAN);
        assert_eq!(nan, nan.clone());
        assert_ne!(Literal::Double(0.0), Literal::Double(-0.0));
        assert!(Literal::Double(f64::INFINITY) < nan);
    }

    /// A delete in the partition of one NaN applies to data in that of another.
    #[test]
    fn every_nan_is_one_value() {
        let (one, other) = (f64::NAN, f64::from_bits(0xfff0_0000_0000_0001));
        check_one(&Literal::Double(one), &Literal::Double(other));
        let (one, other) = (f32::NAN, f32::from_bits(0xff80_0001));
        check_one(&Literal::Float(one), &Literal::Float(other));
    }

    #[track_caller]
    fn check_one(one: &Literal, other: &Literal) {
        assert_eq!(one, other);
        assert_eq!(hashed(one), hashed(other));
    }

    proptest! {
        #[test]
        fn what_was_stored_comes_back(value in any_literal()) {
            let text = serde_json::to_string(&value).unwrap();
            let again: Literal = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(hashed(&again), hashed(&value));
            prop_assert_eq!(again, value, "{}", text);
        }

        #[test]
        fn order_is_total(a in any_literal(), b in any_literal(), c in any_literal()) {
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }
    }
}
