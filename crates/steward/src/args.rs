//! What applies where no property says otherwise, and what one run may spend.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::ValueEnum;
use policy::{Budget, Defaults, property};

use crate::orchestrate::Settings;

/// As long as a submitter may be.
const NAME_BYTES_MAX: usize = 500;

/// What applies to tables whose properties say nothing
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Policy")]
pub struct PolicyArgs {
    /// Which tables are maintained when neither they nor their database say so
    #[arg(long, env = "SNOWPACK_ENROLMENT", value_enum, default_value_t = Enrolment::OptIn)]
    pub enrolment: Enrolment,
    /// Hours between two maintenances of one table
    #[arg(
        long,
        env = "SNOWPACK_CADENCE_HOURS",
        default_value = "6",
        value_name = "HOURS",
        value_parser = decimal(property::CADENCE_HOURS)
    )]
    pub cadence_hours: f64,
    /// Size a data file should have, in bytes
    #[arg(
        long,
        env = "SNOWPACK_TARGET_FILE_SIZE_BYTES",
        default_value = "536870912",
        value_name = "BYTES",
        value_parser = runtime::number(property::TARGET_BYTES)
    )]
    pub target_file_size_bytes: u64,
    /// Snapshots older than so many days may go
    #[arg(
        long,
        env = "SNOWPACK_MAX_SNAPSHOT_AGE_DAYS",
        default_value = "5",
        value_name = "DAYS",
        value_parser = decimal(property::SNAPSHOT_AGE_DAYS)
    )]
    pub max_snapshot_age_days: f64,
    /// Small files that are worth a rewrite
    #[arg(
        long,
        env = "SNOWPACK_MIN_INPUT_FILES",
        default_value = "5",
        value_name = "COUNT",
        value_parser = whole(property::COUNT)
    )]
    pub min_input_files: u32,
    /// Delete files on a data file that make its rewrite worth it
    #[arg(
        long,
        env = "SNOWPACK_REWRITE_DATA_DELETE_FILE_THRESHOLD",
        default_value = "2",
        value_name = "COUNT",
        value_parser = whole(property::COUNT)
    )]
    pub rewrite_data_delete_file_threshold: u32,
    /// Share of a data file's rows that are deleted and make its rewrite worth it
    #[arg(
        long,
        env = "SNOWPACK_REWRITE_DATA_DELETE_RATIO_THRESHOLD",
        default_value = "0.1",
        value_name = "SHARE",
        value_parser = share
    )]
    pub rewrite_data_delete_ratio_threshold: f64,
    /// Commits one rewrite may be cut into
    #[arg(
        long,
        env = "SNOWPACK_PARTIAL_PROGRESS_MAX_COMMITS",
        default_value = "10",
        value_name = "COUNT",
        value_parser = whole(property::COUNT)
    )]
    pub partial_progress_max_commits: u32,
}

/// Which tables are maintained when nobody said anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Enrolment {
    /// Only those that say `snowpack.maintenance_enabled=true`
    OptIn,
    /// All but those that say `snowpack.maintenance_enabled=false`
    OptOut,
}

impl PolicyArgs {
    pub fn defaults(&self) -> Defaults {
        Defaults {
            enrolment: match self.enrolment {
                Enrolment::OptIn => policy::Enrolment::OptIn,
                Enrolment::OptOut => policy::Enrolment::OptOut,
            },
            maintenance_cadence_hours: self.cadence_hours,
            target_file_size_bytes: self.target_file_size_bytes,
            max_snapshot_age_days: self.max_snapshot_age_days,
            min_input_files: self.min_input_files,
            rewrite_data_delete_file_threshold: self.rewrite_data_delete_file_threshold,
            rewrite_data_delete_ratio_threshold: self.rewrite_data_delete_ratio_threshold,
            partial_progress_max_commits: self.partial_progress_max_commits,
        }
    }
}

