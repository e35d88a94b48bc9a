//! Snapshots, the refs that name them, and sort orders, as documents hold them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::json::{At, optional, serde_by_json};
use crate::spec::read_source;
use crate::{Error, Transform};

/// One state of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    pub snapshot_id: i64,
    pub parent_snapshot_id: Option<i64>,
    /// 0 in format v1.
    pub sequence_number: i64,
    pub timestamp_ms: i64,
    /// Location of the manifest list; empty when a v1 snapshot lists its `manifests` itself.
    pub manifest_list: String,
    /// Locations of manifests, in old v1 snapshots only; a list is believed before them.
    pub manifests: Vec<String>,
    /// `operation` and its counts.
    pub summary: BTreeMap<String, String>,
    pub schema_id: Option<i32>,
    /// Format v3: row id of the first row added.
    pub first_row_id: Option<i64>,
    /// Format v3: upper bound of the rows given an id.
    pub added_rows: Option<i64>,
    /// Format v3: key the manifest list is encrypted with.
    pub key_id: Option<String>,
}

impl Snapshot {
    pub(crate) fn read(at: At<'_>) -> Result<Self, Error> {
        let manifests = match at.get("manifests")? {
            Some(list) => list.each(|path| path.str().map(str::to_owned))?,
            None => Vec::new(),
        };
        let manifest_list = optional!(at, "manifest-list", str).map(str::to_owned);
        if manifest_list.is_none() && at.get("manifests")?.is_none() {
            return Err(at.error("field `manifest-list` is missing"));
        }
        Ok(Self {
            snapshot_id: at.require("snapshot-id")?.i64()?,
            parent_snapshot_id: optional!(at, "parent-snapshot-id", i64),
            sequence_number: optional!(at, "sequence-number", i64).unwrap_or(0),
            timestamp_ms: at.require("timestamp-ms")?.i64()?,
            manifest_list: manifest_list.unwrap_or_default(),
            manifests,
            summary: match at.get("summary")? {
                Some(summary) => read_strings(summary)?,
                None => BTreeMap::new(),
            },
            schema_id: optional!(at, "schema-id", i32),
            first_row_id: optional!(at, "first-row-id", i64),
            added_rows: optional!(at, "added-rows", i64),
            key_id: optional!(at, "key-id", str).map(str::to_owned),
        })
    }

    /// The form used in metadata documents and requests.
    pub fn to_json(&self) -> Value {
        let mut snapshot = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                snapshot.insert(key.to_owned(), value);
            }
        };
        put("snapshot-id", Some(self.snapshot_id.into()));
        put(
            "parent-snapshot-id",
            self.parent_snapshot_id.map(Value::from),
        );
        // As Java: a snapshot of format v1 has none.
        let numbered = self.sequence_number > 0;
        put(
            "sequence-number",
            numbered.then(|| self.sequence_number.into()),
        );
        put("timestamp-ms", Some(self.timestamp_ms.into()));
        if !self.manifest_list.is_empty() || self.manifests.is_empty() {
            put("manifest-list", Some(self.manifest_list.clone().into()));
        } else {
            put("manifests", Some(self.manifests.clone().into()));
        }
        let summary = self
            .summary
            .iter()
            .map(|(key, value)| (key.clone(), value.clone().into()));
        put("summary", Some(Value::Object(summary.collect())));
        put("schema-id", self.schema_id.map(Value::from));
        put("first-row-id", self.first_row_id.map(Value::from));
        put("added-rows", self.added_rows.map(Value::from));
        put("key-id", self.key_id.clone().map(Value::from));
        snapshot.into()
    }
}

serde_by_json!(Snapshot, "snapshot");

/// Reads an object whose values are all text.
pub(super) fn read_strings(at: At<'_>) -> Result<BTreeMap<String, String>, Error> {
    let pairs = at.entries(|key, value| Ok((key.to_owned(), value.str()?.to_owned())))?;
    Ok(pairs.into_iter().collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefKind {
    Branch,
    Tag,
}

impl RefKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Branch => "branch",
            Self::Tag => "tag",
        }
    }
}

