//! Snapshots and refs: the updates that move a table.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Draft, MAIN, refuse};
use crate::{Error, Ref, RefKind, Snapshot};

/// How far a snapshot may lie before the last one; Java and PyIceberg refuse to read documents
/// whose log goes back further.
const CLOCK_SKEW_MS_MAX: i64 = 60_000;

impl Draft<'_> {
    pub(super) fn add_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let refuse = |why: String| {
            refuse(
                "add-snapshot",
                format!("snapshot {}: {why}", snapshot.snapshot_id),
            )
        };
        let id = snapshot.snapshot_id;
        if self.has("snapshots", "snapshot-id", id) {
            return refuse("it is there already".to_owned());
        }
        let version = self.version();
        let last = self.int("last-sequence-number").unwrap_or(0);
        if version > 1 && snapshot.sequence_number <= last {
            return refuse(format!(
                "its sequence number {} is not beyond the table's last, {last}",
                snapshot.sequence_number
            ));
        }
        let logged = self.last_logged_ms();
        if snapshot.timestamp_ms < logged.saturating_sub(CLOCK_SKEW_MS_MAX) {
            return refuse(format!(
                "its time {} lies more than a minute before the last snapshot's, {logged}",
                snapshot.timestamp_ms
            ));
        }
        if version > 2 {
            self.give_rows(snapshot)?;
        }
        let mut entry = snapshot.to_json();
        if version > 1 {
            self.raw.insert(
                "last-sequence-number".into(),
                snapshot.sequence_number.into(),
            );
        } else if let Value::Object(fields) = &mut entry {
            fields.shift_remove("sequence-number");
        }
        self.list("snapshots").push(entry);
        self.added_snapshots.insert(id);
        self.snapshot_ms = self.snapshot_ms.max(Some(snapshot.timestamp_ms));
        Ok(())
    }

    /// Format v3: the snapshot's new rows take the next row ids.
    fn give_rows(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let next = self.int("next-row-id").unwrap_or(0);
        let (Some(first), Some(added)) = (snapshot.first_row_id, snapshot.added_rows) else {
            return refuse(
                "add-snapshot",
                "a v3 snapshot needs first-row-id and added-rows",
            );
        };
        let after = first
            .checked_add(added)
            .filter(|_| first >= next && added >= 0);
        let Some(after) = after else {
            return refuse(
                "add-snapshot",
                format!("its first-row-id {first} lies before the next, {next}"),
            );
        };
        self.raw.insert("next-row-id".into(), after.into());
        Ok(())
    }

    fn last_logged_ms(&self) -> i64 {
        let log = self.raw.get("snapshot-log").and_then(Value::as_array);
        let logged = log
            .and_then(|log| log.last())
            .and_then(|entry| entry.get("timestamp-ms")?.as_i64());
        logged.unwrap_or(i64::MIN)
    }

    /// When a snapshot of this very change was made.
    fn added_at_ms(&self, id: i64) -> Option<i64> {
        let snapshots = self.raw.get("snapshots").and_then(Value::as_array)?;
        let added = self.added_snapshots.contains(&id);
        let mut found = snapshots
            .iter()
            .filter(|entry| added && entry.get("snapshot-id") == Some(&id.into()));
        found.next()?.get("timestamp-ms")?.as_i64()
    }

    pub(super) fn set_ref(&mut self, name: &str, reference: &Ref) -> Result<(), Error> {
        let refuse = |why: String| refuse("set-snapshot-ref", format!("ref `{name}`: {why}"));
        let id = reference.snapshot_id;
        if !self.has("snapshots", "snapshot-id", id) {
            return refuse(format!("snapshot {id} is not in the table"));
        }
        let retention =
            reference.min_snapshots_to_keep.is_some() || reference.max_snapshot_age_ms.is_some();
        if reference.kind == RefKind::Tag && (name == MAIN || retention) {
            return refuse("main must be a branch, and a tag keeps no history".to_owned());
        }
        let entry = self.object("refs").entry(name).or_insert_with(|| json!({}));
        let before = entry.get("snapshot-id").and_then(Value::as_i64);
        if let Value::Object(fields) = entry {
            reference.write_into(fields);
        }
        if name == MAIN {
            self.raw.insert("current-snapshot-id".into(), id.into());
            if before != Some(id) {
                let at = self
                    .added_at_ms(id)
                    .unwrap_or(self.now_ms.max(self.last_logged_ms()));
                self.list("snapshot-log")
                    .push(json!({"timestamp-ms": at, "snapshot-id": id}));
            }
        }
        Ok(())
    }

    /// Removes a ref; one that is not there is gone already.
    pub(super) fn remove_ref(&mut self, name: &str) {
        self.object("refs").shift_remove(name);
        if name == MAIN {
            self.raw.shift_remove("current-snapshot-id");
            self.list("snapshot-log").clear();
        }
    }

    /// Java removes the refs of removed snapshots with them; here a ref must be removed first,
    /// so that no branch or tag is lost by an id too many.
    pub(super) fn remove_snapshots(&mut self, ids: &[i64]) -> Result<(), Error> {
        let removed: HashSet<i64> = ids.iter().copied().collect();
        let refs = self.object("refs").iter();
        let held =
            refs.filter_map(|(name, entry)| Some((name, entry.get("snapshot-id")?.as_i64()?)));
        if let Some((name, id)) = held.into_iter().find(|(_, id)| removed.contains(id)) {
            return refuse(
                "remove-snapshots",
                format!("snapshot {id} is named by ref `{name}`"),
            );
        }
        if self.drop_entries("snapshots", "snapshot-id", ids) > 0 {
            self.removed_snapshots = true;
            self.drop_entries("statistics", "snapshot-id", ids);
            self.drop_entries("partition-statistics", "snapshot-id", ids);
        }
        Ok(())
    }

    /// Leaves out snapshots that main only passed through, and, when snapshots were removed, all
    /// history before the last gap, as Java does.
    pub(super) fn clean_snapshot_log(&mut self) {
        let snapshots = self.raw.get("snapshots").and_then(Value::as_array);
        let kept: HashSet<i64> = snapshots
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.get("snapshot-id")?.as_i64())
            .collect();
        let current = self.int("current-snapshot-id");
        let (added, removed) = (
            std::mem::take(&mut self.added_snapshots),
            self.removed_snapshots,
        );
        let Some(Value::Array(log)) = self.raw.get_mut("snapshot-log") else {
            return;
        };
        let mut clean = Vec::with_capacity(log.len());
        for entry in log.drain(..) {
            let Some(id) = entry.get("snapshot-id").and_then(Value::as_i64) else {
                clean.push(entry);
                continue;
            };
            if kept.contains(&id) {
                if Some(id) == current || !added.contains(&id) {
                    clean.push(entry);
                }
            } else if removed {
                clean.clear();
            }
        }
        *log = clean;
    }
}
