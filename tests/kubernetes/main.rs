//! Snowpack on a real cluster: the chart, the image and the programs together.
//!
//! Runs inside `tests/kubernetes/cluster`, one test at a time; `tests/run` does both. Absence of
//! the cluster is a failure, never a pass.

mod cluster;
mod image;
