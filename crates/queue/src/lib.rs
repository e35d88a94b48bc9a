//! Claim, lease, fence, hand-back: one queue, several lanes.
//!
//! Owns `job_queue`, `lane_state` and `table_locks` of every lane and the SQL functions beside
//! them (`migrations/queue/0001_lane.sql`). Reads no clock of its own to decide what is late: the
//! database's decides, and the monotonic one is only ever used to trust a lease *less*. Never
//! touches the lane's record table; the face tells what its records do in four SQL functions of
//! its schema, called inside the queue's own statements for rows whose queue row is held:
//! `record_claimed(ids, attempt_ids)`, `record_reset(ids)`,
//! `record_ended(ids, statuses, reasons, errors)` and `record_live(ids)`, which returns the ids
//! whose record is pending or running.
//!
//! Start at [`Queue`], then [`Claimer::claim`], [`Queue::renew`] and [`Queue::finish`];
//! `DESIGN.md` says why.

mod cancel;
mod claim;
mod depth;
mod enqueue;
mod error;
mod fence;
mod finish;
mod lane;
mod lease;
mod lock;
pub mod metrics;
mod pause;
mod renew;
mod sql;
mod sweep;
mod wake;

pub use cancel::Cancel;
pub use claim::{Ask, Claimed, Claimer};
pub use depth::Depth;
pub use enqueue::Enqueue;
pub use error::Error;
pub use fence::{Fence, Guard};
pub use finish::{End, Finished, HandBack, HandedBack};
pub use lane::{IdType, Queue, lane_migration, statements};
pub use lease::Lease;
pub use lock::Lock;
pub use pause::Paused;
pub use renew::{RenewState, Renewal};
pub use sweep::{Cursor, Swept};
pub use wake::{Call, Calls, Waker, idle_poll, wake_delay};
