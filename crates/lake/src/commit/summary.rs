//! Snapshot summaries: Java's counts, and what lets a retry recognise its own work.

use std::collections::{BTreeMap, HashSet};

use metadata::{Content, DataFile, Entry, LiveFile, LiveFiles, Snapshot, TableMetadata};
use model::{Action, JobId};
use planner::{Attempt, ColumnChunks, ManifestEntries, Report, Spilled};

use super::snapshot::MAIN;
use crate::rewrite::Rewritten;

const JOB: &str = "snowpack.job-id";
const ATTEMPT: &str = "snowpack.attempt-id";
const ACTION: &str = "snowpack.action";
const DELETES_APPLIED: &str = "snowpack.deletes-applied";
const BYTES_IN: &str = "snowpack.bytes-in";
const BYTES_OUT: &str = "snowpack.bytes-out";
/// Java's words of a merge of manifests.
const MANIFESTS_REPLACED: &str = "manifests-replaced";
const MANIFESTS_CREATED: &str = "manifests-created";
const MANIFESTS_KEPT: &str = "manifests-kept";
const ENTRIES: &str = "entries-processed";
const COMMIT_ATTEMPTS: &str = "snowpack.commit-attempts";
const COLUMN_CHUNKS: &str = "snowpack.column-chunks";
const SPILLED_RUNS: &str = "snowpack.spilled-runs";
const SPILLED_BYTES: &str = "snowpack.spilled-bytes";
/// Present on the commit that completed the action.
const COMPLETES: &str = "snowpack.completes-action";

/// Totals are counted from the live files themselves, not carried from the last summary; `added`
/// are the files added (the groups' outputs too) and `removed` the entries removed, of data and
/// delete files.
pub(crate) fn of_files(
    live: &LiveFiles,
    groups: &[Rewritten],
    added: &[&DataFile],
    removed: &[Entry],
) -> BTreeMap<String, String> {
    let gone: HashSet<&str> = removed
        .iter()
        .map(|entry| entry.file.file_path.as_str())
        .collect();
    let mut counts = Counts::default();
    let stays = |file: &&LiveFile| !gone.contains(file.file.file_path.as_str());
    for file in live.data.iter().chain(&live.deletes).filter(stays) {
        counts.total(&file.file);
    }
    for file in added {
        counts.total(file);
        counts.added(file);
    }
    for entry in removed {
        counts.removed(&entry.file);
    }
    let mut summary = counts.into_summary("replace");
    let inputs = groups
        .iter()
        .map(|group| group.group.input_bytes())
        .sum::<u64>();
    let deletes = groups
        .iter()
        .map(|group| group.deletes_applied)
        .sum::<u64>();
    let places = groups.iter().flat_map(|group| &group.group.places);
    let partitions: HashSet<_> = places
        .map(|place| (place.spec_id, &place.partition))
        .chain(
            removed
                .iter()
                .map(|entry| (entry.file.spec_id, &entry.file.partition)),
        )
        .chain(added.iter().map(|file| (file.spec_id, &file.partition)))
        .collect();
    let mut put = |key: &str, value: String| drop(summary.insert(key.to_owned(), value));
    put("changed-partition-count", partitions.len().to_string());
    if !groups.is_empty() {
        put(DELETES_APPLIED, deletes.to_string());
        put(BYTES_IN, inputs.to_string());
    }
    let (mut chunks, mut spilled) = (ColumnChunks::default(), Spilled::default());
    for group in groups {
        chunks.add(&group.column_chunks);
        spilled.add(group.spilled);
    }
    if chunks != ColumnChunks::default() {
        put(COLUMN_CHUNKS, chunks.to_string());
    }
    if spilled != Spilled::default() {
        put(SPILLED_RUNS, spilled.runs.to_string());
        put(SPILLED_BYTES, spilled.bytes.to_string());
    }
    summary
}

/// Manifests replaced and created, and their bytes in and out. Totals are those of the last summary,
/// as far as it has them: no file is added or removed.
pub(crate) fn of_manifests(
    parent: Option<&Snapshot>,
    (replaced, created): (u64, u64),
    entries: &ManifestEntries,
    bytes: (u64, u64),
) -> BTreeMap<String, String> {
    let known = |key: &&str| Some(((*key).to_owned(), parent?.summary.get(*key)?.clone()));
    let mut summary: BTreeMap<String, String> = TOTALS.iter().filter_map(known).collect();
    let mut put = |key: &str, value: String| drop(summary.insert(key.to_owned(), value));
    put("operation", "replace".to_owned());
    put(MANIFESTS_REPLACED, replaced.to_string());
    put(MANIFESTS_CREATED, created.to_string());
    put(MANIFESTS_KEPT, entries.kept.to_string());
    put(ENTRIES, entries.moved.to_string());
    put(BYTES_IN, bytes.0.to_string());
    put(BYTES_OUT, bytes.1.to_string());
    summary
}

