//! Manifests against themselves, cut short and damaged; against `apache-avro` where a field is
//! one no Iceberg library knows.

use std::collections::HashSet;

use apache_avro::types::Value;
use apache_avro::{Reader, Writer};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::read::decode;
use super::*;
use crate::{Literal, TableMetadata};

mod broken;
mod merge;
mod v1;

pub(super) fn table(properties: &serde_json::Value) -> TableMetadata {
    let document = json!({
        "format-version": 2, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
        "location": "/w/t", "last-sequence-number": 9, "last-updated-ms": 1, "last-column-id": 2,
        "schemas": [{"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "id", "required": true, "type": "long"},
            {"id": 2, "name": "ratio", "required": false, "type": "double"}]}],
        "current-schema-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": [
            {"source-id": 1, "field-id": 1000, "name": "id.bucket", "transform": "bucket[4]"},
            {"source-id": 2, "field-id": 1001, "name": "ratio", "transform": "identity"}]}],
        "default-spec-id": 0, "last-partition-id": 1001,
        "sort-orders": [{"order-id": 0, "fields": []}], "default-sort-order-id": 0,
        "properties": properties,
    });
    TableMetadata::parse(document.to_string().as_bytes()).unwrap()
}

fn file(path: &str, bucket: Option<i32>, ratio: Option<f64>, rows: u64) -> DataFile {
    let mut file = DataFile::new(Content::Data, path);
    file.partition = vec![bucket.map(Literal::Int), ratio.map(Literal::Double)];
    file.record_count = rows;
    file.file_size_in_bytes = rows * 10;
    file.value_counts = [(1, rows as i64), (2, rows as i64)].into_iter().collect();
    file.lower_bounds.insert(1, vec![0; 8].into());
    file.split_offsets = Some(vec![4]);
    file
}

fn entry(status: EntryStatus, snapshot_id: i64, numbers: (i64, i64), file: DataFile) -> Entry {
    let (sequence_number, file_sequence_number) = numbers;
    let snapshot_id = Some(snapshot_id);
    Entry {
        status,
        snapshot_id,
        sequence_number,
        file_sequence_number,
        file,
    }
}

/// Two added files (one with an explicit sequence number), one existing, one deleted.
fn written(table: &TableMetadata) -> (Bytes, ManifestFile) {
    let mut writer = ManifestWriter::new(ManifestContent::Data, table, 0, 7).unwrap();
    writer
        .add(&file("/a", Some(1), Some(0.5), 10), None)
        .unwrap();
    writer
        .add(&file("/b", Some(3), Some(f64::NAN), 20), Some(4))
        .unwrap();
    let old = |path: &str| {
        entry(
            EntryStatus::Existing,
            5,
            (2, 3),
            file(path, None, Some(-1.5), 40),
        )
    };
    writer.add_existing(&old("/c")).unwrap();
    writer.add_deleted(&old("/d")).unwrap();
    assert_eq!(writer.len(), 4);
    let (bytes, mut manifest) = writer.finish("/m.avro").unwrap();
    assert_eq!(manifest.sequence_number, ManifestFile::UNASSIGNED);
    manifest.sequence_number = 9;
    (bytes, manifest)
}

fn read(bytes: &Bytes, manifest: &ManifestFile, fields: Fields) -> Vec<Entry> {
    decode(bytes, manifest, &SpecTypes::default(), fields).unwrap()
}

#[test]
fn a_list_entry_tells_counts_and_ranges_of_its_manifest() {
    let (bytes, m) = written(&table(&json!({})));
    assert_eq!(m.manifest_length, bytes.len() as i64);
    let files = (
        m.added_files_count,
        m.existing_files_count,
        m.deleted_files_count,
    );
    assert_eq!(files, (Some(2), Some(1), Some(1)));
    let rows = (
        m.added_rows_count,
        m.existing_rows_count,
        m.deleted_rows_count,
    );
    assert_eq!(rows, (Some(30), Some(40), Some(40)));
    assert_eq!(m.min_sequence_number, 2);
    let bucket = FieldSummary {
        contains_null: true,
        contains_nan: Some(false),
        lower_bound: Some(1i32.to_le_bytes().to_vec()),
        upper_bound: Some(3i32.to_le_bytes().to_vec()),
    };
    let ratio = FieldSummary {
        contains_null: false,
        contains_nan: Some(true),
        lower_bound: Some((-1.5f64).to_le_bytes().to_vec()),
        upper_bound: Some(0.5f64.to_le_bytes().to_vec()),
    };
    assert_eq!(m.partitions, Some(vec![bucket, ratio]));
}

