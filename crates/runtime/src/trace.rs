//! Logs: one line per event on stderr, as text for people or JSON for collectors.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::Error;

/// Modules that call an ERROR what their callers handle. Who names them in a filter hears them.
const HUSHED: &str = "kube_client=off";

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line
    Json,
    /// One line of text, coloured on a terminal
    Text,
}

/// What is logged, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct LogArgs {
    /// What to log: off, error, warn, info, debug or trace; or per module, as in
    /// `warn,runner=debug`
    #[arg(
        long,
        env = "SNOWPACK_LOG",
        default_value = "info",
        value_name = "FILTER",
        value_parser = checked_filter,
        global = true
    )]
    pub log: String,
    /// How a log line looks
    #[arg(
        long,
        env = "SNOWPACK_LOG_FORMAT",
        value_enum,
        default_value = "text",
        value_name = "FORMAT",
        global = true
    )]
    pub log_format: LogFormat,
}

impl LogArgs {
    /// Sends the process's events to stderr. Once per process.
    pub fn install(&self) -> Result<(), Error> {
        let filter = EnvFilter::builder()
            .parse(format!("{HUSHED},{}", self.log))
            .map_err(|source| Error::Log(Box::new(source)))?;
        let lines = fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(self.log_format == LogFormat::Text && io::stderr().is_terminal());
        match self.log_format {
            LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
            LogFormat::Text => lines.finish().try_init(),
        }
        .map_err(|source| Error::Log(Box::new(source)))
    }
}

/// Refuses what `EnvFilter` takes silently: a bare word that is no level would be read as the
/// name of a module and switch everything else off.
fn checked_filter(text: &str) -> Result<String, String> {
    const ALLOWED: &str =
        "allowed: off, error, warn, info, debug, trace, or module=level, separated by commas";
    for part in text.split(',').map(str::trim) {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        let known = ["off", "error", "warn", "info", "debug", "trace"]
            .iter()
            .any(|name| name.eq_ignore_ascii_case(level));
        if !known {
            return Err(format!("`{level}` is no level; {ALLOWED}"));
        }
    }
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| format!("{error}; {ALLOWED}"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_levels_per_module_are_filters() {
        for filter in [
            "info",
            "WARN",
            "off",
            "warn,runner=debug",
            "lake::rewrite=trace, info",
        ] {
            assert_eq!(checked_filter(filter), Ok(filter.to_owned()));
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_with_what_is_allowed() {
        for filter in [
            "verbose",
            "",
            "info,",
            "runner",
            "runner=loud",
            "info;debug",
        ] {
            let error = checked_filter(filter).unwrap_err();
            assert!(
                error.contains("allowed: off, error, warn"),
                "{filter}: {error}"
            );
        }
    }
}
