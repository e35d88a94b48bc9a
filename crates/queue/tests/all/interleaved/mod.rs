//! Case 66, on real rows: random schedules that leave transactions open between their steps.
//!
//! Users of the queue are connections that are told what to do one step at a time; any of them may
//! hold a guard, an uncommitted claim or a submission while the others go on, wait for it, or be
//! killed. After each step the committed rows are compared with `reference.rs`, which also judges
//! every answer. `broken.rs` takes one rule out of the real statements, as a test of this test.
//!
//! `SNOWPACK_TEST_SCHEDULES=1000` runs more; `SNOWPACK_TEST_SEED=..` replays one. A failure prints
//! its seed and the steps up to it. What becomes of a commit whose connection is killed is the
//! server's choice, so a schedule that has one may need a second replay.

mod broken;
mod reference;
mod schedule;
mod session;
mod transactions;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use self::schedule::Schedule;
use self::world::World;
use crate::lane::Lane;

/// Schedules of a run nobody asked more of.
const COUNT: usize = 30;
/// Longer than any schedule: leases run out when a step says so.
const LEASE: Duration = Duration::from_mins(10);
const SESSIONS: usize = 5;

/// Kinds of steps and of what followed that a run of [`COUNT`] schedules reaches.
const REACHED: &[&str] = &[
    "submitted",
    "claimed",
    "claim one",
    "renewed",
    "completed",
    "failed",
    "hand back",
    "cancel",
    "reset",
    "swapped",
    "landed late",
    "sweep",
    "waited",
    "refused",
    "time passed",
    "killed",
    "killed in commit",
    "rolled back",
];

#[tokio::test]
async fn q66_i1_i2_i3_i4_i5_i10_hold_after_every_step_of_any_schedule() {
    let seeds = testkit::seeds("SNOWPACK_TEST_SCHEDULES", COUNT);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let [text, uuid] = Lane::both().await;
    let mut worlds = [World::new(text, true).await, World::new(uuid, true).await];
    for seed in &seeds {
        // The seed alone says in which lane.
        let world = &mut worlds[(seed % 2) as usize];
        let (counted, failed) = one(world, *seed).await;
        assert!(failed.is_none(), "{}", failed.unwrap_or_default());
        for (kind, count) in counted {
            *counts.entry(kind).or_default() += count;
        }
    }
    println!("{} schedules: {counts:?}", seeds.len());
    if seeds.len() >= COUNT {
        for kind in REACHED {
            assert!(counts.contains_key(kind), "{kind} was never reached");
        }
    }
}

/// What a schedule counted, and how it failed if it did.
async fn one(world: &mut World, seed: u64) -> (BTreeMap<&'static str, usize>, Option<String>) {
    world.begin().await;
    let mut schedule = Schedule::new(world, seed);
    let failed = schedule.run().await.err().map(|wrong| {
        let steps = schedule.log.join("\n");
        format!("{wrong}\nSNOWPACK_TEST_SEED={seed} replays:\n{steps}\n{wrong}")
    });
    (schedule.counts, failed)
}
