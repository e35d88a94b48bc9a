//! The REST API, and the loops that keep the control plane fresh.
//!
//! Wiring only. A request passes [`request`] (id, log, limits, errors), then [`auth`], then its
//! route below [`routes`]; [`router`] lists them all, and the OpenAPI document is made of that
//! list. Decides nothing about tables: that is `policy`'s, by way of `steward`.

mod args;
mod auth;
mod check;
mod cursor;
mod extract;
mod kubernetes;
mod lakehouse;
mod loops;
mod metrics;
mod migrate;
mod openapi;
mod page;
mod passes;
mod problem;
mod rate;
mod readiness;
mod request;
mod router;
mod routes;
mod serve;
mod state;
mod time;
mod trigger;

use std::process::ExitCode;

use crate::args::{Args, Command, Serve};

const NAME: &str = "snowpack-api";

fn main() -> ExitCode {
    match runtime::arguments::<Args>() {
        Ok(args) => match args.command {
            Some(command) => run(command),
            // Without a word it serves, with what the environment says.
            None => match runtime::arguments::<Serve>() {
                Ok(serve) => run(Command::Serve(Box::new(serve))),
                Err(code) => code,
            },
        },
        Err(code) => code,
    }
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Serve(args) => runtime::run(NAME, serve::run(*args)),
        Command::Migrate(args) => runtime::run(NAME, migrate::run(args)),
        Command::WaitForDb(args) => runtime::run(NAME, migrate::wait(args)),
        Command::Check(args) => runtime::run(NAME, check::run(args)),
        Command::HashToken => runtime::run(NAME, auth::hash_stdin()),
    }
}
