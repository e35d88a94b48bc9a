//! Literals as values of a column's type.

use metadata::{Literal, Primitive};
use serde_json::Value;

use super::Word;

const NANOS_PER_MICRO: i128 = 1_000;

/// The literal as a value of `ty`; `None` when it is none.
pub(super) fn typed(ty: &Primitive, word: &Word) -> Option<Literal> {
    match (ty, word) {
        (Primitive::Boolean, Word::Boolean(value)) => Some(Literal::Boolean(*value)),
        (Primitive::Int, Word::Number(text)) => text.parse().ok().map(Literal::Int),
        (Primitive::Long, Word::Number(text)) => text.parse().ok().map(Literal::Long),
        (Primitive::Float, Word::Number(text)) => text
            .parse()
            .ok()
            .filter(|value: &f32| value.is_finite())
            .map(Literal::Float),
        (Primitive::Double, Word::Number(text)) => text
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())
            .map(Literal::Double),
        (Primitive::String, Word::Text(text)) => Some(Literal::String(text.clone())),
        (Primitive::Decimal { .. }, Word::Number(text))
        | (Primitive::Date | Primitive::Time | Primitive::Uuid, Word::Text(text)) => {
            Literal::from_json(ty, &Value::String(text.clone())).ok()
        }
        (Primitive::Timestamp, Word::Text(text)) => micros(local(text)?).map(Literal::Timestamp),
        (Primitive::Timestamptz, Word::Text(text)) => micros(utc(text)?).map(Literal::Timestamptz),
        (Primitive::TimestampNs, Word::Text(text)) => {
            Some(Literal::TimestampNs(i64::try_from(local(text)?).ok()?))
        }
        (Primitive::TimestamptzNs, Word::Text(text)) => {
            Some(Literal::TimestamptzNs(i64::try_from(utc(text)?).ok()?))
        }
        _ => None,
    }
}

/// What a literal of the type looks like; `None` when values of it cannot be written.
pub(super) fn wanted(ty: &Primitive) -> Option<String> {
    Some(match ty {
        Primitive::Boolean => "true or false".to_owned(),
        Primitive::Int | Primitive::Long => format!("whole number that fits {ty}"),
        Primitive::Float | Primitive::Double => "number".to_owned(),
        Primitive::Decimal { scale, .. } => format!("number with at most {scale} decimals"),
        Primitive::Date => "'YYYY-MM-DD'".to_owned(),
        Primitive::Time => "'HH:MM:SS'".to_owned(),
        Primitive::Timestamp | Primitive::TimestampNs => "'YYYY-MM-DD HH:MM:SS'".to_owned(),
        Primitive::Timestamptz | Primitive::TimestamptzNs => {
            "'YYYY-MM-DD HH:MM:SS', in UTC or with an offset such as +02:00".to_owned()
        }
        Primitive::String => "'text'".to_owned(),
        Primitive::Uuid => "'UUID'".to_owned(),
        Primitive::Fixed(_) | Primitive::Binary | Primitive::Other(_) => return None,
    })
}

/// Whole microseconds only: a rounded literal would compare differently.
fn micros(nanos: i128) -> Option<i64> {
    let whole = nanos % NANOS_PER_MICRO == 0;
    whole.then(|| i64::try_from(nanos / NANOS_PER_MICRO).ok())?
}

/// Nanoseconds since 1970 of a date and time without a zone, or of a date's midnight.
fn local(text: &str) -> Option<i128> {
    let at: jiff::civil::DateTime = text.parse().ok()?;
    let zoned = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_nanosecond())
}

/// The same with an offset; one without is in UTC.
fn utc(text: &str) -> Option<i128> {
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Some(at.as_nanosecond()),
        Err(_) => local(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ty: &Primitive, word: &Word, want: Option<&Literal>) {
        assert_eq!(typed(ty, word).as_ref(), want, "{word:?} as {ty}");
    }

    fn text(text: &str) -> Word {
        Word::Text(text.to_owned())
    }

    fn number(text: &str) -> Word {
        Word::Number(text.to_owned())
    }

    #[test]
    fn numbers_take_the_columns_type() {
        check(&Primitive::Int, &number("-7"), Some(&Literal::Int(-7)));
        check(&Primitive::Int, &number("3000000000"), None);
        check(&Primitive::Int, &number("1.5"), None);
        check(&Primitive::Int, &text("1"), None);
        check(
            &Primitive::Long,
            &number("3000000000"),
            Some(&Literal::Long(3_000_000_000)),
        );
        check(
            &Primitive::Double,
            &number("1e-3"),
            Some(&Literal::Double(0.001)),
        );
        check(&Primitive::Double, &number("1e999"), None);
        check(
            &Primitive::Boolean,
            &Word::Boolean(true),
            Some(&Literal::Boolean(true)),
        );
        let money = Primitive::Decimal {
            precision: 9,
            scale: 2,
        };
        let cents = |unscaled| Literal::Decimal { unscaled, scale: 2 };
        check(&money, &number("-14.2"), Some(&cents(-1420)));
        check(&money, &number("-0.05"), Some(&cents(-5)));
        check(&money, &number("3"), Some(&cents(300)));
        check(&money, &number("3.001"), None);
        check(&money, &number("1e2"), None);
    }

    #[test]
    fn times_are_read_from_text() {
        check(
            &Primitive::Date,
            &text("1970-01-02"),
            Some(&Literal::Date(1)),
        );
        check(&Primitive::Date, &text("1970-02-30"), None);
        check(
            &Primitive::Timestamp,
            &text("1970-01-01 00:00:01.5"),
            Some(&Literal::Timestamp(1_500_000)),
        );
        check(
            &Primitive::Timestamp,
            &text("1970-01-02"),
            Some(&Literal::Timestamp(86_400_000_000)),
        );
        check(&Primitive::Timestamp, &text("1970-01-01T00:00:01Z"), None);
        check(
            &Primitive::Timestamp,
            &text("1970-01-01 00:00:01.0000005"),
            None,
        );
        let hour = &Literal::Timestamptz(3_600_000_000);
        check(
            &Primitive::Timestamptz,
            &text("1970-01-01T01:00:00Z"),
            Some(hour),
        );
        check(
            &Primitive::Timestamptz,
            &text("1970-01-01 03:00:00+02:00"),
            Some(hour),
        );
        check(
            &Primitive::Timestamptz,
            &text("1970-01-01 01:00:00"),
            Some(hour),
        );
        check(
            &Primitive::Time,
            &text("00:00:01"),
            Some(&Literal::Time(1_000_000)),
        );
        check(
            &Primitive::TimestampNs,
            &text("1970-01-01 00:00:00.000000001"),
            Some(&Literal::TimestampNs(1)),
        );
    }
}
