//! The orchestrator's settings.

use clap::ValueEnum;

const NOTES: &str = "\
Examples:
  snowpack-orchestrator --dry-run              what it would submit, and why
  snowpack-orchestrator --jobs-max-per-run 50
  snowpack-orchestrator --wait --output json

It reads the table cache and the newest health of each table, both from Postgres; the catalog is
not asked. Two at once share the work. `snowpack runs` lists what runs decided.

Exit codes: 0 the run completed, 1 it failed or was stopped (its row says why), 2 bad usage.
Jobs that fail are counted and are no failure of the run.";

/// Looks at every table of the cache once, submits what is due, and exits
#[derive(Debug, clap::Parser)]
#[command(name = crate::NAME, version, after_help = NOTES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) database: pg::Args,
    #[command(flatten)]
    pub(crate) orchestrate: steward::OrchestrateArgs,
    #[command(flatten)]
    pub(crate) start: steward::start::StartArgs,
    /// How the result is printed on standard output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) log: runtime::LogArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A few lines for people
    Text,
    /// One JSON document for programs
    Json,
}
