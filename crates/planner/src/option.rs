//! One option of an action: as it is described to people, and as one of them wrote it.

use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;
use metadata::TableMetadata;
use model::Action;

use crate::BadOption;

/// One option for people: what `--help`, the README and refusals say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionDoc {
    pub key: &'static str,
    pub default: &'static str,
    pub rule: &'static str,
}

pub(crate) const fn doc(key: &'static str, default: &'static str, rule: &'static str) -> OptionDoc {
    OptionDoc { key, default, rule }
}

/// An option of `action` that is none of `options`.
pub(crate) fn unknown(action: Action, options: &[OptionDoc], key: &str) -> BadOption {
    let keys: Vec<&str> = options.iter().map(|option| option.key).collect();
    let allowed = if keys.is_empty() {
        "none".to_owned()
    } else {
        keys.join(", ")
    };
    BadOption::Unknown {
        action,
        key: key.to_owned(),
        allowed,
    }
}

/// A whole number without a sign, as text.
pub(crate) fn whole<N: FromStr>(text: &str) -> Option<N> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// One option as the user wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) action: Action,
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
}

impl Asked<'_> {
    pub(crate) fn refuse(self, why: impl Display) -> BadOption {
        BadOption::Value {
            action: self.action,
            key: self.key.to_owned(),
            value: self.value.to_owned(),
            why: why.to_string(),
        }
    }

    /// A spec that the table does not have.
    pub(crate) fn no_such_spec(self, table: &TableMetadata) -> BadOption {
        let known = table.specs().iter().map(|spec| spec.spec_id.to_string());
        let known: Vec<String> = known.collect();
        let known = known.join(", ");
        self.refuse(format!("the table has no such spec; it has {known}"))
    }

    pub(crate) fn number<N: Copy + FromStr + PartialOrd + Display>(
        self,
        min: N,
        max: N,
    ) -> Result<N, BadOption> {
        whole::<N>(self.value)
            .filter(|number| *number >= min && *number <= max)
            .ok_or_else(|| self.refuse(format!("must be a whole number from {min} to {max}")))
    }

    /// Milliseconds since the epoch.
    pub(crate) fn time(self) -> Result<i64, BadOption> {
        let time = || self.value.parse::<Timestamp>().ok();
        whole(self.value)
            .or_else(|| time().map(Timestamp::as_millisecond))
            .ok_or_else(|| {
                self.refuse(
                    "must be a time as 2026-01-31T00:00:00Z, or milliseconds since 1970-01-01",
                )
            })
    }

    pub(crate) fn boolean(self) -> Result<bool, BadOption> {
        self.one_of(&[(true, "true"), (false, "false")])
    }

    pub(crate) fn one_of<T: Copy>(self, allowed: &[(T, &'static str)]) -> Result<T, BadOption> {
        allowed
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(self.value))
            .map(|(choice, _)| *choice)
            .ok_or_else(|| {
                let names: Vec<&str> = allowed.iter().map(|(_, name)| *name).collect();
                self.refuse(format!("must be one of {}", names.join(", ")))
            })
    }
}
