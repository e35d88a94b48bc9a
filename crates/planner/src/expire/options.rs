//! The options of `expire_snapshots`: [`OPTIONS`] describes them, [`Options::parse`] checks them.

use std::collections::{BTreeMap, BTreeSet};

use model::Action;
use serde::{Deserialize, Serialize};

use crate::BadOption;
use crate::option::{Asked, OptionDoc, unknown, whole};

/// Every option there is. [`Options::parse`] knows these keys and no others.
pub const OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        key: "older_than",
        default: "now - table property `history.expire.max-snapshot-age-ms`, else 5 days",
        rule: "snapshots from before this time may go: RFC 3339, or milliseconds since 1970; a \
               branch's own `max-snapshot-age-ms` wins",
    },
    OptionDoc {
        key: "retain_last",
        default: "table property `history.expire.min-snapshots-to-keep`, else 1",
        rule: "every branch keeps at least this many; its own `min-snapshots-to-keep` wins",
    },
    OptionDoc {
        key: "snapshot_ids",
        default: "none",
        rule: "expire these too, separated by commas; one that a branch or tag names, or that a \
               branch keeps by its own settings, is refused",
    },
    OptionDoc {
        key: "clean_expired_metadata",
        default: "false",
        rule: "also remove partition specs and schemas that nothing retained needs",
    },
    OptionDoc {
        key: "deletion-grace-ms",
        default: "table property `snowpack.deletion-grace-ms`, else 86400000",
        rule: "freed files wait this long before they may be deleted; 0 is allowed",
    },
];

/// Ten years: a longer wait is a mistake.
pub(super) const GRACE_MS_MAX: i64 = 10 * 365 * 86_400_000;

/// What the user asked, checked; `None` means the table's property, then the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_last: Option<i32>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub snapshot_ids: BTreeSet<i64>,
    pub clean_expired_metadata: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<i64>,
}

impl Options {
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        let mut parsed = Self::default();
        for (key, value) in options {
            let action = Action::ExpireSnapshots;
            let asked = Asked { action, key, value };
            match key.as_str() {
                "older_than" => parsed.older_than_ms = Some(asked.time()?),
                "retain_last" => parsed.retain_last = Some(asked.number(1, i32::MAX)?),
                "snapshot_ids" => parsed.snapshot_ids = asked.ids()?,
                "clean_expired_metadata" => parsed.clean_expired_metadata = asked.boolean()?,
                "deletion-grace-ms" => parsed.grace_ms = Some(asked.number(0, GRACE_MS_MAX)?),
                _ => return Err(unknown(action, OPTIONS, key)),
            }
        }
        Ok(parsed)
    }
}

/// What only this action asks for.
impl Asked<'_> {
    fn ids(self) -> Result<BTreeSet<i64>, BadOption> {
        let ids = self.value.split(',').map(|id| whole(id.trim()));
        let ids: Option<BTreeSet<i64>> = ids.collect();
        ids.ok_or_else(|| self.refuse("must be snapshot ids separated by commas"))
    }
}
