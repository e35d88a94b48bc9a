//! The API as a process, over a real Postgres.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/access.rs"]
mod access;
#[path = "all/check.rs"]
mod check;
#[path = "all/contract.rs"]
mod contract;
#[path = "all/hostile.rs"]
mod hostile;
#[path = "all/inventory.rs"]
mod inventory;
#[path = "all/jobs.rs"]
mod jobs;
#[path = "all/jwt.rs"]
mod jwt;
#[path = "all/kubernetes.rs"]
mod kubernetes;
#[path = "all/lake.rs"]
mod lake;
#[path = "all/numbers.rs"]
mod numbers;
#[path = "all/outage.rs"]
mod outage;
#[path = "all/passes.rs"]
mod passes;
#[path = "all/problems.rs"]
mod problems;
#[path = "all/program.rs"]
mod program;
#[path = "all/readme.rs"]
mod readme;
#[path = "all/server.rs"]
mod server;
#[path = "all/submit.rs"]
mod submit;
#[path = "all/switches.rs"]
mod switches;
#[path = "all/tls.rs"]
mod tls;
