//! Deletion in two phases (`lake.md` sections 4 and 7): what passes between an engine and whoever
//! keeps the lists.
//!
//! An expiry is intended before its swap and settled after it; what it frees waits as
//! [`Candidate`]s. A purge asks for what is [`Due`] and answers with what became of each path.

use model::{AttemptId, JobId};
use serde::{Deserialize, Serialize};

/// A snapshot about to be expired, with all that is needed to find its files once it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Expiring {
    pub snapshot_id: i64,
    /// Location of its manifest list; empty when the snapshot (format v1) lists `manifests` itself.
    pub manifest_list: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<String>,
    /// Locations of its statistics and partition statistics files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statistics: Vec<String>,
}

/// What an expiry is about to do, stored before its swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub table_uuid: String,
    /// The metadata file the expiry was planned on.
    pub planned_location: String,
    pub ids: Vec<Expiring>,
    /// How long what it frees waits before it may be deleted, in milliseconds.
    pub grace_ms: i64,
}

/// Names an intent in its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntentId(pub i64);

/// An intent nobody has settled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIntent {
    pub id: IntentId,
    pub job: JobId,
    pub attempt: AttemptId,
    pub intent: Intent,
    /// Its attempt is over: no fence lets it commit any more. A request it sent to a catalog that
    /// cannot see the fence may still land.
    pub attempt_over: bool,
    /// It was stored so long ago (24 h) that no request of its attempt can still land.
    pub old: bool,
}

/// A file nothing retained refers to any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub path: String,
    /// As metadata says; `None` when it does not.
    pub size_bytes: Option<u64>,
    /// When it was last written, by its store's clock; told of orphans only.
    pub modified_ms: Option<i64>,
}

/// Why a file waits for its deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// An attempt wrote it and did not commit it.
    Attempt,
    /// Only expired snapshots referred to it.
    Expired,
    /// Nothing ever referred to it.
    Orphan,
}

impl Reason {
    /// The name used in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Expired => "expired",
            Self::Orphan => "orphan",
        }
    }
}

/// A file whose grace is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub path: String,
    pub size_bytes: Option<u64>,
    pub reason: Reason,
    /// As it was listed: an orphan that was written again since is another file.
    pub modified_ms: Option<i64>,
}

/// What a purge did about one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purged {
    pub path: String,
    pub fate: Fate,
}

/// What became of a file that was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is gone; so is one that was not there.
    Deleted,
    /// It stays for good, and why.
    Kept(String),
    /// It could not be deleted and is due again later, and why.
    Failed(String),
}
