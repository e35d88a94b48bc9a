//! Reading documents: what is refused, and with which words.

use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    LogEntry, PartitionField, PartitionSpec, Schema, SnapshotLogEntry, StatisticsFile,
    TableMetadata, Transform,
};

fn document() -> Value {
    let schema: Schema = serde_json::from_value(json!({"type": "struct", "fields": [
        {"id": 5, "name": "id", "required": true, "type": "long"}]}))
    .unwrap();
    let spec = PartitionSpec::unpartitioned();
    let new = TableMetadata::new("u", "/w/t", &schema, &spec, BTreeMap::new(), 1).unwrap();
    let mut document: Value = serde_json::from_slice(&new.to_json()).unwrap();
    document["snapshots"] = json!([{"snapshot-id": 1, "sequence-number": 0, "timestamp-ms": 1,
        "manifest-list": "/m", "summary": {"operation": "append"}}]);
    document
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Value), why: &str) {
    let mut document = document();
    change(&mut document);
    let error = TableMetadata::parse(document.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn wrong_documents_are_refused_by_field() {
    refused(|d| d["format-version"] = 4.into(), "format version 4");
    refused(
        |d| d["format-version"] = "2".into(),
        "format-version: is \"2\"",
    );
    refused(|d| d["table-uuid"] = Value::Null, "`table-uuid` is missing");
    refused(|d| d["current-schema-id"] = 9.into(), "current-schema-id 9");
    refused(|d| d["default-spec-id"] = 9.into(), "default-spec-id 9");
    refused(
        |d| d["default-sort-order-id"] = 9.into(),
        "default-sort-order-id 9",
    );
    refused(
        |d| d["last-column-id"] = json!(1e30),
        "last-column-id: is 1e+30, not a 32-bit integer",
    );
    refused(
        |d| d["properties"]["a"] = 1.into(),
        "properties.a: is 1, not a string",
    );
    refused(
        |d| d["snapshots"][0]["sequence-number"] = 9.into(),
        "sequence number 9",
    );
    refused(
        |d| d["snapshots"][0]["manifest-list"] = json!([]),
        "snapshots[0].manifest-list",
    );
    refused(
        |d| d["snapshots"][0] = Value::Null,
        "snapshots[0]: is null, not an object",
    );
    refused(
        |d| d["refs"]["b"] = json!({"snapshot-id": 7, "type": "branch"}),
        "ref `b` names snapshot 7",
    );
    refused(
        |d| d["refs"]["b"] = json!({"snapshot-id": 1, "type": "twig"}),
        "refs.b.type",
    );
    refused(|d| d["current-snapshot-id"] = 8.into(), "names snapshot 8");
    refused(
        |d| d["statistics"] = json!([{"snapshot-id": 1}]),
        "statistics[0]: field `statistics-path` is missing",
    );
    refused(
        |d| d["metadata-log"] = json!([{"timestamp-ms": 1, "metadata-file": 2}]),
        "metadata-log[0].metadata-file: is 2, not a string",
    );
}

#[test]
fn what_is_no_document_is_an_error() {
    for bytes in [
        &b""[..],
        b"[]",
        b"3",
        b"{",
        &[0x1f, 0x8b, 1, 2],
        b"\xff\xfe",
    ] {
        assert!(TableMetadata::parse(bytes).is_err(), "{bytes:?}");
    }
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(TableMetadata::parse(deep.as_bytes()).is_err());
}

#[test]
fn statistics_and_logs_are_told_and_the_metadata_log_forgets_the_oldest() {
    let mut document = document();
    let statistics = json!([{"snapshot-id": 1, "statistics-path": "/s", "file-size-in-bytes": 7,
        "file-footer-size-in-bytes": 3, "blob-metadata": []}]);
    document["statistics"] = statistics.clone();
    document["partition-statistics"] = json!([{"snapshot-id": 1, "statistics-path": "/p"}]);
    document["snapshot-log"] = json!([{"snapshot-id": 1, "timestamp-ms": 5}]);
    document["metadata-log"] = json!([{"metadata-file": "/a", "timestamp-ms": 3}]);
    document["properties"]["write.metadata.previous-versions-max"] = "2".into();
    let table = TableMetadata::parse(document.to_string().as_bytes()).unwrap();
    let file = |path: &str, size| StatisticsFile {
        snapshot_id: 1,
        statistics_path: path.to_owned(),
        file_size_in_bytes: size,
    };
    assert_eq!(table.statistics(), [file("/s", Some(7))]);
    assert_eq!(table.partition_statistics(), [file("/p", None)]);
    let (timestamp_ms, snapshot_id) = (5, 1);
    let was_current = SnapshotLogEntry {
        timestamp_ms,
        snapshot_id,
    };
    assert_eq!(table.snapshot_log(), [was_current]);
    let table = table.with_metadata_log("/b", 4).with_metadata_log("/c", 6);
    let entry = |metadata_file: &str, timestamp_ms| LogEntry {
        timestamp_ms,
        metadata_file: metadata_file.to_owned(),
    };
    let log = [entry("/b", 4), entry("/c", 6)];
    assert_eq!(table.metadata_log(), log);
    let again = TableMetadata::parse(&table.to_json()).unwrap();
    assert_eq!(again.metadata_log(), log);
    let raw: Value = serde_json::from_slice(&again.to_json()).unwrap();
    assert_eq!(raw["statistics"], statistics);
}

#[test]
fn a_gzipped_document_is_the_same_document() {
    let plain = TableMetadata::parse(document().to_string().as_bytes()).unwrap();
    assert_eq!(TableMetadata::parse(&plain.to_gzip()).unwrap(), plain);
}

/// Packed a thousandfold, and parsed into fifty times that again.
#[test]
fn a_packed_document_that_would_take_all_memory_is_not_parsed() {
    let mut bomb = b"{\"format-version\":2,\"x\":[".to_vec();
    bomb.extend(b"0,".repeat(32 << 20));
    bomb.extend(b"0]}");
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&bomb).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 1 << 20);
    let error = TableMetadata::parse(&packed).unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("33554435 values, at most"), "{why}");
}

