//! `purge_pending`: deletes what waited long enough and is still unreferenced (`lake.md` section 7).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::BadOption;

/// It has no options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {}

impl Options {
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        let _ = options;
        Ok(Self {})
    }
}

/// How much is due. Which of it may really go is decided when it is executed, on the table as it
/// is by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The table's full key (`namespace.table`).
    pub table: String,
    pub table_uuid: String,
    /// Files due now.
    pub files: u64,
    /// What they hold, as far as it is known.
    pub bytes: u64,
    /// Earlier expiries to settle first.
    pub open_intents: u64,
    /// Estimated peak memory, in bytes.
    pub memory_bytes: u64,
}

impl Plan {
    /// Why there is nothing to do, when there is nothing.
    pub fn nothing(&self) -> Option<&str> {
        (self.files == 0 && self.open_intents == 0).then_some("no file is due for deletion")
    }
}
