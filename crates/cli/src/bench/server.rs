//! The real programs, started from the folder this program lies in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::process::{self, Usage};
use crate::demo::child::{Child, Start};
use crate::print;

const READY_MAX: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to start.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) arguments: &'static [&'static str],
    pub(super) environment: Vec<(String, String)>,
    /// What it logs, with its address, once it answers.
    pub(super) listens: &'static str,
}

/// A running program. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
    pub(super) address: SocketAddr,
    process: u32,
}

impl Server {
    /// Returns once it answers. Its log goes into `folder`.
    pub(super) async fn start(start: Program, folder: &Path) -> Result<Self> {
        let (name, program) = (start.name, find(start.name)?);
        let log = folder.join(name).with_extension("log");
        let mut child = Child::start(Start {
            program: &program,
            arguments: start.arguments.iter().map(|&word| word.into()).collect(),
            stop_signal: "TERM",
            environment: start.environment,
            account: None,
            log: log.clone(),
            output: None,
        })
        .with_context(|| format!("start {}", program.display()))?;
        let begun = Instant::now();
        let address = loop {
            if let Some(address) = address(&std::fs::read_to_string(&log)?, start.listens) {
                break address;
            }
            let ended = child
                .ended()
                .with_context(|| format!("look after {name}"))?;
            if ended.is_some() || READY_MAX < begun.elapsed() {
                let limit = print::seconds(READY_MAX);
                let words = child.last_words();
                bail!("{name} does not answer after {limit} or has ended; its log ends\n{words}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        let process = process::child_of(child.shell_id(), &program)
            .with_context(|| format!("the process of {name} is not found below /proc"))?;
        Ok(Self {
            name,
            child,
            log,
            address,
            process,
        })
    }

    /// The address in another line of its log.
    pub(super) fn address_of(&self, listens: &str) -> Result<SocketAddr> {
        let log = std::fs::read_to_string(&self.log)?;
        address(&log, listens).with_context(|| format!("{} did not log `{listens}`", self.name))
    }

    pub(super) fn usage(&self) -> Result<Usage> {
        Usage::of(self.process)
    }

    /// The last lines it logged.
    pub(super) fn last_words(&self) -> String {
        self.child.last_words()
    }

    pub(super) fn stop(mut self) -> Result<()> {
        let name = self.name;
        let status = self.child.stop().with_context(|| format!("stop {name}"))?;
        if !status.success() {
            let words = self.child.last_words();
            bail!("{name} did not stop in good order ({status}); its log ends\n{words}");
        }
        Ok(())
    }
}

/// Where it listens, as it logs it.
fn address(log: &str, listens: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains(listens))?;
    let mut words = line.split_whitespace();
    words.find_map(|word| word.strip_prefix("address=")?.parse().ok())
}

/// A program of ours, or why there is none.
pub(super) fn find(name: &str) -> Result<PathBuf> {
    let ours = std::env::current_exe().context("find this program's own folder")?;
    let program = ours.with_file_name(name);
    if !program.is_file() {
        bail!(
            "{} is not there; the bench asks the real one: `cargo build --release` builds both",
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
        assert_eq!(
            address(log, "api listens"),
            Some("127.0.0.1:41".parse().unwrap())
        );
        assert_eq!(address(log, "scaler listens"), None);
        assert_eq!(
            address("2026-11-21 WARN waiting for Postgres", "api listens"),
            None
        );
    }
}
