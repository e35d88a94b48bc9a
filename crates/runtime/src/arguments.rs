//! The command line and the environment, read once into the binary's own shape.
//!
//! clap names only the flag when a value is wrong, even if the value came from a variable;
//! whoever reads the log of a pod that did not start needs the variable. So refusals are put
//! in words here: variable, value, what is allowed.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser};

use crate::environment;
use crate::process;

/// Reads the arguments, or says what is wrong on stderr and returns the code to exit with
/// (0 after `--help` and `--version`, else 2).
pub fn arguments<A: Parser>() -> Result<A, ExitCode> {
    let command = A::command();
    let parsed = A::try_parse();
    if let Err(error) = &parsed
        && matches!(
            error.kind(),
            ErrorKind::DisplayHelp
                | ErrorKind::DisplayVersion
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        )
    {
        // Nothing is left to tell anybody when even this cannot be written.
        let _ = error.print();
        return Err(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
    }
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let refused = match (environment::check(&command, names), parsed) {
        (Err(unknown), _) => unknown,
        (Ok(()), Err(error)) => in_words(&command, &error, |name| std::env::var(name).ok())
            .unwrap_or_else(|| {
                error
                    .to_string()
                    .trim_start_matches("error: ")
                    .trim_end()
                    .to_owned()
            }),
        (Ok(()), Ok(arguments)) => return Ok(arguments),
    };
    process::say(command.get_name(), &refused);
    Err(ExitCode::from(process::USAGE))
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
fn in_words(
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
    let why = match (
        error.get(ContextKind::ValidValue),
        std::error::Error::source(error),
    ) {
        (Some(ContextValue::Strings(allowed)), _) if !allowed.is_empty() => {
            format!("allowed: {}", allowed.join(", "))
        }
        (_, Some(source)) => source.to_string(),
        _ => "it is empty".to_owned(),
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
