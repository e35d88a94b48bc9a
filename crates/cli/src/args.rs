//! What a person may type: commands, options and their examples. Parsed once, checked once.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use maintenance::deletions::{PAGE_MAX, State};
use model::{Action, JobId, JobStatus, TableName};

use crate::bench;
use crate::demo::home::ScratchServer;
use crate::option::ActionOption;
use crate::plan;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  snowpack demo                                    see it work; needs nothing else
  snowpack migrate                                 prepare a Postgres database
  snowpack tables                                  what the catalog holds, and how it looks
  snowpack health db.events                        how healthy it is, and what would help
  snowpack plan db.events rewrite_data_files       what would be done, and why
  snowpack maintain db.events rewrite_data_files   do it now, from this terminal
  snowpack submit db.events rewrite_data_files     let the workers do it
  snowpack jobs --watch                            follow the queue

Exit codes: 0 done (or nothing to do), 1 failed, 2 bad usage.";

/// Keeps Apache Iceberg tables healthy, on nothing but Postgres
#[derive(Debug, Parser)]
#[command(name = "snowpack", version, styles = STYLES, after_help = EXAMPLES, arg_required_else_help = true)]
// A person reads the result, not the log: only what went wrong is logged by default.
#[command(mut_arg("log", |log| log.default_value("warn")))]
pub(crate) struct Cli {
    /// How results are printed on standard output
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) log: runtime::LogArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people
    Text,
    /// One JSON document for programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole of it on this machine: Postgres, a table, a writer, the worker
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Demo),
    /// Bring the database's schema to this version; twice changes nothing
    #[command(
        after_help = "Example:\n  SNOWPACK_DATABASE_URL=postgres://snowpack@localhost/snowpack snowpack migrate"
    )]
    Migrate(Migrate),
    /// List the catalog's tables with their facts
    #[command(
        after_help = "Examples:\n  snowpack tables\n  snowpack tables --namespace db --output json"
    )]
    Tables(Tables),
    /// Show how healthy a table is and what would make it healthier; without one, all, worst first
    #[command(after_help = HEALTH_EXAMPLES)]
    Health(Box<Health>),
    /// Show what an action would do to a table, and why it leaves the rest alone
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(plan::Args),
    /// Do actions on a table now, from this terminal
    #[command(after_help = MAINTAIN_EXAMPLES)]
    Maintain(Maintain),
    /// Queue actions on a table for the workers; prints the job's id
    #[command(after_help = crate::submit::EXAMPLES)]
    Submit(Submit),
    /// List jobs, newest first
    #[command(
        after_help = "Examples:\n  snowpack jobs --status running\n  snowpack jobs --table db.events --limit 5\n  snowpack jobs --watch"
    )]
    Jobs(Jobs),
    /// Show one job with its actions
    #[command(after_help = "Example:\n  snowpack job 0199d7a2-5b1e-7c3a-9f00-3c1f6a7d9e21")]
    Job(OneJob),
    /// Cancel a job: at once when it waits, at the next safe point when it runs
    #[command(after_help = "Example:\n  snowpack cancel 0199d7a2-5b1e-7c3a-9f00-3c1f6a7d9e21")]
    Cancel(OneJob),
    /// Do the work of a failed or cancelled job again, as a new job, or of all that failed
    #[command(after_help = crate::retry::EXAMPLES)]
    Retry(crate::retry::Args),
    /// Show why a table was, or was not, maintained
    #[command(after_help = crate::explain::EXAMPLES)]
    Explain(crate::explain::Args),
    /// Decide about every table and submit what is due, once
    #[command(after_help = crate::orchestrate::EXAMPLES)]
    Orchestrate(crate::orchestrate::Args),
    /// Have Kubernetes run the orchestrator or the health sync now
    #[command(after_help = crate::trigger::EXAMPLES)]
    Trigger(crate::trigger::Args),
    /// List orchestrator runs, or show what one decided
    #[command(after_help = crate::runs::EXAMPLES)]
    Runs(crate::runs::Args),
    /// Show which files wait for their deletion, and what became of others
    #[command(after_help = crate::pending::EXAMPLES)]
    Pending(Pending),
    /// Stop handing out jobs; those that run finish
    #[command(after_help = "Example:\n  snowpack pause --reason 'storage is being moved'")]
    Pause(Pause),
    /// Hand out jobs again
    #[command(after_help = "Example:\n  snowpack resume")]
    Resume(Resume),
    /// See whether it works: a dry run, asked for and read back
    #[command(after_help = crate::check::EXAMPLES)]
    Check(crate::check::Args),
    /// Refuse new jobs, or take them again; what is queued and what runs goes on
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain(Drain),
    /// Measure this version on this machine
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Bench),
    /// Print a shell's completion script
    #[command(
        after_help = "Example:\n  snowpack completions bash > /etc/bash_completion.d/snowpack"
    )]
    Completions(Completions),
}

