//! The command line, the environment and the configuration file, read once into the binary's
//! own shape.
//!
//! clap names only the flag when a value is wrong, even if the value came from a variable;
//! whoever reads the log of a pod that did not start needs the variable. So refusals are put
//! in words here: variable, value, what is allowed.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, Parser};

use crate::config::{self, File};
use crate::{effective, environment, process};

const CONFIG: &str = "config";
const PRINT_CONFIG: &str = "print-config";

/// Reads the arguments, or says what is wrong on stderr and returns the code to exit with
/// (0 after `--help`, `--version` and `--print-config`, else 2). What binaries need not know of:
/// `--config FILE` and `--print-config`.
pub fn arguments<A: Parser>() -> Result<A, ExitCode> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let command = command::<A>();
    match read(&command, &words) {
        Ok(Read::Matches(matches)) => {
            // It was checked while it was parsed.
            A::from_arg_matches(&matches).map_err(|error| refuse(&command, &error.to_string()))
        }
        Ok(Read::Page(page)) => {
            // Nobody is left to read it when it cannot be written.
            let _ = std::io::stdout().write_all(page.as_bytes());
            Err(ExitCode::SUCCESS)
        }
        Err(Refused::Shown(error)) => {
            // Nothing is left to tell anybody when even this cannot be written.
            let _ = error.print();
            Err(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)))
        }
        Err(Refused::Because(why)) => Err(refuse(&command, &why)),
    }
}

/// The whole command, as for completions: the binary's own and what every program has.
pub fn command<A: CommandFactory>() -> Command {
    with_config(A::command())
}

fn refuse(command: &Command, why: &str) -> ExitCode {
    process::say(
        command.get_name(),
        why.trim_start_matches("error: ").trim_end(),
    );
    ExitCode::from(process::USAGE)
}

enum Read {
    Matches(Box<ArgMatches>),
    /// What `--print-config` prints.
    Page(String),
}

enum Refused {
    /// Help, the version.
    Shown(clap::Error),
    Because(String),
}

fn read(command: &Command, words: &[OsString]) -> Result<Read, Refused> {
    let environment = |name: &str| std::env::var(name).ok();
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let known = environment::check(command, names);
    let printed = flags(words).any(|word| word == "--print-config");
    let command = if printed {
        relaxed(command.clone())
    } else {
        command.clone()
    };
    // Help is given whatever else is wrong; a wrong file is told before what it would have set.
    let path = config_path(&command, words);
    let file = match path {
        Some(path) => File::read(&path, &command),
        None => Ok(File::default()),
    };
    let layered = match &file {
        Ok(file) => file.under(command.clone()),
        Err(_) => command.clone(),
    };
    let parsed = layered.clone().try_get_matches_from(words);
    let parsed = match parsed {
        Err(error) if shows(&error) => return Err(Refused::Shown(error)),
        parsed => parsed,
    };
    known.map_err(Refused::Because)?;
    let file = file.map_err(Refused::Because)?;
    let matches = parsed.map_err(|error| {
        let said = in_words(&layered, &error, environment);
        Refused::Because(said.unwrap_or_else(|| error.to_string()))
    })?;
    if printed {
        let page = effective::page(&command, &matches, &file, environment);
        return Ok(Read::Page(page));
    }
    Ok(Read::Matches(Box::new(matches)))
}

fn shows(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// The command with the two arguments every program has.
fn with_config(command: Command) -> Command {
    command
        .arg(
            Arg::new(CONFIG)
                .long(CONFIG)
                .env(config::VARIABLE)
                .value_name("FILE")
                .global(true)
                .help("Settings in TOML, below flags and environment: `lease_seconds = 60`"),
        )
        .arg(
            Arg::new(PRINT_CONFIG)
                .long(PRINT_CONFIG)
                .action(ArgAction::SetTrue)
                .global(true)
                .help("Print every setting as it applies, with its source, and exit"),
        )
}

/// The words that may be flags.
fn flags(words: &[OsString]) -> impl Iterator<Item = &OsString> {
    words.iter().skip(1).take_while(|word| *word != "--")
}

/// Which file; what else is wrong is found later.
fn config_path(command: &Command, words: &[OsString]) -> Option<PathBuf> {
    let mut flags = flags(words);
    let mut given = None;
    while let Some(word) = flags.next() {
        if word == "--config" {
            given = flags.next().map(PathBuf::from);
        } else if let Some(path) = word
            .to_str()
            .and_then(|word| word.strip_prefix("--config="))
        {
            given = Some(PathBuf::from(path));
        }
    }
    // An empty variable is none, as charts write it; an empty flag is a mistake.
    let variable = command
        .get_arguments()
        .find(|argument| argument.get_id() == CONFIG)
        .and_then(Arg::get_env)
        .and_then(std::env::var_os)
        .filter(|path| !path.is_empty());
    given.or(variable.map(PathBuf::from))
}

/// Nothing is missing when only the settings are asked for.
fn relaxed(command: Command) -> Command {
    command
        .subcommand_required(false)
        .arg_required_else_help(false)
        .mut_args(optional)
        .mut_subcommands(relaxed)
}

/// What has a place and no name is no setting: neither its rules nor its value matter.
fn optional(argument: Arg) -> Arg {
    if !argument.is_positional() {
        return argument.required(false);
    }
    let bare = Arg::new(argument.get_id().clone()).action(argument.get_action().clone());
    match argument.get_num_args() {
        Some(count) => bare.num_args(count),
        None => bare,
    }
}

/// For `value_parser`: an address to listen on.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "allowed: an IP address and a port, as in 127.0.0.1:9090 or [::1]:9090".to_owned()
    })
}

