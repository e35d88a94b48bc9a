//! Health sync on a real Postgres and real tables, with a catalog that is watched, held and broken.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/assess.rs"]
mod assess;
#[path = "all/faults.rs"]
mod faults;
#[path = "all/program.rs"]
mod program;
#[path = "all/sync.rs"]
mod sync;
#[path = "all/watched.rs"]
mod watched;
#[path = "all/world.rs"]
mod world;
