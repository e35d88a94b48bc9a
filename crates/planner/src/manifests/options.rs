//! The options of `rewrite_manifests`: [`OPTIONS`] describes them, [`Options::parse`] checks them.

use std::collections::BTreeMap;

use metadata::{MANIFEST_TARGET_MAX, TableMetadata};
use model::Action;
use serde::{Deserialize, Serialize};

use crate::BadOption;
use crate::option::{Asked, OptionDoc, doc, unknown};

const ACTION: Action = Action::RewriteManifests;

/// Every option there is. [`Options::parse`] knows these keys and no others.
pub const OPTIONS: &[OptionDoc] = &[
    doc(
        "spec_id",
        "every spec",
        "only manifests of this partition spec; must exist",
    ),
    doc(
        "target-size-bytes",
        "table property `commit.manifest.target-size-bytes`, else 8388608",
        "length a new manifest should have; those below half of it are merged",
    ),
    doc(
        "rewrite-all",
        "false",
        "take every manifest, whatever its length, as Spark does: all files sorted by partition",
    ),
];

/// What the user asked, checked; `None` means the table's property, then the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec_id: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_size_bytes: Option<u64>,
    #[serde(default)]
    pub rewrite_all: bool,
}

impl Options {
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        let mut parsed = Self::default();
        for (key, value) in options {
            let asked = Asked {
                action: ACTION,
                key,
                value,
            };
            match key.as_str() {
                "spec_id" => parsed.spec_id = Some(asked.number(0, i32::MAX)?),
                "target-size-bytes" => {
                    parsed.target_size_bytes = Some(asked.number(1, MANIFEST_TARGET_MAX)?);
                }
                "rewrite-all" => parsed.rewrite_all = asked.boolean()?,
                _ => return Err(unknown(ACTION, OPTIONS, key)),
            }
        }
        Ok(parsed)
    }

    /// Refuses a spec the table does not have.
    pub(super) fn check_spec(&self, table: &TableMetadata) -> Result<(), BadOption> {
        match self.spec_id {
            Some(spec_id) if table.spec(spec_id).is_none() => Err(Asked {
                action: ACTION,
                key: "spec_id",
                value: &spec_id.to_string(),
            }
            .no_such_spec(table)),
            _ => Ok(()),
        }
    }
}
