//! The health sync's settings. Interfaces others call: names do not change.

use std::time::Duration;

const EXIT_CODES: &str = "\
Looks at every table of the inventory once, the one that waited longest first, and stores what
it finds. Run it on a schedule; a run that is cut short leaves the rest for the next.

Signals:
  SIGTERM, SIGINT   begin no further table; end those that are looked at, within the grace period
  the second one    end at once

Exit codes:
  0  every table was assessed
  1  some were: others failed, or the run was cut short (deadline, signal, nobody answers)
  2  none were, or bad usage";

/// Assesses the health of every table of the inventory
#[derive(Debug, clap::Parser)]
#[command(name = crate::NAME, version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) database: pg::Args,
    #[command(flatten)]
    pub(crate) catalog: catalog::Args,
    #[command(flatten)]
    pub(crate) storage: storage::Args,
    #[command(flatten)]
    pub(crate) start: steward::start::StartArgs,
    /// After SIGTERM, time for tables that are looked at, 0 to 3600; stay well below the
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
    pub(crate) log: runtime::LogArgs,
    #[command(flatten)]
    pub(crate) sync: steward::health::SyncArgs,
    #[command(flatten)]
    pub(crate) policy: steward::PolicyArgs,
}

impl Args {
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_setting_is_known_to_the_other_programs() {
        for argument in Args::command().get_arguments() {
            if let Some(name) = argument.get_env().and_then(|name| name.to_str()) {
                assert!(runtime::SETTINGS.contains(&name), "{name}");
            }
        }
    }
}
