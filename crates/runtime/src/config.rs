//! The configuration file: settings below flags and environment, above the defaults.
//!
//! Flat TOML; a key is a setting's name in lower case without its prefix (`lease_seconds`). One
//! file may serve every program, as one environment may. Every value is checked here, against the
//! argument it stands for, because clap trusts a default.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use toml::Value;

use crate::arguments::in_words;
use crate::environment::{self, PREFIX};

/// Names the file where no `--config` does.
pub(crate) const VARIABLE: &str = "SNOWPACK_CONFIG";

/// Besides those clap splits: lists whose own parsers split them at commas.
const LISTS: [&str; 2] = ["SNOWPACK_TABLES_EXCLUDE", "SNOWPACK_TABLES_INCLUDE"];

/// What a file sets, by variable, as text.
#[derive(Debug, Default)]
pub(crate) struct File {
    values: BTreeMap<String, &'static str>,
}

impl File {
    /// Reads and checks a file for `command`.
    pub(crate) fn read(path: &Path, command: &Command) -> Result<Self, String> {
        let place = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("configuration file {place}: {error}"))?;
        Self::parse(&text, command).map_err(|why| format!("configuration file {place}: {why}"))
    }

    fn parse(text: &str, command: &Command) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            // Its own words quote the line, which may hold a secret.
            let line = error.span().map_or(1, |span| {
                1 + text[..span.start.min(text.len())].matches('\n').count()
            });
            let message = error.message().replace('\n', "; ");
            format!("line {line}: not TOML: {message}")
        })?;
        let known = environment::known(command);
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let name = format!("{PREFIX}{}", key.to_uppercase());
            if key != key.to_lowercase() || !known.contains(&name) || name == VARIABLE {
                let keys = known.iter().filter(|name| *name != VARIABLE);
                return Err(unknown(&key, keys.map(|name| setting(name))));
            }
            let arguments = arguments(command, &name);
            let text = plain(&value, takes_list(&name, &arguments))
                .map_err(|why| format!("{key}: {why}"))?;
            for argument in arguments {
                check(&key, &text, argument)?;
            }
            // A default lives as long as the process; the file is read once.
            let text: &'static str = Box::leak(text.into_boxed_str());
            values.insert(name, text);
        }
        Ok(Self { values })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'static str> {
        self.values.get(name).copied()
    }

    /// `command` and those below it, with the file's values as defaults.
    pub(crate) fn under(&self, command: Command) -> Command {
        let named: Vec<(String, &'static str)> = command
            .get_arguments()
            .filter_map(|argument| {
                let value = self.get(&variable(argument)?)?;
                Some((argument.get_id().to_string(), value))
            })
            .collect();
        let below: Vec<String> = command
            .get_subcommands()
            .map(|below| below.get_name().to_owned())
            .collect();
        let command = named.into_iter().fold(command, |command, (id, value)| {
            command.mut_arg(id, |argument| argument.required(false).default_value(value))
        });
        below.into_iter().fold(command, |command, name| {
            command.mut_subcommand(name, |below| self.under(below))
        })
    }
}

/// The variable of an argument.
pub(crate) fn variable(argument: &Arg) -> Option<String> {
    let name = argument.get_env()?;
    Some(name.to_string_lossy().into_owned())
}

/// A setting's name in a file.
pub(crate) fn setting(variable: &str) -> String {
    variable
        .strip_prefix(PREFIX)
        .unwrap_or(variable)
        .to_lowercase()
}

/// The arguments, in `command` and below, that read the variable: none when it is another
/// program's.
fn arguments<'a>(command: &'a Command, name: &str) -> Vec<&'a Arg> {
    let own = command
        .get_arguments()
        .filter(|argument| variable(argument).as_deref() == Some(name));
    let below = command
        .get_subcommands()
        .flat_map(|below| arguments(below, name));
    own.chain(below).collect()
}

/// Whether a list is understood; of another program's setting it is not known.
fn takes_list(name: &str, arguments: &[&Arg]) -> bool {
    let splits = |argument: &&Arg| argument.get_value_delimiter() == Some(',');
    LISTS.contains(&name) || arguments.iter().all(splits)
}