const DEMO_EXAMPLES: &str = "\
Examples:
  snowpack demo
  snowpack demo --files 1000 --rows 5000
  snowpack demo --fleet 20                    a lakehouse that runs by itself
  snowpack demo --keep /tmp/snowpack-demo     look at the files afterwards

With SNOWPACK_DATABASE_URL set, the demo makes a scratch database on that server and drops it at
the end; nothing that is there already is touched. Without, it starts a private Postgres on the
loopback interface: the binaries on PATH, else the distribution's, else fetched once into the
cache folder. Either way it is stopped and gone at the end, also after Ctrl-C.";

const HEALTH_EXAMPLES: &str = "\
Examples:
  snowpack health db.events
  snowpack health db.events --output json
  snowpack health --namespace db --limit 20

The score is absolute: 100 is healthy, and every lost point names the action that wins it back.
With a migrated SNOWPACK_DATABASE_URL what was found is stored; without a table the newest stored
assessments of the inventory are listed, the worst first.";

const PLAN_EXAMPLES: &str = "\
Examples:
  snowpack plan db.events rewrite_data_files
  snowpack plan db.events rewrite_data_files --columns
  snowpack plan db.events rewrite_data_files --option min-input-files=2 --output json
  snowpack plan db.events expire_snapshots --option older_than=2026-01-31T00:00:00Z";

const MAINTAIN_EXAMPLES: &str = "\
Examples:
  snowpack maintain db.events rewrite_data_files
  snowpack maintain db.events rewrite_data_files --dry-run
  snowpack maintain db.events rewrite_data_files \\
      --option rewrite_data_files.target-file-size-bytes=134217728 --output json
  snowpack maintain db.events expire_snapshots --option older_than=2026-01-31T00:00:00Z
  snowpack maintain db.events expire_snapshots rewrite_data_files purge_pending

It is a job like any other: a running fleet and this command exclude each other on one table.
Ctrl-C ends the job cancelled. Whatever order the actions are given in, they run in the canonical
one. Exit codes: 0 done or nothing to do, 1 failed, 2 bad usage.

Expiry deletes no file: those that nothing refers to any more wait (`snowpack pending`), 24 hours
by default, and purge_pending deletes them if by then still nothing refers to them.

Without SNOWPACK_DATABASE_URL it works on the catalog alone, with no job and no lock. What is
written and what may be deleted is noted in a journal; a second command, later, deletes:
  export SNOWPACK_CATALOG_URI=postgres://user@host/catalog
  snowpack maintain db.events expire_snapshots --journal events.jsonl
  snowpack maintain db.events --delete-listed events.jsonl
Two such commands at once on one table do no harm: the catalog takes one commit and refuses the
other, which then starts over on what the table is by then. Ctrl-C stops at the next safe point.";

const DRAIN_EXAMPLES: &str = "\
Examples:
  snowpack drain on --reason 'catalog upgrade'
  snowpack drain status
  snowpack drain off

A drain refuses new jobs at every door; `snowpack pause` stops the handing out of those there are.";

/// Where Postgres is, for commands that can do without
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MaybeDatabase {
    /// Postgres, as a URL; also where the SQL catalog is looked for by default
    #[arg(
        long,
        env = "SNOWPACK_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) database_url: Option<String>,
}

