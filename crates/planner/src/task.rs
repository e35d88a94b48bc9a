//! One action with its options checked, and the plan made for it.

use std::collections::BTreeMap;

use model::Action;
use serde::{Deserialize, Serialize};

use crate::rewrite;

/// An action and its options, checked. The only way to have one is [`Task::parse`].
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    RewriteDataFiles(rewrite::Options),
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
    #[error("{action} is not built in this version; built: rewrite_data_files")]
    NotBuilt { action: Action },
}

impl Task {
    /// Checks the options as the user wrote them. Table properties fill the rest at plan time.
    pub fn parse(action: Action, options: &BTreeMap<String, String>) -> Result<Self, BadOption> {
        match action {
            Action::RewriteDataFiles => {
                rewrite::Options::parse(options).map(Self::RewriteDataFiles)
            }
            Action::ExpireSnapshots
            | Action::RewritePositionDeleteFiles
            | Action::RemoveDanglingDeletes
            | Action::RewriteManifests
            | Action::RemoveOrphanFiles
            | Action::PurgePending => Err(BadOption::NotBuilt { action }),
        }
    }

    pub fn action(&self) -> Action {
        match self {
            Self::RewriteDataFiles(_) => Action::RewriteDataFiles,
        }
    }
}

/// What will be done and why: made before anything is changed, shown by `--dry-run`, stored
/// with the job, pinned to a snapshot, executed exactly (I6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Plan {
    RewriteDataFiles(rewrite::Plan),
}

impl Plan {
    pub fn action(&self) -> Action {
        match self {
            Self::RewriteDataFiles(_) => Action::RewriteDataFiles,
        }
    }

    /// Why there is nothing to do, when there is nothing.
    pub fn nothing(&self) -> Option<&str> {
        match self {
            Self::RewriteDataFiles(plan) => plan.nothing(),
        }
    }

    /// Estimated peak memory of executing it, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        match self {
            Self::RewriteDataFiles(plan) => plan.memory_bytes,
        }
    }
}
