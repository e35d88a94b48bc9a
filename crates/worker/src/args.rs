//! The worker's settings. Interfaces others call: names do not change.

use std::time::Duration;

const EXIT_CODES: &str = "\
Signals:
  SIGTERM, SIGINT   take no more jobs; end what runs at the next safe point, within the
                    grace period; then hand back what remains
  the second one    hand back at once

Exit codes:
  0  stopped by a signal, idle (--exit-when-idle) or done (--max-jobs);
     every job was finished or handed back
  1  could not start, or not hand back (leases run out by themselves)
  2  bad usage";

/// Claims maintenance jobs, keeps their leases and runs them
#[derive(Debug, clap::Parser)]
#[command(name = crate::NAME, version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) database: pg::Args,
    #[command(flatten)]
    pub(crate) listen: pg::ListenArgs,
    #[command(flatten)]
    pub(crate) catalog: catalog::Args,
    #[command(flatten)]
    pub(crate) storage: storage::Args,
    /// Jobs run at once, 1 to 256
    #[arg(
        long,
        env = "SNOWPACK_WORKER_SLOTS",
        default_value = "2",
        value_name = "COUNT",
        value_parser = runtime::number(1..=256)
    )]
    worker_slots: u64,
    /// Pools served, the first one first, separated by commas
    #[arg(
        long,
        env = "SNOWPACK_WORKER_POOLS",
        default_value = "default",
        value_name = "NAMES",
        value_delimiter = ',',
        value_parser = pool
    )]
    pub(crate) worker_pools: Vec<String>,
    /// Name shown as the holder of its jobs; a random part is added, so that a restarted pod of
    /// the same name does not inherit them [default: the host's name]
    #[arg(long, env = "SNOWPACK_WORKER_NAME", value_name = "NAME", value_parser = worker_name)]
    pub(crate) worker_name: Option<String>,
    /// Memory all its jobs may use together, in bytes, 64 MiB at least; a job waits until its
    /// plan's share is free [default: three quarters of the container's limit or the machine]
    #[arg(
        long,
        env = "SNOWPACK_MEMORY_BYTES",
        value_name = "BYTES",
        value_parser = runtime::number(runner::MEMORY_BYTES_MIN..=u64::MAX)
    )]
    memory_bytes: Option<u64>,
    /// A job whose worker says nothing for so long is given to another, 2 to 600; below 15 a
    /// short pause of Postgres costs jobs their attempt
    #[arg(
        long,
        env = "SNOWPACK_LEASE_SECONDS",
        default_value = "60",
        value_name = "SECONDS",
        value_parser = runtime::number(2..=600)
    )]
    lease_seconds: u64,
    /// An action without progress for so long is stopped, 1 to 86400
    #[arg(
        long,
        env = "SNOWPACK_STALL_SECONDS",
        default_value = "900",
        value_name = "SECONDS",
        value_parser = runtime::number(1..=86_400)
    )]
    stall_seconds: u64,
    /// After SIGTERM, time for a job to reach a safe point, 0 to 3600; stay well below the
    /// pod's terminationGracePeriodSeconds
    #[arg(
        long,
        env = "SNOWPACK_GRACE_SECONDS",
        default_value = "25",
        value_name = "SECONDS",
        value_parser = runtime::number(0..=3_600)
    )]
    grace_seconds: u64,
    #[command(flatten)]
    pub(crate) start: steward::start::StartArgs,
    /// Exit when nothing is due and nothing runs
    #[arg(
        long,
        env = "SNOWPACK_EXIT_WHEN_IDLE",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub(crate) exit_when_idle: bool,
    /// Exit after so many jobs
    #[arg(
        long,
        env = "SNOWPACK_MAX_JOBS",
        value_name = "COUNT",
        value_parser = runtime::number(1..=u64::MAX)
    )]
    pub(crate) max_jobs: Option<u64>,
    #[command(flatten)]
    pub(crate) pod: k8s::PodArgs,
    #[command(flatten)]
    pub(crate) admin: runtime::AdminArgs,
    #[command(flatten)]
    pub(crate) log: runtime::LogArgs,
}

impl Args {
    pub(crate) fn slots(&self) -> usize {
        usize::try_from(self.worker_slots).unwrap_or(usize::MAX)
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.unwrap_or_else(runner::memory_bytes)
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }

    pub(crate) fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_seconds)
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }
}

fn pool(text: &str) -> Result<String, String> {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if text.is_empty() || text.len() > 63 || !plain {
        return Err(
            "allowed: names of 1 to 63 letters, digits, `_`, `-`, `.`, separated by \
                    commas"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

fn worker_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 253 || text.chars().any(char::is_control) {
        return Err("allowed: 1 to 253 bytes without control characters".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn every_setting_is_known_to_the_other_programs() {
        for argument in Args::command().get_arguments() {
            if let Some(name) = argument.get_env().and_then(|name| name.to_str()) {
                assert!(runtime::SETTINGS.contains(&name), "{name}");
            }
        }
    }

    #[test]
    fn pools_are_a_list_of_plain_names() {
        let parse = |pools: &str| {
            Args::try_parse_from([
                crate::NAME,
                "--database-url=postgres://h/d",
                "--worker-pools",
                pools,
            ])
        };
        assert_eq!(parse("l,default").unwrap().worker_pools, ["l", "default"]);
        for bad in ["", "a,", "a b", "a;b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