/// A value as its variable would hold it.
fn plain(value: &Value, list: bool) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        // With its point, so that no whole number is read from it.
        Value::Float(number) => Ok(format!("{number:?}")),
        Value::Boolean(yes) => Ok(yes.to_string()),
        Value::Array(parts) if list => {
            let text = |part: &Value| plain(part, false);
            let parts = parts.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            Ok(parts.join(","))
        }
        Value::Array(_) => Err("a list; allowed: one value".to_owned()),
        Value::Table(_) => Err("a section; allowed: one value, as keys are flat".to_owned()),
        Value::Datetime(_) => Err("a date; allowed: a text, a number, true or false".to_owned()),
    }
}

/// Parses the value as the argument alone would.
fn check(key: &str, text: &str, argument: &Arg) -> Result<(), String> {
    let long = argument.get_long().unwrap_or_default().to_owned();
    let alone = Command::new("file")
        .no_binary_name(true)
        .arg(valued(argument.clone().required(false).global(false)));
    let parsed = alone.try_get_matches_from([format!("--{long}={text}")]);
    parsed.map(drop).map_err(|error| {
        let own = Command::new("file").arg(argument.clone());
        let said = in_words(&own, &error, |_| None).unwrap_or_else(|| error.to_string());
        said.replacen(&format!("--{long}"), key, 1)
    })
}

/// A switch takes no value on the command line; in the environment and here it does.
fn valued(argument: Arg) -> Arg {
    if argument.get_action().takes_values() {
        return argument;
    }
    argument.action(ArgAction::Set).num_args(1)
}

