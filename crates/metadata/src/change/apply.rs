//! Makes the next document out of a document and updates, as Java's builder does, and stricter
//! where Java would let a table lose rows.
//!
//! Works on the raw document: what it does not know stays where it is.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::Update;
use crate::document::MAIN;
use crate::{Error, TableMetadata};

mod shape;
mod snapshots;
#[cfg(test)]
mod tests;

/// "The one added last" in `set-` updates.
const LAST_ADDED: i32 = -1;
/// The property that asks for a format version; never kept as a property.
const FORMAT_VERSION: &str = "format-version";

impl TableMetadata {
    /// The document after `updates`, in their order, made at `now_ms` (the catalog's clock,
    /// milliseconds since the epoch). Without updates it is this document.
    pub fn apply(&self, updates: &[Update], now_ms: i64) -> Result<Self, Error> {
        if updates.is_empty() {
            return Ok(self.clone());
        }
        let mut draft = Draft::new(self, now_ms);
        for update in updates {
            draft.update(update)?;
        }
        draft.finish()
    }
}

/// The document being made.
struct Draft<'a> {
    base: &'a TableMetadata,
    raw: Map<String, Value>,
    now_ms: i64,
    added_schema: Option<i32>,
    added_spec: Option<i32>,
    added_sort_order: Option<i32>,
    added_snapshots: HashSet<i64>,
    /// The time of the last snapshot added, once there is one.
    snapshot_ms: Option<i64>,
    removed_snapshots: bool,
}

impl<'a> Draft<'a> {
    fn new(base: &'a TableMetadata, now_ms: i64) -> Self {
        let mut draft = Self {
            base,
            raw: base.raw().clone(),
            now_ms,
            added_schema: None,
            added_spec: None,
            added_sort_order: None,
            added_snapshots: HashSet::new(),
            snapshot_ms: None,
            removed_snapshots: false,
        };
        draft.complete();
        draft
    }

    fn update(&mut self, update: &Update) -> Result<(), Error> {
        match update {
            Update::AssignUuid { uuid } => self.assign_uuid(uuid),
            Update::UpgradeFormatVersion { format_version } => self.upgrade(*format_version),
            Update::AddSchema { schema } => self.add_schema(schema),
            Update::SetCurrentSchema { schema_id } => self.set_current_schema(*schema_id),
            Update::AddSpec { spec } => self.add_spec(spec),
            Update::SetDefaultSpec { spec_id } => self.set_default_spec(*spec_id),
            Update::AddSortOrder { sort_order } => self.add_sort_order(sort_order),
            Update::SetDefaultSortOrder { sort_order_id } => {
                self.set_default_sort_order(*sort_order_id)
            }
            Update::AddSnapshot { snapshot } => self.add_snapshot(snapshot),
            Update::SetSnapshotRef {
                ref_name,
                reference,
            } => self.set_ref(ref_name, reference),
            Update::RemoveSnapshots { snapshot_ids } => self.remove_snapshots(snapshot_ids),
            Update::RemoveSnapshotRef { ref_name } => {
                self.remove_ref(ref_name);
                Ok(())
            }
            Update::SetLocation { location } => self.set_location(location),
            Update::SetProperties { updates } => {
                for (key, value) in updates.iter().filter(|(key, _)| *key != FORMAT_VERSION) {
                    self.object("properties")
                        .insert(key.clone(), value.clone().into());
                }
                Ok(())
            }
            Update::RemoveProperties { removals } => {
                for key in removals {
                    self.object("properties").shift_remove(key);
                }
                Ok(())
            }
            Update::SetStatistics { statistics } => {
                self.set_entry("set-statistics", "statistics", statistics)
            }
            Update::SetPartitionStatistics {
                partition_statistics,
            } => self.set_entry(
                "set-partition-statistics",
                "partition-statistics",
                partition_statistics,
            ),
            Update::RemoveStatistics { snapshot_id } => {
                self.drop_entries("statistics", "snapshot-id", &[*snapshot_id]);
                Ok(())
            }
            Update::RemovePartitionStatistics { snapshot_id } => {
                self.drop_entries("partition-statistics", "snapshot-id", &[*snapshot_id]);
                Ok(())
            }
            Update::RemovePartitionSpecs { spec_ids } => self.remove_specs(spec_ids),
            Update::RemoveSchemas { schema_ids } => self.remove_schemas(schema_ids),
        }
    }

