//! The real worker daemon, started from the folder this program lies in.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::child::{Child, Start};

const NAME: &str = "snowpack-worker";

/// Where the worker finds what it works on.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) database_url: &'a str,
    pub(crate) catalog_name: &'a str,
    pub(crate) warehouse: &'a str,
}

/// A running worker.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
}

impl Worker {
    pub(crate) fn start(place: &Place<'_>, log: PathBuf) -> Result<Self> {
        let program = find()?;
        let environment = [
            ("SNOWPACK_DATABASE_URL", place.database_url),
            ("SNOWPACK_CATALOG_TYPE", "sql"),
            ("SNOWPACK_CATALOG_NAME", place.catalog_name),
            ("SNOWPACK_WAREHOUSE", place.warehouse),
            // A free port of the loopback interface: nobody asks it here.
            ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0"),
            ("SNOWPACK_LOG", "info"),
        ];
        let start = Start {
            program: &program,
            arguments: Vec::new(),
            stop_signal: "TERM",
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            account: None,
            log,
        };
        let child = Child::start(start).with_context(|| format!("start {}", program.display()))?;
        Ok(Self { child })
    }

    /// Fails with its last words when it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.ended().context("look after the worker")? {
            Some(status) => bail!(
                "the worker ended by itself ({status}); its log ends\n{}",
                self.child.last_words()
            ),
            None => Ok(()),
        }
    }

    /// Sends SIGTERM, as Kubernetes does when it scales down, and waits for its end.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.child.stop().context("stop the worker")?;
        if !status.success() {
            bail!(
                "the worker did not stop in good order ({status}); its log ends\n{}",
                self.child.last_words()
            );
        }
        Ok(())
    }
}

/// The worker's program, or why there is none.
pub(crate) fn find() -> Result<PathBuf> {
    program(&std::env::current_exe().context("find this program's own folder")?)
}

fn program(ours: &Path) -> Result<PathBuf> {
    let program = ours.with_file_name(NAME);
    if !program.is_file() {
        bail!(
            "{} is not there; the demo runs the real worker: `cargo build --release` builds both",
            program.display()
        );
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_not_built_is_named_with_the_way_to_build_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = program(&folder.path().join("snowpack"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&folder.path().join("snowpack-worker").display().to_string()),
            "{error}"
        );
        assert!(error.contains("cargo build"), "{error}");
    }
}
