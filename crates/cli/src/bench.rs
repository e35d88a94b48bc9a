//! `snowpack bench`: figures of this version on this machine, each beside its target.
//!
//! Works on generated rows ([`fleet`]) in a database of its own, drives the real programs, and
//! measures every part in a process of its own ([`part`], [`server`]), so that memory is that part's.
//! Judges no time: machines differ, so most figures come with a peer measured in the same run.

mod args;
mod caller;
mod compact;
mod control_plane;
mod ended;
mod fleet;
mod graphile;
mod lane;
mod limit;
mod load;
mod maintained;
mod manifests;
mod metadata;
mod pages;
mod part;
mod peers;
mod process;
mod queue;
mod reads;
mod report;
mod rows;
mod scaler;
mod server;
mod small_files;
mod worked;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::demo::home::{Home, ScratchServer};
use crate::demo::steps::Steps;
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

/// A new, empty warehouse in a temporary folder.
fn warehouse_in(folder: &Path) -> Result<String> {
    let warehouse = folder.join("warehouse");
    std::fs::create_dir(&warehouse)?;
    let name = warehouse.into_os_string().into_string();
    name.map_err(|_| anyhow!("the temporary folder's name is not valid Unicode"))
}

pub(crate) async fn run(args: Bench, out: &Out) -> Result<()> {
    match args.measure {
        Measure::Compact(args) => compact::run(args, out).await,
        Measure::ControlPlane(args) => control_plane::run(args, out).await,
        Measure::Metadata(args) => metadata::run(args, out).await,
        Measure::Queue(args) => queue::run(args, out).await,
        Measure::Scaler(args) => scaler::run(args, out).await,
        Measure::Part(args) => part::run(*args).await,
        Measure::Maintained(args) => maintained::run(*args, out).await,
    }
}

/// Measures on a database of its own, which is gone afterwards, also after Ctrl-C.
async fn at_home<T>(
    server: &ScratchServer,
    steps: Steps<'_>,
    measure: impl AsyncFnOnce(&str) -> Result<T>,
) -> Result<T> {
    let shutdown = runtime::Shutdown::on_signals(Duration::ZERO)?;
    let interrupted = || anyhow!("interrupted; everything the bench made is removed");
    let home = tokio::select! {
        home = Home::open("bench", server.database_url.as_deref(), steps) => home?,
        () = shutdown.drain.cancelled() => return Err(interrupted()),
    };
    let measured = tokio::select! {
        measured = Box::pin(measure(home.url())) => measured,
        () = shutdown.drain.cancelled() => Err(interrupted()),
    };
    let closed = home.close().await;
    let measured = measured?;
    closed?;
    Ok(measured)
}
