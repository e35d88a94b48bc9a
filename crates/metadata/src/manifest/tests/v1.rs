//! Format v1 as it is written: its fields and no others, and nothing that it has no place for.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::list::decode as decode_list;
use super::{entry, file, read, table};
use crate::avro::Container;
use crate::manifest::read::decode;
use crate::manifest::{
    Content, DataFile, EntryStatus, Fields, ManifestContent, ManifestFile, ManifestWriter,
    SpecTypes, rewrite_manifest, write_manifest_list,
};
use crate::{Error, TableMetadata};

fn table_v1() -> TableMetadata {
    let document = table(&json!({}));
    let mut document: Value = serde_json::from_slice(&document.to_json()).unwrap();
    document["format-version"] = 1.into();
    TableMetadata::parse(document.to_string().as_bytes()).unwrap()
}

fn header(bytes: &Bytes) -> (Value, Vec<String>) {
    let container = Container::open(bytes).unwrap();
    let schema = serde_json::from_str(container.text("avro.schema").unwrap()).unwrap();
    let keys = container.header.keys();
    let own = keys.filter(|key| !key.starts_with("avro."));
    (schema, own.cloned().collect())
}

/// Field ids, negative where the field may be null.
fn ids(schema: &Value) -> Vec<i64> {
    let fields = schema["fields"].as_array().unwrap().iter();
    fields
        .map(|field| {
            let id = field["field-id"].as_i64().unwrap();
            if field["type"].is_array() { -id } else { id }
        })
        .collect()
}

fn written() -> (Bytes, ManifestFile) {
    let mut writer = ManifestWriter::new(ManifestContent::Data, &table_v1(), 0, 7).unwrap();
    let new = file("/a", Some(1), Some(0.5), 10);
    writer.add(&new, Some(0)).unwrap();
    writer.add(&new, None).unwrap();
    let old = |path: &str| {
        entry(
            EntryStatus::Existing,
            5,
            (0, 0),
            file(path, None, Some(-1.5), 40),
        )
    };
    writer.add_existing(&old("/c")).unwrap();
    writer.add_deleted(&old("/d")).unwrap();
    writer.finish("/m.avro").unwrap()
}

/// One existing file, `/old`, in a manifest as early writers of format v1 made it.
pub(super) fn manifest_of_format_v1() -> Bytes {
    let schema = json!({"type": "record", "name": "manifest_entry", "fields": [
        {"name": "status", "type": "int", "field-id": 0},
        {"name": "snapshot_id", "type": "long", "field-id": 1},
        {"name": "data_file", "field-id": 2, "type": {"type": "record", "name": "r2", "fields": [
            {"name": "file_path", "type": "string", "field-id": 100},
            {"name": "file_format", "type": "string", "field-id": 101},
            {"name": "partition", "field-id": 102, "type":
                {"type": "record", "name": "r102", "fields": [
                    {"name": "id_x2Ebucket", "type": ["null", "int"], "field-id": 1000},
                    {"name": "ratio", "type": ["null", "double"], "field-id": 1001}]}},
            {"name": "record_count", "type": "long", "field-id": 103},
            {"name": "file_size_in_bytes", "type": "long", "field-id": 104},
            {"name": "block_size_in_bytes", "type": "long", "field-id": 105}]}}]});
    let partition_spec = json!([
        {"source-id": 1, "name": "id.bucket", "transform": "bucket[4]"},
        {"source-id": 2, "name": "ratio", "transform": "identity"}]);
    let mut value = crate::avro::Encoder::default();
    value.int(0);
    value.long(5);
    value.string("/old");
    value.string("PARQUET");
    for number in [0, 0, 3, 30, 67_108_864] {
        value.long(number);
    }
    let header = [
        ("schema", "{}".to_owned()),
        // Early writers gave partition fields no ids.
        ("partition-spec", partition_spec.to_string()),
    ];
    let mut container =
        crate::avro::ContainerWriter::new(&schema, crate::avro::Codec::Null, &header);
    container.push(value.as_bytes());
    Bytes::from(container.finish())
}

