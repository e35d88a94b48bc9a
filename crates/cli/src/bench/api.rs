//! The real `snowpack-api`, started from the folder this program lies in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Place;
use super::process::{self, Usage};
use crate::demo::child::{Child, Start};
use crate::print;

const NAME: &str = "snowpack-api";
const READY_MAX: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running API. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Api {
    child: Child,
    pub(super) address: SocketAddr,
    process: u32,
}

impl Api {
    /// Returns once it answers.
    pub(super) async fn start(place: Place<'_>, folder: &Path) -> Result<Self> {
        let (program, log) = (find()?, folder.join("api.log"));
        let own = [
            ("SNOWPACK_AUTH", "none"),
            ("SNOWPACK_API_ADDR", "127.0.0.1:0"),
            ("SNOWPACK_API_LINGER_SECONDS", "0"),
            // The limit is not what is measured, and neither is the sync of the cache.
            ("SNOWPACK_RATE_PER_SECOND", "100000"),
            ("SNOWPACK_CACHE_SYNC_SECONDS", "86400"),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut child = Child::start(Start {
            program: &program,
            arguments: vec!["serve".to_owned()],
            stop_signal: "TERM",
            environment: place.settings().into_iter().chain(own).collect(),
            account: None,
            log: log.clone(),
            output: None,
        })
        .with_context(|| format!("start {}", program.display()))?;
        let begun = Instant::now();
        let address = loop {
            if let Some(address) = address(&std::fs::read_to_string(&log)?) {
                break address;
            }
            let ended = child.ended().context("look after the API")?;
            if ended.is_some() || READY_MAX < begun.elapsed() {
                let limit = print::seconds(READY_MAX);
                let words = child.last_words();
                bail!("the API does not answer after {limit} or has ended; its log ends\n{words}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let process = process::child_of(child.shell_id(), &program)
            .context("the API's process is not found below /proc")?;
        Ok(Self {
            child,
            address,
            process,
        })
    }

    pub(super) fn usage(&self) -> Result<Usage> {
        Usage::of(self.process)
    }

    pub(super) fn stop(mut self) -> Result<()> {
        let status = self.child.stop().context("stop the API")?;
        if !status.success() {
            let words = self.child.last_words();
            bail!("the API did not stop in good order ({status}); its log ends\n{words}");
        }
        Ok(())
    }
}

/// Where it listens, as it logs it.
fn address(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("api listens"))?;
    let mut words = line.split_whitespace();
    words.find_map(|word| word.strip_prefix("address=")?.parse().ok())
}

/// The API's program, or why there is none.
pub(super) fn find() -> Result<PathBuf> {
    let ours = std::env::current_exe().context("find this program's own folder")?;
    let program = ours.with_file_name(NAME);
    if !program.is_file() {
        bail!(
            "{} is not there; the bench asks the real API: `cargo build --release` builds both",
            program.display()
        );
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_log() {
        let log = "2026-11-21T12:00:00Z  INFO snowpack_api::serve: other\n\
                   2026-11-21T12:00:00Z  INFO snowpack_api::serve: api listens address=127.0.0.1:41\n";
        assert_eq!(address(log), Some("127.0.0.1:41".parse().unwrap()));
        assert_eq!(address("2026-11-21 WARN waiting for Postgres"), None);
    }
}
