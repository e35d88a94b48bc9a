//! graphile-worker doing as many jobs on the same Postgres, where Node.js has it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::ended::ended;
use crate::demo::child::{Child, Start};

pub(super) const NAME: &str = "graphile-worker";
/// Run with `node -e`; NODE_PATH may say where the package is.
const SCRIPT: &str = include_str!("graphile.js");
/// What the script exits with when there is no such package, and the shell when there is no Node.js.
const NOT_THERE: [i32; 2] = [3, 127];

/// What it did.
#[derive(Debug, Deserialize)]
pub(super) struct Graphile {
    pub(super) version: String,
    jobs: u32,
    seconds: f64,
}

impl Graphile {
    pub(super) fn per_second(&self) -> f64 {
        f64::from(self.jobs) / self.seconds
    }
}

/// `None`: it is not there.
pub(super) async fn measure(jobs: u32, url: &str, folder: &Path) -> Result<Option<Graphile>> {
    let output = folder.join("graphile.json");
    let mut child = Child::start(Start {
        program: Path::new("node"),
        arguments: vec!["-e".to_owned(), SCRIPT.to_owned(), jobs.to_string()],
        stop_signal: "TERM",
        environment: vec![("DATABASE_URL".to_owned(), url.to_owned())],
        account: None,
        log: folder.join("graphile.log"),
        output: Some(output.clone()),
    })
    .context("start node")?;
    let (status, _) = ended(&mut child).await?;
    if status.code().is_some_and(|code| NOT_THERE.contains(&code)) {
        return Ok(None);
    }
    if !status.success() {
        let words = child.last_words();
        bail!("{NAME} failed as a peer ({status}); its log ends\n{words}");
    }
    let did: Graphile = serde_json::from_slice(&std::fs::read(&output)?)?;
    ensure!(did.jobs == jobs, "{NAME} did {} of {jobs} jobs", did.jobs);
    Ok(Some(did))
}
