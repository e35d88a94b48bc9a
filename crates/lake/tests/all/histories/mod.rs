//! Random histories: writers and maintenance take turns on a table, a model knows its rows, and
//! after every step independent readers must agree with it.
//!
//! `SNOWPACK_TEST_HISTORIES=1000` runs more; `SNOWPACK_TEST_SEED=..` replays one. A failure prints
//! its seed and the steps up to it.

mod actions;
mod changes;
mod row;
mod table;
mod writers;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rand::SeedableRng;
use rand::rngs::StdRng;

use self::table::History;
use crate::ledger::TestLedger;
use crate::oracle::Oracle;
use crate::world::World;

/// Histories of a run nobody asked more of.
const COUNT: usize = 150;
const STEPS_MIN: usize = 8;
const STEPS_MAX: usize = 20;
/// After so many the run ends.
const FAILURES_MAX: usize = 5;

/// The column every row is known by.
const ID: i32 = 1;

/// What was done and checked, by name: a kind that is never reached is a defect of the test.
type Counts = BTreeMap<String, usize>;

/// One history's steps so far, for the report of a failure.
type Log = Arc<Mutex<Vec<String>>>;

#[derive(Debug, Default)]
struct Run {
    next: AtomicUsize,
    counts: Mutex<Counts>,
    failures: Mutex<Vec<String>>,
}

#[test]
fn any_history_keeps_every_row_and_every_file() {
    let (seeds, run) = (
        testkit::seeds("SNOWPACK_TEST_HISTORIES", COUNT),
        Run::default(),
    );
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&run, &seeds));
        }
    });
    let counts = run.counts.lock().unwrap().clone();
    println!("{} histories: {counts:#?}", seeds.len());
    let failures = run.failures.lock().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    if seeds.len() >= COUNT {
        for kind in [
            "read by pyiceberg",
            "read by duckdb",
            "read by files",
            "rewrite_manifests",
            "rewrite_manifests beside a writer",
            "remove_dangling_deletes",
            "rewrite_position_delete_files",
            "remove_orphan_files",
            "through a REST server",
            "sort",
            "zorder",
        ] {
            assert!(counts.get(kind).is_some_and(|count| *count > 0), "{kind}");
        }
    }
}

fn work(run: &Run, seeds: &[u64]) {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    let new = |rest: bool| {
        runtime.block_on(async {
            Arc::new(if rest {
                World::rest().await
            } else {
                World::new().await
            })
        })
    };
    let mut worlds = [new(false), new(true)];
    let mut oracle = Oracle::start("histories");
    loop {
        let index = run.next.fetch_add(1, Ordering::Relaxed);
        if index >= seeds.len() || run.failures.lock().unwrap().len() >= FAILURES_MAX {
            return;
        }
        let (seed, log) = (seeds[index], Log::default());
        // By its seed, through a REST server or not.
        let rest = seed % 2 == 1;
        let world = &mut worlds[usize::from(rest)];
        let fresh = Arc::get_mut(world).expect("its last history is over");
        fresh.name = format!("db.t{index}").parse().expect("a name");
        fresh.ledger = TestLedger::new(runtime.block_on(fresh.pool()));
        let history = history(Arc::clone(world), oracle, seed, log.clone());
        match catch_unwind(AssertUnwindSafe(|| runtime.block_on(history))) {
            Ok((next, counts)) => {
                oracle = next;
                let mut sums = run.counts.lock().unwrap();
                for (key, count) in counts {
                    *sums.entry(key).or_default() += count;
                }
            }
            Err(why) => {
                let why = why
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| why.downcast_ref::<&str>().map(|why| (*why).to_owned()));
                let steps = log.lock().unwrap().join("\n  ");
                let why = why.unwrap_or_default();
                let failure =
                    format!("history failed: SNOWPACK_TEST_SEED={seed}\n  {steps}\n{why}");
                println!("{failure}");
                run.failures.lock().unwrap().push(failure);
                *world = new(rest);
                oracle = Oracle::start("histories");
            }
        }
    }
}

async fn history(world: Arc<World>, oracle: Oracle, seed: u64, log: Log) -> (Oracle, Counts) {
    let rng = StdRng::seed_from_u64(seed);
    let mut history = History::begin(world, oracle, rng, log);
    let steps = history.number(STEPS_MIN, STEPS_MAX);
    for _ in 0..steps {
        history.step().await;
        history.check().await;
    }
    history.check_all().await;
    history.end()
}
