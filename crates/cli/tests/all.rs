//! The built program as a person or a script runs it: words in, text or JSON and a code out.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/bench.rs"]
mod bench;
#[path = "all/clock.rs"]
mod clock;
#[path = "all/config.rs"]
mod config;
#[path = "all/demo.rs"]
mod demo;
#[path = "all/dry_run.rs"]
mod dry_run;
#[path = "all/health.rs"]
mod health;
#[path = "all/jobs.rs"]
mod jobs;
#[path = "all/kubernetes.rs"]
mod kubernetes;
#[path = "all/local.rs"]
mod local;
#[path = "all/maintain.rs"]
mod maintain;
#[path = "all/orchestrate.rs"]
mod orchestrate;
#[path = "all/pending.rs"]
mod pending;
#[path = "all/program.rs"]
mod program;
#[path = "all/rest.rs"]
mod rest;
#[path = "all/retry.rs"]
mod retry;
#[path = "all/skipped.rs"]
mod skipped;
#[path = "all/usage.rs"]
mod usage;
