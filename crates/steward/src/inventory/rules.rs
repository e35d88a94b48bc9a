//! Which of the catalog's tables are Snowpack's to look at: patterns on `database.table`.

use std::fmt;
use std::str::FromStr;

use globset::{Glob, GlobMatcher};
use model::TableName;

/// Which tables there are for Snowpack
#[derive(Debug, Clone, PartialEq, Eq, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Tables")]
pub struct TablesArgs {
    /// Tables to look at, as patterns on database.table separated by commas; not set: all
    #[arg(long, env = "SNOWPACK_TABLES_INCLUDE", value_name = "PATTERNS")]
    pub tables_include: Option<Patterns>,
    /// Tables to leave alone although they are included
    #[arg(long, env = "SNOWPACK_TABLES_EXCLUDE", value_name = "PATTERNS")]
    pub tables_exclude: Option<Patterns>,
}

/// Patterns with `*`, `?`, `[a-z]` and `{one,other}`. `*` also matches dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns(Vec<Glob>);

impl FromStr for Patterns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut globs = Vec::new();
        for pattern in split(text) {
            let glob = Glob::new(pattern).map_err(|error| {
                let why = error.kind();
                format!("pattern `{pattern}`: {why}; {ALLOWED}")
            })?;
            globs.push(glob);
        }
        if globs.is_empty() {
            return Err(format!("it holds no pattern; {ALLOWED}"));
        }
        Ok(Self(globs))
    }
}

const ALLOWED: &str =
    "allowed: patterns on database.table with commas between, as in sales.*,web.events_{eu,us}";

/// At commas outside braces and brackets; nothing is left of spaces around a pattern.
fn split(text: &str) -> Vec<&str> {
    let (mut patterns, mut start, mut braces, mut bracket) = (Vec::new(), 0, 0_usize, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '{' if !bracket => braces += 1,
            '}' if !bracket => braces = braces.saturating_sub(1),
            '[' => bracket = true,
            ']' => bracket = false,
            ',' if braces == 0 && !bracket => {
                patterns.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    patterns.push(&text[start..]);
    let trimmed = patterns.into_iter().map(str::trim);
    trimmed.filter(|pattern| !pattern.is_empty()).collect()
}

/// The rules, ready to be asked. An exclusion wins over an inclusion.
#[derive(Debug, Clone)]
pub struct Allow {
    /// `None`: every table.
    include: Option<Vec<GlobMatcher>>,
    exclude: Vec<GlobMatcher>,
}

/// What the rules say of one table, and which of them said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub rule: Rule,
}

/// The rule that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// No inclusion is set.
    Every,
    Included(String),
    Excluded(String),
    /// Inclusions are set, and none matches.
    NotIncluded,
}

impl Allow {
    pub fn new(args: &TablesArgs) -> Self {
        let ready = |patterns: &Patterns| patterns.0.iter().map(Glob::compile_matcher).collect();
        Self {
            include: args.tables_include.as_ref().map(ready),
            exclude: args.tables_exclude.as_ref().map(ready).unwrap_or_default(),
        }
    }

    /// Whether `table` is one to look at, and why.
    pub fn verdict(&self, table: &TableName) -> Verdict {
        let key = table.key();
        let first = |matchers: &[GlobMatcher]| {
            let found = matchers.iter().find(|matcher| matcher.is_match(&key));
            found.map(|matcher| matcher.glob().glob().to_owned())
        };
        let rule = match (first(&self.exclude), &self.include) {
            (Some(pattern), _) => Rule::Excluded(pattern),
            (None, None) => Rule::Every,
            (None, Some(include)) => first(include).map_or(Rule::NotIncluded, Rule::Included),
        };
        let allowed = matches!(rule, Rule::Every | Rule::Included(_));
        Verdict { allowed, rule }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("every table (SNOWPACK_TABLES_INCLUDE is not set)"),
            Self::Included(pattern) => write!(f, "SNOWPACK_TABLES_INCLUDE: {pattern}"),
            Self::Excluded(pattern) => write!(f, "SNOWPACK_TABLES_EXCLUDE: {pattern}"),
            Self::NotIncluded => f.write_str("no pattern of SNOWPACK_TABLES_INCLUDE matches"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        tables: TablesArgs,
    }

    fn parse(words: &[&str]) -> Result<TablesArgs, clap::Error> {
        Program::try_parse_from(["program"].iter().chain(words)).map(|program| program.tables)
    }

    #[track_caller]
    fn check(include: &str, exclude: &str, table: &str, allowed: bool, rule: &str) {
        let words = [
            format!("--tables-include={include}"),
            format!("--tables-exclude={exclude}"),
        ];
        let words: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .filter(|word| !word.ends_with('='))
            .collect();
        let allow = Allow::new(&parse(&words).unwrap());
        let verdict = allow.verdict(&table.parse().unwrap());
        let asked = format!("include {include}, exclude {exclude}, {table}");
        assert_eq!(verdict.allowed, allowed, "{asked}");
        assert!(
            verdict.rule.to_string().contains(rule),
            "{asked}: {}",
            verdict.rule
        );
    }

    #[test]
    fn m20_rules_let_tables_in_and_say_which_rule_it_was() {
        check("", "", "db.t", true, "every table");
        check("db.*", "", "db.t", true, "INCLUDE: db.*");
        check("a.*, db.t", "", "db.t", true, "INCLUDE: db.t");
        check("db.*", "", "other.t", false, "no pattern");
        check("db.*", "", "a.db.t", false, "no pattern");
        check("*.t", "", "a.b.t", true, "*.t");
        check("db.*", "", "db.inner.t", true, "db.*");
        check("db.?", "", "db.tt", false, "no pattern");
        check("db.t[0-9,x]", "", "db.t7", true, "db.t[0-9,x]");
        check("db.{a,b}_*,c.*", "", "db.b_1", true, "db.{a,b}_*");
        check("db.{a,b}_*,c.*", "", "c.t", true, "c.*");
        check("DB.*", "", "db.t", false, "no pattern");
        check("\"a.b\".*", "", "\"a.b\".t", true, "\"a.b\".*");
        check("größe.*", "", "größe.表", true, "größe.*");
    }

    #[test]
    fn m20_an_exclusion_wins() {
        check("db.*", "*.tmp_*", "db.tmp_1", false, "EXCLUDE: *.tmp_*");
        check("db.tmp_1", "*", "db.tmp_1", false, "EXCLUDE: *");
        check("db.*", "*.tmp_*", "db.t", true, "INCLUDE: db.*");
        check("", "a.*,b.*", "b.t", false, "EXCLUDE: b.*");
        check("", "a.*,b.*", "c.t", true, "every table");
    }

    #[test]
    fn patterns_that_cannot_be_read_are_named_with_what_is_allowed() {
        for (text, why) in [
            ("db.[a", "pattern `db.[a`"),
            ("ok.*,db.{a", "pattern `db.{a`"),
            ("db.[z-a]", "pattern `db.[z-a]`"),
            (" , ", "no pattern"),
        ] {
            let error = parse(&[&format!("--tables-include={text}")]).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains(why) && error.contains("allowed: "),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn every_setting_is_known_to_the_programs() {
        for argument in Program::command().get_arguments() {
            if let Some(name) = argument.get_env().and_then(|name| name.to_str()) {
                assert!(runtime::SETTINGS.contains(&name), "{name}");
            }
        }
    }
}
