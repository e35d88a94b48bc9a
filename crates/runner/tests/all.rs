//! Attempts on a real Postgres, with a scripted engine in place of a lake.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/cancel.rs"]
mod cancel;
#[path = "all/crash.rs"]
mod crash;
#[path = "all/ends.rs"]
mod ends;
#[path = "all/engine.rs"]
mod engine;
#[path = "all/events.rs"]
mod events;
#[path = "all/heart.rs"]
mod heart;
#[path = "all/purge.rs"]
mod purge;
#[path = "all/rig.rs"]
mod rig;
#[path = "all/shutdown.rs"]
mod shutdown;
#[path = "all/stale.rs"]
mod stale;
#[path = "all/steady.rs"]
mod steady;
