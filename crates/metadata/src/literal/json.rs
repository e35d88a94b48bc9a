//! JSON single-value serialisation (spec, appendix C): the form of column defaults.

use serde_json::Value;

use super::text::{civil, days_of, hex, plain_decimal, split, unhex};
use crate::json::At;
use crate::{Error, Literal, Primitive};

const SECONDS_PER_DAY: i64 = 86_400;
const MICROS: i64 = 1_000_000;
const NANOS: i64 = 1_000_000_000;

impl Literal {
    /// Reads a value of type `ty`, as a column default holds it.
    pub fn from_json(ty: &Primitive, value: &Value) -> Result<Self, Error> {
        let at = At::root(value, "single value");
        let text = || at.str();
        let wrong = || at.error(format!("{value} is no {ty}"));
        Ok(match ty {
            Primitive::Boolean => Self::Boolean(at.bool()?),
            Primitive::Int => Self::Int(at.i32()?),
            Primitive::Long => Self::Long(at.i64()?),
            Primitive::Float => Self::Float(float(value).ok_or_else(wrong)? as f32),
            Primitive::Double => Self::Double(float(value).ok_or_else(wrong)?),
            Primitive::Decimal { scale, .. } => Self::Decimal {
                unscaled: decimal(text()?, *scale).ok_or_else(wrong)?,
                scale: *scale,
            },
            Primitive::Date => {
                let days = date(text()?).and_then(|days| i32::try_from(days).ok());
                Self::Date(days.ok_or_else(wrong)?)
            }
            Primitive::Time => Self::Time(time(text()?, MICROS).ok_or_else(wrong)?),
            Primitive::Timestamp => Self::Timestamp(timestamp(text()?, MICROS).ok_or_else(wrong)?),
            Primitive::TimestampNs => {
                Self::TimestampNs(timestamp(text()?, NANOS).ok_or_else(wrong)?)
            }
            Primitive::Timestamptz => Self::Timestamptz(
                utc(text()?)
                    .and_then(|at| timestamp(at, MICROS))
                    .ok_or_else(wrong)?,
            ),
            Primitive::TimestamptzNs => Self::TimestamptzNs(
                utc(text()?)
                    .and_then(|at| timestamp(at, NANOS))
                    .ok_or_else(wrong)?,
            ),
            Primitive::String => Self::String(text()?.to_owned()),
            Primitive::Uuid => Self::Uuid(text()?.parse().map_err(|_| wrong())?),
            Primitive::Fixed(length) => {
                let bytes = unhex(text()?).filter(|bytes| bytes.len() as u64 == *length);
                Self::Fixed(bytes.ok_or_else(wrong)?)
            }
            Primitive::Binary => Self::Binary(unhex(text()?).ok_or_else(wrong)?),
            Primitive::Other(name) => {
                return Err(Error::Unsupported(format!(
                    "values of type {name} cannot be read"
                )));
            }
        })
    }

    /// The JSON single-value form. Floats that JSON has no number for are text.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Boolean(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Long(value) => (*value).into(),
            Self::Float(value) => number(f64::from(*value)),
            Self::Double(value) => number(*value),
            Self::Decimal { unscaled, scale } => plain_decimal(*unscaled, *scale).into(),
            Self::Date(days) => date_text(i64::from(*days)).into(),
            Self::Time(micros) => time_text(*micros, MICROS).into(),
            Self::Timestamp(micros) => timestamp_text(*micros, MICROS).into(),
            Self::Timestamptz(micros) => (timestamp_text(*micros, MICROS) + "+00:00").into(),
            Self::TimestampNs(nanos) => timestamp_text(*nanos, NANOS).into(),
            Self::TimestamptzNs(nanos) => (timestamp_text(*nanos, NANOS) + "+00:00").into(),
            Self::String(value) => value.clone().into(),
            Self::Uuid(value) => value.to_string().into(),
            Self::Fixed(value) | Self::Binary(value) => hex(value).into(),
        }
    }
}

fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn decimal(text: &str, scale: u32) -> Option<i128> {
    let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
    let missing = (scale as usize).checked_sub(fraction.len())?;
    let plain = fraction.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| {
        format!("{digits}{fraction}{}", "0".repeat(missing))
            .parse()
            .ok()
    })?
}

fn date_text(days: i64) -> String {
    let (year, month, day) = civil(days);
    match year {
        10_000.. => format!("+{year}-{month:02}-{day:02}"),
        0.. => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("-{:04}-{month:02}-{day:02}", -year),
    }
}

fn time_text(value: i64, unit: i64) -> String {
    let (seconds, fraction) = split(value, unit);
    let digits = if unit == MICROS { 6 } else { 9 };
    let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{hour:02}:{minute:02}:{:02}.{fraction:0digits$}",
        seconds % 60
    )
}