/// What one run may spend; not set is no limit
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Budget of one run")]
pub struct BudgetArgs {
    /// Jobs one run submits at most
    #[arg(
        long,
        env = "SNOWPACK_JOBS_MAX_PER_RUN",
        value_name = "COUNT",
        value_parser = whole(0..=u32::MAX)
    )]
    pub jobs_max_per_run: Option<u32>,
    /// Jobs one run submits for one database at most
    #[arg(
        long,
        env = "SNOWPACK_JOBS_MAX_PER_DATABASE",
        value_name = "COUNT",
        value_parser = whole(0..=u32::MAX)
    )]
    pub jobs_max_per_database: Option<u32>,
    /// Jobs that wait or run at most, those of earlier runs included
    #[arg(
        long,
        env = "SNOWPACK_JOBS_MAX_LIVE",
        value_name = "COUNT",
        value_parser = whole(0..=u32::MAX)
    )]
    pub jobs_max_live: Option<u32>,
    /// Predicted memory x time one run's jobs may cost, in GB-hours
    #[arg(
        long,
        env = "SNOWPACK_GB_HOURS_MAX_PER_RUN",
        value_name = "GB_HOURS",
        value_parser = decimal(0.0..=1e12)
    )]
    pub gb_hours_max_per_run: Option<f64>,
}

impl BudgetArgs {
    pub fn budget(&self) -> Budget {
        Budget {
            jobs_max: self.jobs_max_per_run,
            jobs_per_database_max: self.jobs_max_per_database,
            running_max: self.jobs_max_live,
            gb_hours_max: self.gb_hours_max_per_run,
        }
    }
}

/// How old the inventory may be
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
#[group(skip)]
pub struct CacheAgeArgs {
    /// Refuse to decide by a table cache that is older
    #[arg(
        long,
        env = "SNOWPACK_CACHE_AGE_MAX_SECONDS",
        default_value = "3600",
        value_name = "SECONDS",
        value_parser = runtime::number(1..=864_000)
    )]
    cache_age_max_seconds: u64,
}

impl CacheAgeArgs {
    pub fn max(&self) -> Duration {
        Duration::from_secs(self.cache_age_max_seconds)
    }
}

/// One orchestrator run
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[group(skip)]
pub struct OrchestrateArgs {
    /// Decide and record why, and submit nothing
    #[arg(
        long,
        env = "SNOWPACK_DRY_RUN",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub dry_run: bool,
    /// Who is recorded as having asked for the run [default: the program, or the person]
    #[arg(long, env = "SNOWPACK_TRIGGERED_BY", value_name = "NAME", value_parser = somebody)]
    pub triggered_by: Option<String>,
    /// Wait for the jobs submitted and count how they end; a dry run has none
    #[arg(long)]
    pub wait: bool,
    /// With --wait: how long at most
    #[arg(
        long,
        env = "SNOWPACK_WAIT_SECONDS",
        default_value = "3600",
        value_name = "SECONDS",
        value_parser = runtime::number(1..=604_800)
    )]
    pub wait_seconds: u64,
    #[command(flatten)]
    pub cache_age: CacheAgeArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub budget: BudgetArgs,
}

impl OrchestrateArgs {
    /// `asks` is who is recorded unless the arguments say somebody.
    pub fn settings(&self, asks: impl Into<String>) -> Settings {
        Settings {
            defaults: self.policy.defaults(),
            budget: self.budget.budget(),
            dry_run: self.dry_run,
            wait: (self.wait && !self.dry_run).then(|| Duration::from_secs(self.wait_seconds)),
            cache_age_max: self.cache_age.max(),
            triggered_by: self.triggered_by.clone().unwrap_or_else(|| asks.into()),
        }
    }
}

/// For `value_parser`: somebody's name.
fn somebody(text: &str) -> Result<String, String> {
    if text.is_empty() || NAME_BYTES_MAX < text.len() || text.chars().any(char::is_control) {
        return Err(format!(
            "allowed: 1 to {NAME_BYTES_MAX} bytes without control characters"
        ));
    }
    Ok(text.to_owned())
}

/// For `value_parser`: a whole number in `allowed`.
fn whole(
    allowed: RangeInclusive<u32>,
) -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    let number = runtime::number(u64::from(*allowed.start())..=u64::from(*allowed.end()));
    move |text| Ok(u32::try_from(number(text)?).unwrap_or(u32::MAX))
}

