//! The real programs, started from the folder this one lies in.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::child::{Child, Start};
use crate::print;

pub(crate) const WORKER: &str = "snowpack-worker";

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where the programs find what they work on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) database_url: &'a str,
    pub(crate) catalog_name: &'a str,
    pub(crate) warehouse: &'a str,
}

/// How one program is started, beside where it works.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) arguments: &'a [&'a str],
    pub(crate) settings: &'a [(&'a str, &'a str)],
    pub(crate) log: PathBuf,
    /// Where its standard output goes, when not into the log too.
    pub(crate) output: Option<PathBuf>,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    child: Child,
}

impl Program {
    pub(crate) fn start(name: &'static str, place: &Place<'_>, told: Told<'_>) -> Result<Self> {
        let program = find(name)?;
        let settings = [
            ("SNOWPACK_DATABASE_URL", place.database_url),
            ("SNOWPACK_CATALOG_TYPE", "sql"),
            ("SNOWPACK_CATALOG_NAME", place.catalog_name),
            ("SNOWPACK_WAREHOUSE", place.warehouse),
            ("SNOWPACK_LOG", "info"),
        ];
        let settings = settings.iter().chain(told.settings);
        let start = Start {
            program: &program,
            arguments: told.arguments.iter().map(ToString::to_string).collect(),
            stop_signal: "TERM",
            environment: settings
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            account: None,
            log: told.log,
            output: told.output,
        };
        let child = Child::start(start).with_context(|| format!("start {}", program.display()))?;
        Ok(Self { name, child })
    }

    /// Fails with its last words when it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        let name = self.name;
        match self.child.ended().context(format!("look after {name}"))? {
            Some(status) => bail!(
                "{name} ended by itself ({status}); its log ends\n{}",
                self.child.last_words()
            ),
            None => Ok(()),
        }
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let (name, begun) = (self.name, Instant::now());
        while begun.elapsed() < within {
            if let Some(status) = self.child.ended().context(format!("look after {name}"))? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("{name} has not ended after {}", print::seconds(within))
    }

    /// The last lines it logged.
    pub(crate) fn last_words(&self) -> String {
        self.child.last_words()
    }

    /// Sends SIGTERM, as Kubernetes does when it scales down, and waits for its end.
    pub(crate) fn stop(mut self) -> Result<()> {
        let name = self.name;
        let status = self.child.stop().context(format!("stop {name}"))?;
        if !status.success() {
            bail!(
                "{name} did not stop in good order ({status}); its log ends\n{}",
                self.child.last_words()
            );
        }
        Ok(())
    }
}

/// A program of ours, or why there is none.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    beside(
        &std::env::current_exe().context("find this program's own folder")?,
        name,
    )
}

fn beside(ours: &Path, name: &str) -> Result<PathBuf> {
    let program = ours.with_file_name(name);
    if !program.is_file() {
        bail!(
            "{} is not there; the demo runs the real programs: `cargo build --release` builds all",
            program.display()
        );
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_built_is_named_with_the_way_to_build_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = beside(&folder.path().join("snowpack"), WORKER)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&folder.path().join("snowpack-worker").display().to_string()),
            "{error}"
        );
        assert!(error.contains("cargo build"), "{error}");
    }
}
