//! The native engine on real tables: a SQL catalog in a throwaway Postgres, files in a temporary
//! folder, PyIceberg and DuckDB as independent writers and readers.

#[path = "all/conflict.rs"]
mod conflict;
#[path = "all/fault.rs"]
mod fault;
#[path = "all/ledger.rs"]
mod ledger;
#[path = "all/rewrite.rs"]
mod rewrite;
#[path = "all/world.rs"]
mod world;
#[path = "all/written.rs"]
mod written;
