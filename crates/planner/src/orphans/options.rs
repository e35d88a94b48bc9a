//! The options of `remove_orphan_files`: [`OPTIONS`] describes them, [`Options::parse`] checks them.

use std::collections::BTreeMap;

use model::Action;
use serde::{Deserialize, Serialize};

use crate::BadOption;
use crate::option::{Asked, OptionDoc, doc, unknown};

pub(super) const ACTION: Action = Action::RemoveOrphanFiles;

/// Every option there is. [`Options::parse`] knows these keys and no others.
pub const OPTIONS: &[OptionDoc] = &[
    doc(
        "older_than",
        "now - 3 days",
        "only files last written before this time are looked at: RFC 3339, or milliseconds since 1970; less \
         than 24 hours ago is refused, for a writer may not have committed yet",
    ),
    doc(
        "location",
        "the table's location",
        "the folder that is looked through: the table's location or one below it",
    ),
    doc(
        "prefix_mismatch_mode",
        "error",
        "what to do when the table refers to a file by another scheme or authority than it is listed under: \
         `error` refuses with the pairs, `ignore` leaves such files alone; `s3`, `s3a` and `s3n` are the same",
    ),
    doc(
        "force",
        "false",
        "allow an `older_than` of less than 24 hours ago, on a table that nobody else writes to",
    ),
];

/// What becomes of a file that is listed under another scheme or authority than it is referred to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefixMismatch {
    /// Nothing is done at all.
    #[default]
    Error,
    /// It stays.
    Ignore,
}

/// What the user asked, checked; `None` means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    pub prefix_mismatch_mode: PrefixMismatch,
    pub force: bool,
}

impl Options {
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        let mut parsed = Self::default();
        for (key, value) in options {
            let asked = asked(key, value);
            match key.as_str() {
                "older_than" => parsed.older_than_ms = Some(asked.time()?),
                "location" => parsed.location = Some(value.clone()),
                "prefix_mismatch_mode" => {
                    parsed.prefix_mismatch_mode = asked.one_of(&[
                        (PrefixMismatch::Error, "error"),
                        (PrefixMismatch::Ignore, "ignore"),
                    ])?;
                }
                "force" => parsed.force = asked.boolean()?,
                _ => return Err(unknown(ACTION, OPTIONS, key)),
            }
        }
        Ok(parsed)
    }
}

pub(super) fn asked<'a>(key: &'a str, value: &'a str) -> Asked<'a> {
    let action = ACTION;
    Asked { action, key, value }
}
