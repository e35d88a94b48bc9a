//! The control plane's passes on a real Postgres, with a catalog that fails when told to.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/explain.rs"]
mod explain;
#[path = "all/faults.rs"]
mod faults;
#[path = "all/fleet.rs"]
mod fleet;
#[path = "all/inventory.rs"]
mod inventory;
#[path = "all/inventory_faults.rs"]
mod inventory_faults;
#[path = "all/orchestrate.rs"]
mod orchestrate;
#[path = "all/retention.rs"]
mod retention;
#[path = "all/shelf.rs"]
mod shelf;
