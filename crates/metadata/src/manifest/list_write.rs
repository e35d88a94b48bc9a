//! Writes manifest lists of formats v1 and v2, with the unknown fields of the entries they carry.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::schema;
use super::write::codec;
use super::{CarriedField, FieldSummary, ManifestContent, ManifestFile, unwritable, writable};
use crate::avro::{ContainerWriter, Encoder, Node};
use crate::{Error, TableMetadata};

/// The manifest list of a new snapshot, in the table's format version. Manifests without a
/// sequence number are this snapshot's and get `sequence_number` (in format v1: none, as all
/// others); every other field of every entry is kept.
pub fn write_manifest_list(
    manifests: &[ManifestFile],
    table: &TableMetadata,
    snapshot_id: i64,
    parent_snapshot_id: Option<i64>,
    sequence_number: i64,
) -> Result<Bytes, Error> {
    let version = writable("manifest list", table)?;
    let columns = extra_columns(manifests)?;
    let mut header = vec![
        ("snapshot-id", snapshot_id.to_string()),
        (
            "parent-snapshot-id",
            parent_snapshot_id.map_or("null".to_owned(), |id| id.to_string()),
        ),
        ("format-version", version.to_string()),
    ];
    if version > 1 {
        header.push(("sequence-number", sequence_number.to_string()));
    }
    let schema = schema::list(columns.iter().map(|extra| extra.declared.clone()), version);
    Node::parse(&schema).map_err(|why| unwritable("manifest list", why))?;
    let mut writer = ContainerWriter::new(&schema, codec(table)?, &header);
    let mut encoder = Encoder::default();
    for manifest in manifests {
        encoder.clear();
        check(manifest)?;
        match version {
            1 => encode_v1(&mut encoder, manifest)?,
            _ => encode_v2(&mut encoder, manifest, snapshot_id, sequence_number)?,
        }
        for extra in &columns {
            encode_extra(&mut encoder, find(manifest, &extra.origin), extra);
        }
        writer.push(encoder.as_bytes());
    }
    Ok(Bytes::from(writer.finish()))
}

/// A column the list needs beside those of its format.
#[derive(Debug)]
struct Extra {
    /// The field as its first writer declared it.
    origin: Arc<Value>,
    /// The field as this list declares it.
    declared: Value,
    missing: Missing,
}

/// What to write where an entry lacks the field.
#[derive(Debug)]
enum Missing {
    /// Every entry has it.
    Never,
    /// This branch is null.
    Branch(i64),
    /// The origin was wrapped as `["null", origin]`.
    Wrapped,
}

fn extra_columns(manifests: &[ManifestFile]) -> Result<Vec<Extra>, Error> {
    let mut origins: Vec<&Arc<Value>> = Vec::new();
    for field in manifests
        .iter()
        .flat_map(|manifest| &manifest.carried.fields)
    {
        if !origins.contains(&&field.schema) {
            origins.push(&field.schema);
        }
    }
    let mut columns: Vec<Extra> = Vec::new();
    for origin in origins {
        let same = |extra: &Extra| {
            extra.origin["name"] == origin["name"]
                || (!origin["field-id"].is_null() && extra.origin["field-id"] == origin["field-id"])
        };
        if columns.iter().any(same) {
            return Err(unwritable(
                "manifest list",
                format!("field {} is declared in two ways", origin["name"]),
            ));
        }
        let everywhere = manifests
            .iter()
            .all(|manifest| find(manifest, origin).is_some());
        columns.push(extra(origin, everywhere));
    }
    Ok(columns)
}

fn extra(origin: &Arc<Value>, everywhere: bool) -> Extra {
    let mut declared = (**origin).clone();
    let missing = match declared["type"].as_array_mut() {
        Some(branches) => {
            let null = branches
                .iter()
                .position(|branch| branch == "null")
                .unwrap_or_else(|| {
                    // Behind the others, so that values keep their branch numbers.
                    branches.push(json!("null"));
                    branches.len() - 1
                });
            Missing::Branch(null as i64)
        }
        None if everywhere => Missing::Never,
        None => {
            let own = declared["type"].take();
            declared["type"] = json!(["null", own]);
            declared["default"] = Value::Null;
            Missing::Wrapped
        }
    };
    Extra {
        origin: origin.clone(),
        declared,
        missing,
    }
}