/// For `value_parser`: a whole number in `allowed`.
pub fn number(
    allowed: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync + 'static {
    move |text: &str| {
        let number = text.parse().ok().filter(|number| allowed.contains(number));
        number.ok_or_else(|| {
            let least = allowed.start();
            match *allowed.end() {
                u64::MAX => format!("allowed: a whole number, {least} or more"),
                most => format!("allowed: a whole number from {least} to {most}"),
            }
        })
    }
}

/// The refusal with its variable, or `None` where clap says all there is to say.
pub(crate) fn in_words(
    command: &Command,
    error: &clap::Error,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            wrong_value(command, error, variable)
        }
        ErrorKind::MissingRequiredArgument => missing(command, error),
        _ => None,
    }
}

fn wrong_value(
    command: &Command,
    error: &clap::Error,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let shown = text(error, ContextKind::InvalidArg)?;
    let value = text(error, ContextKind::InvalidValue)?;
    let argument = find(command, shown)?;
    let name = argument
        .get_env()
        .map(|name| name.to_string_lossy().into_owned());
    let place = match name {
        Some(name) if variable(&name).as_deref() == Some(value) => {
            format!("environment variable {name}")
        }
        _ => shown.split(' ').next().unwrap_or(shown).to_owned(),
    };
    let value = if argument.is_hide_env_values_set() {
        "(hidden)"
    } else {
        value
    };
    let why = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(allowed)) if !allowed.is_empty() => {
            format!("allowed: {}", allowed.join(", "))
        }
        _ if argument.get_action().takes_values() => match std::error::Error::source(error) {
            Some(source) => source.to_string(),
            None => "it is empty".to_owned(),
        },
        // Its parser says only that it was none.
        _ => "allowed: true, false".to_owned(),
    };
    Some(format!("{place} = `{value}`: {why}"))
}

fn missing(command: &Command, error: &clap::Error) -> Option<String> {
    let ContextValue::Strings(missing) = error.get(ContextKind::InvalidArg)? else {
        return None;
    };
    let each: Vec<String> = missing
        .iter()
        .map(|shown| match find(command, shown).and_then(Arg::get_env) {
            Some(name) => format!("{shown} (or {} in the environment)", name.to_string_lossy()),
            None => shown.clone(),
        })
        .collect();
    Some(format!("missing: {}; see --help", each.join(", ")))
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

/// The argument that clap shows as `--slots <COUNT>`, in `command` or below.
fn find<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let flag = shown.split([' ', '=']).next().unwrap_or(shown);
    let own = command.get_arguments().find(|argument| {
        argument
            .get_long()
            .is_some_and(|long| flag.strip_prefix("--") == Some(long))
    });
    own.or_else(|| {
        command
            .get_subcommands()
            .find_map(|subcommand| find(subcommand, shown))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("program")
            .no_binary_name(true)
            .arg(
                Arg::new("slots")
                    .long("slots")
                    .env("SNOWPACK_WORKER_SLOTS")
                    .value_parser(number(1..=64)),
            )
            .arg(
                Arg::new("kind")
                    .long("kind")
                    .env("SNOWPACK_CATALOG_TYPE")
                    .value_parser(["sql", "rest"]),
            )
            .arg(Arg::new("listen").long("listen").value_parser(address))
            .arg(
                Arg::new("token")
                    .long("token")
                    .env("SNOWPACK_SCALER_TOKEN")
                    .hide_env_values(true)
                    .value_parser(number(7..=u64::MAX)),
            )
            .arg(
                Arg::new("url")
                    .long("url")
                    .env("SNOWPACK_DATABASE_URL")
                    .required(true),
            )
    }

    #[track_caller]
    fn check(flags: &[&str], variables: &[(&str, &str)], want: &str) {
        let error = command().try_get_matches_from(flags).unwrap_err();
        let variable = |asked: &str| {
            let found = variables.iter().find(|(name, _)| *name == asked);
            found.map(|(_, value)| (*value).to_owned())
        };
        let words = in_words(&command(), &error, variable);
        assert_eq!(words.as_deref(), Some(want), "for {flags:?} and {error}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_variable_and_what_is_allowed() {
        let slots = [("SNOWPACK_WORKER_SLOTS", "65")];
        check(
            &["--url=x", "--slots=65"],
            &slots,
            "environment variable SNOWPACK_WORKER_SLOTS = `65`: allowed: a whole number from 1 to 64",
        );
        check(
            &["--url=x", "--slots=0"],
            &slots,
            "--slots = `0`: allowed: a whole number from 1 to 64",
        );
        check(
            &["--url=x", "--kind=glue"],
            &[("SNOWPACK_CATALOG_TYPE", "glue")],
            "environment variable SNOWPACK_CATALOG_TYPE = `glue`: allowed: sql, rest",
        );
        check(
            &["--url=x", "--listen=9090"],
            &[],
            "--listen = `9090`: allowed: an IP address and a port, as in 127.0.0.1:9090 or \
             [::1]:9090",
        );
    }

    #[test]
    fn a_secret_is_not_repeated() {
        check(
            &["--url=x", "--token=hunter2"],
            &[],
            "--token = `(hidden)`: allowed: a whole number, 7 or more",
        );
    }

    #[test]
    fn what_is_missing_is_named_with_its_variable() {
        check(
            &[],
            &[],
            "missing: --url <url> (or SNOWPACK_DATABASE_URL in the environment); see --help",
        );
    }
}
