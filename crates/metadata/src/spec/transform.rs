//! Partition transforms (spec, "Partition Transforms") and their values for people, as Java's.

use std::fmt;

use super::murmur3::murmur3;
use crate::literal::text;
use crate::{Literal, Primitive};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Transform {
    Identity,
    Bucket(u32),
    Truncate(u32),
    Year,
    Month,
    Day,
    Hour,
    Void,
    /// A transform this version does not know, as it was written.
    Unknown(String),
}

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const HOURS_PER_DAY: i64 = 24;
const NANOS_PER_MICRO: i64 = 1_000;

impl Transform {
    /// Reads a transform's name; one that is not known is kept as it is.
    pub fn parse(name: &str) -> Self {
        let sized = |kind: &str| -> Option<u32> {
            let width = name
                .strip_prefix(kind)?
                .strip_prefix('[')?
                .strip_suffix(']')?;
            width
                .parse()
                .ok()
                .filter(|width| (1..=i32::MAX as u32).contains(width))
        };
        match name {
            "identity" => Self::Identity,
            "year" => Self::Year,
            "month" => Self::Month,
            "day" => Self::Day,
            "hour" => Self::Hour,
            "void" => Self::Void,
            _ => sized("bucket")
                .map(Self::Bucket)
                .or_else(|| sized("truncate").map(Self::Truncate))
                .unwrap_or_else(|| Self::Unknown(name.to_owned())),
        }
    }

    /// The type of the partition values this makes of `source`. Days are dates, as in Java.
    pub fn result_type(&self, source: &Primitive) -> Primitive {
        match self {
            Self::Bucket(_) | Self::Year | Self::Month | Self::Hour => Primitive::Int,
            Self::Day => Primitive::Date,
            // Java reads an unknown transform's values as strings.
            Self::Unknown(_) => Primitive::String,
            Self::Identity | Self::Truncate(_) | Self::Void => source.clone(),
        }
    }

    /// Whether it is defined on values of that type.
    pub fn takes(&self, ty: &Primitive) -> bool {
        use Primitive as P;
        let time = matches!(ty, P::Timestamp | P::Timestamptz);
        match self {
            Self::Identity | Self::Void => true,
            Self::Bucket(_) => !matches!(ty, P::Boolean | P::Float | P::Double),
            Self::Truncate(_) => matches!(
                ty,
                P::Int | P::Long | P::Decimal { .. } | P::String | P::Binary
            ),
            Self::Year | Self::Month | Self::Day => time || *ty == P::Date,
            Self::Hour => time,
            Self::Unknown(_) => false,
        }
    }

    /// The partition value of `value`; `None` is null: for void, and when the transform does
    /// not take that type.
    pub fn apply(&self, value: &Literal) -> Option<Literal> {
        match self {
            Self::Identity => Some(value.clone()),
            Self::Bucket(count) => bucket(value, *count),
            Self::Truncate(width) => truncate(value, i64::from(*width)),
            Self::Year => months(value).map(|months| ordinal(months.div_euclid(12) - 1970)),
            Self::Month => months(value).map(|months| ordinal(months - 1970 * 12)),
            Self::Day => days(value).map(|days| Literal::Date(days as i32)),
            Self::Hour => hours(value).map(ordinal),
            Self::Void | Self::Unknown(_) => None,
        }
    }

    /// A partition value for people, as Java's `toHumanString`; null is `null`.
    pub fn human(&self, value: Option<&Literal>) -> String {
        let Some(value) = value else {
            return "null".to_owned();
        };
        let (Literal::Int(number) | Literal::Date(number)) = value else {
            return value.to_string();
        };
        let number = i64::from(*number);
        match self {
            Self::Year => text::year(1970 + number),
            Self::Month => {
                let months = 1970 * 12 + number;
                format!(
                    "{}-{:02}",
                    text::year(months.div_euclid(12)),
                    months.rem_euclid(12) + 1
                )
            }
            Self::Day => text::date(number),
            Self::Hour => {
                let (day, hour) = (
                    number.div_euclid(HOURS_PER_DAY),
                    number.rem_euclid(HOURS_PER_DAY),
                );
                format!("{}-{hour:02}", text::date(day))
            }
            Self::Identity
            | Self::Bucket(_)
            | Self::Truncate(_)
            | Self::Void
            | Self::Unknown(_) => value.to_string(),
        }
    }
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "identity",
            Self::Bucket(count) => return write!(f, "bucket[{count}]"),
            Self::Truncate(width) => return write!(f, "truncate[{width}]"),
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Void => "void",
            Self::Unknown(name) => name,
        })
    }
}

