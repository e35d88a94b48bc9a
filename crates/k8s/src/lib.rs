//! What Snowpack asks of Kubernetes: marks on the worker's own pod, Events, Jobs of CronJobs, and a
//! Lease. Knows no job and no table; nothing here is needed for the work to be right, so nothing
//! here may hold it up: every call has a time limit, and a refusal is said once.
//!
//! Start at [`Cluster`], the API server; [`PodArgs`] says which pod this is. [`stake`] keeps the
//! pod's marks, [`events`] tells what happened on it, [`cronjob`] starts Jobs, [`lease`] elects.

pub mod cronjob;
pub mod events;
pub mod lease;
pub mod stake;

mod clock;
mod cluster;
mod error;
mod metrics;
mod pod;
mod trouble;

pub use cluster::Cluster;
pub use error::{Call, Error};
pub use metrics::Metrics;
pub use pod::{Pod, PodArgs, name};
pub use trouble::Trouble;
