//! The native engine on real tables: a SQL catalog in a throwaway Postgres, files in a temporary
//! folder, PyIceberg and DuckDB as independent writers and readers.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/allowed.rs"]
mod allowed;
#[path = "all/bad_bytes.rs"]
mod bad_bytes;
#[path = "all/broken.rs"]
mod broken;
#[path = "all/conflict.rs"]
mod conflict;
#[path = "all/damaged_deletes.rs"]
mod damaged_deletes;
#[path = "all/dangling.rs"]
mod dangling;
#[path = "all/deletions.rs"]
mod deletions;
#[path = "all/equality.rs"]
mod equality;
#[path = "all/equality_conflict.rs"]
mod equality_conflict;
#[path = "all/equality_model.rs"]
mod equality_model;
#[path = "all/evolution.rs"]
mod evolution;
#[path = "all/expire.rs"]
mod expire;
#[path = "all/fault.rs"]
mod fault;
#[path = "all/fixtures.rs"]
mod fixtures;
#[path = "all/histories/mod.rs"]
mod histories;
#[path = "all/ledger.rs"]
mod ledger;
#[path = "all/manifests.rs"]
mod manifests;
#[path = "all/oracle.rs"]
mod oracle;
#[path = "all/orphans.rs"]
mod orphans;
#[path = "all/position_deletes.rs"]
mod position_deletes;
#[path = "all/purge.rs"]
mod purge;
#[path = "all/rest_like.rs"]
mod rest_like;
#[path = "all/rewrite.rs"]
mod rewrite;
#[path = "all/s3.rs"]
mod s3;
#[path = "all/sort.rs"]
mod sort;
#[path = "all/v1.rs"]
mod v1;
#[path = "all/waiting.rs"]
mod waiting;
#[path = "all/ways.rs"]
mod ways;
#[path = "all/world.rs"]
mod world;
#[path = "all/writer.rs"]
mod writer;
#[path = "all/written.rs"]
mod written;