fn ordinal(number: i64) -> Literal {
    Literal::Int(number as i32)
}

fn bucket(value: &Literal, count: u32) -> Option<Literal> {
    let long = |number: i64| murmur3(&number.to_le_bytes());
    let hash = match value {
        Literal::Int(number) | Literal::Date(number) => long(i64::from(*number)),
        Literal::Long(number)
        | Literal::Time(number)
        | Literal::Timestamp(number)
        | Literal::Timestamptz(number) => long(*number),
        // Hashed as microseconds, so that a column keeps its buckets when its unit is promoted.
        Literal::TimestampNs(number) | Literal::TimestamptzNs(number) => {
            long(number.div_euclid(NANOS_PER_MICRO))
        }
        Literal::Decimal { .. }
        | Literal::String(_)
        | Literal::Uuid(_)
        | Literal::Fixed(_)
        | Literal::Binary(_) => murmur3(&value.to_bytes()),
        Literal::Boolean(_) | Literal::Float(_) | Literal::Double(_) => return None,
    };
    Some(Literal::Int(((hash & i32::MAX as u32) % count) as i32))
}

fn truncate(value: &Literal, width: i64) -> Option<Literal> {
    Some(match value {
        // A result below the smallest number wraps around, as in Java.
        Literal::Int(number) => {
            Literal::Int(number.wrapping_sub(i64::from(*number).rem_euclid(width) as i32))
        }
        Literal::Long(number) => Literal::Long(number.wrapping_sub(number.rem_euclid(width))),
        Literal::Decimal { unscaled, scale } => Literal::Decimal {
            unscaled: unscaled.wrapping_sub(unscaled.rem_euclid(i128::from(width))),
            scale: *scale,
        },
        Literal::String(text) => {
            let end = text
                .char_indices()
                .nth(width as usize)
                .map_or(text.len(), |(at, _)| at);
            Literal::String(text[..end].to_owned())
        }
        Literal::Binary(bytes) => {
            Literal::Binary(bytes[..bytes.len().min(width as usize)].to_vec())
        }
        _ => return None,
    })
}

fn days(value: &Literal) -> Option<i64> {
    match value {
        Literal::Date(days) => Some(i64::from(*days)),
        _ => hours(value).map(|hours| hours.div_euclid(HOURS_PER_DAY)),
    }
}

fn hours(value: &Literal) -> Option<i64> {
    match value {
        Literal::Timestamp(micros) | Literal::Timestamptz(micros) => {
            Some(micros.div_euclid(MICROS_PER_HOUR))
        }
        Literal::TimestampNs(nanos) | Literal::TimestamptzNs(nanos) => {
            Some(nanos.div_euclid(MICROS_PER_HOUR * NANOS_PER_MICRO))
        }
        _ => None,
    }
}

