//! Documents: PyIceberg's are read and changed by us, ours are read by PyIceberg; both must say the same.

use std::collections::BTreeMap;

use metadata::{
    PartitionField, PartitionSpec, RefKind, Requirement, Schema, Snapshot, TableMetadata,
    Transform, Type, Update,
};
use serde_json::{Value, json};
use testkit::oracle;

/// What we think a document says, in the oracle's words.
fn view(table: &TableMetadata) -> Value {
    let specs = table.specs().iter().map(|spec| {
        let fields = spec.fields.iter();
        let fields =
            fields.map(|f| json!([f.source_id, f.field_id, f.name, f.transform.to_string()]));
        json!([spec.spec_id, fields.collect::<Vec<_>>()])
    });
    let orders = table.sort_orders().iter().map(|order| {
        let fields = order.fields.iter().map(|f| {
            let direction = if f.descending { "desc" } else { "asc" };
            let nulls = if f.nulls_first {
                "nulls-first"
            } else {
                "nulls-last"
            };
            json!([f.source_id, f.transform.to_string(), direction, nulls])
        });
        json!([order.order_id, fields.collect::<Vec<_>>()])
    });
    let refs = table.refs().iter().map(|(name, r)| {
        let entry = json!([
            r.kind.as_str(),
            r.snapshot_id,
            r.min_snapshots_to_keep,
            r.max_snapshot_age_ms,
            r.max_ref_age_ms
        ]);
        (name.clone(), entry)
    });
    let raw: Value = serde_json::from_slice(&table.to_json()).unwrap();
    let log = raw["snapshot-log"].as_array().into_iter().flatten();
    json!({
        "format_version": table.format_version(),
        "uuid": table.uuid(),
        "location": table.location(),
        "last_sequence_number": table.last_sequence_number(),
        "last_updated_ms": table.last_updated_ms(),
        "last_column_id": table.last_column_id(),
        "last_partition_id": table.last_partition_id(),
        "current_schema": table.current_schema().schema_id,
        "schemas": table.schemas().iter().map(|schema| schema_view(schema)).collect::<Vec<_>>(),
        "default_spec": table.default_spec().spec_id,
        "specs": specs.collect::<Vec<_>>(),
        "default_sort_order": table.default_sort_order_id(),
        "sort_orders": orders.collect::<Vec<_>>(),
        "properties": table.properties(),
        "snapshots": table.snapshots().iter().map(snapshot_view).collect::<Vec<_>>(),
        "refs": refs.collect::<BTreeMap<_, _>>(),
        "current_snapshot": table.current_snapshot().map(|s| s.snapshot_id),
        "snapshot_log": log.map(|e| json!([e["timestamp-ms"], e["snapshot-id"]])).collect::<Vec<_>>(),
    })
}

fn schema_view(schema: &Schema) -> Value {
    let mut fields = Vec::new();
    schema.walk(&mut |field| {
        let ty = match &field.ty {
            Type::Primitive(primitive) => primitive.to_string(),
            Type::Struct(_) => "struct".to_owned(),
            Type::List { .. } => "list".to_owned(),
            Type::Map { .. } => "map".to_owned(),
        };
        fields.push((
            field.id,
            schema.name_of(field.id),
            field.required,
            ty,
            field.doc.clone(),
        ));
    });
    fields.sort();
    json!({"id": schema.schema_id, "identifiers": schema.identifier_field_ids, "fields": fields})
}

fn snapshot_view(snapshot: &Snapshot) -> Value {
    json!({
        "id": snapshot.snapshot_id,
        "parent": snapshot.parent_snapshot_id,
        "sequence": snapshot.sequence_number,
        "timestamp": snapshot.timestamp_ms,
        "manifest_list": snapshot.manifest_list,
        "summary": snapshot.summary,
        "schema": snapshot.schema_id,
    })
}

fn parse(text: &str) -> TableMetadata {
    TableMetadata::parse(text.as_bytes()).unwrap()
}

