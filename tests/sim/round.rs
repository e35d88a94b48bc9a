//! One round: everything made, fire, calm, judgement.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::chaos::Chaos;
use crate::fleet::Fleet;
use crate::house::{House, Place};
use crate::jobs::{self, Submissions};
use crate::owner::Owner;
use crate::report::{Logs, Report};
use crate::steady::steadily;
use crate::writer::Writer;
use crate::{blows, check, report};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A fire whose faults hit nobody lasts so many times longer.
const LONGER_MAX: u32 = 2;
/// From the end of the fire until every job has ended.
const CALM_MAX: Duration = Duration::from_mins(6);
/// One table of so many has no owner: whatever is done for it, the orchestrator wanted.
const OWNERLESS: usize = 3;

/// Runs one round. What it started is stopped when this is dropped.
pub(crate) async fn run(args: &Args, seed: u64) -> Result<Report> {
    let place = Place::make()?;
    let replay = args.replay(seed);
    println!("seed {seed}: {replay}");
    let tasks = LocalSet::new();
    match Box::pin(tasks.run_until(within(args, seed, place.path()))).await {
        Ok(mut report) => {
            report.replay = replay;
            if report.fault().is_some() || args.keep {
                report.kept = Some(place.keep());
            }
            Ok(report)
        }
        Err(error) => {
            let kept = place.keep();
            Err(error.context(format!("{replay}\nwhat is left of it: {}", kept.display())))
        }
    }
}

async fn within(args: &Args, seed: u64, folder: &Path) -> Result<Report> {
    let begun = Instant::now();
    let places = args.places(seed);
    let house = Arc::new(House::build(seed, places, folder).await?);
    let mut writers = Vec::new();
    for number in 0..usize::try_from(args.tables)? {
        writers.push(Writer::create(&house, number).await?);
    }
    let mut fleet = Fleet::start(&house, args.workers()).await?;
    assess(&house, &mut fleet, writers.len()).await?;
    let chaos = Chaos::new(&house, fleet, args.verbose);
    let submissions = Arc::new(Submissions::default());
    let (mut chaos, writers) = fire(args, &house, chaos, writers, &submissions).await?;
    let submissions = submissions.all();
    let burnt = begun.elapsed();
    let found = check::all(&house, &writers, &submissions).await;
    let found = found.context("judge what is left")?;
    chaos.stop().await?;
    let logs = Logs::read(&house)?;
    let mut faults = found.faults.clone();
    faults.extend(chaos.faults.iter().cloned());
    faults.extend(logs.faults.iter().cloned());
    let mut report = Report {
        seed,
        submitted: submissions.len(),
        places: places.to_string(),
        struck: house.sky.struck(),
        spared: spared(&house),
        faults,
        logs,
        burnt,
        took: begun.elapsed(),
        ..Report::default()
    };
    report.count(&found, writers.iter().map(|writer| writer.tally));
    report::write(folder, &report)?;
    Ok(report)
}

/// Waits until the API knows the tables, and has their health assessed: without either, no
/// orchestrator submits anything.
async fn assess(house: &House, fleet: &mut Fleet, tables: usize) -> Result<()> {
    steadily("learn of the tables", async || {
        let client = house.pool.get().await?;
        let known = jobs::tables_known(&client).await?;
        ensure!(known == tables, "{known} of {tables} tables are known");
        Ok(())
    })
    .await?;
    fleet.assess();
    for run in &fleet.runs {
        ensure!(run.code().await == Some(0), "{} failed", run.name);
    }
    Ok(())
}

/// The time of the fire, and longer while a kind of fault has hit nobody.
async fn over(args: &Args, house: &House) {
    tokio::time::sleep(args.fire()).await;
    let longer = Instant::now();
    while !spared(house).is_empty() && longer.elapsed() < args.fire() * LONGER_MAX {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Kinds of faults that have hit nobody.
fn spared(house: &House) -> Vec<&'static str> {
    let mut kinds = blows::every(house.places);
    kinds.retain(|kind| !house.sky.noted(kind));
    kinds
}

/// Writers, owners and blows until the time is over or every job was submitted; then calm, until
/// every job has ended.
async fn fire(
    args: &Args,
    house: &Arc<House>,
    chaos: Chaos,
    writers: Vec<Writer>,
    submissions: &Arc<Submissions>,
) -> Result<(Chaos, Vec<Writer>)> {
    let (no_blows, no_more) = (CancellationToken::new(), CancellationToken::new());
    let chaos = tokio::task::spawn_local(chaos.run(no_blows.clone()));
    let mut owners = JoinSet::new();
    for number in (0..writers.len()).filter(|number| number % OWNERLESS != OWNERLESS - 1) {
        let owner = Owner::new(house, number, submissions, args.jobs)?;
        owners.spawn_local(owner.run(no_more.clone()));
    }
    let mut writing = JoinSet::new();
    for writer in writers {
        writing.spawn_local(writer.run(no_more.clone()));
    }
    let over = over(args, house);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => break,
            ended = owners.join_next() => match ended {
                Some(ended) => ended??,
                None => break,
            },
            Some(ended) = writing.join_next() => {
                ended??;
                bail!("a writer ended before it was told to");
            }
        }
    }
    no_blows.cancel();
    no_more.cancel();
    let mut chaos = chaos.await?;
    let calm = Instant::now();
    let mut done = Vec::new();
    loop {
        chaos.tend().await;
        while let Some(ended) = owners.try_join_next() {
            ended??;
        }
        while let Some(ended) = writing.try_join_next() {
            done.push(ended??);
        }
        let client = house.pool.get().await?;
        jobs::skip_waiting(&client).await?;
        let live = jobs::live(&client).await?;
        if live == 0 && owners.is_empty() && writing.is_empty() && chaos.quiet() {
            done.sort_by(|one, other| one.table.cmp(&other.table));
            return Ok((chaos, done));
        }
        if CALM_MAX < calm.elapsed() {
            bail!(
                "{live} jobs, {} owners and {} writers have not ended {} s after the fire",
                owners.len(),
                writing.len(),
                CALM_MAX.as_secs()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
