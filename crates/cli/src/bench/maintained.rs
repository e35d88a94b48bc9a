//! `snowpack maintain` as it is, in a process that says at its end what it took.

use anyhow::{Context, Result};

use super::args::Maintained;
use super::process::Usage;
use crate::maintain;
use crate::out::Out;

pub(super) async fn run(args: Maintained, out: &Out) -> Result<()> {
    let into = args.into;
    Box::pin(maintain::run(args.maintain, out)).await?;
    let usage = serde_json::to_vec(&Usage::of(std::process::id())?)?;
    std::fs::write(&into, usage).with_context(|| format!("write {}", into.display()))
}
