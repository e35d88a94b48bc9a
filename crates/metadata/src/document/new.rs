//! The first document of a table, with ids given as Java and PyIceberg give them.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::TableMetadata;
use crate::spec::{FIRST_PARTITION_FIELD_ID, UNASSIGNED};
use crate::{Error, Field, PartitionSpec, Schema, StructType, Type};

/// The property that asks for a format version; it is not kept as a property.
const FORMAT_VERSION: &str = "format-version";

impl TableMetadata {
    /// A new, empty v2 table. Column ids are given anew, level by level from 1; the spec's
    /// source ids follow them, its field ids start at 1000.
    pub fn new(
        uuid: &str,
        location: &str,
        schema: &Schema,
        spec: &PartitionSpec,
        mut properties: BTreeMap<String, String>,
        now_ms: i64,
    ) -> Result<Self, Error> {
        if let Some(version) = properties.remove(FORMAT_VERSION)
            && version != "2"
        {
            return Err(Error::Unsupported(format!(
                "new tables have format version 2 in this version, not {version}"
            )));
        }
        let mut fresh = Fresh {
            ids: HashMap::new(),
            last: 0,
        };
        let root = fresh.give(&schema.root);
        let identifiers = schema
            .identifier_field_ids
            .iter()
            .map(|id| fresh.new_id(*id, "identifier-field-ids"));
        let identifier_field_ids = identifiers.collect::<Result<_, _>>()?;
        let schema = Schema {
            schema_id: 0,
            root,
            identifier_field_ids,
        };
        let mut spec = PartitionSpec {
            spec_id: 0,
            fields: spec.fields.clone(),
        };
        for field in &mut spec.fields {
            field.source_id = fresh.new_id(field.source_id, &field.name)?;
            field.field_id = UNASSIGNED;
        }
        let last_partition_id = spec.assign_ids(FIRST_PARTITION_FIELD_ID - 1);
        let document = json!({
            "format-version": 2,
            "table-uuid": uuid,
            "location": location,
            "last-sequence-number": 0,
            "last-updated-ms": now_ms,
            "last-column-id": fresh.last,
            "current-schema-id": 0,
            "schemas": [schema.to_json()],
            "default-spec-id": 0,
            "partition-specs": [spec.to_json()],
            "last-partition-id": last_partition_id,
            "default-sort-order-id": 0,
            "sort-orders": [{"order-id": 0, "fields": []}],
            "properties": properties,
            "refs": {},
            "snapshots": [],
            "statistics": [],
            "partition-statistics": [],
            "snapshot-log": [],
            "metadata-log": [],
        });
        match document {
            Value::Object(raw) => Self::from_raw(raw),
            _ => unreachable!("it is written as an object above"),
        }
    }
}

/// Ids given anew, and what each was before.
struct Fresh {
    ids: HashMap<i32, i32>,
    last: i32,
}

impl Fresh {
    fn give(&mut self, old: &StructType) -> StructType {
        let mut fields = old.fields.clone();
        // A whole level first, then what lies below it.
        for field in &mut fields {
            self.number(field);
        }
        for field in &mut fields {
            self.below(field);
        }
        StructType { fields }
    }

    fn number(&mut self, field: &mut Field) {
        self.last += 1;
        self.ids.insert(field.id, self.last);
        field.id = self.last;
    }

    fn below(&mut self, field: &mut Field) {
        match &mut field.ty {
            Type::Primitive(_) => {}
            Type::Struct(fields) => *fields = self.give(fields),
            Type::List { element } => {
                self.number(element);
                self.below(element);
            }
            Type::Map { key, value } => {
                self.number(key);
                self.number(value);
                self.below(key);
                self.below(value);
            }
        }
    }

    fn new_id(&self, old: i32, of: &str) -> Result<i32, Error> {
        let found = self.ids.get(&old).copied();
        found.ok_or_else(|| Error::malformed("new table", format!("{of}: no column has id {old}")))
    }
}