    fn finish(mut self) -> Result<TableMetadata, Error> {
        self.clean_snapshot_log();
        let last = self.base.last_updated_ms();
        let updated = self.snapshot_ms.unwrap_or(self.now_ms).max(last);
        self.raw.insert("last-updated-ms".into(), updated.into());
        self.repeat_for_v1();
        TableMetadata::from_raw(self.raw)
    }

    fn assign_uuid(&mut self, uuid: &str) -> Result<(), Error> {
        let found = self.base.uuid();
        if !found.is_empty() && !found.eq_ignore_ascii_case(uuid) {
            return refuse("assign-uuid", format!("the table has the uuid {found}"));
        }
        if found.is_empty() {
            self.raw.insert("table-uuid".into(), uuid.into());
        }
        Ok(())
    }

    fn set_location(&mut self, location: &str) -> Result<(), Error> {
        if location.is_empty() {
            return refuse("set-location", "the location is empty");
        }
        self.raw.insert("location".into(), location.into());
        Ok(())
    }

    /// Puts a statistics entry in the place of its snapshot's old one.
    fn set_entry(&mut self, action: &'static str, list: &str, entry: &Value) -> Result<(), Error> {
        let Some(snapshot) = entry.get("snapshot-id").and_then(Value::as_i64) else {
            return refuse(action, "its entry has no snapshot-id");
        };
        for key in ["statistics-path", "file-size-in-bytes"] {
            if entry.get(key).is_none() {
                return refuse(action, format!("its entry has no {key}"));
            }
        }
        self.drop_entries(list, "snapshot-id", &[snapshot]);
        self.list(list).push(entry.clone());
        Ok(())
    }

    // The raw document.

    fn int(&self, key: &str) -> Option<i64> {
        self.raw.get(key).and_then(Value::as_i64)
    }

    /// The list at `key`, made when it is not there. The base was checked: it is a list.
    fn list(&mut self, key: &str) -> &mut Vec<Value> {
        let value = self.raw.entry(key).or_insert(Value::Null);
        if !value.is_array() {
            *value = json!([]);
        }
        value.as_array_mut().expect("it was made a list above")
    }

    /// The object at `key`, made when it is not there.
    fn object(&mut self, key: &str) -> &mut Map<String, Value> {
        let value = self.raw.entry(key).or_insert(Value::Null);
        if !value.is_object() {
            *value = json!({});
        }
        value.as_object_mut().expect("it was made an object above")
    }

    /// Drops the entries of a list whose `key` is one of `ids`; says how many.
    fn drop_entries(&mut self, list: &str, key: &str, ids: &[i64]) -> usize {
        if !self.raw.contains_key(list) {
            return 0;
        }
        let ids: HashSet<i64> = ids.iter().copied().collect();
        let entries = self.list(list);
        let before = entries.len();
        entries.retain(|entry| {
            entry
                .get(key)
                .and_then(Value::as_i64)
                .is_none_or(|id| !ids.contains(&id))
        });
        before - entries.len()
    }

    fn has(&self, list: &str, key: &str, id: i64) -> bool {
        let entries = self.raw.get(list).and_then(Value::as_array);
        entries.is_some_and(|entries| {
            entries
                .iter()
                .any(|entry| entry.get(key) == Some(&id.into()))
        })
    }
}

fn refuse<T>(action: &'static str, why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Update {
        action,
        why: why.into(),
    })
}
