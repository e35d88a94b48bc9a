//! `expire_snapshots`: which snapshots and refs go, and why the others stay (`lake.md` section 4).
//!
//! Pure: [`plan`] reads a table's metadata, the clock's answer and the intents still open.

use std::collections::BTreeMap;

use metadata::TableMetadata;
use serde::{Deserialize, Serialize};

use crate::{BadOption, Expiring, OpenIntent};

/// What the user asked, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {}

impl Options {
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        let _ = options;
        Ok(Self {})
    }
}

/// An expiry pinned to one metadata file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The table's full key (`namespace.table`).
    pub table: String,
    pub table_uuid: String,
    /// The metadata file planned on.
    pub metadata_location: String,
    pub expire: Vec<Expiring>,
    /// Refs removed because they are older than they may be.
    pub remove_refs: Vec<String>,
    pub remove_specs: Vec<i32>,
    pub remove_schemas: Vec<i32>,
    /// Refs relied on, each with the snapshot it must still name.
    pub refs: BTreeMap<String, i64>,
    /// Snapshots that stay, counted by reason.
    pub kept: BTreeMap<String, u64>,
    /// Earlier expiries to settle.
    pub open_intents: u64,
    pub grace_ms: i64,
    /// Estimated peak memory, in bytes.
    pub memory_bytes: u64,
}

impl Plan {
    /// Why there is nothing to do, when there is nothing.
    pub fn nothing(&self) -> Option<&str> {
        let idle = self.expire.is_empty() && self.remove_refs.is_empty() && self.open_intents == 0;
        idle.then_some("every snapshot is retained")
    }
}

/// Why no plan could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Option(#[from] BadOption),
}

/// Decides what to expire at `now_ms`.
pub fn plan(
    metadata: &TableMetadata,
    table: &str,
    metadata_location: &str,
    now_ms: i64,
    open: &[OpenIntent],
    options: &Options,
) -> Result<Plan, Refused> {
    let _ = (now_ms, options);
    Ok(Plan {
        table: table.to_owned(),
        table_uuid: metadata.uuid().to_owned(),
        metadata_location: metadata_location.to_owned(),
        expire: Vec::new(),
        remove_refs: Vec::new(),
        remove_specs: Vec::new(),
        remove_schemas: Vec::new(),
        refs: BTreeMap::new(),
        kept: BTreeMap::new(),
        open_intents: open.len() as u64,
        grace_ms: 0,
        memory_bytes: 0,
    })
}
