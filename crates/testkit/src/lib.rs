//! For tests only: throwaway databases and Postgres servers, poolers, S3 servers, REST catalogs,
//! Kubernetes control planes and proxies that break, our programs as processes, the oracle programs, certificates,
//! waiting, seeds, log scan.
//!
//! `tests/run` starts Postgres and makes the others, and says where they are through
//! `SNOWPACK_TEST_DATABASE_URL`, `SNOWPACK_TEST_PYTHON`, `SNOWPACK_TEST_S3`,
//! `SNOWPACK_TEST_PGBOUNCER`, `SNOWPACK_TEST_REST` and `SNOWPACK_TEST_KUBERNETES`. Absence is a
//! failure, never a pass.

mod binary;
mod certificate;
mod database;
mod http;
mod kubernetes;
mod logs;
mod oracle;
mod pooler;
mod postgres_proxy;
mod process;
mod proxy;
mod rest_catalog;
mod s3;
mod seed;
mod server;
mod small_table;
mod tunnel;
mod wait;

pub use binary::binary;
pub use certificate::Certificate;
pub use database::Database;
pub use http::{get, request, request_on, send};
pub use kubernetes::Kubernetes;
pub use logs::unexpected_lines;
pub use oracle::{oracle, python};
pub use pooler::Pooler;
pub use postgres_proxy::{CommitFate, PostgresProxy};
pub use process::Process;
pub use proxy::{Fate, Proxy};
pub use rest_catalog::RestCatalog;
pub use s3::S3;
pub use seed::{seed, seeds};
pub use server::{Server, Stop};
pub use small_table::SmallTable;
pub use tunnel::Tunnel;
pub use wait::{WAIT_MAX, until};