fn made() -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let commits = oracle("documents", &json!({"do": "make", "folder": folder.path()}));
    commits.as_array().unwrap().clone()
}

/// PyIceberg's views of documents.
fn told(documents: &[String]) -> Vec<Value> {
    let answer = oracle("documents", &json!({"do": "view", "documents": documents}));
    answer.as_array().unwrap().clone()
}

fn text(table: &TableMetadata) -> String {
    String::from_utf8(table.to_json()).unwrap()
}

#[test]
fn every_document_of_pyiceberg_says_to_us_what_it_says_to_pyiceberg() {
    let commits = made();
    assert!(commits.len() >= 25, "{} commits", commits.len());
    let documents: Vec<String> = commits
        .iter()
        .flat_map(|commit| {
            [
                commit["before"].as_str().unwrap(),
                commit["after"].as_str().unwrap(),
            ]
        })
        .map(str::to_owned)
        .collect();
    for (document, want) in documents.iter().zip(told(&documents)) {
        let table = parse(document);
        assert_eq!(view(&table), want, "of {document}");
        let again: Value = serde_json::from_slice(&table.to_json()).unwrap();
        assert_eq!(again, serde_json::from_str::<Value>(document).unwrap());
    }
}

#[test]
fn every_commit_of_pyiceberg_made_by_us_says_the_same_to_pyiceberg() {
    let commits = made();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for commit in &commits {
        let base = parse(commit["before"].as_str().unwrap());
        let requirements: Vec<Requirement> =
            serde_json::from_value(commit["requirements"].clone()).unwrap();
        for requirement in &requirements {
            assert_eq!(requirement.check(Some(&base)), Ok(()), "{requirement:?}");
        }
        let after = parse(commit["after"].as_str().unwrap());
        let updates: Vec<Update> = serde_json::from_value(commit["updates"].clone()).unwrap();
        ours.push(text(
            &base.apply(&updates, after.last_updated_ms()).unwrap(),
        ));
        theirs.push(text(&after));
    }
    for (at, (mine, want)) in told(&ours).into_iter().zip(told(&theirs)).enumerate() {
        let (mut mine, mut want) = (mine, want);
        settle(&mut mine);
        settle(&mut want);
        assert_eq!(
            mine, want,
            "after {} on {}",
            commits[at]["updates"], commits[at]["before"]
        );
    }
}

/// PyIceberg takes its own clock where we take the snapshot's time, keeps snapshots in the log
/// that main only passed through, and keeps sequence numbers of v1 tables apart.
fn settle(view: &mut Value) {
    let fields = view.as_object_mut().unwrap();
    fields.remove("last_updated_ms");
    let current = fields["current_snapshot"].clone();
    let log = fields["snapshot_log"].as_array().unwrap();
    assert!(log.last().is_none_or(|entry| entry[1] == current));
    fields.remove("snapshot_log");
}

fn schema() -> Schema {
    serde_json::from_value(json!({"type": "struct", "schema-id": 0, "identifier-field-ids": [7], "fields": [
        {"id": 7, "name": "id", "required": true, "type": "long", "doc": "größe"},
        {"id": 8, "name": "at", "required": false, "type": "timestamptz"},
        {"id": 9, "name": "tags", "required": false, "type": {"type": "map", "key-id": 20, "key": "string",
            "value-id": 21, "value-required": false, "value": {"type": "list", "element-id": 30,
            "element-required": true, "element": {"type": "struct", "fields": [
                {"id": 31, "name": "price", "required": false, "type": "decimal(9, 2)"},
                {"id": 32, "name": "hash", "required": false, "type": "fixed[16]"}]}}}},
        {"id": 10, "name": "region", "required": false, "type": "string"}]}))
    .unwrap()
}