/// What lets a retry recognise its own work.
pub(super) fn sign(
    summary: &mut BTreeMap<String, String>,
    attempt: &Attempt<'_>,
    action: Action,
    (report, last): (&Report, bool),
) {
    let mut put = |key: &str, value: String| drop(summary.insert(key.to_owned(), value));
    put(JOB, attempt.job.to_string());
    put(ATTEMPT, attempt.attempt.to_string());
    put(ACTION, action.to_string());
    put(COMMIT_ATTEMPTS, report.commit_attempts.to_string());
    if last {
        put(COMPLETES, "true".to_owned());
    }
}

/// What `job` committed for the action, over all its attempts, and whether that completed it.
/// Read from the snapshots of `main`'s history.
pub(crate) fn committed_by(
    table: &TableMetadata,
    job: &JobId,
    action: Action,
) -> (Option<Report>, bool) {
    let Some(main) = table.refs().get(MAIN) else {
        return (None, false);
    };
    let mut report: Option<Report> = None;
    let mut completed = false;
    for snapshot in table.history(main.snapshot_id) {
        let value = |key: &str| snapshot.summary.get(key).map(String::as_str);
        if value(JOB) != Some(job.as_str()) || value(ACTION) != Some(action.as_str()) {
            continue;
        }
        completed |= value(COMPLETES) == Some("true");
        // Newest first: the first found is the last committed.
        let newest = report.is_none();
        let report = report.get_or_insert_with(Report::default);
        match action {
            Action::RewriteManifests => add_manifests(report, snapshot),
            Action::RemoveDanglingDeletes | Action::RewritePositionDeleteFiles => {
                add_deletes(report, snapshot);
            }
            _ => add(report, snapshot),
        }
        if newest {
            report.snapshot_id = Some(snapshot.snapshot_id);
            report.commit_attempts = number(snapshot, COMMIT_ATTEMPTS) as u32;
        }
    }
    (report, completed)
}

/// Any writer may have written the counts, and any number into them.
fn add(report: &mut Report, snapshot: &Snapshot) {
    let counts = [
        (&mut report.files_in, "deleted-data-files"),
        (&mut report.files_out, "added-data-files"),
        (&mut report.bytes_in, BYTES_IN),
        (&mut report.bytes_out, "added-files-size"),
        (&mut report.rows_in, "deleted-records"),
        (&mut report.deletes_applied, DELETES_APPLIED),
        (&mut report.rows_out, "added-records"),
        (&mut report.spilled.runs, SPILLED_RUNS),
        (&mut report.spilled.bytes, SPILLED_BYTES),
    ];
    for (count, key) in counts {
        *count = count.saturating_add(number(snapshot, key));
    }
    if let Some(chunks) = snapshot.summary.get(COLUMN_CHUNKS) {
        report.column_chunks.add(&ColumnChunks::parse(chunks));
    }
}

fn add_deletes(report: &mut Report, snapshot: &Snapshot) {
    let deletes = report.deletes.get_or_insert_default();
    let counts = [
        (&mut report.files_in, "removed-delete-files"),
        (&mut report.files_out, "added-delete-files"),
        (&mut report.bytes_in, "removed-files-size"),
        (&mut report.bytes_out, "added-files-size"),
    ];
    for (count, key) in counts {
        *count = count.saturating_add(number(snapshot, key));
    }
    for (count, keys) in [
        (
            &mut deletes.removed,
            ["removed-position-deletes", "removed-equality-deletes"],
        ),
        (
            &mut deletes.added,
            ["added-position-deletes", "added-equality-deletes"],
        ),
    ] {
        for key in keys {
            *count = count.saturating_add(number(snapshot, key));
        }
    }
}

fn add_manifests(report: &mut Report, snapshot: &Snapshot) {
    let entries = report.manifest_entries.get_or_insert_default();
    let counts = [
        (&mut report.files_in, MANIFESTS_REPLACED),
        (&mut report.files_out, MANIFESTS_CREATED),
        (&mut report.bytes_in, BYTES_IN),
        (&mut report.bytes_out, BYTES_OUT),
        (&mut entries.moved, ENTRIES),
        (&mut entries.kept, MANIFESTS_KEPT),
    ];
    for (count, key) in counts {
        *count = count.saturating_add(number(snapshot, key));
    }
}

