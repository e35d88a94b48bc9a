//! The maintenance tables on a real Postgres.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/deletions.rs"]
mod deletions;
#[path = "all/dry_run.rs"]
mod dry_run;
#[path = "all/history.rs"]
mod history;
#[path = "all/horizon.rs"]
mod horizon;
#[path = "all/jobs.rs"]
mod jobs;
#[path = "all/lane.rs"]
mod lane;
#[path = "all/ledger.rs"]
mod ledger;
#[path = "all/locks.rs"]
mod locks;
#[path = "all/loops.rs"]
mod loops;
#[path = "all/past.rs"]
mod past;
#[path = "all/plans.rs"]
mod plans;
#[path = "all/plans_lists.rs"]
mod plans_lists;
#[path = "all/retry.rs"]
mod retry;
#[path = "all/runs.rs"]
mod runs;
#[path = "all/schema.rs"]
mod schema;
#[path = "all/stalest.rs"]
mod stalest;
#[path = "all/submit.rs"]
mod submit;
#[path = "all/unique.rs"]
mod unique;
#[path = "all/versions.rs"]
mod versions;
