//! `snowpack maintain` as it is, in a process that says at its end what it took.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use model::{Action, TableName};
use serde_json::Value;

use super::Place;
use super::args::Maintained;
use super::ended::{Spent, ended};
use super::process::Usage;
use crate::demo::child::{Child, Start};
use crate::maintain;
use crate::out::Out;

/// One action on one table, from the start of its process to the end, and the action's result.
/// Fails when there was nothing to do.
pub(super) async fn measure(
    place: Place<'_>,
    folder: &Path,
    (table, action): (&TableName, Action),
) -> Result<(Spent, Value)> {
    let program = std::env::current_exe().context("find this program")?;
    let [into, said] = ["usage.json", "said.json"].map(|name| folder.join(name));
    let words = ["bench", "maintained", "--output", "json", "--into"].map(str::to_owned);
    let named = [into.display().to_string(), table.key(), action.to_string()];
    let mut child = Child::start(Start {
        program: &program,
        arguments: words.into_iter().chain(named).collect(),
        stop_signal: "TERM",
        environment: place.settings(),
        account: None,
        log: folder.join("maintain.log"),
        output: Some(said.clone()),
    })
    .with_context(|| format!("start {}", program.display()))?;
    let (status, took) = ended(&mut child).await?;
    if !status.success() {
        let words = child.last_words();
        bail!("{action} of {table} failed ({status}); its log ends\n{words}");
    }
    let usage: Usage = serde_json::from_slice(&std::fs::read(&into)?)?;
    let said: Value = serde_json::from_slice(&std::fs::read(&said)?)?;
    let spent = Spent {
        seconds: took.as_secs_f64(),
        cpu_seconds: usage.cpu_seconds,
        peak_bytes: usage.peak_bytes,
    };
    let result = &said["actions"][0]["result"];
    let skipped = &result["skipped"];
    ensure!(
        skipped.is_null(),
        "{action} of {table} did nothing: {skipped}"
    );
    Ok((spent, result.clone()))
}

/// The measured process.
pub(super) async fn run(args: Maintained, out: &Out) -> Result<()> {
    let into = args.into;
    Box::pin(maintain::run(args.maintain, out)).await?;
    let usage = serde_json::to_vec(&Usage::of(std::process::id())?)?;
    std::fs::write(&into, usage).with_context(|| format!("write {}", into.display()))
}
