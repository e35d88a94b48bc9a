//! The SQL catalog and the REST catalog keep the suite's promises, and the first shares its rows
//! with PyIceberg.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/pyiceberg.rs"]
mod pyiceberg;
#[path = "all/rest.rs"]
mod rest;
#[path = "all/rest_commit.rs"]
mod rest_commit;
#[path = "all/rest_listing.rs"]
mod rest_listing;
#[path = "all/rest_server.rs"]
mod rest_server;
#[path = "all/sql.rs"]
mod sql;
#[path = "all/stub.rs"]
mod stub;
