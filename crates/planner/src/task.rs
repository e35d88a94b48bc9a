//! One action with its options checked, and the plan made for it.

use std::collections::BTreeMap;

use model::Action;
use serde::{Deserialize, Serialize};

use crate::{dangling, expire, manifests, orphans, position_deletes, purge, rewrite};

/// An action and its options, checked. The only way to have one is [`Task::parse`].
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    ExpireSnapshots(expire::Options),
    RewritePositionDeleteFiles(position_deletes::Options),
    RewriteDataFiles(rewrite::Options),
    RemoveDanglingDeletes(dangling::Options),
    RewriteManifests(manifests::Options),
    RemoveOrphanFiles(orphans::Options),
    PurgePending(purge::Options),
}

/// An option that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOption {
    #[error("{action}: unknown option `{key}`; allowed: {allowed}")]
    Unknown {
        action: Action,
        key: String,
        allowed: String,
    },
    #[error("{action}: option `{key}` = `{value}`: {why}")]
    Value {
        action: Action,
        key: String,
        value: String,
        why: String,
    },
}

impl Task {
    /// Checks the options as the user wrote them. Table properties fill the rest at plan time.
    pub fn parse(action: Action, options: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        match action {
            Action::RewriteDataFiles => {
                rewrite::Options::parse(options).map(Self::RewriteDataFiles)
            }
            Action::ExpireSnapshots => expire::Options::parse(options).map(Self::ExpireSnapshots),
            Action::PurgePending => purge::Options::parse(options).map(Self::PurgePending),
            Action::RewriteManifests => {
                manifests::Options::parse(options).map(Self::RewriteManifests)
            }
            Action::RemoveDanglingDeletes => {
                dangling::Options::parse(options).map(Self::RemoveDanglingDeletes)
            }
            Action::RewritePositionDeleteFiles => {
                let parsed = position_deletes::Options::parse(options);
                parsed.map(Self::RewritePositionDeleteFiles)
            }
            Action::RemoveOrphanFiles => {
                orphans::Options::parse(options).map(Self::RemoveOrphanFiles)
            }
        }
    }

    pub fn action(&self) -> Action {
        match self {
            Self::ExpireSnapshots(_) => Action::ExpireSnapshots,
            Self::RewritePositionDeleteFiles(_) => Action::RewritePositionDeleteFiles,
            Self::RewriteDataFiles(_) => Action::RewriteDataFiles,
            Self::RemoveDanglingDeletes(_) => Action::RemoveDanglingDeletes,
            Self::RewriteManifests(_) => Action::RewriteManifests,
            Self::RemoveOrphanFiles(_) => Action::RemoveOrphanFiles,
            Self::PurgePending(_) => Action::PurgePending,
        }
    }
}

/// What will be done and why: made before anything is changed, shown by `--dry-run`, stored
/// with the job, pinned to a snapshot, executed exactly (I6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Plan {
    ExpireSnapshots(expire::Plan),
    RewritePositionDeleteFiles(position_deletes::Plan),
    RewriteDataFiles(rewrite::Plan),
    RemoveDanglingDeletes(dangling::Plan),
    RewriteManifests(manifests::Plan),
    RemoveOrphanFiles(orphans::Plan),
    PurgePending(purge::Plan),
}

impl Plan {
    pub fn action(&self) -> Action {
        match self {
            Self::ExpireSnapshots(_) => Action::ExpireSnapshots,
            Self::RewritePositionDeleteFiles(_) => Action::RewritePositionDeleteFiles,
            Self::RewriteDataFiles(_) => Action::RewriteDataFiles,
            Self::RemoveDanglingDeletes(_) => Action::RemoveDanglingDeletes,
            Self::RewriteManifests(_) => Action::RewriteManifests,
            Self::RemoveOrphanFiles(_) => Action::RemoveOrphanFiles,
            Self::PurgePending(_) => Action::PurgePending,
        }
    }

    /// Why there is nothing to do, when there is nothing.
    pub fn nothing(&self) -> Option<&str> {
        match self {
            Self::ExpireSnapshots(plan) => plan.nothing(),
            Self::RewritePositionDeleteFiles(plan) => plan.nothing(),
            Self::RewriteDataFiles(plan) => plan.nothing(),
            Self::RemoveDanglingDeletes(plan) => plan.nothing(),
            Self::RewriteManifests(plan) => plan.nothing(),
            Self::RemoveOrphanFiles(plan) => plan.nothing(),
            Self::PurgePending(plan) => plan.nothing(),
        }
    }

    /// One line for people: what executing it would do.
    pub fn message(&self) -> String {
        if let Some(reason) = self.nothing() {
            return format!("nothing to do: {reason}");
        }
        match self {
            Self::ExpireSnapshots(plan) => plan.message(),
            Self::RewritePositionDeleteFiles(plan) => plan.message(),
            Self::RewriteDataFiles(plan) => plan.message(),
            Self::RemoveDanglingDeletes(plan) => plan.message(),
            Self::RewriteManifests(plan) => plan.message(),
            Self::RemoveOrphanFiles(plan) => plan.message(),
            Self::PurgePending(plan) => plan.message(),
        }
    }

    /// Estimated peak memory of executing it, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        match self {
            Self::ExpireSnapshots(plan) => plan.memory_bytes,
            Self::RewritePositionDeleteFiles(plan) => plan.memory_bytes,
            Self::RewriteDataFiles(plan) => plan.memory_bytes,
            Self::RemoveDanglingDeletes(plan) => plan.memory_bytes,
            Self::RewriteManifests(plan) => plan.memory_bytes,
            Self::RemoveOrphanFiles(plan) => plan.memory_bytes,
            Self::PurgePending(plan) => plan.memory_bytes,
        }
    }
}
