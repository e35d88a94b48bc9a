//! Storage on local files and on a real S3 server.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/faults.rs"]
mod faults;
#[path = "all/local.rs"]
mod local;
#[path = "all/promises.rs"]
mod promises;
#[path = "all/refusals.rs"]
mod refusals;
#[path = "all/s3.rs"]
mod s3;