fn timestamp_text(value: i64, unit: i64) -> String {
    let (days, rest) = split(value, SECONDS_PER_DAY * unit);
    format!("{}T{}", date_text(days), time_text(rest, unit))
}

fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

fn date(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = text.splitn(3, '-');
    let year: i64 = digits(parts.next()?)?;
    let (month, day) = (digits(parts.next()?)?, digits(parts.next()?)?);
    // Ten million years are more than any Iceberg type can hold; beyond, the sum could overflow.
    let days = (year < 10_000_000 && (1..=12).contains(&month) && (1..=31).contains(&day))
        .then(|| days_of(sign * year, month, day))?;
    (civil(days) == (sign * year, month, day)).then_some(days)
}

fn time(text: &str, unit: i64) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.splitn(3, ':');
    let hour: i64 = digits(parts.next()?)?;
    let minute: i64 = digits(parts.next()?)?;
    let second: i64 = parts.next().map_or(Some(0), digits)?;
    let places = if unit == MICROS { 6 } else { 9 };
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > places {
        return None;
    }
    let fraction: i64 = digits(&format!("{fraction:0<places$}"))?;
    Some((hour * 3600 + minute * 60 + second) * unit + fraction)
}

fn timestamp(text: &str, unit: i64) -> Option<i64> {
    let (day, clock) = text.split_once('T')?;
    let days = i128::from(date(day)?) * i128::from(SECONDS_PER_DAY) * i128::from(unit);
    i64::try_from(days + i128::from(time(clock, unit)?)).ok()
}

fn utc(text: &str) -> Option<&str> {
    text.strip_suffix("+00:00")
        .or_else(|| text.strip_suffix('Z'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(ty: &Primitive, value: &Literal, want: &Value) {
        assert_eq!(&value.to_json(), want);
        assert_eq!(&Literal::from_json(ty, want).unwrap(), value);
    }

    /// The examples of the spec's table.
    #[test]
    fn values_are_written_as_the_spec_shows() {
        let decimal = Primitive::Decimal {
            precision: 9,
            scale: 2,
        };
        check(&Primitive::Boolean, &Literal::Boolean(true), &json!(true));
        check(&Primitive::Long, &Literal::Long(34), &json!(34));
        check(&Primitive::Double, &Literal::Double(1.5), &json!(1.5));
        check(
            &decimal,
            &Literal::Decimal {
                unscaled: 1420,
                scale: 2,
            },
            &json!("14.20"),
        );
        check(
            &decimal,
            &Literal::Decimal {
                unscaled: -5,
                scale: 2,
            },
            &json!("-0.05"),
        );
        check(
            &Primitive::Date,
            &Literal::Date(17_486),
            &json!("2017-11-16"),
        );
        check(
            &Primitive::Time,
            &Literal::Time(81_068_123_456),
            &json!("22:31:08.123456"),
        );
        let micros = 1_510_871_468_123_456;
        check(
            &Primitive::Timestamp,
            &Literal::Timestamp(micros),
            &json!("2017-11-16T22:31:08.123456"),
        );
        check(
            &Primitive::Timestamptz,
            &Literal::Timestamptz(micros),
            &json!("2017-11-16T22:31:08.123456+00:00"),
        );
        check(
            &Primitive::TimestampNs,
            &Literal::TimestampNs(micros * 1000 + 789),
            &json!("2017-11-16T22:31:08.123456789"),
        );
        check(
            &Primitive::Binary,
            &Literal::Binary(vec![0, 255]),
            &json!("00ff"),
        );
    }

    #[test]
    fn wrong_values_are_refused() {
        for (ty, value) in [
            (Primitive::Int, json!(1_i64 << 40)),
            (Primitive::Date, json!("2017-02-30")),
            (Primitive::Date, json!("99999999999999999999-01-01")),
            (Primitive::Time, json!("24:00:00")),
            (Primitive::Timestamptz, json!("2017-11-16T22:31:08")),
            (Primitive::Fixed(2), json!("00")),
            (
                Primitive::Decimal {
                    precision: 9,
                    scale: 2,
                },
                json!("1.234"),
            ),
            (Primitive::Uuid, json!("x")),
        ] {
            assert!(Literal::from_json(&ty, &value).is_err(), "{ty}: {value}");
        }
    }

    proptest! {
        #[test]
        fn times_read_back(value: i64) {
            for (ty, literal) in [
                (Primitive::Timestamptz, Literal::Timestamptz(value)),
                (Primitive::TimestampNs, Literal::TimestampNs(value)),
                (Primitive::Date, Literal::Date(value as i32)),
            ] {
                prop_assert_eq!(Literal::from_json(&ty, &literal.to_json()).unwrap(), literal);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9TZ:.]{0,30}") {
            for ty in [Primitive::Date, Primitive::Time, Primitive::Timestamptz, Primitive::Decimal { precision: 38, scale: 9 }] {
                drop(Literal::from_json(&ty, &json!(text)));
            }
        }
    }
}