#[test]
fn a_manifest_of_format_v1_reads_sequence_zero_and_is_rewritten_as_v2() {
    let bytes = manifest_of_format_v1();
    let table = table(&json!({}));
    let (_, manifest) = super::written(&table);
    let manifest = ManifestFile {
        sequence_number: 0,
        min_sequence_number: 0,
        manifest_length: bytes.len() as i64,
        ..manifest
    };
    let entries = read(&bytes, &manifest, Fields::ALL);
    assert_eq!(
        (entries[0].sequence_number, entries[0].file_sequence_number),
        (0, 0)
    );
    assert_eq!(
        (entries[0].snapshot_id, entries[0].file.content),
        (Some(5), Content::Data)
    );
    let rewritten = |removed: &[&str]| {
        let removed = removed.iter().map(|path| (*path).to_owned()).collect();
        rewrite_manifest::<std::hash::RandomState>(&bytes, &manifest, &table, &removed, 8, "/n")
            .unwrap()
    };
    let kept = rewritten(&["/other"]);
    assert!(kept.removed.is_empty());
    let (again, survivors) = kept.survivors.unwrap();
    let listed = ManifestFile {
        sequence_number: 9,
        ..survivors
    };
    assert_eq!(listed.min_sequence_number, 0);
    assert_eq!(read(&again, &listed, Fields::ALL), entries);
    let gone = rewritten(&["/old"]);
    assert!(gone.survivors.is_none());
    assert_eq!(gone.removed, entries);
    // An existing file of a format v2 manifest must say its number.
    let later = ManifestFile {
        sequence_number: 4,
        ..manifest
    };
    assert!(decode(&bytes, &later, &SpecTypes::default(), Fields::ALL).is_err());
}

#[test]
fn a_manifest_of_v1_has_the_fields_of_v1_and_every_entry_its_snapshot() {
    let (bytes, manifest) = written();
    let (schema, keys) = header(&bytes);
    assert_eq!(ids(&schema), [0, 1, 2]);
    let file_ids = [
        100, 101, 102, 103, 104, 105, -108, -109, -110, -137, -125, -128, -131, -132, -140,
    ];
    assert_eq!(ids(&schema["fields"][2]["type"]), file_ids);
    let want = [
        "format-version",
        "partition-spec",
        "partition-spec-id",
        "schema",
        "schema-id",
    ];
    assert_eq!(keys, want);
    let container = Container::open(&bytes).unwrap();
    assert_eq!(container.text("format-version"), Some("1"));
    let listed = ManifestFile {
        sequence_number: 0,
        ..manifest
    };
    let entries = read(&bytes, &listed, Fields::ALL);
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            (
                entry.status.code(),
                entry.snapshot_id,
                entry.sequence_number,
            )
        })
        .collect();
    let want = [
        (1, Some(7), 0),
        (1, Some(7), 0),
        (0, Some(5), 0),
        (2, Some(7), 0),
    ];
    assert_eq!(told, want);
    assert_eq!(entries[0].file, file("/a", Some(1), Some(0.5), 10));
}

#[test]
fn a_list_of_v1_has_the_fields_of_v1_and_keeps_unknown_counts_unknown() {
    let (_, manifest) = written();
    let early = ManifestFile {
        manifest_path: "/early.avro".to_owned(),
        sequence_number: 0,
        min_sequence_number: 0,
        added_snapshot_id: 3,
        added_files_count: None,
        existing_files_count: None,
        deleted_files_count: None,
        added_rows_count: None,
        existing_rows_count: None,
        deleted_rows_count: None,
        partitions: None,
        ..manifest.clone()
    };
    let both = [manifest.clone(), early.clone()];
    let bytes = write_manifest_list(&both, &table_v1(), 7, None, 0).unwrap();
    let (schema, keys) = header(&bytes);
    let want = [
        500, 501, 502, 503, -504, -505, -506, -512, -513, -514, -507, -519,
    ];
    assert_eq!(ids(&schema), want);
    assert_eq!(
        keys,
        ["format-version", "parent-snapshot-id", "snapshot-id"]
    );
    let new = ManifestFile {
        sequence_number: 0,
        min_sequence_number: 0,
        ..manifest
    };
    assert_eq!(decode_list(&bytes).unwrap(), [new, early.clone()]);
    // Format v2 must count.
    let error = write_manifest_list(&[early], &table(&json!({})), 7, None, 9).unwrap_err();
    assert!(error.to_string().contains("counts are unknown"), "{error}");
}

