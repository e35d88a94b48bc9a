//! Lengths, counts and numbers no honest writer writes: an error at once, whatever they announce.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::list::decode as decode_list;
use super::v1::manifest_of_format_v1;
use super::{table, written};
use crate::avro::{Codec, ContainerWriter, Encoder};
use crate::manifest::read::{decode, malformed};
use crate::manifest::{Fields, ManifestFile, SpecTypes};

/// What longs a hostile writer would try as lengths and counts.
const LENGTHS: [i64; 6] = [i64::MAX, i64::MIN, i64::MAX / 2, 1 << 40, -1, i64::MIN + 1];

fn why(bytes: &Bytes, manifest: &ManifestFile) -> String {
    let error = decode(bytes, manifest, &SpecTypes::default(), Fields::ALL).unwrap_err();
    malformed(manifest, error).to_string()
}

fn listed(bytes: &Bytes) -> ManifestFile {
    ManifestFile {
        manifest_length: bytes.len() as i64,
        sequence_number: 0,
        ..written(&table(&json!({}))).1
    }
}

fn schema() -> Value {
    let bytes = manifest_of_format_v1();
    let container = crate::avro::Container::open(&bytes).unwrap();
    serde_json::from_str(container.text("avro.schema").unwrap()).unwrap()
}

fn header(spec_id: &str) -> [(&'static str, String); 3] {
    [
        ("schema", "{}".to_owned()),
        ("partition-spec-id", spec_id.to_owned()),
        (
            "partition-spec",
            json!([
                {"source-id": 1, "name": "id.bucket", "transform": "bucket[4]"},
                {"source-id": 2, "name": "ratio", "transform": "identity"}])
            .to_string(),
        ),
    ]
}

/// The manifest of one file whose entry `write` encodes.
fn manifest(spec_id: &str, write: impl FnOnce(&mut Encoder)) -> Bytes {
    let mut value = Encoder::default();
    write(&mut value);
    let mut container = ContainerWriter::new(&schema(), Codec::Null, &header(spec_id));
    container.push(value.as_bytes());
    Bytes::from(container.finish())
}

/// An entry of `/f` with these rows and bytes.
fn entry(out: &mut Encoder, status: i32, rows: i64, bytes: i64) {
    out.int(status);
    out.long(5);
    out.string("/f");
    out.string("PARQUET");
    for number in [0, 0, rows, bytes, 0] {
        out.long(number);
    }
}

#[track_caller]
fn refused(bytes: &Bytes, parts: &[&str]) {
    let error = why(bytes, &listed(bytes));
    for part in parts.iter().chain(&["/m.avro"]) {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn numbers_that_cannot_be_are_named_with_their_field_and_file() {
    refused(
        &manifest("0", |out| entry(out, 1, -3, 10)),
        &["record_count of \"/f\": -3 is negative"],
    );
    refused(
        &manifest("0", |out| entry(out, 1, 3, i64::MIN)),
        &["file_size_in_bytes of \"/f\"", "-9223372036854775808"],
    );
    refused(
        &manifest("0", |out| entry(out, 3, 3, 10)),
        &["status 3 of an entry"],
    );
    refused(
        &manifest("4", |out| entry(out, 1, 3, 10)),
        &["partition spec 4", "says 0"],
    );
    let honest = manifest("0", |out| entry(out, 1, 3, 10));
    let entries = decode(
        &honest,
        &listed(&honest),
        &SpecTypes::default(),
        Fields::ALL,
    );
    assert_eq!(entries.unwrap()[0].file.record_count, 3);
}

#[test]
fn no_announced_length_is_believed_before_its_bytes_are_there() {
    for length in LENGTHS {
        // The path of the file.
        let bytes = manifest("0", |out| {
            out.int(1);
            out.long(5);
            out.long(length);
            out.raw(b"/f");
        });
        refused(&bytes, &["file_path"]);
        // The count of the file's blocks' values, then a block's bytes.
        for place in 0..2 {
            let mut bytes = ContainerWriter::new(&schema(), Codec::Null, &[]).finish();
            let mut block = Encoder::default();
            for number in 0..2 {
                block.long(if number == place { length } else { 1 });
            }
            block.raw(&[0; 64]);
            bytes.extend_from_slice(block.as_bytes());
            assert!(!why(&Bytes::from(bytes.clone()), &listed(&Bytes::from(bytes))).is_empty());
        }
        // The header's entries.
        let mut header = Encoder::default();
        header.raw(b"Obj\x01");
        header.long(length);
        header.long(length);
        header.raw(&[0; 64]);
        let header = Bytes::from(header.into_bytes());
        refused(&header, &[]);
        assert!(decode_list(&header).is_err());
    }
}

/// A value takes some hundred bytes in memory, and next to none where it repeats the one before.
#[test]
fn a_packed_manifest_that_would_take_all_memory_is_not_read() {
    for codec in [Codec::DEFLATE, Codec::Zstandard { level: 3 }] {
        let mut value = Encoder::default();
        entry(&mut value, 1, 3, 10);
        let mut container = ContainerWriter::new(&schema(), codec, &header("0"));
        for _ in 0..200_000 {
            container.push(value.as_bytes());
        }
        let bytes = Bytes::from(container.finish());
        assert!(bytes.len() < 100_000, "{}", bytes.len());
        refused(&bytes, &["more values than its length allows"]);
    }
}

#[test]
fn a_schema_as_deep_as_the_file_is_long_is_refused() {
    let deep = 100_000;
    let mut schema = String::new();
    for _ in 0..deep {
        schema.push_str(r#"{"type":"array","items":"#);
    }
    schema.push_str("\"long\"");
    schema.push_str(&"}".repeat(deep));
    let mut file = Encoder::default();
    file.raw(b"Obj\x01");
    file.long(1);
    file.string("avro.schema");
    file.string(&schema);
    file.long(0);
    file.raw(&[0; 16]);
    let file = Bytes::from(file.into_bytes());
    refused(&file, &["avro.schema"]);
    assert!(decode_list(&file).is_err());
}
