//! What an executed action did.

use model::ActionOutcome;
use serde::{Deserialize, Serialize};

/// The result object of one action, stored in `job_actions.result` and printed by the CLI.
/// Counts cover everything the action committed, over all its commits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Why nothing was done; absent when something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    pub files_in: u64,
    pub files_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub rows_in: u64,
    /// Rows removed because a delete applied to them.
    pub deletes_applied: u64,
    pub rows_out: u64,
    /// The last snapshot this action committed.
    pub snapshot_id: Option<i64>,
    /// Swaps tried, conflicts included.
    pub commit_attempts: u32,
    /// Groups given up because another writer changed their files (partial progress only).
    #[serde(default)]
    pub groups_failed: u32,
    /// Of `expire_snapshots` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<Expired>,
    /// Of `purge_pending` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge: Option<Purge>,
}

/// What an expiry did, over all its attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    pub snapshots: u64,
    /// Branches and tags removed because they were older than they may be.
    pub refs: u64,
    /// Files that now wait for their deletion.
    pub files: u64,
    /// What they hold, as far as metadata says.
    pub bytes: u64,
    /// Specs and schemas removed (`clean_expired_metadata`).
    pub definitions: u64,
}

impl Expired {
    fn message(&self) -> String {
        let Self {
            snapshots,
            refs,
            files,
            bytes,
            definitions,
        } = self;
        format!(
            "{snapshots} snapshots expired, {refs} refs and {definitions} definitions removed, \
             {files} files to be deleted ({bytes} bytes as far as known)"
        )
    }
}

/// What a purge did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    pub deleted: u64,
    pub bytes: u64,
    pub kept: u64,
    /// Due again later.
    pub failed: u64,
}

impl Purge {
    fn message(&self) -> String {
        let Self {
            deleted,
            bytes,
            kept,
            failed,
        } = self;
        format!(
            "{deleted} files deleted ({bytes} bytes as far as known), {kept} kept, {failed} failed"
        )
    }
}

impl Report {
    /// Nothing was done, and this is why.
    pub fn nothing(reason: impl Into<String>) -> Self {
        Self {
            skipped: Some(reason.into()),
            ..Self::default()
        }
    }

    pub fn outcome(&self) -> ActionOutcome {
        if self.skipped.is_some() {
            ActionOutcome::NothingToDo
        } else {
            ActionOutcome::Done
        }
    }

    /// One line for people (`job_actions.message`).
    pub fn message(&self) -> String {
        match (&self.skipped, &self.expired, &self.purge) {
            (Some(reason), ..) => format!("nothing to do: {reason}"),
            (None, Some(expired), _) => expired.message(),
            (None, None, Some(purge)) => purge.message(),
            (None, None, None) => format!(
                "{} files -> {}, {} bytes -> {}, {} rows, {} deletes applied",
                self.files_in,
                self.files_out,
                self.bytes_in,
                self.bytes_out,
                self.rows_out,
                self.deletes_applied
            ),
        }
    }
}