/// Where tables are
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Lakehouse {
    #[command(flatten)]
    pub(crate) catalog: catalog::Args,
    #[command(flatten)]
    pub(crate) storage: storage::Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) server: ScratchServer,
    /// Show a lakehouse of so many tables that runs by itself, instead of one table
    #[arg(
        long,
        value_name = "TABLES",
        conflicts_with_all = ["files", "rows"],
        value_parser = clap::value_parser!(u16).range(13..=500)
    )]
    pub(crate) fleet: Option<u16>,
    /// Keep the tables' files in this folder (it must be empty or absent)
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Small data files the writer makes before maintenance begins
    #[arg(long, default_value = "400", value_parser = clap::value_parser!(u32).range(40..=20_000))]
    pub(crate) files: u32,
    /// Rows in each of them
    #[arg(long, default_value = "2500", value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub(crate) rows: u32,
    /// Seed of the rows' values: the same seed makes the same table
    #[arg(long, default_value = "7")]
    pub(crate) seed: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) database: pg::Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Tables {
    #[command(flatten)]
    pub(crate) database: MaybeDatabase,
    #[command(flatten)]
    pub(crate) lakehouse: Lakehouse,
    /// Only this namespace
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Health {
    /// The table to look at now, as namespace.table [default: what is stored of all]
    #[arg(value_name = "TABLE")]
    pub(crate) table: Option<TableName>,
    /// Of all tables, only those of this namespace
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "table")]
    pub(crate) namespace: Option<String>,
    /// Of all tables, how many at most
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) database: MaybeDatabase,
    #[command(flatten)]
    pub(crate) lakehouse: Lakehouse,
    #[command(flatten)]
    pub(crate) policy: steward::PolicyArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Maintain {
    /// The table, as namespace.table
    #[arg(value_name = "TABLE")]
    pub(crate) table: TableName,
    /// What to do; several run in canonical order
    #[arg(value_name = "ACTION", required_unless_present = "delete_listed", num_args = 1..)]
    pub(crate) actions: Vec<Action>,
    /// An option of an action, as [ACTION.]key=value; may be repeated
    #[arg(long = "option", short = 'o', value_name = "KEY=VALUE")]
    pub(crate) options: Vec<ActionOption>,
    /// Show the plan and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Without a database: where to note what is written and what may be deleted later; it must
    /// not exist [default: snowpack-TABLE-TIME.jsonl in this folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Delete what this journal lists, once its grace is over and if it still is unreferenced
    #[arg(long, value_name = "FILE", conflicts_with_all = ["actions", "options", "journal"])]
    pub(crate) delete_listed: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) database: MaybeDatabase,
    /// Upper bound on pooled connections
    #[arg(
        long = "pg-connections-max",
        env = "SNOWPACK_PG_CONNECTIONS_MAX",
        default_value = "8"
    )]
    pub(crate) connections_max: NonZeroU32,
    #[command(flatten)]
    pub(crate) lakehouse: Lakehouse,
    /// How long the job stays ours after this process dies
    #[arg(long, env = "SNOWPACK_LEASE_SECONDS", default_value = "60", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(2..=600))]
    pub(crate) lease_seconds: u64,
    /// How long an action may show no progress before it is stopped
    #[arg(long, env = "SNOWPACK_STALL_SECONDS", default_value = "900", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) stall_seconds: u64,
    /// What an action may hold in memory at once, in bytes; by default 3/4 of the limit of this
    /// container or machine
    #[arg(
        long,
        env = "SNOWPACK_MEMORY_BYTES",
        value_name = "BYTES",
        value_parser = runtime::number(runner::MEMORY_BYTES_MIN..=u64::MAX)
    )]
    pub(crate) memory_bytes: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Submit {
    /// The table, as namespace.table
    #[arg(value_name = "TABLE")]
    pub(crate) table: TableName,
    /// What to do; several run in canonical order
    #[arg(value_name = "ACTION", required = true, num_args = 1..)]
    pub(crate) actions: Vec<Action>,
    /// An option of an action, as [ACTION.]key=value; may be repeated
    #[arg(long = "option", short = 'o', value_name = "KEY=VALUE")]
    pub(crate) options: Vec<ActionOption>,
    /// Plan now and change nothing: the job is ended at once and holds the plans
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// From -3 to 3; a smaller number runs first
    #[arg(long, default_value = "0", allow_negative_numbers = true, value_parser = clap::value_parser!(i16).range(-3..=3))]
    pub(crate) priority: i16,
    /// The worker pool it waits for
    #[arg(long, default_value = "default")]
    pub(crate) pool: String,
    /// Attempts before the job fails
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(i32).range(1..=100))]
    pub(crate) max_attempts: i32,
    /// Submitting again with the same key gives the same job
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) database: pg::Args,
    /// Where a dry run finds the table
    #[command(flatten)]
    pub(crate) lakehouse: Lakehouse,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Jobs {
    /// Only jobs with this status
    #[arg(long, value_parser = status)]
    pub(crate) status: Option<JobStatus>,
    /// Only jobs of this table
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<TableName>,
    /// How many at most
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,
    /// Print again whenever something changes, until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) database: pg::Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OneJob {
    /// The job's id, as `submit` and `jobs` print it
    #[arg(value_name = "ID", value_parser = job_id)]
    pub(crate) id: JobId,
    #[command(flatten)]
    pub(crate) database: pg::Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pending {
    /// Only this table, with every file
    #[arg(value_name = "TABLE")]
    pub(crate) table: Option<TableName>,
    /// pending (waiting), deleted or kept
    #[arg(long, value_name = "STATE", default_value = "pending", value_parser = state)]
    pub(crate) state: State,
    /// Tables or files shown at most
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) database: pg::Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    /// The lane
    #[arg(value_enum, default_value_t = Lane::Snowpack)]
    pub(crate) lane: Lane,
    /// Why, for whoever finds it paused
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) database: pg::Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The lane
    #[arg(value_enum, default_value_t = Lane::Snowpack)]
    pub(crate) lane: Lane,
    #[command(flatten)]
    pub(crate) database: pg::Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Drain {
    /// What to do
    #[arg(value_enum, default_value_t = Switch::Status)]
    pub(crate) switch: Switch,
    /// Why, for whoever is refused
    #[arg(long)]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) database: pg::Args,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Refuse new jobs
    On,
    /// Take new jobs
    Off,
    /// Say which it is
    Status,
}

