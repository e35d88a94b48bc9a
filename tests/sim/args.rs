//! What a simulation is told.

use std::time::Duration;

use crate::places::{Catalog, Places, Tables};

const EXAMPLES: &str = "\
Examples:
  snowpack-sim                          one round with a fresh seed
  snowpack-sim --seed 7                 the same blows again
  snowpack-sim --seed 7 --minutes 120   seeds 7, 8, 9, .. for two hours, until one fails
  snowpack-sim --storage s3 --catalog elsewhere

It needs Postgres's server programs, SNOWPACK_TEST_PYTHON, a Python with PyIceberg and DuckDB, and
for tables in S3 SNOWPACK_TEST_S3, a versitygw (tests/run makes both). The programs are those
beside this one: `cargo build --workspace --bins` makes them.

A seed fixes where tables and catalog lie, the tables, the jobs and every blow; how they meet is up to the machine. A round that
fails keeps its folder (logs, tables, what went wrong) and says where it is.

Exit codes: 0 every round kept its promises, 1 one did not, 2 bad usage.";

/// Simulates whole fleets: real programs, real tables, and blows from every side
#[derive(Debug, clap::Parser)]
#[command(name = crate::NAME, version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Seed of the first round; each further one takes the next [default: a fresh one]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Begin no further round after so many minutes
    #[arg(
        long,
        default_value = "0",
        value_name = "MINUTES",
        value_parser = runtime::number(0..=100_000)
    )]
    minutes: u64,
    /// Workers of a round
    #[arg(
        long,
        default_value = "8",
        value_name = "COUNT",
        value_parser = runtime::number(1..=64)
    )]
    workers: u64,
    /// Jobs submitted in a round, beside those of the orchestrator
    #[arg(
        long,
        default_value = "200",
        value_name = "COUNT",
        value_parser = runtime::number(1..=100_000)
    )]
    pub(crate) jobs: u64,
    /// Tables of a round
    #[arg(
        long,
        default_value = "20",
        value_name = "COUNT",
        value_parser = runtime::number(1..=200)
    )]
    pub(crate) tables: u64,
    /// The fire ends after so many seconds, whether all jobs were submitted or not; where a kind of
    /// fault has hit nobody by then, it goes on for twice as long at most
    #[arg(
        long,
        default_value = "120",
        value_name = "SECONDS",
        value_parser = runtime::number(1..=86_400)
    )]
    fire_seconds: u64,
    /// Where tables lie [default: as the seed says]
    #[arg(long, value_enum, value_name = "PLACE")]
    storage: Option<Tables>,
    /// Where their catalog lies [default: as the seed says]
    #[arg(long, value_enum, value_name = "PLACE")]
    catalog: Option<Catalog>,
    /// Tell every blow as it falls
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Keep the folder of a round that went well, too
    #[arg(long)]
    pub(crate) keep: bool,
}

impl Args {
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(rand::random)
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_mins(self.minutes)
    }

    pub(crate) fn workers(&self) -> usize {
        usize::try_from(self.workers).unwrap_or(usize::MAX)
    }

    pub(crate) fn fire(&self) -> Duration {
        Duration::from_secs(self.fire_seconds)
    }

    pub(crate) fn places(&self, seed: u64) -> Places {
        Places::draw(seed, self.storage, self.catalog)
    }

    /// What runs a round of this seed again.
    pub(crate) fn replay(&self, seed: u64) -> String {
        format!(
            "snowpack-sim --seed {seed} --workers {} --jobs {} --tables {} --fire-seconds {} {} --verbose",
            self.workers,
            self.jobs,
            self.tables,
            self.fire_seconds,
            self.places(seed).flags()
        )
    }
}
