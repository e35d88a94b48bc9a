//! What other programs take for the same work: Python libraries, each in a process of its own, and
//! Spark with Iceberg's own procedure.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ended::{Spent, ended};
use crate::demo::child::{Child, Start};

/// Rewrites files; run with `python -c`, as all of them.
const COMPACT: &str = include_str!("compact_peers.py");
/// Reads manifests.
const METADATA: &str = include_str!("metadata_peers.py");
const NAMES: [&str; 4] = ["duckdb", "polars", "pyarrow", "pyspark"];
/// Where `pyspark` finds Iceberg.
const SPARK_JAR: &str = "ICEBERG_SPARK_JAR";
/// What the script exits with when Python does not have the library, and the shell when there is
/// no Python.
const NOT_THERE: [i32; 2] = [3, 127];

/// A library that is there.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) version: String,
    libraries: Libraries,
}

/// Where libraries are.
#[derive(Debug, Clone)]
struct Libraries {
    python: PathBuf,
    /// Iceberg, for Spark.
    spark_jar: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Said {
    version: String,
    cpu_seconds: f64,
    peak_bytes: u64,
    /// What making the work ready took, of the time of the process.
    apart_seconds: f64,
}

/// How `PyIceberg` read some manifests.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ReadBy {
    pub(super) version: String,
    pub(super) entries: u64,
    /// Without the start of the interpreter.
    pub(super) seconds: f64,
    pub(super) peak_bytes: u64,
}

/// Those that this Python has, and the names of those it has not.
pub(super) async fn find(
    python: &Path,
    spark_jar: Option<&Path>,
    folder: &Path,
) -> Result<(Vec<Peer>, Vec<&'static str>)> {
    let libraries = Libraries {
        python: python.to_owned(),
        spark_jar: spark_jar.map(Path::to_owned),
    };
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for name in NAMES {
        match run::<Said>((&libraries, COMPACT), folder, &[name.to_owned()]).await? {
            Some((said, _)) => found.push(Peer {
                name,
                version: said.version,
                libraries: libraries.clone(),
            }),
            None => absent.push(name),
        }
    }
    Ok((found, absent))
}

impl Peer {
    /// Rewrites the files that `list` names into `output`.
    pub(super) async fn rewrite(&self, list: &Path, output: &Path, folder: &Path) -> Result<Spent> {
        let words = [list, output].map(|path| path.display().to_string());
        let words = [vec![self.name.to_owned()], words.into()].concat();
        let ran = run::<Said>((&self.libraries, COMPACT), folder, &words).await?;
        let (said, seconds) = ran.with_context(|| format!("{} is gone", self.name))?;
        Ok(Spent {
            seconds: seconds - said.apart_seconds,
            cpu_seconds: said.cpu_seconds,
            peak_bytes: said.peak_bytes,
        })
    }
}

/// The first manifests of a table's current snapshot, read entry by entry. `None`: `PyIceberg` is
/// not there.
pub(super) async fn read_manifests(
    python: &Path,
    folder: &Path,
    (metadata, manifests): (&str, u32),
) -> Result<Option<ReadBy>> {
    let words = [metadata.to_owned(), manifests.to_string()];
    let libraries = Libraries {
        python: python.to_owned(),
        spark_jar: None,
    };
    let ran = run((&libraries, METADATA), folder, &words).await?;
    Ok(ran.map(|(said, _)| said))
}

/// What the script said, and the seconds its process took. `None`: the library is not there.
async fn run<Said: DeserializeOwned>(
    (libraries, script): (&Libraries, &str),
    folder: &Path,
    words: &[String],
) -> Result<Option<(Said, f64)>> {
    let (output, python) = (folder.join("peer.json"), &libraries.python);
    let jar = libraries.spark_jar.iter();
    let jar = jar.map(|jar| (SPARK_JAR.to_owned(), jar.display().to_string()));
    let arguments = ["-c", script].map(str::to_owned).into_iter();
    let mut child = Child::start(Start {
        program: python,
        arguments: arguments.chain(words.iter().cloned()).collect(),
        stop_signal: "TERM",
        environment: jar.collect(),
        account: None,
        log: folder.join("peer.log"),
        output: Some(output.clone()),
    })
    .with_context(|| format!("start {}", python.display()))?;
    let (status, took) = ended(&mut child).await?;
    if status.code().is_some_and(|code| NOT_THERE.contains(&code)) {
        return Ok(None);
    }
    if !status.success() {
        let (python, last) = (python.display(), child.last_words());
        bail!("{python} failed as a peer ({status}); its log ends\n{last}");
    }
    let said = std::fs::read(&output).with_context(|| format!("read {}", output.display()))?;
    let said = serde_json::from_slice(&said).context("read what the peer said")?;
    Ok(Some((said, took.as_secs_f64())))
}
