//! The Avro schemas of manifests and manifest lists, formats v1 and v2
//! (specification, "Manifests", "Snapshots" and appendix A).

use serde_json::{Value, json};

pub(super) fn required(id: i32, name: &str, ty: impl Into<Value>) -> Value {
    let ty: Value = ty.into();
    json!({"name": name, "type": ty, "field-id": id})
}

pub(super) fn optional(id: i32, name: &str, ty: impl Into<Value>) -> Value {
    let ty: Value = ty.into();
    json!({"name": name, "type": ["null", ty], "default": null, "field-id": id})
}

fn array(element: i32, ty: impl Into<Value>) -> Value {
    let ty: Value = ty.into();
    json!({"type": "array", "items": ty, "element-id": element})
}

/// A map by column id: a list of pairs, for Avro's own maps have text keys only.
fn map(key: i32, value: i32, ty: &str) -> Value {
    let pair = [required(key, "key", "int"), required(value, "value", ty)];
    json!({"type": "array", "logicalType": "map", "items": {
        "type": "record", "name": format!("k{key}_v{value}"), "fields": pair}})
}

/// An entry of a manifest whose partitions are records of this schema.
pub(super) fn entry(partition: Value, version: u8) -> Value {
    let v2 = |field: Value| (version > 1).then_some(field);
    let v1 = |field: Value| (version < 2).then_some(field);
    let file = [
        v2(required(134, "content", "int")),
        Some(required(100, "file_path", "string")),
        Some(required(101, "file_format", "string")),
        Some(required(102, "partition", partition)),
        Some(required(103, "record_count", "long")),
        Some(required(104, "file_size_in_bytes", "long")),
        v1(required(105, "block_size_in_bytes", "long")),
        Some(optional(108, "column_sizes", map(117, 118, "long"))),
        Some(optional(109, "value_counts", map(119, 120, "long"))),
        Some(optional(110, "null_value_counts", map(121, 122, "long"))),
        Some(optional(137, "nan_value_counts", map(138, 139, "long"))),
        Some(optional(125, "lower_bounds", map(126, 127, "bytes"))),
        Some(optional(128, "upper_bounds", map(129, 130, "bytes"))),
        Some(optional(131, "key_metadata", "bytes")),
        Some(optional(132, "split_offsets", array(133, "long"))),
        v2(optional(135, "equality_ids", array(136, "int"))),
        Some(optional(140, "sort_order_id", "int")),
        v2(optional(143, "referenced_data_file", "string")),
    ];
    let file = json!({"type": "record", "name": "r2",
        "fields": file.into_iter().flatten().collect::<Vec<_>>()});
    let entry = [
        Some(required(0, "status", "int")),
        // Format v1 knows no inheritance.
        v1(required(1, "snapshot_id", "long")),
        v2(optional(1, "snapshot_id", "long")),
        v2(optional(3, "sequence_number", "long")),
        v2(optional(4, "file_sequence_number", "long")),
        Some(required(2, "data_file", file)),
    ];
    json!({"type": "record", "name": "manifest_entry",
        "fields": entry.into_iter().flatten().collect::<Vec<_>>()})
}

/// An entry of a manifest list, with `extra` fields behind those of the format.
pub(super) fn list(extra: impl Iterator<Item = Value>, version: u8) -> Value {
    let summary = json!({"type": "record", "name": "r508", "fields": [
        required(509, "contains_null", "boolean"),
        optional(518, "contains_nan", "boolean"),
        optional(510, "lower_bound", "bytes"),
        optional(511, "upper_bound", "bytes"),
    ]});
    let v2 = |field: Value| (version > 1).then_some(field);
    // Early writers of format v1 counted nothing.
    let count = |id: i32, name: &str, ty: &str| {
        Some(match version {
            1 => optional(id, name, ty),
            _ => required(id, name, ty),
        })
    };
    let fields = [
        Some(required(500, "manifest_path", "string")),
        Some(required(501, "manifest_length", "long")),
        Some(required(502, "partition_spec_id", "int")),
        v2(required(517, "content", "int")),
        v2(required(515, "sequence_number", "long")),
        v2(required(516, "min_sequence_number", "long")),
        Some(required(503, "added_snapshot_id", "long")),
        count(504, "added_files_count", "int"),
        count(505, "existing_files_count", "int"),
        count(506, "deleted_files_count", "int"),
        count(512, "added_rows_count", "long"),
        count(513, "existing_rows_count", "long"),
        count(514, "deleted_rows_count", "long"),
        Some(optional(507, "partitions", array(508, summary))),
        Some(optional(519, "key_metadata", "bytes")),
    ];
    let fields: Vec<Value> = fields.into_iter().flatten().chain(extra).collect();
    json!({"type": "record", "name": "manifest_file", "fields": fields})
}
