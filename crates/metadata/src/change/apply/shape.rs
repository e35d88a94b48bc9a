//! Schemas, specs, sort orders and the format version: the updates that change a table's shape.

use serde_json::{Map, Value, json};

use super::{Draft, LAST_ADDED, refuse};
use crate::json::At;
use crate::spec::FIRST_PARTITION_FIELD_ID;
use crate::{Error, PartitionSpec, Schema, SortOrder};

/// Highest format version a table can be raised to.
const FORMAT_VERSION_MAX: u8 = 3;

impl Draft<'_> {
    pub(super) fn version(&self) -> i64 {
        self.int("format-version").unwrap_or(1)
    }

    /// Writes down what an old v1 document leaves to its reader.
    pub(super) fn complete(&mut self) {
        if self.base.format_version() > 1 {
            return;
        }
        let base = self.base;
        if !self.raw.contains_key("schemas") {
            let mut schema = self.raw.get("schema").cloned().unwrap_or_default();
            let id = base.current_schema().schema_id;
            if let Value::Object(fields) = &mut schema {
                fields.insert("schema-id".into(), id.into());
            }
            self.raw.insert("schemas".into(), json!([schema]));
            self.raw.insert("current-schema-id".into(), id.into());
        }
        if !self.raw.contains_key("partition-specs") {
            let specs: Vec<Value> = base.specs().iter().map(|spec| spec.to_json()).collect();
            self.raw.insert("partition-specs".into(), specs.into());
            self.raw
                .insert("default-spec-id".into(), base.default_spec().spec_id.into());
        }
        let defaults = [
            ("last-partition-id", json!(base.last_partition_id())),
            ("sort-orders", json!([{"order-id": 0, "fields": []}])),
            ("default-sort-order-id", json!(base.default_sort_order_id())),
        ];
        for (key, value) in defaults {
            self.raw.entry(key).or_insert(value);
        }
        for (name, reference) in base.refs() {
            if !self.object("refs").contains_key(name) {
                self.object("refs")
                    .insert(name.clone(), reference.to_json());
            }
        }
    }

    /// A v1 document repeats its current schema and default spec for old readers.
    pub(super) fn repeat_for_v1(&mut self) {
        if self.version() > 1 {
            return;
        }
        let find = |raw: &Map<String, Value>, list: &str, key: &str, current: &str| {
            let id = raw.get(current)?;
            let mut entries = raw.get(list)?.as_array()?.iter();
            entries.find(|entry| entry.get(key) == Some(id)).cloned()
        };
        if let Some(schema) = find(&self.raw, "schemas", "schema-id", "current-schema-id") {
            self.raw.insert("schema".into(), schema);
        }
        let spec = find(&self.raw, "partition-specs", "spec-id", "default-spec-id");
        if let Some(fields) = spec.as_ref().and_then(|spec| spec.get("fields")) {
            self.raw.insert("partition-spec".into(), fields.clone());
        }
    }

    pub(super) fn upgrade(&mut self, version: u8) -> Result<(), Error> {
        const ACTION: &str = "upgrade-format-version";
        let found = self.version();
        let wanted = i64::from(version);
        if wanted < found || version > FORMAT_VERSION_MAX {
            return refuse(
                ACTION,
                format!("the table has version {found}, which cannot become {version}"),
            );
        }
        if found == 1 && wanted > 1 {
            if self.raw.get("table-uuid").is_none_or(Value::is_null) {
                return refuse(ACTION, "the table has no uuid; assign one first");
            }
            self.raw.entry("last-sequence-number").or_insert(0.into());
            self.raw.shift_remove("schema");
            self.raw.shift_remove("partition-spec");
        }
        if wanted > 2 {
            self.raw.entry("next-row-id").or_insert(0.into());
        }
        self.raw.insert("format-version".into(), version.into());
        Ok(())
    }

    pub(super) fn add_schema(&mut self, schema: &Schema) -> Result<(), Error> {
        let known = self.each("schemas", Schema::read)?;
        let same = known.iter().find(|other| other.same_columns(schema));
        let id = match same {
            Some(same) => same.schema_id,
            None => known
                .iter()
                .map(|other| other.schema_id)
                .max()
                .map_or(0, |id| id + 1),
        };
        if same.is_none() {
            let schema = Schema {
                schema_id: id,
                ..schema.clone()
            };
            self.list("schemas").push(schema.to_json());
        }
        let last = self
            .int("last-column-id")
            .unwrap_or(0)
            .max(schema.highest_field_id().into());
        self.raw.insert("last-column-id".into(), last.into());
        self.added_schema = Some(id);
        Ok(())
    }

    pub(super) fn set_current_schema(&mut self, id: i32) -> Result<(), Error> {
        let id = resolve("set-current-schema", id, self.added_schema)?;
        if !self.has("schemas", "schema-id", id.into()) {
            return refuse("set-current-schema", format!("there is no schema {id}"));
        }
        self.raw.insert("current-schema-id".into(), id.into());
        Ok(())
    }

    pub(super) fn add_spec(&mut self, spec: &PartitionSpec) -> Result<(), Error> {
        let current = self.int("current-schema-id");
        let schemas = self.each("schemas", Schema::read)?;
        let schema = schemas
            .iter()
            .find(|schema| Some(i64::from(schema.schema_id)) == current);
        let unknown = |id| schema.is_none_or(|schema| schema.field(id).is_none());
        if let Some(field) = spec.fields.iter().find(|field| unknown(field.source_id)) {
            let why = format!(
                "field `{}`: the schema has no column {}",
                field.name, field.source_id
            );
            return refuse("add-spec", why);
        }
        let mut spec = spec.clone();
        let last = self
            .int("last-partition-id")
            .unwrap_or((FIRST_PARTITION_FIELD_ID - 1).into());
        let last = spec.assign_ids(last as i32);
        let known = self.each("partition-specs", PartitionSpec::read)?;
        let same = known.iter().find(|other| other.same_fields(&spec));
        let id = match same {
            Some(same) => same.spec_id,
            None => known
                .iter()
                .map(|other| other.spec_id)
                .max()
                .map_or(0, |id| id + 1),
        };
        if same.is_none() {
            spec.spec_id = id;
            self.list("partition-specs").push(spec.to_json());
            self.raw.insert("last-partition-id".into(), last.into());
        }
        self.added_spec = Some(id);
        Ok(())
    }

    pub(super) fn set_default_spec(&mut self, id: i32) -> Result<(), Error> {
        let id = resolve("set-default-spec", id, self.added_spec)?;
        if !self.has("partition-specs", "spec-id", id.into()) {
            return refuse("set-default-spec", format!("there is no spec {id}"));
        }
        self.raw.insert("default-spec-id".into(), id.into());
        Ok(())
    }

    pub(super) fn add_sort_order(&mut self, order: &SortOrder) -> Result<(), Error> {
        let known = self.each("sort-orders", SortOrder::read)?;
        let same = known.iter().find(|other| other.fields == order.fields);
        let id = match same {
            Some(same) => same.order_id,
            // 0 is the unsorted order's.
            None if order.fields.is_empty() => 0,
            None => known
                .iter()
                .map(|other| other.order_id)
                .max()
                .map_or(1, |id| id.max(0) + 1),
        };
        if same.is_none() {
            let order = SortOrder {
                order_id: id,
                fields: order.fields.clone(),
            };
            self.list("sort-orders").push(order.to_json());
        }
        self.added_sort_order = Some(id);
        Ok(())
    }

    pub(super) fn set_default_sort_order(&mut self, id: i32) -> Result<(), Error> {
        let id = resolve("set-default-sort-order", id, self.added_sort_order)?;
        if !self.has("sort-orders", "order-id", id.into()) {
            return refuse(
                "set-default-sort-order",
                format!("there is no sort order {id}"),
            );
        }
        self.raw.insert("default-sort-order-id".into(), id.into());
        Ok(())
    }

    pub(super) fn remove_specs(&mut self, ids: &[i32]) -> Result<(), Error> {
        let ids: Vec<i64> = ids.iter().copied().map(i64::from).collect();
        if self
            .int("default-spec-id")
            .is_some_and(|default| ids.contains(&default))
        {
            return refuse(
                "remove-partition-specs",
                "the default spec cannot be removed",
            );
        }
        self.drop_entries("partition-specs", "spec-id", &ids);
        Ok(())
    }

    pub(super) fn remove_schemas(&mut self, ids: &[i32]) -> Result<(), Error> {
        let ids: Vec<i64> = ids.iter().copied().map(i64::from).collect();
        if self
            .int("current-schema-id")
            .is_some_and(|current| ids.contains(&current))
        {
            return refuse("remove-schemas", "the current schema cannot be removed");
        }
        self.drop_entries("schemas", "schema-id", &ids);
        Ok(())
    }

    fn each<T>(
        &self,
        key: &str,
        read: impl FnMut(At<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let none = Value::Array(Vec::new());
        At::root(self.raw.get(key).unwrap_or(&none), "table metadata").each(read)
    }
}

fn resolve(action: &'static str, id: i32, added: Option<i32>) -> Result<i32, Error> {
    match (id, added) {
        (LAST_ADDED, Some(added)) => Ok(added),
        (LAST_ADDED, None) => refuse(action, "-1 means the one added last, but none was added"),
        (id, _) => Ok(id),
    }
}
