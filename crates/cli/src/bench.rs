//! `snowpack bench`: figures of this version on this machine, each beside its target.
//!
//! Works on generated rows ([`fleet`]) in a database of its own, drives the real programs, and
//! measures every part in a process of its own ([`part`], [`server`]), so that memory is that part's.
//! Judges no time: machines differ, so most figures come with a peer measured in the same run.

mod args;
mod caller;
mod control_plane;
mod fleet;
mod load;
mod pages;
mod part;
mod process;
mod reads;
mod report;
mod scaler;
mod server;

use anyhow::Result;

use crate::out::Out;

use args::Measure;
pub(crate) use args::{Bench, EXAMPLES};

/// What the measured processes work on.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    database_url: &'a str,
    warehouse: &'a str,
}

impl Place<'_> {
    /// For a program's environment.
    fn settings(self) -> Vec<(String, String)> {
        [
            ("SNOWPACK_DATABASE_URL", self.database_url),
            ("SNOWPACK_CATALOG_TYPE", "sql"),
            ("SNOWPACK_CATALOG_NAME", fleet::CATALOG),
            ("SNOWPACK_WAREHOUSE", self.warehouse),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

pub(crate) async fn run(args: Bench, out: &Out) -> Result<()> {
    match args.measure {
        Measure::ControlPlane(args) => control_plane::run(args, out).await,
        Measure::Scaler(args) => scaler::run(args, out).await,
        Measure::Part(args) => part::run(*args).await,
    }
}
