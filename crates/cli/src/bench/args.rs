//! What may be typed behind `snowpack bench`.

use std::path::PathBuf;

use clap::Subcommand;

use super::part::Part;
use crate::args::{Lakehouse, MaybeDatabase};
use crate::demo::home::ScratchServer;

pub(crate) const EXAMPLES: &str = "\
Examples:
  snowpack bench control-plane
  snowpack bench control-plane --tables 1000 --history 10000 --seconds 1
  snowpack bench control-plane --history 10000000 --output json
  snowpack bench scaler

With SNOWPACK_DATABASE_URL set, a scratch database is made on that server and dropped at the end;
nothing that is there already is touched. Without, a private Postgres is started, as the demo does.
A million rows of history take about 1.5 GB there.";

/// Measure this version on this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(super) measure: Measure,
}

#[derive(Debug, Subcommand)]
pub(super) enum Measure {
    /// The table cache, decisions, health, pages and reads of the API
    #[command(after_help = EXAMPLES)]
    ControlPlane(ControlPlane),
    /// The scaler under load: counts over HTTP and gRPC, and the push of activity
    #[command(after_help = EXAMPLES)]
    Scaler(Scaler),
    /// One measurement in a process of its own, for `control-plane`
    #[command(hide = true)]
    Part(Box<OnePart>),
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
    #[command(flatten)]
    pub(super) database: MaybeDatabase,
    #[command(flatten)]
    pub(super) lakehouse: Lakehouse,
}
