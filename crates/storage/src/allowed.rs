//! Which locations may be touched at all. Tables name their own files, and whoever can commit to
//! a table can write any name there; whatever it says, nothing outside is read, written or deleted.

use std::sync::Arc;

use crate::{Args, Error, Location, Scheme};

const NAME: &str = "SNOWPACK_LOCATIONS";

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Allowed {
    Everything,
    /// New tables are made in an object store: no table has reason to name a file of this machine.
    NoFiles,
    Within(Arc<[Location]>),
}

impl Allowed {
    /// Refuses what is no location, and a warehouse that would lie outside.
    pub(crate) fn parse(args: &Args) -> Result<Self, Error> {
        let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let warehouse = set(&args.warehouse).and_then(|text| Location::parse(&text).ok());
        let Some(listed) = set(&args.locations) else {
            return Ok(match warehouse {
                Some(warehouse) if *warehouse.scheme() != Scheme::File => Self::NoFiles,
                _ => Self::Everything,
            });
        };
        let refuse = |value: &str, allowed| Error::BadSetting {
            name: NAME,
            value: value.to_owned(),
            allowed,
        };
        let within = listed.split(',').map(str::trim).map(|text| {
            let known = Location::parse(text).ok();
            known.ok_or_else(|| {
                refuse(
                    text,
                    "locations between commas, as in s3://lake/tables,s3://old",
                )
            })
        });
        let within: Vec<Location> = within.collect::<Result<_, _>>()?;
        match warehouse {
            Some(place) if !within.iter().any(|one| one.holds(&place)) => {
                Err(refuse(&listed, "locations that hold SNOWPACK_WAREHOUSE"))
            }
            _ => Ok(Self::Within(within.into())),
        }
    }

    pub(crate) fn without_files(self) -> Self {
        match self {
            Self::Everything | Self::NoFiles => Self::NoFiles,
            Self::Within(within) => Self::Within(within),
        }
    }

    /// Fails with [`Error::NotAllowed`] when the location lies outside.
    pub(crate) fn admit(&self, location: &Location) -> Result<(), Error> {
        let why = match self {
            Self::Everything => return Ok(()),
            Self::NoFiles if *location.scheme() != Scheme::File => return Ok(()),
            Self::NoFiles => format!("is a file of this machine, and {NAME} names none"),
            Self::Within(within) => {
                if within.iter().any(|one| one.holds(location)) {
                    return Ok(());
                }
                let names: Vec<String> = within.iter().map(ToString::to_string).collect();
                format!("lies outside {NAME}={}", names.join(","))
            }
        };
        Err(Error::NotAllowed {
            location: location.to_string(),
            why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(warehouse: &str, locations: &str) -> Result<Allowed, Error> {
        Allowed::parse(&Args {
            warehouse: Some(warehouse.to_owned()),
            locations: Some(locations.to_owned()),
            ..Args::default()
        })
    }

    #[track_caller]
    fn check(warehouse: &str, locations: &str, text: &str, want: Option<&str>) {
        let allowed = allowed(warehouse, locations).unwrap();
        let got = allowed.admit(&Location::parse(text).unwrap());
        match (got, want) {
            (Ok(()), None) => {}
            (Err(error), Some(want)) => {
                let said = error.to_string();
                assert!(said.contains(want) && said.contains(text), "{said}");
            }
            (got, want) => panic!("{warehouse} {locations} {text}: {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn where_tables_lie_in_an_object_store_none_may_name_a_file() {
        check("", "", "file:///etc/passwd", None);
        check("/lake", "", "file:///elsewhere/a", None);
        check("/lake", "", "s3://b/a", None);
        check("s3://lake", "", "s3://other/a", None);
        check(
            "s3://lake",
            "",
            "file:///etc/passwd",
            Some("a file of this machine"),
        );
        check("s3://lake", "s3://lake,/old", "file:///old/a", None);
    }

    #[test]
    fn a_list_admits_what_lies_below_its_places_and_nothing_else() {
        let list = "s3://lake/tables, s3a://old";
        for inside in ["s3://lake/tables", "s3n://lake/tables/t/a", "s3://old/a/b"] {
            check("", list, inside, None);
        }
        for outside in [
            "s3://lake/tables2/a",
            "s3://lake/a",
            "s3://lakes/tables/a",
            "file:///s3:/lake/tables/a",
        ] {
            check(
                "",
                list,
                outside,
                Some("outside SNOWPACK_LOCATIONS=s3://lake/tables,s3://old"),
            );
        }
        // A step up is no way out: it is refused before it gets here.
        assert!(Location::parse("s3://lake/tables/../a").is_err());
    }

    #[test]
    fn a_list_that_cannot_be_meant_is_refused() {
        for (warehouse, list, word) in [
            ("", "lake", "`lake`"),
            ("", "s3://lake,", "``"),
            ("s3://other", "s3://lake", "hold SNOWPACK_WAREHOUSE"),
        ] {
            let refusal = allowed(warehouse, list).unwrap_err().to_string();
            assert!(
                refusal.contains(NAME) && refusal.contains(word),
                "{refusal}"
            );
        }
    }
}
