//! `expire_snapshots`: which snapshots and refs go, and why the others stay (`lake.md` section 4).
//!
//! Pure: [`plan`] reads a table's metadata, the clock's answer and the intents still open. The
//! rules are those of Iceberg's `RemoveSnapshots`, safer where a branch's own retention stands
//! against a snapshot asked for by id. [`Plan::again`] is the same plan on a table that moved on.

mod decide;
mod definitions;
mod options;
mod refused;
mod retention;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Expiring;

pub use decide::plan;
pub use definitions::Needed;
pub use options::{OPTIONS, Options};
pub use refused::Refused;

/// The table property behind the option `deletion-grace-ms`.
pub const GRACE_KEY: &str = "snowpack.deletion-grace-ms";

/// An expiry pinned to one metadata file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The table's full key (`namespace.table`).
    pub table: String,
    pub table_uuid: String,
    /// The metadata file planned on.
    pub metadata_location: String,
    /// What ages are counted from.
    pub now_ms: i64,
    pub options: Options,
    /// Oldest first.
    pub expire: Vec<Expiring>,
    /// Refs removed because they are older than they may be.
    pub remove_refs: Vec<String>,
    pub remove_specs: Vec<i32>,
    pub remove_schemas: Vec<i32>,
    /// Refs relied on (all of them), each with the snapshot it must still name.
    pub refs: BTreeMap<String, i64>,
    /// Snapshots that stay, counted by reason.
    pub kept: BTreeMap<String, u64>,
    /// Earlier expiries to settle.
    pub open_intents: u64,
    /// How long the files wait before they may be deleted, in milliseconds.
    pub grace_ms: i64,
    /// Estimated peak memory, in bytes.
    pub memory_bytes: u64,
}

impl Plan {
    /// Why there is nothing to do, when there is nothing.
    pub fn nothing(&self) -> Option<&str> {
        let idle = self.changes_nothing() && self.open_intents == 0;
        idle.then_some(if self.kept.is_empty() {
            "the table has no snapshots"
        } else {
            "every snapshot is retained"
        })
    }

    pub(crate) fn message(&self) -> String {
        format!(
            "would expire {} snapshots, remove {} refs and {} definitions, and settle {} earlier \
             expiries",
            self.expire.len(),
            self.remove_refs.len(),
            self.remove_specs.len() + self.remove_schemas.len(),
            self.open_intents
        )
    }

    /// Whether the table's metadata stays as it is.
    pub fn changes_nothing(&self) -> bool {
        self.expire.is_empty()
            && self.remove_refs.is_empty()
            && self.remove_specs.is_empty()
            && self.remove_schemas.is_empty()
    }
}
