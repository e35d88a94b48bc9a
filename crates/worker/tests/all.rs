//! The worker as a process: real Postgres, real Iceberg tables, real signals.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/broken.rs"]
mod broken;
#[path = "all/failover.rs"]
mod failover;
#[path = "all/faults.rs"]
mod faults;
#[path = "all/files.rs"]
mod files;
#[path = "all/kubernetes.rs"]
mod kubernetes;
#[path = "all/lakehouse.rs"]
mod lakehouse;
#[path = "all/life.rs"]
mod life;
#[path = "all/outages.rs"]
mod outages;
#[path = "all/points.rs"]
mod points;
#[path = "all/poisoned.rs"]
mod poisoned;
#[path = "all/pooler.rs"]
mod pooler;
#[path = "all/shutdown.rs"]
mod shutdown;
#[path = "all/start.rs"]
mod start;
#[path = "all/storms.rs"]
mod storms;