/// A queue of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lane {
    /// Table maintenance
    Snowpack,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell to complete in
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

fn state(text: &str) -> Result<State, String> {
    let named = State::ALL.into_iter().find(|state| state.as_str() == text);
    named.ok_or_else(|| {
        let allowed: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
        format!("allowed: {}", allowed.join(", "))
    })
}

fn status(text: &str) -> Result<JobStatus, String> {
    JobStatus::parse(text).ok_or_else(|| {
        let allowed: Vec<&str> = JobStatus::ALL
            .iter()
            .map(|status| status.as_str())
            .collect();
        format!("allowed: {}", allowed.join(", "))
    })
}

pub(crate) fn job_id(text: &str) -> Result<JobId, String> {
    let id = uuid::Uuid::parse_str(text).map_err(|error| format!("not a job id: {error}"))?;
    Ok(JobId::new(id.to_string()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    const URL: [&str; 2] = ["--database-url", "postgres://nobody@127.0.0.1:1/nothing"];

    fn parse(words: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["snowpack"].into_iter().chain(words.split(' ')).chain(URL))
    }

    #[track_caller]
    fn refused(words: &str, what: &str) {
        let error = parse(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }

    #[test]
    fn the_commands_and_their_options_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_is_known_to_the_other_programs() {
        for command in Cli::command().get_subcommands() {
            for name in command.get_arguments().filter_map(clap::Arg::get_env) {
                assert!(
                    runtime::SETTINGS.contains(&name.to_str().unwrap()),
                    "{}",
                    name.display()
                );
            }
        }
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains(&format!("snowpack {}", command.get_name())),
                "{}",
                command.get_name()
            );
        }
    }

    #[test]
    fn bad_usage_names_what_is_wrong_and_what_is_allowed() {
        refused("maintain events rewrite_data_files", "it has no namespace");
        refused("maintain db.events vacuum", "rewrite_data_files");
        refused(
            "maintain db.events rewrite_data_files --option key",
            "KEY=VALUE",
        );
        refused("maintain db.events", "ACTION");
        refused(
            "maintain db.events rewrite_data_files --lease-seconds 1",
            "2..=600",
        );
        refused(
            "submit db.events rewrite_data_files --priority -4",
            "-3..=3",
        );
        refused("jobs --status done", "cancelled");
        refused("jobs --limit 0", "1..=500");
        refused("pending --state eaten", "kept");
        refused("pending --limit 0", "1..=10000");
        refused("job 12", "not a job id");
        refused("pause dag", "snowpack");
        refused("demo --files 1", "40..=20000");
    }

    #[test]
    fn output_may_be_given_before_or_after_the_command() {
        for words in ["--output json jobs", "jobs --output json"] {
            assert_eq!(parse(words).unwrap().output, Format::Json, "{words}");
        }
    }

    #[test]
    fn actions_and_options_may_be_mixed() {
        let words = "maintain db.events rewrite_data_files --option a=1 expire_snapshots -o expire_snapshots.b=2";
        let Command::Maintain(maintain) = parse(words).unwrap().command else {
            panic!("another command")
        };
        assert_eq!(
            maintain.actions,
            [Action::RewriteDataFiles, Action::ExpireSnapshots]
        );
        assert_eq!(maintain.options.len(), 2);
    }
}
