//! The Avro schemas of manifests and manifest lists, format v2
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
pub(super) fn entry(partition: Value) -> Value {
    let file = json!({"type": "record", "name": "r2", "fields": [
        required(134, "content", "int"),
        required(100, "file_path", "string"),
        required(101, "file_format", "string"),
        required(102, "partition", partition),
        required(103, "record_count", "long"),
        required(104, "file_size_in_bytes", "long"),
        optional(108, "column_sizes", map(117, 118, "long")),
        optional(109, "value_counts", map(119, 120, "long")),
        optional(110, "null_value_counts", map(121, 122, "long")),
        optional(137, "nan_value_counts", map(138, 139, "long")),
        optional(125, "lower_bounds", map(126, 127, "bytes")),
        optional(128, "upper_bounds", map(129, 130, "bytes")),
        optional(131, "key_metadata", "bytes"),
        optional(132, "split_offsets", array(133, "long")),
        optional(135, "equality_ids", array(136, "int")),
        optional(140, "sort_order_id", "int"),
        optional(143, "referenced_data_file", "string"),
    ]});
    json!({"type": "record", "name": "manifest_entry", "fields": [
        required(0, "status", "int"),
        optional(1, "snapshot_id", "long"),
        optional(3, "sequence_number", "long"),
        optional(4, "file_sequence_number", "long"),
        required(2, "data_file", file),
    ]})
}

/// An entry of a manifest list, with `extra` fields behind those of format v2.
pub(super) fn list(extra: impl Iterator<Item = Value>) -> Value {
    let summary = json!({"type": "record", "name": "r508", "fields": [
        required(509, "contains_null", "boolean"),
        optional(518, "contains_nan", "boolean"),
        optional(510, "lower_bound", "bytes"),
        optional(511, "upper_bound", "bytes"),
    ]});
    let mut fields = vec![
        required(500, "manifest_path", "string"),
        required(501, "manifest_length", "long"),
        required(502, "partition_spec_id", "int"),
        required(517, "content", "int"),
        required(515, "sequence_number", "long"),
        required(516, "min_sequence_number", "long"),
        required(503, "added_snapshot_id", "long"),
        required(504, "added_files_count", "int"),
        required(505, "existing_files_count", "int"),
        required(506, "deleted_files_count", "int"),
        required(512, "added_rows_count", "long"),
        required(513, "existing_rows_count", "long"),
        required(514, "deleted_rows_count", "long"),
        optional(507, "partitions", array(508, summary)),
        optional(519, "key_metadata", "bytes"),
    ];
    fields.extend(extra);
    json!({"type": "record", "name": "manifest_file", "fields": fields})
}