/// A named snapshot, and how long it and (for a branch) its history are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    pub kind: RefKind,
    pub snapshot_id: i64,
    pub min_snapshots_to_keep: Option<i32>,
    pub max_snapshot_age_ms: Option<i64>,
    pub max_ref_age_ms: Option<i64>,
}

impl Ref {
    /// A branch without retention settings.
    pub fn branch(snapshot_id: i64) -> Self {
        let (kind, none) = (RefKind::Branch, None);
        Self {
            kind,
            snapshot_id,
            min_snapshots_to_keep: None,
            max_snapshot_age_ms: none,
            max_ref_age_ms: none,
        }
    }

    pub(crate) fn read(at: At<'_>) -> Result<Self, Error> {
        let kind = at.require("type")?;
        Ok(Self {
            kind: match kind.str()?.to_ascii_lowercase().as_str() {
                "branch" => RefKind::Branch,
                "tag" => RefKind::Tag,
                _ => return Err(kind.error("is neither branch nor tag")),
            },
            snapshot_id: at.require("snapshot-id")?.i64()?,
            min_snapshots_to_keep: optional!(at, "min-snapshots-to-keep", i32),
            max_snapshot_age_ms: optional!(at, "max-snapshot-age-ms", i64),
            max_ref_age_ms: optional!(at, "max-ref-age-ms", i64),
        })
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut entry = Map::new();
        self.write_into(&mut entry);
        entry.into()
    }

    /// Writes the known fields over an entry, leaving its unknown ones.
    pub(crate) fn write_into(&self, entry: &mut Map<String, Value>) {
        let fields = [
            ("snapshot-id", Some(self.snapshot_id.into())),
            ("type", Some(self.kind.as_str().into())),
            (
                "min-snapshots-to-keep",
                self.min_snapshots_to_keep.map(Value::from),
            ),
            (
                "max-snapshot-age-ms",
                self.max_snapshot_age_ms.map(Value::from),
            ),
            ("max-ref-age-ms", self.max_ref_age_ms.map(Value::from)),
        ];
        for (key, value) in fields {
            match value {
                Some(value) => drop(entry.insert(key.to_owned(), value)),
                None => drop(entry.shift_remove(key)),
            }
        }
    }
}

serde_by_json!(Ref, "ref");

/// How rows are ordered within files; no fields: unsorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortOrder {
    pub order_id: i32,
    pub fields: Vec<SortField>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortField {
    pub source_id: i32,
    pub transform: Transform,
    pub descending: bool,
    pub nulls_first: bool,
}

impl SortOrder {
    pub(crate) fn read(at: At<'_>) -> Result<Self, Error> {
        Ok(Self {
            order_id: optional!(at, "order-id", i32).unwrap_or(0),
            fields: at.require("fields")?.each(SortField::read)?,
        })
    }

    pub(crate) fn to_json(&self) -> Value {
        let fields: Vec<Value> = self.fields.iter().map(SortField::to_json).collect();
        serde_json::json!({"order-id": self.order_id, "fields": fields})
    }
}

serde_by_json!(SortOrder, "sort order");

impl SortField {
    fn read(at: At<'_>) -> Result<Self, Error> {
        let (direction, nulls) = (at.require("direction")?, at.require("null-order")?);
        let (source_id, transform) = read_source(at)?;
        Ok(Self {
            source_id,
            transform,
            descending: match direction.str()?.to_ascii_lowercase().as_str() {
                "asc" => false,
                "desc" => true,
                _ => return Err(direction.error("is neither asc nor desc")),
            },
            nulls_first: match nulls.str()?.to_ascii_lowercase().as_str() {
                "nulls-first" => true,
                "nulls-last" => false,
                _ => return Err(nulls.error("is neither nulls-first nor nulls-last")),
            },
        })
    }

    fn to_json(&self) -> Value {
        serde_json::json!({
            "transform": self.transform.to_string(),
            "source-id": self.source_id,
            "direction": if self.descending { "desc" } else { "asc" },
            "null-order": if self.nulls_first { "nulls-first" } else { "nulls-last" },
        })
    }
}
