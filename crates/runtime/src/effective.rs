//! `--print-config`: every setting of the program as it applies, with where it comes from.
//!
//! What is printed is a configuration file, but for what is masked.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::config::{self, File, setting, variable};

/// Hidden settings that end so are shown, but for the passwords in them.
const ADDRESSES: [&str; 3] = ["_URL", "_URI", "_ENDPOINT"];

/// In place of a secret.
const MASKED: &str = "***";

/// One setting as it applies.
struct Setting {
    /// `None`: it is not set.
    value: Option<String>,
    source: &'static str,
}

/// The page. Arguments of commands that were not given are read as they would be.
pub(crate) fn page(
    command: &Command,
    matches: &ArgMatches,
    file: &File,
    environment: impl Fn(&str) -> Option<String> + Copy,
) -> String {
    let mut settings = BTreeMap::new();
    collect(command, Some(matches), file, environment, &mut settings);
    let mut page = String::new();
    for (name, Setting { value, source }) in settings {
        // Writing to a string cannot fail.
        let _ = match value {
            Some(value) => writeln!(page, "{name} = {}  # {source}", literal(&value)),
            None => writeln!(page, "# {name} is not set"),
        };
    }
    page
}

fn collect(
    command: &Command,
    matches: Option<&ArgMatches>,
    file: &File,
    environment: impl Fn(&str) -> Option<String> + Copy,
    settings: &mut BTreeMap<String, Setting>,
) {
    for argument in command.get_arguments() {
        let Some(name) = variable(argument).filter(|name| name != config::VARIABLE) else {
            continue;
        };
        let given = matches.and_then(|matches| given(argument, matches));
        let found = given.map(|value| (value, "flag")).or_else(|| {
            let set = environment(&name).map(|value| (value, "environment"));
            let set = set.or_else(|| Some((file.get(&name)?.to_owned(), "file")));
            set.or_else(|| Some((default(argument)?, "default")))
        });
        let source = found.as_ref().map_or("default", |(_, source)| *source);
        let value = found.map(|(value, _)| masked(argument, &name, &value));
        let known = settings.entry(setting(&name));
        let known = known.or_insert(Setting {
            value: None,
            source: "default",
        });
        // Several commands may have it; the one that was given knows best.
        if known.value.is_none() || source == "flag" {
            *known = Setting { value, source };
        }
    }
    for below in command.get_subcommands() {
        let matches = matches.and_then(|matches| matches.subcommand_matches(below.get_name()));
        collect(below, matches, file, environment, settings);
    }
}

/// What the command line says.
fn given(argument: &Arg, matches: &ArgMatches) -> Option<String> {
    // What holds for every command is known to the last one.
    let mut matches = matches;
    while let Some((_, below)) = matches.subcommand().filter(|_| argument.is_global_set()) {
        matches = below;
    }
    let id = argument.get_id().as_str();
    if !matches.try_contains_id(id).unwrap_or(false)
        || matches.value_source(id) != Some(ValueSource::CommandLine)
    {
        return None;
    }
    let values = matches.get_raw(id)?;
    let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
    Some(values.join(","))
}

fn default(argument: &Arg) -> Option<String> {
    let values = argument.get_default_values();
    if values.is_empty() && !argument.get_action().takes_values() {
        return Some("false".to_owned());
    }
    let values: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn masked(argument: &Arg, name: &str, value: &str) -> String {
    let hidden = argument.is_hide_env_values_set();
    let address = !hidden || ADDRESSES.iter().any(|end| name.ends_with(end));
    match value.split_once("://") {
        Some((scheme, rest)) if address => format!("{scheme}://{}", without_passwords(rest)),
        _ if hidden && !value.is_empty() => MASKED.to_owned(),
        _ => value.to_owned(),
    }
}

/// A URL behind its scheme, with neither the password of its user nor one among its parameters.
fn without_passwords(rest: &str) -> String {
    let (before, parameters) = rest.split_once('?').unzip();
    let before = before.unwrap_or(rest);
    // A password may hold a slash or another @: what is before the last @ is the user's.
    let mut url = match before.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split_once(':').map(|(name, _)| name);
            let user = name.map_or_else(|| user.to_owned(), |name| format!("{name}:{MASKED}"));
            format!("{user}@{host}")
        }
        None => before.to_owned(),
    };
    if let Some(parameters) = parameters {
        let shown = parameters.split('&').map(|parameter| {
            let (key, _) = parameter.split_once('=').unwrap_or((parameter, ""));
            match key.to_lowercase().as_str() {
                "password" | "sslpassword" | "token" => format!("{key}={MASKED}"),
                _ => parameter.to_owned(),
            }
        });
        url = format!("{url}?{}", shown.collect::<Vec<_>>().join("&"));
    }
    url
}

/// As TOML writes it.
fn literal(value: &str) -> String {
    let whole = value.parse().is_ok_and(|n: i64| n.to_string() == value);
    let point = value
        .parse()
        .is_ok_and(|n: f64| n.is_finite() && format!("{n:?}") == value);
    if whole || point || matches!(value, "true" | "false") {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for letter in value.chars() {
        match letter {
            '\\' | '"' => text.extend(['\\', letter]),
            letter if letter.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\u{:04X}", u32::from(letter));
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, hidden: bool, value: &str, want: &str) {
        let argument = Arg::new("a").hide_env_values(hidden);
        assert_eq!(masked(&argument, name, value), want, "for {name}={value}");
    }

    #[test]
    fn no_password_of_a_url_is_shown() {
        for (value, want) in [
            ("postgres://u:p@h/d", "postgres://u:***@h/d"),
            ("postgres://u:p/q@r@h:5432/d", "postgres://u:***@h:5432/d"),
            (
                "postgres://u@h/d?sslmode=require",
                "postgres://u@h/d?sslmode=require",
            ),
            (
                "postgres://h/d?user=u&password=p&sslpassword=q",
                "postgres://h/d?user=u&password=***&sslpassword=***",
            ),
            ("https://minio.example:9000", "https://minio.example:9000"),
            ("host=h password=p", "***"),
            ("", ""),
        ] {
            check("SNOWPACK_DATABASE_URL", true, value, want);
        }
        check(
            "SNOWPACK_JWKS_URL",
            false,
            "https://u:p@h",
            "https://u:***@h",
        );
    }

    #[test]
    fn a_secret_is_masked_even_if_it_looks_like_a_url() {
        check("SNOWPACK_SCALER_TOKEN", true, "hunter2", "***");
        check("SNOWPACK_SCALER_TOKEN", true, "hunter2://hunter2", "***");
        check("SNOWPACK_S3_REGION", false, "eu-west-1", "eu-west-1");
    }

    #[test]
    fn a_literal_is_read_back_as_it_was() {
        for (value, want) in [
            ("60", "60"),
            ("0.1", "0.1"),
            ("true", "true"),
            ("007", "\"007\""),
            ("1e3", "\"1e3\""),
            ("NaN", "\"NaN\""),
            ("a,b", "\"a,b\""),
            ("a\"\\\n", "\"a\\\"\\\\\\u000A\""),
        ] {
            let written = literal(value);
            assert_eq!(written, want);
            let table: toml::Table = format!("key = {written}").parse().unwrap();
            let read = match &table["key"] {
                toml::Value::String(text) => text.clone(),
                other => match other {
                    toml::Value::Integer(number) => number.to_string(),
                    toml::Value::Float(number) => number.to_string(),
                    other => other.as_bool().unwrap().to_string(),
                },
            };
            assert_eq!(read, value);
        }
    }
}