#[test]
fn what_was_written_is_read_with_numbers_inherited() {
    use EntryStatus::{Added, Deleted, Existing};
    let (bytes, manifest) = written(&table(&json!({})));
    let expected = vec![
        entry(Added, 7, (9, 9), file("/a", Some(1), Some(0.5), 10)),
        entry(Added, 7, (4, 9), file("/b", Some(3), Some(f64::NAN), 20)),
        entry(Existing, 5, (2, 3), file("/c", None, Some(-1.5), 40)),
        entry(Deleted, 7, (2, 3), file("/d", None, Some(-1.5), 40)),
    ];
    assert_eq!(read(&bytes, &manifest, Fields::ALL), expected);
    let lean = read(&bytes, &manifest, Fields::PLAN);
    assert!(lean.iter().all(|entry| entry.file.value_counts.is_empty()));
    assert_eq!(lean[1].file.partition, expected[1].file.partition);
    assert_eq!(lean[1].file.split_offsets, expected[1].file.split_offsets);
}

#[test]
fn a_manifest_cut_anywhere_is_an_error_that_names_it() {
    for codec in ["gzip", "uncompressed", "snappy", "zstd"] {
        let (bytes, manifest) = written(&table(&json!({"write.avro.compression-codec": codec})));
        assert_eq!(read(&bytes, &manifest, Fields::ALL).len(), 4);
        let unaware = ManifestFile {
            manifest_length: 0,
            ..manifest.clone()
        };
        for cut in 0..bytes.len() {
            let part = bytes.slice(..cut);
            let why = decode(&part, &manifest, &SpecTypes::default(), Fields::ALL).unwrap_err();
            let error = read::malformed(&manifest, why).to_string();
            assert!(error.contains("/m.avro"), "{codec} cut at {cut}: {error}");
            // Without the list's length only a cut between blocks goes unseen: no entry is made up.
            if let Ok(entries) = decode(&part, &unaware, &SpecTypes::default(), Fields::ALL) {
                assert_eq!(entries.len(), 0, "{codec} cut at {cut}");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_damaged_manifest_never_panics(
        flips in prop::collection::vec((any::<u32>(), 1u8..), 1..8),
    ) {
        let (bytes, manifest) = written(&table(&json!({"write.avro.compression-codec": "null"})));
        let mut bytes = bytes.to_vec();
        for (at, flip) in flips {
            let at = at as usize % bytes.len();
            bytes[at] ^= flip;
        }
        let _ = decode(&Bytes::from(bytes), &manifest, &SpecTypes::default(), Fields::ALL);
    }

    #[test]
    fn a_damaged_list_never_panics(flips in prop::collection::vec((any::<u32>(), 1u8..), 1..8)) {
        let table = table(&json!({"write.avro.compression-codec": "null"}));
        let (_, manifest) = written(&table);
        let mut bytes = write_manifest_list(&[manifest], &table, 7, None, 9).unwrap().to_vec();
        for (at, flip) in flips {
            let at = at as usize % bytes.len();
            bytes[at] ^= flip;
        }
        let _ = list::decode(&Bytes::from(bytes));
    }
}

#[test]
fn a_rewritten_manifest_keeps_survivors_and_hands_out_the_removed() {
    let table = table(&json!({}));
    let (bytes, manifest) = written(&table);
    // `/d` is deleted already: it is no longer there to be removed.
    let removed = HashSet::from(["/b".to_owned(), "/d".to_owned(), "/elsewhere".to_owned()]);
    let rewritten = rewrite_manifest(&bytes, &manifest, &table, &removed, 8, "/n.avro").unwrap();
    let b = entry(
        EntryStatus::Added,
        7,
        (4, 9),
        file("/b", Some(3), Some(f64::NAN), 20),
    );
    assert_eq!(rewritten.removed, [b]);
    let (bytes, mut manifest) = rewritten.survivors.unwrap();
    assert_eq!(manifest.manifest_path, "/n.avro");
    assert_eq!(manifest.added_snapshot_id, 8);
    assert_eq!(manifest.min_sequence_number, 2);
    assert_eq!(manifest.existing_files_count, Some(2));
    assert_eq!(manifest.existing_rows_count, Some(50));
    assert_eq!(manifest.live_files_count(), Some(2));
    assert_eq!(manifest.deleted_files_count, Some(0));
    assert_eq!(
        manifest.partitions.as_ref().unwrap()[1].contains_nan,
        Some(false)
    );
    // Under a later sequence number nothing may be inherited any more.
    manifest.sequence_number = 10;
    assert_eq!(
        read(&bytes, &manifest, Fields::ALL),
        [
            entry(
                EntryStatus::Existing,
                7,
                (9, 9),
                file("/a", Some(1), Some(0.5), 10)
            ),
            entry(
                EntryStatus::Existing,
                5,
                (2, 3),
                file("/c", None, Some(-1.5), 40)
            ),
        ]
    );
    let all = ["/a", "/c"].map(str::to_owned).into();
    let none = rewrite_manifest(&bytes, &manifest, &table, &all, 11, "/o.avro").unwrap();
    assert!(none.survivors.is_none());
    assert_eq!(none.removed.len(), 2);
}

/// Adds fields nobody knows to the entry and to the data file.
fn with_unknown_fields(bytes: &Bytes) -> Bytes {
    let mut schema: serde_json::Value = {
        let container = crate::avro::Container::open(bytes).unwrap();
        serde_json::from_str(container.text("avro.schema").unwrap()).unwrap()
    };
    let extra =
        |name: &str, id: i32| json!({"name": name, "type": ["null", "string"], "field-id": id});
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.insert(1, extra("later", 9001));
    let file = fields.last_mut().unwrap();
    file["type"]["fields"]
        .as_array_mut()
        .unwrap()
        .insert(3, extra("newer", 9002));
    let schema = apache_avro::Schema::parse(&schema).unwrap();
    let reader = Reader::new(&bytes[..]).unwrap();
    let mut writer = Writer::new(&schema, Vec::new()).unwrap();
    for key in [
        "schema",
        "partition-spec",
        "partition-spec-id",
        "format-version",
        "content",
    ] {
        writer
            .add_user_metadata(key.to_owned(), &reader.user_metadata()[key])
            .unwrap();
    }
    writer
        .add_user_metadata("from-the-future".to_owned(), "kept")
        .unwrap();
    let unknown = |text: &str| Value::Union(1, Box::new(Value::String(text.to_owned())));
    for value in reader {
        let Value::Record(mut fields) = value.unwrap() else {
            panic!("no record")
        };
        fields.insert(1, ("later".to_owned(), unknown("entry")));
        let Value::Record(file) = &mut fields.last_mut().unwrap().1 else {
            panic!("no file")
        };
        file.insert(3, ("newer".to_owned(), unknown("file")));
        writer.append_value(Value::Record(fields)).unwrap();
    }
    Bytes::from(writer.into_inner().unwrap())
}

#[test]
fn fields_nobody_knows_survive_a_rewrite() {
    let table = table(&json!({}));
    let (bytes, manifest) = written(&table);
    let bytes = with_unknown_fields(&bytes);
    let manifest = ManifestFile {
        manifest_length: bytes.len() as i64,
        ..manifest
    };
    assert_eq!(read(&bytes, &manifest, Fields::ALL).len(), 4);
    let removed = HashSet::from(["/b".to_owned()]);
    let rewritten = rewrite_manifest(&bytes, &manifest, &table, &removed, 8, "/n.avro").unwrap();
    let (after, _) = rewritten.survivors.unwrap();
    let reader = Reader::new(&after[..]).unwrap();
    assert_eq!(reader.user_metadata()["from-the-future"], b"kept");
    let expected: Vec<_> = Reader::new(&bytes[..])
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let number = |number: i64| Value::Union(1, Box::new(Value::Long(number)));
    let survivors: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(survivors.len(), 2);
    for (after, before) in survivors.into_iter().zip([&expected[0], &expected[2]]) {
        let (Value::Record(after), Value::Record(before)) = (after, before) else {
            panic!()
        };
        for ((name, after), (_, before)) in after.iter().zip(before) {
            match name.as_str() {
                "status" => assert_eq!(*after, Value::Int(0)),
                "sequence_number" | "file_sequence_number"
                    if *before == Value::Union(0, Box::new(Value::Null)) =>
                {
                    assert_eq!(*after, number(9));
                }
                _ => assert_eq!(after, before, "{name}"),
            }
        }
    }
}

#[test]
fn fields_nobody_knows_survive_in_a_list() {
    let table = table(&json!({}));
    let (_, known) = written(&table);
    let with = |name: &str, ty: serde_json::Value, encoded: &[u8]| {
        let schema = json!({"name": name, "type": ty, "field-id": 9000 + name.len()});
        CarriedField {
            schema: schema.into(),
            encoded: encoded.to_vec(),
        }
    };
    let mut first = known.clone();
    // A required long, an optional string, and a union that lacks null.
    first.carried.fields = vec![
        with("one", json!("long"), &[84]),
        with("four", json!(["string", "null"]), &[0, 4, b'h', b'i']),
        with("sixsix", json!(["int", "string"]), &[2, 2, b'x']),
    ];
    let listed = |manifests: &[ManifestFile]| {
        list::decode(&write_manifest_list(manifests, &table, 7, Some(5), 9).unwrap()).unwrap()
    };
    let values = |manifest: &ManifestFile| -> Vec<Vec<u8>> {
        manifest
            .carried
            .fields
            .iter()
            .map(|field| field.encoded.clone())
            .collect()
    };
    // Beside a manifest without them the fields become optional; values stay the same.
    let mixed = listed(&[first.clone(), known.clone()]);
    assert_eq!(mixed[1], known);
    let expected = [vec![2, 84], vec![0, 4, b'h', b'i'], vec![2, 2, b'x']];
    assert_eq!(values(&mixed[0]), expected);
    assert_eq!(values(&listed(&mixed)[0]), expected, "twice");
    assert_eq!(listed(&mixed), mixed, "from then on nothing changes");
    // Alone they stay as they were declared.
    assert_eq!(values(&listed(&[first.clone()])[0])[0], [84]);
    // The same id declared in two ways cannot be one column.
    let mut other = known.clone();
    other.carried.fields = vec![with("one", json!("string"), &[0])];
    let error = write_manifest_list(&[first, other], &table, 7, None, 9).unwrap_err();
    assert!(error.to_string().contains("two ways"), "{error}");
}

#[test]
fn a_list_gives_new_manifests_their_sequence_number_and_no_others() {
    let table = table(&json!({}));
    let (_, mut old) = written(&table);
    old.added_snapshot_id = 6;
    let mut writer = ManifestWriter::new(ManifestContent::Data, &table, 0, 7).unwrap();
    writer.add(&file("/new", None, None, 1), None).unwrap();
    let (_, new) = writer.finish("/new.avro").unwrap();
    assert_eq!(new.min_sequence_number, ManifestFile::UNASSIGNED);
    let manifests = [old.clone(), new.clone()];
    let bytes = write_manifest_list(&manifests, &table, 7, Some(6), 10).unwrap();
    let listed = list::decode(&bytes).unwrap();
    let assigned = ManifestFile {
        sequence_number: 10,
        min_sequence_number: 10,
        ..new.clone()
    };
    assert_eq!(listed, [old, assigned]);
    let error = write_manifest_list(&[new], &table, 8, Some(7), 11)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/new.avro") && error.contains("sequence number"),
        "{error}"
    );
}

#[test]
fn what_a_writer_cannot_keep_it_refuses() {
    let table = table(&json!({}));
    let mut writer = ManifestWriter::new(ManifestContent::Data, &table, 0, 7).unwrap();
    let good = || file("/a", Some(1), None, 1);
    let mut refused = |file: DataFile, want: &str| {
        let error = writer.add(&file, None).unwrap_err().to_string();
        assert!(error.contains("/a") && error.contains(want), "{error}");
    };
    refused(
        DataFile {
            content: Content::PositionDeletes,
            ..good()
        },
        "belong",
    );
    refused(
        DataFile {
            spec_id: 3,
            ..good()
        },
        "spec",
    );
    refused(
        DataFile {
            partition: vec![],
            ..good()
        },
        "partition values",
    );
    let text = Some(Literal::String("x".to_owned()));
    refused(
        DataFile {
            partition: vec![text, None],
            ..good()
        },
        "is no int",
    );
    refused(
        DataFile {
            content_offset: Some(4),
            ..good()
        },
        "format version 3",
    );
    assert!(writer.is_empty());
    assert!(
        writer
            .finish("/m")
            .unwrap_err()
            .to_string()
            .contains("empty")
    );
    assert!(ManifestWriter::new(ManifestContent::Data, &table, 5, 7).is_err());
    let odd = self::table(&json!({"write.avro.compression-codec": "lzo"}));
    let error = ManifestWriter::new(ManifestContent::Data, &odd, 0, 7)
        .unwrap_err()
        .to_string();
    assert!(error.contains("lzo"), "{error}");
}

#[test]
fn a_value_written_before_its_column_was_widened_equals_one_written_after() {
    let with_ratio = |ty: &str| {
        let table = self::table(&json!({}));
        let mut document: serde_json::Value = serde_json::from_slice(&table.to_json()).unwrap();
        document["schemas"][0]["fields"][1]["type"] = ty.into();
        TableMetadata::parse(document.to_string().as_bytes()).unwrap()
    };
    let (narrow, wide) = (with_ratio("float"), with_ratio("double"));
    let written = |table: &TableMetadata, ratio: Literal| {
        let mut writer = ManifestWriter::new(ManifestContent::Data, table, 0, 7).unwrap();
        let mut file = file("/a", None, None, 1);
        file.partition[1] = Some(ratio);
        writer.add(&file, Some(1)).unwrap();
        writer.finish("/m").unwrap()
    };
    let value = |(bytes, manifest): &(Bytes, ManifestFile), table: &TableMetadata| {
        let types = SpecTypes::of(table);
        let manifest = ManifestFile {
            sequence_number: 9,
            ..manifest.clone()
        };
        let entries = decode(bytes, &manifest, &types, Fields::PLAN).unwrap();
        entries[0].file.partition[1].clone()
    };
    let before = written(&narrow, Literal::Float(1.5));
    let after = written(&wide, Literal::Double(1.5));
    assert_eq!(value(&before, &narrow), Some(Literal::Float(1.5)));
    assert_eq!(value(&before, &wide), Some(Literal::Double(1.5)));
    assert_eq!(value(&after, &wide), value(&before, &wide));
    // And a file planned under the old type can be written under the new one.
    let again = written(&wide, Literal::Float(1.5));
    assert_eq!(value(&again, &wide), Some(Literal::Double(1.5)));
}

#[test]
fn a_partition_that_lacks_a_field_is_not_read_as_null() {
    let table = table(&json!({}));
    let (bytes, manifest) = written(&table);
    let mut document: serde_json::Value = serde_json::from_slice(&table.to_json()).unwrap();
    let fields = document["partition-specs"][0]["fields"]
        .as_array_mut()
        .unwrap();
    fields.push(json!({"source-id": 1, "field-id": 1002, "name": "id", "transform": "identity"}));
    let other = TableMetadata::parse(document.to_string().as_bytes()).unwrap();
    let why = decode(&bytes, &manifest, &SpecTypes::of(&other), Fields::PLAN).unwrap_err();
    assert!(
        why.to_string().contains("1002 (id) is written 0 times"),
        "{why}"
    );
    let moved = ManifestFile {
        partition_spec_id: 1,
        ..manifest
    };
    let why = decode(&bytes, &moved, &SpecTypes::of(&table), Fields::PLAN).unwrap_err();
    assert!(
        why.to_string()
            .contains("spec 0 where the manifest list says 1"),
        "{why}"
    );
}
