//! The queue against a real Postgres, in a lane of text ids and one of uuids.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/cancel.rs"]
mod cancel;
#[path = "all/claim.rs"]
mod claim;
#[path = "all/depth.rs"]
mod depth;
#[path = "all/enqueue.rs"]
mod enqueue;
#[path = "all/exclusion.rs"]
mod exclusion;
#[path = "all/failover.rs"]
mod failover;
#[path = "all/fence.rs"]
mod fence;
#[path = "all/horizon.rs"]
mod horizon;
#[path = "all/interleaved/mod.rs"]
mod interleaved;
#[path = "all/lane.rs"]
mod lane;
#[path = "all/lease.rs"]
mod lease;
#[path = "all/limits.rs"]
mod limits;
#[path = "all/lock.rs"]
mod lock;
#[path = "all/million.rs"]
mod million;
#[path = "all/model_check/mod.rs"]
mod model_check;
#[path = "all/order.rs"]
mod order;
#[path = "all/pooler.rs"]
mod pooler;
#[path = "all/retry.rs"]
mod retry;
#[path = "all/schedule.rs"]
mod schedule;
#[path = "all/storm.rs"]
mod storm;
#[path = "all/sweep.rs"]
mod sweep;
#[path = "all/wake.rs"]
mod wake;