#[test]
fn a_ring_of_parents_ends() {
    let mut ring = document();
    ring["snapshots"][0]["parent-snapshot-id"] = 1.into();
    let ring = TableMetadata::parse(ring.to_string().as_bytes()).unwrap();
    assert_eq!(ring.history(1).count(), 1);
}

#[test]
fn new_tables_number_their_columns_level_by_level() {
    let schema: Schema = serde_json::from_value(
        json!({"type": "struct", "identifier-field-ids": [40], "fields": [
        {"id": 10, "name": "a", "required": false, "type": {"type": "struct", "fields": [
            {"id": 11, "name": "b", "required": false, "type": {"type": "list", "element-id": 12,
                "element-required": false, "element": "int"}},
            {"id": 13, "name": "c", "required": false, "type": "int"}]}},
        {"id": 40, "name": "d", "required": true, "type": "int"}]}),
    )
    .unwrap();
    let field = PartitionField {
        source_id: 40,
        field_id: 7,
        name: "d".into(),
        transform: Transform::Identity,
    };
    let spec = PartitionSpec {
        spec_id: 3,
        fields: vec![field],
    };
    let new = TableMetadata::new("u", "/w", &schema, &spec, BTreeMap::new(), 1).unwrap();
    let id = |name: &str| {
        let mut found = None;
        new.current_schema().walk(&mut |field| {
            if field.name == name {
                found = Some(field.id);
            }
        });
        found.unwrap()
    };
    assert_eq!(["a", "d", "b", "c", "element"].map(id), [1, 2, 3, 4, 5]);
    assert_eq!((new.last_column_id(), new.last_partition_id()), (5, 1000));
    assert_eq!(new.current_schema().identifier_field_ids, [2]);
    assert_eq!(new.default_spec().fields[0].source_id, 2);
    let lost = PartitionSpec {
        fields: vec![PartitionField {
            source_id: 9,
            field_id: 0,
            name: "x".into(),
            transform: Transform::Void,
        }],
        ..spec
    };
    assert!(TableMetadata::new("u", "/w", &schema, &lost, BTreeMap::new(), 1).is_err());
    let v3 = BTreeMap::from([("format-version".to_owned(), "3".to_owned())]);
    assert!(
        TableMetadata::new("u", "/w", &schema, &PartitionSpec::unpartitioned(), v3, 1).is_err()
    );
}

/// Every way of putting a value where another belongs.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,5}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{"snapshot-id": 1}])),
    ]
}

proptest! {
    #[test]
    fn no_wrong_value_makes_it_panic(pointer in 0usize..200, value in any_value()) {
        let mut document = document();
        let mut places = Vec::new();
        collect(&document, String::new(), &mut places);
        let place = &places[pointer % places.len()];
        *document.pointer_mut(place).unwrap() = value;
        drop(TableMetadata::parse(document.to_string().as_bytes()));
    }
}

fn collect(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, value)| collect(value, format!("{at}/{key}"), places)),
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(index, value)| collect(value, format!("{at}/{index}"), places));
        }
        _ => {}
    }
    places.push(at);
}