fn find<'a>(manifest: &'a ManifestFile, origin: &Arc<Value>) -> Option<&'a CarriedField> {
    manifest
        .carried
        .fields
        .iter()
        .find(|field| field.schema == *origin)
}

fn check(manifest: &ManifestFile) -> Result<(), Error> {
    let refuse = |why: &str| Err(unwritable(&manifest.manifest_path, why));
    if manifest.carried.summaries_lossy {
        return refuse("its partition summaries hold fields that would be lost");
    }
    if manifest.first_row_id.is_some() {
        return refuse("row lineage (first_row_id) needs format version 3");
    }
    Ok(())
}

fn encode_v1(out: &mut Encoder, manifest: &ManifestFile) -> Result<(), Error> {
    let refuse = |why: String| Err(unwritable(&manifest.manifest_path, why));
    if manifest.content != ManifestContent::Data {
        return refuse("delete files need format version 2".to_owned());
    }
    for number in [manifest.sequence_number, manifest.min_sequence_number] {
        if number != 0 && number != ManifestFile::UNASSIGNED {
            return refuse(format!(
                "its sequence number {number} has no place in format version 1"
            ));
        }
    }
    out.string(&manifest.manifest_path);
    out.long(manifest.manifest_length);
    out.int(manifest.partition_spec_id);
    out.long(manifest.added_snapshot_id);
    for count in manifest.files_counts() {
        out.optional(count, Encoder::int);
    }
    for count in manifest.rows_counts() {
        out.optional(count, Encoder::long);
    }
    encode_rest(out, manifest);
    Ok(())
}

fn encode_v2(
    out: &mut Encoder,
    manifest: &ManifestFile,
    snapshot_id: i64,
    sequence_number: i64,
) -> Result<(), Error> {
    let refuse = |why: &str| unwritable(&manifest.manifest_path, why);
    let assign = |number: i64| {
        if number != ManifestFile::UNASSIGNED {
            Ok(number)
        } else if manifest.added_snapshot_id == snapshot_id {
            Ok(sequence_number)
        } else {
            Err(refuse("another snapshot's manifest has no sequence number"))
        }
    };
    out.string(&manifest.manifest_path);
    out.long(manifest.manifest_length);
    out.int(manifest.partition_spec_id);
    out.int(manifest.content.code());
    out.long(assign(manifest.sequence_number)?);
    out.long(assign(manifest.min_sequence_number)?);
    out.long(manifest.added_snapshot_id);
    for count in manifest.files_counts() {
        out.int(count.ok_or_else(|| refuse("its file counts are unknown"))?);
    }
    for count in manifest.rows_counts() {
        out.long(count.ok_or_else(|| refuse("its row counts are unknown"))?);
    }
    encode_rest(out, manifest);
    Ok(())
}

fn encode_rest(out: &mut Encoder, manifest: &ManifestFile) {
    out.optional(manifest.partitions.as_ref(), |out, summaries| {
        out.array(summaries.iter(), encode_summary);
    });
    out.optional(manifest.key_metadata.as_deref(), Encoder::bytes);
}

fn encode_summary(out: &mut Encoder, summary: &FieldSummary) {
    out.boolean(summary.contains_null);
    out.optional(summary.contains_nan, Encoder::boolean);
    out.optional(summary.lower_bound.as_deref(), Encoder::bytes);
    out.optional(summary.upper_bound.as_deref(), Encoder::bytes);
}

fn encode_extra(out: &mut Encoder, field: Option<&CarriedField>, extra: &Extra) {
    match (&extra.missing, field) {
        (Missing::Never | Missing::Branch(_), Some(field)) => out.raw(&field.encoded),
        (Missing::Branch(null), None) => out.long(*null),
        (Missing::Wrapped, None) => out.long(0),
        (Missing::Wrapped, Some(field)) => {
            out.long(1);
            out.raw(&field.encoded);
        }
        // `everywhere` was true for this column.
        (Missing::Never, None) => {}
    }
}
