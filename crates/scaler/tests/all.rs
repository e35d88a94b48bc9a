//! The scaler as a process, over a real Postgres.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/grpc.rs"]
mod grpc;
#[path = "all/json.rs"]
mod json;
#[path = "all/push.rs"]
mod push;
#[path = "all/scaler.rs"]
mod scaler;
#[path = "all/tls.rs"]
mod tls;
