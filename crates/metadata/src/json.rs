//! A place in a JSON document that knows its own path, so that every error names the field.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

use crate::Error;

/// Values any text may hold, and bytes of text each further one needs. A value takes some 100 bytes
/// once parsed; written densely (`[0,0,…`) in a few packed bytes, values would take all memory
/// there is. No honest document comes near: its keys alone are longer.
const VALUES_FREE: usize = 1 << 20;
const BYTES_PER_VALUE: usize = 8;
/// Values a text may hold however long it is.
const VALUES_MAX: usize = 16 << 20;

/// Parses JSON of somebody else's.
pub(crate) fn parse(text: &[u8]) -> Result<Value, Unparsed> {
    let values = values(text);
    let max = VALUES_MAX.min(VALUES_FREE + text.len() / BYTES_PER_VALUE);
    if values > max {
        return Err(Unparsed::Values { values, max });
    }
    Ok(serde_json::from_slice(text)?)
}

/// About how many values a text holds; more when its strings look like JSON.
pub(crate) fn values(text: &[u8]) -> usize {
    let begins = |byte: &&u8| matches!(byte, b',' | b'[' | b'{');
    text.iter().filter(begins).count()
}

/// Why a text was not parsed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unparsed {
    #[error("it holds about {values} values, at most {max} are read")]
    Values { values: usize, max: usize },
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Longest piece of a wrong value repeated in an error, in characters.
const SHOWN_MAX: usize = 40;

/// A value and the way to it. The path is only written out when an error needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    value: &'a Value,
    step: Step<'a>,
    parent: Option<&'a At<'a>>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root(&'static str),
    Key(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    pub(crate) fn root(value: &'a Value, what: &'static str) -> Self {
        Self {
            value,
            step: Step::Root(what),
            parent: None,
        }
    }

    pub(crate) fn value(&self) -> &'a Value {
        self.value
    }

    pub(crate) fn object(&self) -> Result<&'a Map<String, Value>, Error> {
        self.value
            .as_object()
            .ok_or_else(|| self.wrong("an object"))
    }

    /// The field `key`; absent and null are the same.
    pub(crate) fn get<'b>(&'b self, key: &'b str) -> Result<Option<At<'b>>, Error> {
        let value = self.object()?.get(key).filter(|value| !value.is_null());
        Ok(value.map(|value| At {
            value,
            step: Step::Key(key),
            parent: Some(self),
        }))
    }

    pub(crate) fn require<'b>(&'b self, key: &'b str) -> Result<At<'b>, Error> {
        self.get(key)?
            .ok_or_else(|| self.error(format!("field `{key}` is missing")))
    }

    /// The elements of the list this is.
    pub(crate) fn each<'b, T>(
        &'b self,
        mut read: impl FnMut(At<'b>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let at = |(index, value)| At {
            value,
            step: Step::Index(index),
            parent: Some(self),
        };
        list.iter().enumerate().map(|pair| read(at(pair))).collect()
    }

    /// The values of the object this is, with their keys.
    pub(crate) fn entries<'b, T>(
        &'b self,
        mut read: impl FnMut(&'b str, At<'b>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let at = |key, value| At {
            value,
            step: Step::Key(key),
            parent: Some(self),
        };
        self.object()?
            .iter()
            .map(|(key, value)| read(key, at(key, value)))
            .collect()
    }

    pub(crate) fn str(&self) -> Result<&'a str, Error> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    pub(crate) fn bool(&self) -> Result<bool, Error> {
        self.value
            .as_bool()
            .ok_or_else(|| self.wrong("true or false"))
    }

    pub(crate) fn i64(&self) -> Result<i64, Error> {
        self.value
            .as_i64()
            .ok_or_else(|| self.wrong("a 64-bit integer"))
    }

    pub(crate) fn i32(&self) -> Result<i32, Error> {
        let number = self
            .value
            .as_i64()
            .and_then(|number| i32::try_from(number).ok());
        number.ok_or_else(|| self.wrong("a 32-bit integer"))
    }

    pub(crate) fn error(&self, why: impl Into<String>) -> Error {
        Error::malformed(self.to_string(), why)
    }

    fn wrong(&self, want: &str) -> Error {
        let text = self.value.to_string();
        let mut shown: String = text.chars().take(SHOWN_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        self.error(format!("is {shown}, not {want}"))
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps = vec![self.step];
        let mut parent = self.parent;
        while let Some(at) = parent {
            steps.push(at.step);
            parent = at.parent;
        }
        let mut first = true;
        for step in steps.iter().rev() {
            match step {
                Step::Root(what) => write!(f, "{what}: ")?,
                Step::Key(key) if first => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
            first = matches!(step, Step::Root(_));
        }
        if first { f.write_char('.') } else { Ok(()) }
    }
}

/// Reads an optional field with `read`.
macro_rules! optional {
    ($at:expr, $key:literal, $read:ident) => {
        match $at.get($key)? {
            Some(found) => Some(found.$read()?),
            None => None,
        }
    };
}
pub(crate) use optional;

/// Serde for a type that has `to_json` and `read`.
macro_rules! serde_by_json {
    ($type:ty, $what:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.to_json().serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = <serde_json::Value as serde::Deserialize>::deserialize(deserializer)?;
                <$type>::read($crate::json::At::root(&value, $what))
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_by_json;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_names_the_way_to_the_field() {
        let value = json!({"schemas": [{"fields": [{"id": "x"}]}]});
        let root = At::root(&value, "table metadata");
        let error = root
            .require("schemas")
            .unwrap()
            .each(|schema| {
                schema
                    .require("fields")?
                    .each(|field| field.require("id")?.i32())
            })
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "table metadata: schemas[0].fields[0].id: is \"x\", not a 32-bit integer"
        );
        let error = root.require("uuid").unwrap_err().to_string();
        assert!(
            error.contains("table metadata") && error.contains("`uuid` is missing"),
            "{error}"
        );
    }

    #[test]
    fn a_text_that_is_all_values_is_not_parsed() {
        let dense = format!("[{}0]", "0,".repeat(2 << 20));
        let why = parse(dense.as_bytes()).unwrap_err().to_string();
        assert!(why.contains("2097153 values"), "{why}");
        let honest = format!("[{}{{}}]", "{\"a-key\":\"a value\"},".repeat(200_000));
        assert_eq!(
            parse(honest.as_bytes()).unwrap().as_array().unwrap().len(),
            200_001
        );
    }

    #[test]
    fn a_huge_wrong_value_is_cut() {
        let value = json!({"a": "x".repeat(10_000)});
        let root = At::root(&value, "it");
        assert!(
            root.require("a")
                .unwrap()
                .i64()
                .unwrap_err()
                .to_string()
                .len()
                < 200
        );
    }
}
