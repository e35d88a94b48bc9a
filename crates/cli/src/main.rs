//! `snowpack`, the command line: demo, migrate, tables, health, plan, maintain, submit, jobs,
//! explain, orchestrate, trigger, runs, pending, check.
//!
//! One file per command; [`args`] says what may be typed, [`session`] what is connected to,
//! [`out`] where results go. Exit codes: 0 done (or nothing to do), 1 failed, 2 bad usage.

mod args;
mod bench;
mod check;
mod demo;
mod done;
mod drain;
mod dry_run;
mod explain;
mod facts;
mod health;
mod jobs;
mod lane;
mod local;
mod maintain;
mod migrate;
mod option;
mod orchestrate;
mod out;
mod pending;
mod plan;
mod print;
mod progress;
mod records;
mod retry;
mod runs;
mod session;
mod submit;
mod tables;
mod trigger;

use std::process::ExitCode;

use anyhow::Result;
use mimalloc::MiMalloc;

use crate::args::{Cli, Command, Completions};
use crate::out::Out;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    runtime::give_freed_memory_back();
    match runtime::arguments::<Cli>() {
        Ok(cli) => runtime::run("snowpack", run(cli)),
        Err(code) => code,
    }
}

async fn run(cli: Cli) -> Result<()> {
    cli.log.install()?;
    let out = Out::new(cli.output);
    // Boxed: a command's future is large, and there is one per process.
    let done = Box::pin(dispatch(cli.command, &out)).await;
    if let Err(error) = &done {
        out.failed(error);
    }
    done
}

async fn dispatch(command: Command, out: &Out) -> Result<()> {
    match command {
        Command::Demo(args) => demo::run(args, out).await,
        Command::Migrate(args) => migrate::run(args, out).await,
        Command::Tables(args) => tables::run(args, out).await,
        Command::Health(args) => health::run(*args, out).await,
        Command::Plan(args) => plan::run(args, out).await,
        Command::Maintain(args) => maintain::run(args, out).await,
        Command::Submit(args) => submit::run(args, out).await,
        Command::Jobs(args) => jobs::list(args, out).await,
        Command::Job(args) => jobs::show(args, out).await,
        Command::Cancel(args) => jobs::cancel(args, out).await,
        Command::Retry(args) => retry::run(args, out).await,
        Command::Explain(args) => explain::run(args, out).await,
        Command::Orchestrate(args) => orchestrate::run(args, out).await,
        Command::Trigger(args) => trigger::run(args, out).await,
        Command::Runs(args) => runs::run(args, out).await,
        Command::Pending(args) => pending::run(args, out).await,
        Command::Pause(args) => lane::pause(args, out).await,
        Command::Resume(args) => lane::resume(args, out).await,
        Command::Check(args) => check::run(args, out).await,
        Command::Drain(args) => drain::run(args, out).await,
        Command::Bench(args) => bench::run(args, out).await,
        Command::Completions(args) => completions(&args, out),
    }
}

/// The script itself, whatever the output form: a shell reads it.
fn completions(args: &Completions, out: &Out) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut runtime::command::<Cli>(),
        "snowpack",
        &mut script,
    );
    out.script(&String::from_utf8(script)?)
}
