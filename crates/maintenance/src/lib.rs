//! The maintenance lane's own tables: jobs, their actions, the ledger of written files, settings,
//! the table cache, health over time.
//!
//! Owns schema `snowpack` (`migrations/snowpack`) except the queue's part of it, and gives the
//! queue its records (`record_claimed`, `record_reset`, `record_ended`). Judges nothing: what to
//! submit and when to retry is `policy`'s. Start at [`submit`].

pub mod actions;
pub mod candidates;
mod claimed;
pub mod deletions;
pub mod dry_run;
mod error;
pub mod health;
pub mod history;
pub mod inventory;
pub mod jobs;
pub mod ledger;
pub mod loops;
pub mod overview;
pub mod past;
pub mod retention;
mod retry;
pub mod runs;
mod schema;
pub mod settings;
mod statement;
mod submit;

pub use actions::{ActionResult, ActionRow};
pub use claimed::{ClaimedJob, claimed_jobs};
pub use error::Error;
pub use jobs::{Filter, Job, QueueState, cancel, delete, get, list};
pub use retry::retry;
pub use schema::{SCHEMA, SCHEMA_VERSION, migrate, migrations, queue};
pub use settings::Drain;
pub use submit::{OnConflict, Submission, Submitted, submit};