/// For `value_parser`: a part of something, and not none of it.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok();
    share
        .filter(|share| property::RATIO.contains(share))
        .ok_or_else(|| "allowed: a number above 0 and at most 1".to_owned())
}

/// For `value_parser`: a number in `allowed`; neither NaN nor infinite.
fn decimal(
    allowed: RangeInclusive<f64>,
) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text: &str| {
        let number = text.parse().ok().filter(|number| allowed.contains(number));
        number.ok_or_else(|| {
            format!(
                "allowed: a number from {} to {}",
                allowed.start(),
                allowed.end()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        orchestrate: OrchestrateArgs,
    }

    fn parse(words: &[&str]) -> Result<Program, clap::Error> {
        Program::try_parse_from(["program"].iter().chain(words))
    }

    #[test]
    fn m27_nothing_said_is_the_contracts_defaults_and_no_limit() {
        let program = parse(&[]).unwrap();
        assert_eq!(program.orchestrate.policy.defaults(), Defaults::default());
        assert_eq!(program.orchestrate.budget.budget(), Budget::default());
    }

    #[test]
    fn m27_each_default_can_be_set() {
        let program = parse(&[
            "--enrolment=opt-out",
            "--cadence-hours=0.5",
            "--target-file-size-bytes=2000",
            "--max-snapshot-age-days=1.5",
            "--min-input-files=2",
            "--rewrite-data-delete-file-threshold=3",
            "--rewrite-data-delete-ratio-threshold=0.25",
            "--partial-progress-max-commits=4",
        ])
        .unwrap();
        let want = Defaults {
            enrolment: policy::Enrolment::OptOut,
            maintenance_cadence_hours: 0.5,
            target_file_size_bytes: 2000,
            max_snapshot_age_days: 1.5,
            min_input_files: 2,
            rewrite_data_delete_file_threshold: 3,
            rewrite_data_delete_ratio_threshold: 0.25,
            partial_progress_max_commits: 4,
        };
        assert_eq!(program.orchestrate.policy.defaults(), want);
    }

    #[test]
    fn a_run_is_recorded_for_who_is_named_and_a_dry_run_waits_for_nothing() {
        let settings = |words: &[&str]| parse(words).unwrap().orchestrate.settings("program");
        assert_eq!(settings(&[]).triggered_by, "program");
        assert_eq!(
            settings(&["--triggered-by=api:ann"]).triggered_by,
            "api:ann"
        );
        assert!(settings(&["--wait"]).wait.is_some());
        let dry = settings(&["--wait", "--dry-run"]);
        assert!(dry.dry_run && dry.wait.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_is_allowed() {
        for (word, allowed) in [
            ("--enrolment=all", "opt-in, opt-out"),
            ("--cadence-hours=NaN", "from 0 to 87600"),
            ("--cadence-hours=-1", "from 0 to 87600"),
            ("--max-snapshot-age-days=inf", "from 0 to 36500"),
            ("--min-input-files=0", "from 1 to 1000000"),
            ("--target-file-size-bytes=512", "from 1024 to 1099511627776"),
            ("--rewrite-data-delete-ratio-threshold=1.1", "at most 1"),
            ("--rewrite-data-delete-ratio-threshold=0", "above 0"),
            ("--gb-hours-max-per-run=-0.1", "from 0 to 1000000000000"),
            ("--wait-seconds=0", "from 1 to 604800"),
            ("--triggered-by=", "1 to 500 bytes"),
            ("--triggered-by=a\nb", "without control characters"),
            ("--cache-age-max-seconds=never", "from 1 to 864000"),
            ("--jobs-max-per-run=many", "from 0 to 4294967295"),
        ] {
            let error = parse(&[word]).unwrap_err().to_string();
            assert!(error.contains(allowed), "{word}: {error}");
        }
    }

    #[test]
    fn every_setting_is_known_to_the_programs() {
        use clap::CommandFactory;
        for argument in Program::command().get_arguments() {
            if let Some(name) = argument.get_env().and_then(|name| name.to_str()) {
                assert!(runtime::SETTINGS.contains(&name), "{name}");
            }
        }
    }
}
