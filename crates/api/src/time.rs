//! Times as answers hold them: RFC 3339, UTC.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};

/// Postgres begins in the year -4712 and we in -9999; nothing here is as old as either.
const YEAR_0: Timestamp = Timestamp::constant(-62_167_219_200, 0);

/// The time, unless it is before the year 0: Postgres does not hold all of those.
pub(crate) fn storable(at: Timestamp) -> Result<Timestamp, &'static str> {
    if at < YEAR_0 {
        return Err("it is before the year 0");
    }
    Ok(at)
}

/// A time in microseconds since the epoch, as cursors hold it.
pub(crate) fn of_microseconds(at: i64) -> Result<Timestamp, String> {
    let at = Timestamp::from_microsecond(at).map_err(|error| error.to_string())?;
    Ok(storable(at)?)
}

/// A point in time, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Timestamp);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl utoipa::PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl utoipa::ToSchema for Time {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m29_a_time_that_postgres_may_not_hold_is_refused() {
        for at in [
            i64::MIN,
            -377_705_023_201_000_000,
            -62_167_219_200_000_001,
            i64::MAX,
        ] {
            assert!(of_microseconds(at).is_err(), "{at}");
        }
        for at in [-62_167_219_200_000_000, 0, 253_402_207_200_000_000] {
            assert!(of_microseconds(at).is_ok(), "{at}");
        }
    }
}