/// Months since the year 0.
fn months(value: &Literal) -> Option<i64> {
    days(value).map(|days| {
        let (year, month, _) = text::civil(days);
        year * 12 + i64::from(month) - 1
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Spec, appendix B: hash values before the modulus.
    #[test]
    fn hashes_are_the_specs_test_vectors() {
        let micros = 1_510_871_468_000_000;
        let uuid = "f79c3e09-677c-4bbd-a479-3f349cb785e7".parse().unwrap();
        for (value, want) in [
            (Literal::Int(34), 2_017_239_379i32),
            (Literal::Long(34), 2_017_239_379),
            (
                Literal::Decimal {
                    unscaled: 1420,
                    scale: 2,
                },
                -500_754_589,
            ),
            (Literal::Date(17_486), -653_330_422),
            (Literal::Time(81_068_000_000), -662_762_989),
            (Literal::Timestamp(micros), -2_047_944_441),
            (Literal::Timestamptz(micros), -2_047_944_441),
            (Literal::TimestampNs(micros * 1000 + 1), -2_047_944_441),
            (Literal::String("iceberg".into()), 1_210_000_089),
            (Literal::Uuid(uuid), 1_488_055_340),
            (Literal::Fixed(vec![0, 1, 2, 3]), -188_683_207),
            (Literal::Binary(vec![0, 1, 2, 3]), -188_683_207),
        ] {
            let count = i32::MAX as u32;
            let want = Some(Literal::Int(((want as u32 & count) % count) as i32));
            assert_eq!(
                Transform::Bucket(count).apply(&value),
                want,
                "for {value:?}"
            );
        }
        assert_eq!(Transform::Bucket(4).apply(&Literal::Double(1.0)), None);
    }

    #[test]
    fn truncation_is_the_specs() {
        let cut = |width, value: Literal| Transform::Truncate(width).apply(&value).unwrap();
        assert_eq!(cut(10, Literal::Int(1)), Literal::Int(0));
        assert_eq!(cut(10, Literal::Int(-1)), Literal::Int(-10));
        assert_eq!(cut(10, Literal::Long(-11)), Literal::Long(-20));
        let decimal = |unscaled| Literal::Decimal { unscaled, scale: 2 };
        assert_eq!(cut(50, decimal(1065)), decimal(1050));
        assert_eq!(cut(50, decimal(-5)), decimal(-50));
        assert_eq!(
            cut(3, Literal::String("größe".into())),
            Literal::String("grö".into())
        );
        assert_eq!(
            cut(3, Literal::Binary(vec![1, 2, 3, 4])),
            Literal::Binary(vec![1, 2, 3])
        );
        assert_eq!(Transform::Truncate(3).apply(&Literal::Boolean(true)), None);
    }

    #[track_caller]
    fn check(transform: &Transform, value: &Literal, ordinal: i32, human: &str) {
        let got = transform.apply(value).unwrap();
        let (Literal::Int(number) | Literal::Date(number)) = got else {
            panic!("{got:?}")
        };
        assert_eq!(number, ordinal, "{transform} of {value:?}");
        assert_eq!(
            transform.human(Some(&got)),
            human,
            "{transform} of {value:?}"
        );
    }

    #[test]
    fn times_are_counted_from_1970_and_before_it_downwards() {
        let at = Literal::Timestamp(1_512_123_175_038_194);
        check(&Transform::Year, &at, 47, "2017");
        check(&Transform::Month, &at, 575, "2017-12");
        check(&Transform::Day, &at, 17_501, "2017-12-01");
        check(&Transform::Hour, &at, 420_034, "2017-12-01-10");
        let before = Literal::Timestamptz(-1);
        check(&Transform::Year, &before, -1, "1969");
        check(&Transform::Month, &before, -1, "1969-12");
        check(&Transform::Day, &before, -1, "1969-12-31");
        check(&Transform::Hour, &before, -1, "1969-12-31-23");
        check(&Transform::Year, &Literal::Date(-719_529), -1971, "-001");
        assert_eq!(Transform::Hour.apply(&Literal::Date(1)), None);
    }

    #[test]
    fn names_are_read_and_written() {
        for name in [
            "identity",
            "bucket[16]",
            "truncate[4]",
            "year",
            "hour",
            "void",
            "zorder[a]",
        ] {
            assert_eq!(Transform::parse(name).to_string(), name);
        }
        assert!(matches!(
            Transform::parse("bucket[0]"),
            Transform::Unknown(_)
        ));
        assert!(matches!(
            Transform::parse("bucket[99999999999]"),
            Transform::Unknown(_)
        ));
    }

    proptest! {
        #[test]
        fn transforms_of_any_time_are_monotone(a: i64, b: i64) {
            let (a, b) = (a.min(b), a.max(b));
            for transform in [Transform::Year, Transform::Month, Transform::Day, Transform::Hour] {
                let of = |micros| transform.apply(&Literal::Timestamp(micros)).unwrap();
                // An hour beyond 32 bits cannot be an Iceberg partition value.
                let limit = (i64::from(i32::MAX) * MICROS_PER_HOUR).unsigned_abs();
                if transform != Transform::Hour || a.unsigned_abs().max(b.unsigned_abs()) < limit {
                    prop_assert!(of(a) <= of(b), "{transform}");
                }
            }
        }

        #[test]
        fn truncation_never_panics(number: i64, width in 1u32..) {
            for value in [Literal::Long(number), Literal::Int(number as i32)] {
                prop_assert!(truncate(&value, i64::from(width)).is_some());
            }
        }
    }
}
