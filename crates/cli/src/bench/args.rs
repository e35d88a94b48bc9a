//! What may be typed behind `snowpack bench`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use model::TableName;

use super::part::Part;
use crate::args::{Lakehouse, Maintain, MaybeDatabase};
use crate::demo::home::ScratchServer;

pub(crate) const EXAMPLES: &str = "\
Examples:
  snowpack bench compact --peers
  snowpack bench compact --files 100 --variant z --position-deletes 20% --output json
  snowpack bench control-plane
  snowpack bench control-plane --tables 1000 --history 10000 --seconds 1
  snowpack bench control-plane --history 10000000 --output json
  snowpack bench metadata --peers
  snowpack bench queue --peers
  snowpack bench queue --jobs 5000 --slots 16 --output json
  snowpack bench scaler

With SNOWPACK_DATABASE_URL set, a scratch database is made on that server and dropped at the end;
nothing that is there already is touched. Without, a private Postgres is started, as the demo does.
A million rows of history take about 1.5 GB there, 1,000 files to compact 3 GB of temporary files,
the metadata of a million files 1 GB.";

/// Measure this version on this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(super) measure: Measure,
}

#[derive(Debug, Subcommand)]
pub(super) enum Measure {
    /// A rewrite of many small files, plan and commit included, beside other programs
    #[command(after_help = EXAMPLES)]
    Compact(Compact),
    /// The table cache, decisions, health, pages and reads of the API
    #[command(after_help = EXAMPLES)]
    ControlPlane(ControlPlane),
    /// A table of a million files: its manifests read, a rewrite planned, snapshots expired
    #[command(after_help = EXAMPLES)]
    Metadata(Metadata),
    /// Jobs through the queue and a worker, and how soon a worker begins one
    #[command(after_help = EXAMPLES)]
    Queue(Queue),
    /// The scaler under load: counts over HTTP and gRPC, and the push of activity
    #[command(after_help = EXAMPLES)]
    Scaler(Scaler),
    /// One measurement in a process of its own, for `control-plane` and `metadata`
    #[command(hide = true)]
    Part(Box<OnePart>),
    /// `snowpack maintain` that also writes what it took, for `compact` and `metadata`
    #[command(hide = true)]
    Maintained(Box<Maintained>),
}

#[derive(Debug, clap::Args)]
pub(super) struct Compact {
    #[command(flatten)]
    pub(super) server: ScratchServer,
    /// Small files of the table
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = clap::value_parser!(u32).range(5..=100_000))]
    pub(super) files: u32,
    /// Rows of each, in one row group
    #[arg(long, value_name = "COUNT", default_value = "10000", value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub(super) rows: u32,
    /// How their columns are encoded
    #[arg(long, value_enum, default_value_t = Variants::Both)]
    pub(super) variant: Variants,
    /// Rows that position deletes take, with a delete file for each data file
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = percent)]
    pub(super) position_deletes: u8,
    /// Rows that equality deletes take, all in one delete file
    #[arg(long, value_name = "COUNT", default_value = "0")]
    pub(super) equality_deletes: u32,
    /// Times each rewrite is measured; the median counts
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) rounds: u32,
    /// Seed of the rows' values: the same seed makes the same rows
    #[arg(long, default_value = "7")]
    pub(super) seed: u64,
    /// Have DuckDB, polars and PyArrow rewrite the same files, as far as they are there
    #[arg(long)]
    pub(super) peers: bool,
    #[command(flatten)]
    pub(super) python: Python,
    /// Iceberg's runtime for Spark; with it `pyspark` is a peer, if the Python has it
    #[arg(long, value_name = "FILE", env = "ICEBERG_SPARK_JAR")]
    pub(super) spark_jar: Option<PathBuf>,
}

/// Where peers are that are Python libraries.
#[derive(Debug, clap::Args)]
pub(super) struct Python {
    /// The Python that has the peers
    #[arg(
        long,
        env = "SNOWPACK_TEST_PYTHON",
        value_name = "FILE",
        default_value = "python3"
    )]
    pub(super) python: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Variants {
    /// A dictionary in every column, as PyArrow writes by default
    Z,
    /// PLAIN where nearly every value is another one, as parquet-java ends up
    N,
    /// One after the other
    Both,
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse();
    let number = number.ok().filter(|percent| *percent <= 100);
    number.ok_or_else(|| "allowed: 0% to 100%".to_owned())
}

#[derive(Debug, clap::Args)]
pub(super) struct Metadata {
    #[command(flatten)]
    pub(super) server: ScratchServer,
    /// Files of the table; another has a tenth of them
    #[arg(long, value_name = "COUNT", default_value = "1000000", value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub(super) files: u32,
    /// Manifests of the table
    #[arg(long, value_name = "COUNT", default_value = "3000", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub(super) manifests: u32,
    /// Snapshots of the table whose snapshots are expired, all but the last
    #[arg(long, value_name = "COUNT", default_value = "10000", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(super) snapshots: u32,
    /// Have PyIceberg read a tenth of the manifests, if it is there
    #[arg(long)]
    pub(super) peers: bool,
    #[command(flatten)]
    pub(super) python: Python,
}

#[derive(Debug, clap::Args)]
pub(super) struct Queue {
    #[command(flatten)]
    pub(super) server: ScratchServer,
    /// Jobs that are queued, claimed and finished, each with its record and its lock
    #[arg(long, value_name = "COUNT", default_value = "20000", value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    pub(super) jobs: u32,
    /// Jobs the worker has at once; measured again with 2, its default
    #[arg(long, value_name = "COUNT", default_value = "32", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) slots: u32,
    /// Jobs queued one after the other while a worker is idle
    #[arg(long, value_name = "COUNT", default_value = "200", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) pick_ups: u32,
    /// How long a worker is left idle
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(super) seconds: u32,
    /// Have graphile-worker do as many jobs, if Node.js has it (NODE_PATH may say where)
    #[arg(long)]
    pub(super) peers: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Maintained {
    /// Where to write what it took
    #[arg(long, value_name = "FILE")]
    pub(super) into: PathBuf,
    #[command(flatten)]
    pub(super) maintain: Maintain,
}

#[derive(Debug, clap::Args)]
pub(super) struct ControlPlane {
    #[command(flatten)]
    pub(super) server: ScratchServer,
    /// Tables of the catalog
    #[arg(long, value_name = "COUNT", default_value = "100000", value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    pub(super) tables: u32,
    /// Databases they are spread over
    #[arg(long, value_name = "COUNT", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) databases: u32,
    /// Jobs that ended, a fifth of them within operational retention
    #[arg(long, value_name = "COUNT", default_value = "1000000", value_parser = clap::value_parser!(u32).range(100..=100_000_000))]
    pub(super) history: u32,
    /// How long each kind of request is repeated
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(super) seconds: u32,
}

#[derive(Debug, clap::Args)]
pub(super) struct Scaler {
    #[command(flatten)]
    pub(super) server: ScratchServer,
    /// Requests a second of the callers that keep a pace
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) rate: u32,
    /// How long each kind of request is repeated
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(super) seconds: u32,
}

#[derive(Debug, clap::Args)]
pub(super) struct OnePart {
    #[arg(value_enum)]
    pub(super) part: Part,
    /// Where to write what it took
    #[arg(long, value_name = "FILE")]
    pub(super) into: PathBuf,
    /// The table, for what is measured of one
    #[arg(long, value_name = "TABLE")]
    pub(super) table: Option<TableName>,
    #[command(flatten)]
    pub(super) database: MaybeDatabase,
    #[command(flatten)]
    pub(super) lakehouse: Lakehouse,
}