fn spec() -> PartitionSpec {
    let field = |source_id, name: &str, transform| PartitionField {
        source_id,
        field_id: 0,
        name: name.into(),
        transform,
    };
    let fields = vec![
        field(10, "region", Transform::Identity),
        field(8, "at_day", Transform::Day),
        field(7, "id_bucket", Transform::Bucket(8)),
    ];
    PartitionSpec { spec_id: 0, fields }
}

fn snapshot(id: i64, parent: Option<i64>, sequence_number: i64) -> Value {
    let summary = BTreeMap::from([
        ("operation".to_owned(), "append".to_owned()),
        ("x".to_owned(), "1".to_owned()),
    ]);
    Snapshot {
        snapshot_id: id,
        parent_snapshot_id: parent,
        sequence_number,
        timestamp_ms: 1_700_000_000_000 + sequence_number,
        manifest_list: format!("/w/t/metadata/snap-{id}.avro"),
        summary,
        schema_id: Some(0),
        ..Snapshot::default()
    }
    .to_json()
}

#[test]
fn documents_of_ours_say_to_pyiceberg_what_they_say_to_us() {
    let uuid = "9c12d441-03fe-4693-9a96-a0705ddf69c1";
    let properties = BTreeMap::from([("owner".to_owned(), "größe".to_owned())]);
    let new = TableMetadata::new(
        uuid,
        "/w/t",
        &schema(),
        &spec(),
        properties,
        1_700_000_000_000,
    )
    .unwrap();
    let mut tables = vec![new];
    for step in [
        json!([{"action": "add-snapshot", "snapshot": snapshot(1, None, 1)},
               {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 1}]),
        json!([{"action": "add-snapshot", "snapshot": snapshot(2, Some(1), 2)},
               {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 2},
               {"action": "set-snapshot-ref", "ref-name": "v1", "type": "tag", "snapshot-id": 1, "max-ref-age-ms": 5},
               {"action": "set-snapshot-ref", "ref-name": "side", "type": "branch", "snapshot-id": 1,
                "min-snapshots-to-keep": 3, "max-snapshot-age-ms": 9}]),
        json!([{"action": "add-schema", "schema": {"type": "struct", "fields": [
                   {"id": 1, "name": "id", "required": true, "type": "long"},
                   {"id": 10, "name": "new", "required": false, "type": "binary"},
                   {"id": 2, "name": "at", "required": false, "type": "timestamptz"}]}},
               {"action": "set-current-schema", "schema-id": -1},
               {"action": "add-spec", "spec": {"spec-id": 5, "fields": [
                   {"source-id": 2, "name": "at_hour", "transform": "hour"}]}},
               {"action": "set-default-spec", "spec-id": -1},
               {"action": "add-sort-order", "sort-order": {"order-id": 3, "fields": [
                   {"source-id": 1, "transform": "identity", "direction": "desc", "null-order": "nulls-last"}]}},
               {"action": "set-default-sort-order", "sort-order-id": -1},
               {"action": "set-properties", "updates": {"a": "b"}}, {"action": "set-location", "location": "/w/u"}]),
        json!([{"action": "remove-snapshot-ref", "ref-name": "v1"}, {"action": "remove-snapshot-ref", "ref-name": "side"},
               {"action": "remove-snapshots", "snapshot-ids": [1]}]),
    ] {
        let updates: Vec<Update> = serde_json::from_value(step).unwrap();
        let base = tables.last().unwrap();
        let next = base.apply(&updates, base.last_updated_ms() + 1).unwrap();
        tables
            .push(next.with_metadata_log("/w/t/metadata/1.metadata.json", base.last_updated_ms()));
    }
    let documents: Vec<String> = tables.iter().map(text).collect();
    for (table, want) in tables.iter().zip(told(&documents)) {
        assert_eq!(view(table), want, "of {}", text(table));
    }
    let last = tables.last().unwrap();
    assert_eq!(last.history(2).count(), 1);
    assert_eq!(last.refs()["main"].kind, RefKind::Branch);
}
