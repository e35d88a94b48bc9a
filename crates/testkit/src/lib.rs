//! For tests only: throwaway databases, our programs as processes, the oracle programs,
//! waiting, seeds, log scan.
//!
//! Servers are not started here: `tests/run` starts them and says where they are through
//! `SNOWPACK_TEST_DATABASE_URL` and `SNOWPACK_TEST_PYTHON`. Absence is a failure, never a pass.

mod binary;
mod database;
mod http;
mod logs;
mod oracle;
mod process;
mod seed;
mod wait;

pub use binary::binary;
pub use database::Database;
pub use http::{get, request};
pub use logs::unexpected_lines;
pub use oracle::{oracle, python};
pub use process::Process;
pub use seed::{seed, seeds};
pub use wait::{WAIT_MAX, until};