fn number(snapshot: &Snapshot, key: &str) -> u64 {
    snapshot
        .summary
        .get(key)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

/// The counts of Java's `SnapshotSummary`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    values: BTreeMap<&'static str, u64>,
}

const TOTALS: [&str; 6] = [
    "total-data-files",
    "total-delete-files",
    "total-records",
    "total-files-size",
    "total-position-deletes",
    "total-equality-deletes",
];

impl Counts {
    fn add(&mut self, key: &'static str, count: u64) {
        let sum = self.values.entry(key).or_default();
        *sum = sum.saturating_add(count);
    }

    fn total(&mut self, file: &DataFile) {
        self.add("total-files-size", file.file_size_in_bytes);
        match file.content {
            Content::Data => {
                self.add("total-data-files", 1);
                self.add("total-records", file.record_count);
            }
            Content::PositionDeletes => {
                self.add("total-delete-files", 1);
                self.add("total-position-deletes", file.record_count);
            }
            Content::EqualityDeletes => {
                self.add("total-delete-files", 1);
                self.add("total-equality-deletes", file.record_count);
            }
        }
    }

    /// Starts from the totals of `parent`'s summary.
    pub(crate) fn after(parent: Option<&Snapshot>) -> Self {
        let mut counts = Self::default();
        for key in TOTALS {
            counts.add(key, parent.map_or(0, |parent| number(parent, key)));
        }
        counts
    }

    /// A file that is added and counts in the totals.
    pub(crate) fn grow(&mut self, file: &DataFile) {
        self.total(file);
        self.added(file);
    }

    /// A file that is removed and no longer counts in the totals.
    pub(crate) fn shrink(&mut self, file: &DataFile) {
        let mut gone = Self::default();
        gone.total(file);
        for (key, count) in gone.values {
            let total = self.values.entry(key).or_default();
            *total = total.saturating_sub(count);
        }
        self.removed(file);
    }

    fn added(&mut self, file: &DataFile) {
        self.add("added-files-size", file.file_size_in_bytes);
        match file.content {
            Content::Data => {
                self.add("added-data-files", 1);
                self.add("added-records", file.record_count);
            }
            Content::PositionDeletes => {
                self.add("added-delete-files", 1);
                self.add("added-position-delete-files", 1);
                self.add("added-position-deletes", file.record_count);
            }
            Content::EqualityDeletes => {
                self.add("added-delete-files", 1);
                self.add("added-equality-delete-files", 1);
                self.add("added-equality-deletes", file.record_count);
            }
        }
    }

    fn removed(&mut self, file: &DataFile) {
        self.add("removed-files-size", file.file_size_in_bytes);
        match file.content {
            Content::Data => {
                self.add("deleted-data-files", 1);
                self.add("deleted-records", file.record_count);
            }
            Content::PositionDeletes => {
                self.add("removed-delete-files", 1);
                self.add("removed-position-delete-files", 1);
                self.add("removed-position-deletes", file.record_count);
            }
            Content::EqualityDeletes => {
                self.add("removed-delete-files", 1);
                self.add("removed-equality-delete-files", 1);
                self.add("removed-equality-deletes", file.record_count);
            }
        }
    }

    pub(crate) fn into_summary(mut self, operation: &str) -> BTreeMap<String, String> {
        for key in TOTALS {
            self.add(key, 0);
        }
        let mut summary: BTreeMap<String, String> = self
            .values
            .into_iter()
            .map(|(key, count)| (key.to_owned(), count.to_string()))
            .collect();
        summary.insert("operation".to_owned(), operation.to_owned());
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_that_lies_about_its_totals_ends_no_commit() {
        let all = u64::MAX.to_string();
        let summary = TOTALS.map(|key| (key.to_owned(), all.clone()));
        let parent = Snapshot {
            summary: summary.into(),
            ..Snapshot::default()
        };
        let mut counts = Counts::after(Some(&parent));
        let mut file = DataFile::new(Content::Data, "/f");
        (file.record_count, file.file_size_in_bytes) = (7, 100);
        counts.grow(&file);
        let summary = counts.into_summary("append");
        assert_eq!(summary["total-records"], all);
        assert_eq!(summary["added-records"], "7");
        let mut report = Report {
            rows_out: 1,
            ..Report::default()
        };
        let ours = Snapshot {
            summary: [("added-records".to_owned(), all)].into(),
            ..Snapshot::default()
        };
        add(&mut report, &ours);
        assert_eq!(report.rows_out, u64::MAX);
    }
}
