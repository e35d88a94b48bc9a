//! Values for people, exactly as Java writes them: partition paths are made of these.

use std::fmt::{self, Write as _};

use crate::Literal;

const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// The human form of the value itself (Java: `identity().toHumanString`).
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Long(value) => write!(f, "{value}"),
            Self::Float(value) => {
                f.write_str(&java_float(f64::from(*value), &format!("{value:e}")))
            }
            Self::Double(value) => f.write_str(&java_float(*value, &format!("{value:e}"))),
            Self::Decimal { unscaled, scale } => f.write_str(&java_decimal(*unscaled, *scale)),
            Self::Date(days) => f.write_str(&date(i64::from(*days))),
            Self::Time(micros) => {
                let (seconds, micros) = split(*micros, MICROS_PER_SECOND);
                f.write_str(&java_time(seconds, micros * 1000))
            }
            Self::Timestamp(micros) => java_timestamp(f, *micros, MICROS_PER_SECOND, ""),
            Self::Timestamptz(micros) => java_timestamp(f, *micros, MICROS_PER_SECOND, "Z"),
            Self::TimestampNs(nanos) => java_timestamp(f, *nanos, NANOS_PER_SECOND, ""),
            Self::TimestamptzNs(nanos) => java_timestamp(f, *nanos, NANOS_PER_SECOND, "Z"),
            Self::String(value) => f.write_str(value),
            Self::Uuid(value) => write!(f, "{value}"),
            Self::Fixed(value) | Self::Binary(value) => f.write_str(&base64(value)),
        }
    }
}

pub(super) fn split(value: i64, unit: i64) -> (i64, i64) {
    (value.div_euclid(unit), value.rem_euclid(unit))
}

/// Year, month and day of a day counted from 1970-01-01 (proleptic Gregorian).
pub(crate) fn civil(days: i64) -> (i64, u32, u32) {
    // Years here begin in March, so that the leap day is the last of a year.
    let days = days + 719_468;
    let (era, day_of_era) = split(days, 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u32, day as u32)
}

/// The day counted from 1970-01-01; the inverse of [`civil`].
pub(super) fn days_of(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = split(year, 400);
    let month = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Java's `%04d`, whose width counts the sign.
pub(crate) fn year(year: i64) -> String {
    format!("{year:04}")
}

pub(crate) fn date(days: i64) -> String {
    let (of, month, day) = civil(days);
    format!("{}-{month:02}-{day:02}", year(of))
}

/// A year as ISO 8601 and `java.time` write it.
fn iso_year(year: i64) -> String {
    match year {
        10_000.. => format!("+{year}"),
        0.. => format!("{year:04}"),
        _ => format!("-{:04}", -year),
    }
}

/// `java.time.LocalTime.toString`: no seconds when there are none, else the shortest of 0, 3, 6 or 9 digits.
fn java_time(seconds: i64, nanos: i64) -> String {
    let mut text = format!("{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
    if seconds % 60 != 0 || nanos != 0 {
        let _ = write!(text, ":{:02}", seconds % 60);
    }
    if nanos != 0 {
        let _ = match nanos {
            n if n % 1_000_000 == 0 => write!(text, ".{:03}", n / 1_000_000),
            n if n % 1_000 == 0 => write!(text, ".{:06}", n / 1_000),
            n => write!(text, ".{n:09}"),
        };
    }
    text
}

fn java_timestamp(f: &mut fmt::Formatter<'_>, value: i64, unit: i64, zone: &str) -> fmt::Result {
    let (seconds, fraction) = split(value, unit);
    let (days, seconds) = split(seconds, SECONDS_PER_DAY);
    let (year, month, day) = civil(days);
    let time = java_time(seconds, fraction * (NANOS_PER_SECOND / unit));
    write!(f, "{}-{month:02}-{day:02}T{time}{zone}", iso_year(year))
}

/// `Double.toString` of the shortest digits: plain from 1e-3 to 1e7, else scientific.
fn java_float(value: f64, shortest: &str) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa
        .strip_prefix('-')
        .map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");
    let digits_or_zero = |text: &str| {
        if text.is_empty() {
            "0".to_owned()
        } else {
            text.to_owned()
        }
    };
    match exponent {
        0..=6 => {
            let whole = exponent as usize + 1;
            let padded = format!("{digits:0<whole$}");
            format!(
                "{sign}{}.{}",
                &padded[..whole],
                digits_or_zero(&padded[whole..])
            )
        }
        -3..=-1 => format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize)),
        _ if value == 0.0 => format!("{sign}0.0"),
        _ => format!(
            "{sign}{}.{}E{exponent}",
            &digits[..1],
            digits_or_zero(&digits[1..])
        ),
    }
}

