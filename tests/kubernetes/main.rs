//! Snowpack on a real cluster: the chart, the image and the programs together.
//!
//! Runs inside `tests/kubernetes/cluster`, one test at a time; `tests/run` does both. Absence of
//! the cluster is a failure, never a pass.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod cluster;
mod image;
mod install;
mod interruption;
mod lakehouse;
mod long;
mod misconfigured;
mod outage;
mod process;
mod prometheus;
mod release;
mod replicas;
mod runs;
mod scaling;
mod values;
