//! The options of `rewrite_position_delete_files`: [`OPTIONS`] describes them, [`Options::parse`]
//! checks them.

use std::collections::BTreeMap;

use model::Action;
use serde::{Deserialize, Serialize};

use crate::BadOption;
use crate::option::{Asked, OptionDoc, doc, unknown};
use crate::rewrite::max_of;

const ACTION: Action = Action::RewritePositionDeleteFiles;
const BYTES_MAX: u64 = i64::MAX as u64;
const MIN_INPUT_FILES_DEFAULT: usize = 5;
/// 100 GiB.
const GROUP_BYTES_DEFAULT: u64 = 107_374_182_400;

/// Every option there is. [`Options::parse`] knows these keys and no others.
pub const OPTIONS: &[OptionDoc] = &[
    doc(
        "target-file-size-bytes",
        "table property `write.delete.target-file-size-bytes`, else 67108864",
        "size a new delete file should have; above min, below max",
    ),
    doc(
        "min-file-size-bytes",
        "0.75 x target",
        "a delete file is a candidate when smaller",
    ),
    doc(
        "max-file-size-bytes",
        "1.80 x target",
        "a delete file is a candidate when larger",
    ),
    doc(
        "min-input-files",
        "5",
        "a group of at least this many files (and more than one) is rewritten; a smaller one only \
         when it holds more than one target, or a file above max",
    ),
    doc("rewrite-all", "false", "take every file and every group"),
    doc(
        "max-file-group-size-bytes",
        "107374182400",
        "a group holds at most this many input bytes",
    ),
];

/// What the user asked, checked; `None` means the table's property, then the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    pub target_file_size_bytes: Option<u64>,
    pub min_file_size_bytes: Option<u64>,
    pub max_file_size_bytes: Option<u64>,
    pub min_input_files: usize,
    pub rewrite_all: bool,
    pub group_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target_file_size_bytes: None,
            min_file_size_bytes: None,
            max_file_size_bytes: None,
            min_input_files: MIN_INPUT_FILES_DEFAULT,
            rewrite_all: false,
            group_bytes_max: GROUP_BYTES_DEFAULT,
        }
    }
}

impl Options {
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        let mut parsed = Self::default();
        for (key, value) in options {
            let asked = asked(key, value);
            let bytes = |min| asked.number(min, BYTES_MAX);
            match key.as_str() {
                "target-file-size-bytes" => parsed.target_file_size_bytes = Some(bytes(1)?),
                "min-file-size-bytes" => parsed.min_file_size_bytes = Some(bytes(0)?),
                "max-file-size-bytes" => parsed.max_file_size_bytes = Some(bytes(1)?),
                "min-input-files" => {
                    parsed.min_input_files = asked.number(1, i32::MAX as usize)?;
                }
                "rewrite-all" => parsed.rewrite_all = asked.boolean()?,
                "max-file-group-size-bytes" => parsed.group_bytes_max = bytes(1)?,
                _ => return Err(unknown(ACTION, OPTIONS, key)),
            }
        }
        if let Some(target) = parsed.target_file_size_bytes {
            parsed.sizes(target)?;
        }
        Ok(parsed)
    }

    /// The sizes (min, max) around a target.
    pub(super) fn sizes(&self, target: u64) -> Result<(u64, u64), BadOption> {
        let min = self.min_file_size_bytes;
        let min = min.unwrap_or(metadata::small_below(target));
        let max = self.max_file_size_bytes;
        let max = max.unwrap_or_else(|| max_of(target));
        if min >= target {
            let why = format!("must be below target-file-size-bytes {target}");
            return Err(asked("min-file-size-bytes", &min.to_string()).refuse(why));
        }
        if max <= target {
            let why = format!("must be above target-file-size-bytes {target}");
            return Err(asked("max-file-size-bytes", &max.to_string()).refuse(why));
        }
        Ok((min, max))
    }
}

fn asked<'a>(key: &'a str, value: &'a str) -> Asked<'a> {
    let action = ACTION;
    Asked { action, key, value }
}