/// `BigDecimal.toString`: scientific when the first digit lies more than six places behind the point.
fn java_decimal(unscaled: i128, scale: u32) -> String {
    let digits = unscaled.unsigned_abs().to_string();
    let sign = if unscaled < 0 { "-" } else { "" };
    let adjusted = digits.len() as i64 - 1 - i64::from(scale);
    if adjusted >= -6 {
        return plain_decimal(unscaled, scale);
    }
    let rest = if digits.len() > 1 {
        format!(".{}", &digits[1..])
    } else {
        String::new()
    };
    format!("{sign}{}{rest}E{adjusted}", &digits[..1])
}

/// A decimal with all its places and no exponent.
pub(super) fn plain_decimal(unscaled: i128, scale: u32) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = unscaled.unsigned_abs().to_string();
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let width = scale as usize + 1;
    let padded = format!("{digits:0>width$}");
    let (whole, fraction) = padded.split_at(padded.len() - scale as usize);
    format!("{sign}{whole}.{fraction}")
}

/// `java.net.URLEncoder` in UTF-8 (the form of HTML forms).
pub(crate) fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let six = (bits >> (18 - 6 * at)) as usize & 63;
            text.push(if at <= chunk.len() {
                char::from(ALPHABET[six])
            } else {
                '='
            });
        }
    }
    text
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let pair = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
    text.as_bytes().chunks_exact(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(value: &Literal, want: &str) {
        assert_eq!(value.to_string(), want, "for {value:?}");
    }

    /// Java's own test values (TestIdentity, TestDates, TestTimestamps) and `Double.toString`'s.
    #[test]
    fn values_read_as_in_java() {
        check(&Literal::Boolean(true), "true");
        check(&Literal::Date(17_501), "2017-12-01");
        check(&Literal::Date(-1), "1969-12-31");
        check(&Literal::Time(36_775_038_194), "10:12:55.038194");
        check(&Literal::Time(36_720_000_000), "10:12");
        check(&Literal::Time(36_721_500_000), "10:12:01.500");
        check(
            &Literal::Timestamp(1_512_123_175_038_194),
            "2017-12-01T10:12:55.038194",
        );
        check(
            &Literal::Timestamptz(1_512_123_175_038_194),
            "2017-12-01T10:12:55.038194Z",
        );
        check(
            &Literal::TimestampNs(1_512_123_175_038_194_001),
            "2017-12-01T10:12:55.038194001",
        );
        check(&Literal::Timestamptz(0), "1970-01-01T00:00Z");
        check(
            &Literal::Decimal {
                unscaled: -150,
                scale: 2,
            },
            "-1.50",
        );
        check(
            &Literal::Decimal {
                unscaled: 5,
                scale: 0,
            },
            "5",
        );
        check(
            &Literal::Decimal {
                unscaled: 5,
                scale: 3,
            },
            "0.005",
        );
        check(
            &Literal::Decimal {
                unscaled: 12,
                scale: 9,
            },
            "1.2E-8",
        );
        check(
            &Literal::Decimal {
                unscaled: 0,
                scale: 9,
            },
            "0E-9",
        );
        check(&Literal::Binary(vec![1, 2, 3]), "AQID");
        check(&Literal::Fixed(vec![1, 2, 3, 4]), "AQIDBA==");
        check(&Literal::Fixed(vec![255, 254]), "//4=");
    }

    #[test]
    fn floats_read_as_in_java() {
        for (value, want) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (1_234_567.0, "1234567.0"),
            (9_999_999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (1.25e10, "1.25E10"),
            (0.001, "0.001"),
            (0.000_12, "1.2E-4"),
            (0.1, "0.1"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::MAX, "1.7976931348623157E308"),
        ] {
            check(&Literal::Double(value), want);
        }
        check(&Literal::Float(0.1), "0.1");
        check(&Literal::Float(3.402_823_5e38), "3.4028235E38");
    }

    proptest! {
        #[test]
        fn days_and_dates_are_one_to_one(days in i64::from(i32::MIN)..=i64::from(i32::MAX)) {
            let (year, month, day) = civil(days);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&day));
            prop_assert_eq!(days_of(year, month, day), days);
        }

        #[test]
        fn floats_read_back(value: f64) {
            let text = Literal::Double(value).to_string();
            if value.is_finite() {
                prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{}", text);
            }
        }

        #[test]
        fn hexadecimal_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        }
    }
}