#[test]
fn a_manifest_of_v1_in_a_table_of_v1_is_rewritten_byte_for_byte() {
    let bytes = manifest_of_format_v1();
    let manifest = ManifestFile {
        manifest_path: "/old.avro".to_owned(),
        manifest_length: bytes.len() as i64,
        added_snapshot_id: 5,
        sequence_number: 0,
        min_sequence_number: 0,
        ..written().1
    };
    let rewritten = |removed: &[&str]| {
        let removed: HashSet<String> = removed.iter().map(|path| (*path).to_owned()).collect();
        rewrite_manifest(&bytes, &manifest, &table_v1(), &removed, 8, "/n").unwrap()
    };
    let (kept, survivors) = rewritten(&["/other"]).survivors.unwrap();
    // An early writer's header and fields, block size and all; only the sync marker is new.
    assert_eq!(header(&kept), header(&bytes));
    let entries = read(&bytes, &manifest, Fields::ALL);
    assert_eq!(
        read(&kept, &survivors_listed(&survivors), Fields::ALL),
        entries
    );
    assert_eq!(kept.len(), bytes.len());
    let gone = rewritten(&["/old"]);
    assert!(gone.survivors.is_none());
    assert_eq!(gone.removed, entries);
}

fn survivors_listed(survivors: &ManifestFile) -> ManifestFile {
    ManifestFile {
        sequence_number: 0,
        ..survivors.clone()
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, why: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn what_v1_has_no_place_for_is_refused() {
    let v1 = table_v1();
    let deletes = ManifestWriter::new(ManifestContent::Deletes, &v1, 0, 7);
    refused(deletes, "delete files need format version 2");
    let mut writer = ManifestWriter::new(ManifestContent::Data, &v1, 0, 7).unwrap();
    let new = file("/a", Some(1), None, 10);
    refused(writer.add(&new, Some(4)), "/a: its sequence number 4");
    let later = entry(EntryStatus::Existing, 5, (0, 3), new.clone());
    refused(writer.add_existing(&later), "sequence number 3");
    let delete = DataFile {
        content: Content::PositionDeletes,
        ..new
    };
    refused(writer.add(&delete, None), "does not belong");
    let (bytes, manifest) = written();
    let of_deletes = ManifestFile {
        content: ManifestContent::Deletes,
        ..manifest.clone()
    };
    let numbered = ManifestFile {
        sequence_number: 9,
        ..manifest.clone()
    };
    for (manifest, why) in [(of_deletes, "delete files"), (numbered, "number 9")] {
        refused(write_manifest_list(&[manifest], &v1, 7, None, 0), why);
    }
    // A manifest of v2 within a table of v1 is nobody's: a document changed by hand.
    let (v2, listed) = super::written(&table(&json!({})));
    let none = HashSet::<String>::new();
    refused(
        rewrite_manifest(&v2, &listed, &v1, &none, 8, "/n"),
        "sequence numbers",
    );
    // And one of v1 within a table of v2 is written anew.
    let listed = survivors_listed(&manifest);
    let table = table(&json!({}));
    let upgraded = rewrite_manifest(&bytes, &listed, &table, &none, 8, "/n").unwrap();
    let (upgraded, _) = upgraded.survivors.unwrap();
    assert!(header(&upgraded).1.contains(&"content".to_owned()));
}