fn unknown(key: &str, keys: impl Iterator<Item = String>) -> String {
    let keys: Vec<String> = keys.collect();
    // Whoever writes a variable's name means what stands behind its prefix.
    let meant = key.strip_prefix("snowpack_").unwrap_or(key);
    match environment::nearest(meant, keys.iter(), key.len() / 2) {
        Some(nearest) => format!("key `{key}` is unknown; did you mean {nearest}?"),
        None => format!("key `{key}` is unknown; allowed: {}", keys.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use clap::builder::BoolishValueParser;

    use super::*;
    use crate::number;

    fn command() -> Command {
        let arg = |id: &'static str, variable: &'static str| Arg::new(id).long(id).env(variable);
        Command::new("program")
            .no_binary_name(true)
            .arg(
                arg("lease-seconds", "SNOWPACK_LEASE_SECONDS")
                    .default_value("60")
                    .value_parser(number(2..=600)),
            )
            .arg(
                arg("exit-when-idle", "SNOWPACK_EXIT_WHEN_IDLE")
                    .action(ArgAction::SetTrue)
                    .value_parser(BoolishValueParser::new()),
            )
            .arg(
                arg("scaler-token", "SNOWPACK_SCALER_TOKEN")
                    .hide_env_values(true)
                    .value_parser(number(7..=9)),
            )
            .arg(arg("tables-include", "SNOWPACK_TABLES_INCLUDE"))
            .subcommand(
                Command::new("dig")
                    .arg(
                        arg("worker-pools", "SNOWPACK_WORKER_POOLS")
                            .default_value("default")
                            .action(ArgAction::Append)
                            .value_delimiter(','),
                    )
                    .arg(arg("database-url", "SNOWPACK_DATABASE_URL").required(true)),
            )
    }

    #[track_caller]
    fn refuses(text: &str, want: &str) {
        let error = File::parse(text, &command()).unwrap_err();
        assert_eq!(error, want, "for {text}");
    }

    #[test]
    fn wrong_values_are_refused_with_key_value_and_what_is_allowed() {
        let seconds = "allowed: a whole number from 2 to 600";
        for value in ["1", "601", "-1", "60.0", "true", "nan"] {
            let shown = if value == "nan" { "NaN" } else { value };
            let want = format!("lease_seconds = `{shown}`: {seconds}");
            refuses(&format!("lease_seconds = {value}"), &want);
        }
        refuses(
            "lease_seconds = 'soon'",
            &format!("lease_seconds = `soon`: {seconds}"),
        );
        refuses(
            "exit_when_idle = 'maybe'",
            "exit_when_idle = `maybe`: allowed: true, false",
        );
        refuses(
            "scaler_token = 'hunter2'",
            "scaler_token = `(hidden)`: allowed: a whole number from 7 to 9",
        );
    }

    #[test]
    fn wrong_types_are_refused() {
        refuses(
            "lease_seconds = [60]",
            "lease_seconds: a list; allowed: one value",
        );
        refuses(
            "worker_pools = ['a', ['b']]",
            "worker_pools: a list; allowed: one value",
        );
        refuses(
            "[lease_seconds]\nleast = 2",
            "lease_seconds: a section; allowed: one value, as keys are flat",
        );
        refuses(
            "lease_seconds = 2026-01-01",
            "lease_seconds: a date; allowed: a text, a number, true or false",
        );
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_name() {
        for (key, nearest) in [
            ("lease_secs", "lease_seconds"),
            ("Lease_Seconds", "lease_seconds"),
            ("exit-when-idle", "exit_when_idle"),
            ("snowpack_warehouse", "warehouse"),
        ] {
            let want = format!("key `{key}` is unknown; did you mean {nearest}?");
            refuses(&format!("{key} = 1"), &want);
        }
        let error = File::parse("xyzzy_qqqqq = 1", &command()).unwrap_err();
        assert!(
            error.starts_with("key `xyzzy_qqqqq` is unknown; allowed: admin_addr, "),
            "{error}"
        );
        assert!(File::parse("config = 'other.toml'", &command()).is_err());
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_line_and_without_its_text() {
        for text in ["\n\nscaler_token = hunter2", "\n\nscaler_token 'hunter2"] {
            let error = File::parse(text, &command()).unwrap_err();
            assert!(error.starts_with("line 3: not TOML: "), "{error}");
            assert!(
                !error.contains("hunter2") && !error.contains('\n'),
                "{error}"
            );
        }
        let error = File::parse("log = 'a'\nlog = 'b'", &command()).unwrap_err();
        assert!(error.contains("duplicate key"), "{error}");
    }

    #[test]
    fn values_stand_below_flags_and_above_defaults_in_every_command() {
        let text = "lease_seconds = 30\nexit_when_idle = true\ntables_include = ['a.*', 'b.*']\n\
                    worker_pools = ['large', 'small']\ndatabase_url = 'postgres://h/d'\n\
                    health_concurrency = 3\njwt_role_claim = ['anything']";
        let file = File::parse(text, &command()).unwrap();
        let matches = |words: &[&str]| {
            let command = file.under(command());
            command.try_get_matches_from(words).unwrap()
        };
        let given = matches(&["dig"]);
        assert_eq!(given.get_one("lease-seconds"), Some(&30_u64));
        assert!(given.get_flag("exit-when-idle"));
        let include: &String = given.get_one("tables-include").unwrap();
        assert_eq!(include, "a.*,b.*");
        let dig = given.subcommand_matches("dig").unwrap();
        let pools: Vec<&String> = dig.get_many("worker-pools").unwrap().collect();
        assert_eq!(pools, ["large", "small"]);
        let url: &String = dig.get_one("database-url").unwrap();
        assert_eq!(url, "postgres://h/d");
        let given = matches(&["--lease-seconds=40", "dig", "--worker-pools=tiny"]);
        assert_eq!(given.get_one("lease-seconds"), Some(&40_u64));
        let dig = given.subcommand_matches("dig").unwrap();
        let pools: Vec<&String> = dig.get_many("worker-pools").unwrap().collect();
        assert_eq!(pools, ["tiny"]);
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let read = |path: &str| File::read(Path::new(path), &command()).unwrap_err();
        let absent = read("/nowhere/snowpack.toml");
        assert!(
            absent.starts_with("configuration file /nowhere/snowpack.toml: No such file"),
            "{absent}"
        );
        let folder = read(env!("CARGO_MANIFEST_DIR"));
        assert!(folder.contains("directory"), "{folder}");
    }
}
