//! Whole fleets under fire: `snowpack-sim --seed N --minutes M`.
//!
//! A round makes real tables in a lakehouse of its own ([`house`]; [`places`] says where) and
//! starts the real programs ([`fleet`]). Writers commit to the tables and note what they wrote
//! ([`writer`]), owners submit jobs through the API ([`owner`]), and one seeded schedule
//! ([`blows`]) kills, freezes, stops and cuts ([`chaos`]) and spoils what goes to the store and to
//! the catalog ([`sky`]). Then the fire ends, every job must end too, and what is left is judged
//! ([`check`]) by what the writers noted, by the tables' own history ([`history`]) and by
//! independent readers.

mod args;
mod blows;
mod chaos;
mod check;
mod fleet;
mod history;
mod house;
mod jobs;
mod leaks;
mod owner;
mod places;
mod reference;
mod report;
mod round;
mod sky;
mod steady;
mod writer;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::args::Args;

const NAME: &str = "snowpack-sim";

fn main() -> ExitCode {
    match runtime::arguments::<Args>() {
        Ok(args) => runtime::run(NAME, Box::pin(rounds(args))),
        Err(code) => code,
    }
}

/// One round after the other until the time is over, each with a seed of its own.
async fn rounds(args: Args) -> Result<()> {
    let shutdown = runtime::Shutdown::on_signals(Duration::ZERO)?;
    let begun = Instant::now();
    let mut seed = args.seed();
    loop {
        // Dropped, a round stops what it started.
        let reported = tokio::select! {
            reported = round::run(&args, seed) => reported?,
            () = shutdown.drain.cancelled() => bail!("interrupted"),
        };
        println!("{}", reported.text());
        if let Some(fault) = reported.fault() {
            bail!("{fault}");
        }
        seed = seed.wrapping_add(1);
        if args.duration() <= begun.elapsed() {
            return Ok(());
        }
    }
}
