//! Maintenance actions and the one order they run in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What can be done to a table. Declared in canonical order, which is the order run whatever
/// order was asked (`Ord` is that order).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    ExpireSnapshots,
    RewritePositionDeleteFiles,
    RewriteDataFiles,
    RemoveDanglingDeletes,
    RewriteManifests,
    RemoveOrphanFiles,
    PurgePending,
}

impl Action {
    /// Every action, in canonical order.
    pub const ALL: [Self; 7] = [
        Self::ExpireSnapshots,
        Self::RewritePositionDeleteFiles,
        Self::RewriteDataFiles,
        Self::RemoveDanglingDeletes,
        Self::RewriteManifests,
        Self::RemoveOrphanFiles,
        Self::PurgePending,
    ];

    /// The name used in SQL, JSON, metrics and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExpireSnapshots => "expire_snapshots",
            Self::RewritePositionDeleteFiles => "rewrite_position_delete_files",
            Self::RewriteDataFiles => "rewrite_data_files",
            Self::RemoveDanglingDeletes => "remove_dangling_deletes",
            Self::RewriteManifests => "rewrite_manifests",
            Self::RemoveOrphanFiles => "remove_orphan_files",
            Self::PurgePending => "purge_pending",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is no action's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown action `{0}`; allowed: expire_snapshots, rewrite_position_delete_files, rewrite_data_files, remove_dangling_deletes, rewrite_manifests, remove_orphan_files, purge_pending"
)]
pub struct UnknownAction(pub String);

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, UnknownAction> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == name)
            .ok_or_else(|| UnknownAction(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_read_back_from_its_name() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
    }

    #[test]
    fn declared_order_is_canonical_order() {
        let mut sorted = Action::ALL;
        sorted.sort();
        assert_eq!(sorted, Action::ALL);
    }

    #[test]
    fn an_unknown_action_is_named_with_what_is_allowed() {
        let error = "vacuum".parse::<Action>().unwrap_err().to_string();
        for action in Action::ALL {
            assert!(error.contains(action.as_str()), "{error}");
        }
        assert!(error.contains("`vacuum`"), "{error}");
    }
}
