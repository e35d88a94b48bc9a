//! The native engine: reads, rewrites and commits Iceberg tables.
//!
//! [`NativeEngine`] implements `planner::Engine`. A rewrite writes data files ([`rewrite`]: the
//! task is one column of one output row group), then commits them ([`commit`]: validated on the
//! table as it is by then, swapped under the fence); [`position_deletes`] rewrites delete files,
//! [`dangling`] drops those that apply to nothing, [`manifests`] merges manifests, all committed the
//! same way. [`write`] and [`append`] are what a plain
//! writer of the same tables needs; tests and the demo use them. [`orphans`]
//! lists files nothing refers to; only [`purge`] deletes files, and only those that waited their time.

mod append;
mod commit;
mod dangling;
mod deletes;
mod engine;
mod error;
mod expire;
mod files;
mod inspect;
mod manifests;
mod orphans;
mod position_deletes;
mod purge;
mod rewrite;
mod write;

pub use append::{Changes, commit_changes};
pub use engine::NativeEngine;
pub use error::Error;
pub use inspect::{Column, Held, inspect, inspect_keys, inspect_positions, records};
pub use rewrite::{ColumnPreview, Preview, preview};
pub use write::{FileWriter, arrow_schema, delete_schema, key_schema};
