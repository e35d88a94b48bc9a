//! Table names and the key a table is locked by.

use std::fmt;
use std::str::FromStr;

/// A table's full name: namespace levels, then the table. None of them is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    namespace: Vec<String>,
    table: String,
}

/// Why a text is not a table name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "table name `{name}`: {why}; write namespace.table, a level that holds a dot or a quote in double quotes"
)]
pub struct BadTableName {
    pub name: String,
    pub why: &'static str,
}

/// Longest table key in bytes; Postgres's b-tree limit is 2,704.
const KEY_BYTES_MAX: usize = 2_000;

impl TableName {
    /// Checks the parts: at least one namespace level, nothing empty, no control characters.
    pub fn new(
        namespace: impl IntoIterator<Item = impl Into<String>>,
        table: impl Into<String>,
    ) -> Result<Self, BadTableName> {
        let name = Self {
            namespace: namespace.into_iter().map(Into::into).collect(),
            table: table.into(),
        };
        let refuse = |why| {
            Err(BadTableName {
                name: name.key(),
                why,
            })
        };
        if name.namespace.is_empty() {
            return refuse("it has no namespace");
        }
        if name.levels().any(str::is_empty) {
            return refuse("a level is empty");
        }
        if name
            .levels()
            .any(|level| level.chars().any(char::is_control))
        {
            return refuse("a level holds a control character");
        }
        if name.key().len() > KEY_BYTES_MAX {
            return refuse("it is longer than 2,000 bytes");
        }
        Ok(name)
    }

    /// Reads what `jobs.database_name` and `jobs.table_name` hold.
    pub fn from_columns(database: &str, table: &str) -> Result<Self, BadTableName> {
        Self::new(split(database)?, table)
    }

    pub fn namespace(&self) -> &[String] {
        &self.namespace
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    /// The seed's `database_name`: namespace levels joined by a dot, quoted where needed.
    pub fn database(&self) -> String {
        self.namespace
            .iter()
            .map(|level| quote(level))
            .collect::<Vec<_>>()
            .join(".")
    }

    /// The seed's `table_key`: `{database}.{table}`, quoted where needed.
    pub fn key(&self) -> String {
        self.levels().map(quote).collect::<Vec<_>>().join(".")
    }

    fn levels(&self) -> impl Iterator<Item = &str> {
        self.namespace
            .iter()
            .map(String::as_str)
            .chain([self.table.as_str()])
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

impl FromStr for TableName {
    type Err = BadTableName;

    fn from_str(text: &str) -> Result<Self, BadTableName> {
        let mut levels = split(text)?;
        let table = levels.pop().unwrap_or_default();
        Self::new(levels, table)
    }
}

fn quote(level: &str) -> String {
    if level.contains(['.', '"']) {
        format!("\"{}\"", level.replace('"', "\"\""))
    } else {
        level.to_owned()
    }
}

/// Splits at dots outside double quotes; a doubled quote inside quotes is one quote.
fn split(text: &str) -> Result<Vec<String>, BadTableName> {
    let refuse = |why| BadTableName {
        name: text.to_owned(),
        why,
    };
    let mut levels = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut level = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    None => return Err(refuse("a quote is not closed")),
                    Some('"') if chars.next_if_eq(&'"').is_some() => level.push('"'),
                    Some('"') => break,
                    Some(other) => level.push(other),
                }
            }
        } else {
            while let Some(other) = chars.next_if(|c| *c != '.') {
                if other == '"' {
                    return Err(refuse("a quote stands inside a level"));
                }
                level.push(other);
            }
        }
        levels.push(level);
        match chars.next() {
            None => return Ok(levels),
            Some('.') => {}
            Some(_) => return Err(refuse("a dot must follow a closing quote")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[&str]) {
        let name: TableName = text.parse().unwrap();
        let got: Vec<&str> = name.levels().collect();
        assert_eq!(got, want, "for {text}");
    }

    #[test]
    fn names_are_split_at_dots_outside_quotes() {
        check("db.events", &["db", "events"]);
        check("a.b.c", &["a", "b", "c"]);
        check("\"a.b\".c", &["a.b", "c"]);
        check("\"say \"\"hi\"\"\".t", &["say \"hi\"", "t"]);
        check("größe.表", &["größe", "表"]);
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        for (text, why) in [
            ("events", "no namespace"),
            ("", "no namespace"),
            ("db.", "empty"),
            (".t", "empty"),
            ("\"db.t", "not closed"),
            ("d\"b.t", "inside"),
            ("\"db\"x.t", "must follow"),
            ("db.t\n", "control"),
        ] {
            let error = text.parse::<TableName>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_key_names_one_table_only(levels in prop::collection::vec("[a-z.\"é ]{1,6}", 2..5)) {
            let mut namespace = levels.clone();
            let table = namespace.pop().unwrap();
            let name = TableName::new(namespace, table).unwrap();
            prop_assert_eq!(name.key().parse::<TableName>().unwrap(), name.clone());
            prop_assert_eq!(TableName::from_columns(&name.database(), name.table()).unwrap(), name);
        }
    }
}
