//! What an executed action did.

use std::collections::BTreeMap;
use std::fmt;

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
    /// Of `remove_orphan_files` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphans: Option<Orphans>,
    /// Of actions on delete files only: their `files_` and `bytes_` are delete files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletes: Option<Deletes>,
    /// Of `rewrite_manifests` only: its `files_` and `bytes_` are manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_entries: Option<ManifestEntries>,
    /// Of `rewrite_data_files` only.
    #[serde(default, skip_serializing_if = "ColumnChunks::is_empty")]
    pub column_chunks: ColumnChunks,
    /// Of a `rewrite_data_files` that sorts only.
    #[serde(default, skip_serializing_if = "Spilled::is_empty")]
    pub spilled: Spilled,
}

/// Rows being sorted that went to temporary files, because memory had no room for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spilled {
    /// Files written, in which rows were in order.
    pub runs: u64,
    /// Of these files.
    pub bytes: u64,
}

impl Spilled {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn message(&self) -> String {
        match self.runs {
            0 => String::new(),
            runs => format!(", {} bytes spilled in {runs} runs", self.bytes),
        }
    }

    pub fn add(&mut self, other: Self) {
        self.runs = self.runs.saturating_add(other.runs);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// How the column chunks of a rewrite's outputs were made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ColumnChunks {
    /// Of the inputs' pages as they are.
    pub copied: u64,
    /// With one dictionary made of the inputs'.
    pub remapped: u64,
    /// With the inputs' dictionaries as pages of data.
    pub transplanted: u64,
    /// Of values gathered from the inputs' dictionaries.
    pub unpacked: u64,
    /// By decoding and encoding every value.
    pub transcoded: u64,
    /// Why they were transcoded.
    pub reasons: BTreeMap<String, u64>,
}

impl ColumnChunks {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts().into_iter().zip(other.named()) {
            *count = count.saturating_add(more.1);
        }
        for (reason, count) in &other.reasons {
            self.because(reason, *count);
        }
    }

    /// Chunks that were transcoded for a reason, which counts them.
    pub fn because(&mut self, reason: &str, chunks: u64) {
        let count = self.reasons.entry(reason.to_owned()).or_default();
        *count = count.saturating_add(chunks);
    }

    /// In the order of [`Self::named`].
    fn counts(&mut self) -> [&mut u64; 5] {
        [
            &mut self.copied,
            &mut self.remapped,
            &mut self.transplanted,
            &mut self.unpacked,
            &mut self.transcoded,
        ]
    }

    fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("copied", self.copied),
            ("remapped", self.remapped),
            ("transplanted", self.transplanted),
            ("unpacked", self.unpacked),
            ("transcoded", self.transcoded),
        ]
    }

    /// Reads what [`fmt::Display`] wrote; anything else counts as nothing.
    pub fn parse(text: &str) -> Self {
        let mut chunks = Self::default();
        for (name, count) in text.split(' ').filter_map(|word| word.split_once('=')) {
            let Ok(count) = count.parse::<u64>() else {
                continue;
            };
            let place = chunks.named().iter().position(|(known, _)| *known == name);
            match place {
                Some(place) => *chunks.counts()[place] = count,
                None => chunks.because(name, count),
            }
        }
        chunks
    }
}

/// `copied=3 transcoded=2 nested=2`: what there is none of is left out.
impl fmt::Display for ColumnChunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = self.reasons.iter();
        let reasons = reasons.map(|(reason, count)| (reason.as_str(), *count));
        let counts = self.named().into_iter().chain(reasons);
        for (at, (name, count)) in counts.filter(|(_, count)| *count > 0).enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{name}={count}")?;
        }
        Ok(())
    }
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

/// What a search for orphan files came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphans {
    /// Files that now wait for their deletion.
    pub files: u64,
    pub bytes: u64,
    /// Found and left to the next run.
    pub left: u64,
}

impl Orphans {
    fn message(&self) -> String {
        let Self { files, bytes, left } = self;
        let left = match left {
            0 => String::new(),
            left => format!(", {left} more are left to the next run"),
        };
        format!("{files} orphan files to be deleted ({bytes} bytes){left}")
    }
}

/// What became of deletes in delete files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletes {
    /// In files removed.
    pub removed: u64,
    /// In files added.
    pub added: u64,
}

/// What became of the manifests of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntries {
    /// Live files that are tracked by new manifests now.
    pub moved: u64,
    /// Manifests that stayed as they are.
    pub kept: u64,
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
        let Self {
            files_in,
            files_out,
            bytes_in,
            bytes_out,
            ..
        } = self;
        if let Some(reason) = &self.skipped {
            format!("nothing to do: {reason}")
        } else if let Some(expired) = &self.expired {
            expired.message()
        } else if let Some(purge) = &self.purge {
            purge.message()
        } else if let Some(orphans) = &self.orphans {
            orphans.message()
        } else if let Some(deletes) = &self.deletes {
            format!(
                "{files_in} delete files -> {files_out}, {bytes_in} bytes -> {bytes_out}, {} deletes \
                 -> {}",
                deletes.removed, deletes.added
            )
        } else if let Some(entries) = &self.manifest_entries {
            format!(
                "{files_in} manifests -> {files_out}, {bytes_in} bytes -> {bytes_out}, {} entries, \
                 {} manifests kept",
                entries.moved, entries.kept
            )
        } else {
            format!(
                "{files_in} files -> {files_out}, {bytes_in} bytes -> {bytes_out}, {} rows, {} \
                 deletes applied{}",
                self.rows_out,
                self.deletes_applied,
                self.spilled.message()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_chunks_are_read_as_they_are_written() {
        let mut chunks = ColumnChunks {
            copied: 3,
            transcoded: 2,
            ..ColumnChunks::default()
        };
        chunks.because("nested", 2);
        let text = chunks.to_string();
        assert_eq!(text, "copied=3 transcoded=2 nested=2");
        assert_eq!(ColumnChunks::parse(&text), chunks);
        assert_eq!(ColumnChunks::parse(""), ColumnChunks::default());
        assert_eq!(
            ColumnChunks::parse("copied=-1 x =3"),
            ColumnChunks::parse("=3")
        );
        let all = ColumnChunks::parse(&format!("copied={} nested={}", u64::MAX, u64::MAX));
        chunks.add(&all);
        assert_eq!(
            (chunks.copied, chunks.reasons["nested"]),
            (u64::MAX, u64::MAX)
        );
        assert_eq!(chunks.transcoded, 2);
    }
}
