//! Every update: its effect, its refusal, and that nothing else moves.

use serde_json::{Value, json};

use crate::{Requirement, TableMetadata, Update};

/// A v2 table with an unknown field at every level.
fn document() -> Value {
    json!({
        "format-version": 2, "table-uuid": "u-1", "location": "/w/t", "last-sequence-number": 3,
        "last-updated-ms": 3000, "last-column-id": 2, "current-schema-id": 0, "x-top": {"a": [1.5, null]},
        "schemas": [{"type": "struct", "schema-id": 0, "x-schema": 1, "fields": [
            {"id": 1, "name": "id", "required": true, "type": "long", "x-field": true},
            {"id": 2, "name": "at", "required": false, "type": "timestamptz"}]}],
        "default-spec-id": 0, "last-partition-id": 1000,
        "partition-specs": [{"spec-id": 0, "x-spec": "s", "fields": [
            {"source-id": 2, "field-id": 1000, "name": "at_day", "transform": "day", "x-part": 0}]}],
        "default-sort-order-id": 0, "sort-orders": [{"order-id": 0, "fields": [], "x-order": {}}],
        "properties": {"owner": "me"},
        "current-snapshot-id": 13,
        "refs": {"main": {"snapshot-id": 13, "type": "branch", "x-ref": 7},
                 "old": {"snapshot-id": 11, "type": "tag", "max-ref-age-ms": 5}},
        "snapshots": [snapshot(11, None, 1), snapshot(12, Some(11), 2), snapshot(13, Some(12), 3)],
        "snapshot-log": [{"timestamp-ms": 1000, "snapshot-id": 11}, {"timestamp-ms": 2000, "snapshot-id": 12},
            {"timestamp-ms": 3000, "snapshot-id": 13, "x-log": 1}],
        "metadata-log": [{"timestamp-ms": 2000, "metadata-file": "/w/t/metadata/1.metadata.json"}],
        "statistics": [{"snapshot-id": 11, "statistics-path": "/w/s", "x-stat": 1}],
    })
}

fn snapshot(id: i64, parent: Option<i64>, sequence: i64) -> Value {
    let mut snapshot = json!({"snapshot-id": id, "sequence-number": sequence, "timestamp-ms": sequence * 1000,
        "manifest-list": format!("/w/t/metadata/snap-{id}.avro"), "summary": {"operation": "append"},
        "schema-id": 0});
    if let Some(parent) = parent {
        snapshot["parent-snapshot-id"] = parent.into();
    }
    if id <= 13 {
        snapshot["x-snapshot"] = "kept".into();
    }
    snapshot
}

fn parse(document: &Value) -> TableMetadata {
    TableMetadata::parse(document.to_string().as_bytes()).unwrap()
}

fn json_of(metadata: &TableMetadata) -> Value {
    serde_json::from_slice(&metadata.to_json()).unwrap()
}

fn updates(list: Value) -> Vec<Update> {
    serde_json::from_value(list).unwrap()
}

/// Applies REST updates at 9000 and compares the whole document.
#[track_caller]
fn check(list: Value, change: impl FnOnce(&mut Value)) {
    let after = parse(&document()).apply(&updates(list), 9000).unwrap();
    let mut want = document();
    want["last-updated-ms"] = 9000.into();
    change(&mut want);
    assert_eq!(json_of(&after), want);
}

#[track_caller]
fn refused(list: Value, why: &str) {
    let base = parse(&document());
    let error = base.apply(&updates(list), 9000).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

fn remove(value: &mut Value, key: &str) {
    value.as_object_mut().unwrap().shift_remove(key);
}

#[test]
fn no_update_changes_nothing() {
    let base = parse(&document());
    assert_eq!(base.apply(&[], 9000).unwrap(), base);
}

#[test]
fn properties_are_set_and_removed_and_the_rest_stays() {
    check(
        json!([{"action": "set-properties", "updates": {"a": "1", "format-version": "1"}},
               {"action": "remove-properties", "removals": ["owner", "absent"]}]),
        |want| want["properties"] = json!({"a": "1"}),
    );
    check(
        json!([{"action": "set-location", "location": "/w/u"}]),
        |want| want["location"] = "/w/u".into(),
    );
}

#[test]
fn a_schema_is_added_and_made_current() {
    let fields = json!([
        {"id": 1, "name": "id", "required": true, "type": "long"},
        {"id": 3, "name": "name", "required": false, "type": "string", "doc": "d"}]);
    check(
        json!([{"action": "add-schema", "schema": {"type": "struct", "schema-id": 77, "fields": fields}},
               {"action": "set-current-schema", "schema-id": -1}]),
        |want| {
            want["schemas"]
                .as_array_mut()
                .unwrap()
                .push(json!({"type": "struct", "schema-id": 1, "fields": fields}));
            want["current-schema-id"] = 1.into();
            want["last-column-id"] = 3.into();
        },
    );
    refused(
        json!([{"action": "set-current-schema", "schema-id": -1}]),
        "none was added",
    );
    refused(
        json!([{"action": "set-current-schema", "schema-id": 5}]),
        "no schema 5",
    );
}

#[test]
fn the_same_columns_are_not_added_twice() {
    let same = json!([{"id": 1, "name": "id", "required": true, "type": "long"},
        {"id": 2, "name": "at", "required": false, "type": "timestamptz"}]);
    check(
        json!([{"action": "add-schema", "schema": {"type": "struct", "schema-id": 4, "fields": same}},
               {"action": "set-current-schema", "schema-id": -1}]),
        |_| {},
    );
}

#[test]
fn a_spec_is_added_with_new_field_ids() {
    check(
        json!([{"action": "add-spec", "spec": {"spec-id": 9, "fields": [
                    {"source-id": 1, "name": "b", "transform": "bucket[4]"}]}},
               {"action": "set-default-spec", "spec-id": -1}]),
        |want| {
            want["partition-specs"]
                .as_array_mut()
                .unwrap()
                .push(json!({"spec-id": 1, "fields": [
                {"source-id": 1, "field-id": 1001, "name": "b", "transform": "bucket[4]"}]}));
            want["default-spec-id"] = 1.into();
            want["last-partition-id"] = 1001.into();
        },
    );
    refused(
        json!([{"action": "add-spec", "spec": {"spec-id": 1, "fields": [
            {"source-id": 9, "name": "b", "transform": "identity"}]}}]),
        "no column 9",
    );
    refused(
        json!([{"action": "remove-partition-specs", "spec-ids": [0]}]),
        "default spec",
    );
}

#[test]
fn a_sort_order_is_added_and_zero_stays_unsorted() {
    let fields = json!([{"transform": "identity", "source-id": 1, "direction": "desc", "null-order": "nulls-last"}]);
    check(
        json!([{"action": "add-sort-order", "sort-order": {"order-id": 8, "fields": fields}},
               {"action": "set-default-sort-order", "sort-order-id": -1}]),
        |want| {
            want["sort-orders"]
                .as_array_mut()
                .unwrap()
                .push(json!({"order-id": 1, "fields": fields}));
            want["default-sort-order-id"] = 1.into();
        },
    );
}

#[test]
fn a_snapshot_moves_main_its_log_and_the_sequence_number() {
    check(
        json!([{"action": "add-snapshot", "snapshot": snapshot(14, Some(13), 4)},
               {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 14}]),
        |want| {
            want["snapshots"]
                .as_array_mut()
                .unwrap()
                .push(snapshot(14, Some(13), 4));
            want["last-sequence-number"] = 4.into();
            want["last-updated-ms"] = 4000.into();
            want["current-snapshot-id"] = 14.into();
            want["refs"]["main"]["snapshot-id"] = 14.into();
            want["snapshot-log"]
                .as_array_mut()
                .unwrap()
                .push(json!({"timestamp-ms": 4000, "snapshot-id": 14}));
        },
    );
}

#[test]
fn a_snapshot_main_only_passed_through_is_not_logged() {
    let after = parse(&document())
        .apply(
            &updates(json!([
                {"action": "add-snapshot", "snapshot": snapshot(14, Some(13), 4)},
                {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 14},
                {"action": "add-snapshot", "snapshot": snapshot(15, Some(14), 5)},
                {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 15}])),
            9000,
        )
        .unwrap();
    let log = json_of(&after)["snapshot-log"].clone();
    let ids: Vec<i64> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["snapshot-id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids, [11, 12, 13, 15]);
    assert_eq!(
        after.history(15).map(|s| s.snapshot_id).collect::<Vec<_>>(),
        [15, 14, 13, 12, 11]
    );
}

#[test]
fn a_snapshot_that_would_break_the_order_is_refused() {
    let add = |snapshot: Value| json!([{"action": "add-snapshot", "snapshot": snapshot}]);
    refused(add(snapshot(13, None, 4)), "there already");
    refused(add(snapshot(14, Some(13), 3)), "not beyond");
    let mut early = snapshot(14, Some(13), 4);
    early["timestamp-ms"] = (-60_000).into();
    refused(add(early), "more than a minute");
}

#[test]
fn refs_are_set_with_their_retention_and_keep_unknown_fields() {
    check(
        json!([{"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 13,
                "min-snapshots-to-keep": 4},
               {"action": "set-snapshot-ref", "ref-name": "new", "type": "tag", "snapshot-id": 12},
               {"action": "remove-snapshot-ref", "ref-name": "old"}]),
        |want| {
            want["refs"]["main"]["min-snapshots-to-keep"] = 4.into();
            want["refs"]["new"] = json!({"snapshot-id": 12, "type": "tag"});
            remove(&mut want["refs"], "old");
        },
    );
    let set = |name: &str, kind: &str, id: i64| json!([{"action": "set-snapshot-ref", "ref-name": name, "type": kind, "snapshot-id": id}]);
    refused(set("b", "branch", 99), "not in the table");
    refused(set("main", "tag", 13), "must be a branch");
}

#[test]
fn a_rollback_is_logged_at_the_catalogs_time() {
    check(
        json!([{"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 11}]),
        |want| {
            want["current-snapshot-id"] = 11.into();
            want["refs"]["main"]["snapshot-id"] = 11.into();
            want["snapshot-log"]
                .as_array_mut()
                .unwrap()
                .push(json!({"timestamp-ms": 9000, "snapshot-id": 11}));
        },
    );
}

#[test]
fn removed_snapshots_take_their_statistics_and_the_log_before_them() {
    check(
        json!([{"action": "remove-snapshot-ref", "ref-name": "old"},
               {"action": "remove-snapshots", "snapshot-ids": [11, 12]}]),
        |want| {
            remove(&mut want["refs"], "old");
            want["snapshots"].as_array_mut().unwrap().drain(..2);
            want["snapshot-log"].as_array_mut().unwrap().drain(..2);
            want["statistics"] = json!([]);
        },
    );
    refused(
        json!([{"action": "remove-snapshots", "snapshot-ids": [11]}]),
        "named by ref `old`",
    );
    refused(
        json!([{"action": "remove-snapshots", "snapshot-ids": [13]}]),
        "named by ref `main`",
    );
}

#[test]
fn statistics_replace_those_of_their_snapshot() {
    let entry = json!({"snapshot-id": 11, "statistics-path": "/w/new", "file-size-in-bytes": 1,
        "file-footer-size-in-bytes": 1, "blob-metadata": []});
    check(
        json!([{"action": "set-statistics", "statistics": entry}]),
        |want| {
            want["statistics"] = json!([entry]);
        },
    );
    check(
        json!([{"action": "remove-statistics", "snapshot-id": 11}]),
        |want| want["statistics"] = json!([]),
    );
    refused(
        json!([{"action": "set-statistics", "statistics": {"snapshot-id": 11}}]),
        "statistics-path",
    );
}

#[test]
fn identity_and_format_only_go_one_way() {
    check(json!([{"action": "assign-uuid", "uuid": "U-1"}]), |_| {});
    refused(
        json!([{"action": "assign-uuid", "uuid": "other"}]),
        "has the uuid",
    );
    check(
        json!([{"action": "upgrade-format-version", "format-version": 2}]),
        |_| {},
    );
    refused(
        json!([{"action": "upgrade-format-version", "format-version": 1}]),
        "cannot become 1",
    );
    check(
        json!([{"action": "upgrade-format-version", "format-version": 3}]),
        |want| {
            want["format-version"] = 3.into();
            want["next-row-id"] = 0.into();
        },
    );
}

#[test]
fn an_old_v1_document_is_completed_when_it_changes() {
    let schema = json!({"type": "struct", "fields": [{"id": 1, "name": "id", "required": true, "type": "long"}]});
    let old = json!({"format-version": 1, "location": "/w/t", "last-updated-ms": 1, "last-column-id": 1,
        "schema": schema, "current-snapshot-id": 5, "x": 1,
        "partition-spec": [{"source-id": 1, "name": "id", "transform": "identity"}],
        "snapshots": [{"snapshot-id": 5, "timestamp-ms": 1, "manifests": ["/w/t/m.avro"]}]});
    let base = parse(&old);
    assert_eq!(base.default_spec().fields[0].field_id, 1000);
    assert_eq!(base.current_snapshot().unwrap().manifests, ["/w/t/m.avro"]);
    let after = base
        .apply(
            &updates(json!([{"action": "assign-uuid", "uuid": "u"},
                {"action": "upgrade-format-version", "format-version": 2}])),
            2,
        )
        .unwrap();
    assert_eq!(
        (
            after.format_version(),
            after.uuid(),
            after.last_partition_id()
        ),
        (2, "u", 1000)
    );
    assert_eq!(after.refs()["main"].snapshot_id, 5);
    assert_eq!(after.current_schema(), base.current_schema());
    let json = json_of(&after);
    assert!(json.get("schema").is_none() && json["x"] == 1, "{json}");
    refused_at(
        &base,
        json!([{"action": "upgrade-format-version", "format-version": 2}]),
        "no uuid",
    );
}

#[track_caller]
fn refused_at(base: &TableMetadata, list: Value, why: &str) {
    let error = base.apply(&updates(list), 2).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn the_metadata_log_is_kept_within_its_limit() {
    let mut document = document();
    document["properties"]["write.metadata.previous-versions-max"] = "2".into();
    let mut metadata = parse(&document);
    for n in 2..5 {
        metadata = metadata.with_metadata_log(&format!("/m/{n}"), n * 1000);
    }
    assert_eq!(
        json_of(&metadata)["metadata-log"],
        json!([{"timestamp-ms": 3000, "metadata-file": "/m/3"}, {"timestamp-ms": 4000, "metadata-file": "/m/4"}])
    );
}

#[test]
fn requirements_say_why_they_do_not_hold() {
    let base = parse(&document());
    for (requirement, why) in [
        (json!({"type": "assert-create"}), "exists already"),
        (
            json!({"type": "assert-table-uuid", "uuid": "other"}),
            "u-1, not other",
        ),
        (
            json!({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 12}),
            "at snapshot 13, not 12",
        ),
        (
            json!({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": null}),
            "main exists",
        ),
        (
            json!({"type": "assert-ref-snapshot-id", "ref": "b", "snapshot-id": 12}),
            "does not exist",
        ),
        (
            json!({"type": "assert-last-assigned-field-id", "last-assigned-field-id": 1}),
            "is 2, not 1",
        ),
        (
            json!({"type": "assert-current-schema-id", "current-schema-id": 1}),
            "is 0, not 1",
        ),
        (
            json!({"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 1}),
            "1000",
        ),
        (
            json!({"type": "assert-default-spec-id", "default-spec-id": 1}),
            "is 0, not 1",
        ),
        (
            json!({"type": "assert-default-sort-order-id", "default-sort-order-id": 1}),
            "is 0, not 1",
        ),
    ] {
        let parsed: Requirement = serde_json::from_value(requirement.clone()).unwrap();
        assert_eq!(serde_json::to_value(&parsed).unwrap(), requirement);
        let told = parsed.check(Some(&base)).unwrap_err();
        assert!(told.contains(why), "{requirement}: {told}");
        assert_eq!(
            parsed.check(None).is_ok(),
            parsed == Requirement::AssertCreate
        );
    }
    for holds in [
        json!({"type": "assert-table-uuid", "uuid": "U-1"}),
        json!({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 13}),
        json!({"type": "assert-ref-snapshot-id", "ref": "none", "snapshot-id": null}),
        json!({"type": "assert-current-schema-id", "current-schema-id": 0}),
    ] {
        let parsed: Requirement = serde_json::from_value(holds).unwrap();
        assert_eq!(parsed.check(Some(&base)), Ok(()));
    }
}

#[test]
fn updates_are_written_in_rest_form() {
    let list = json!([
        {"action": "assign-uuid", "uuid": "u"},
        {"action": "upgrade-format-version", "format-version": 2},
        {"action": "add-snapshot", "snapshot": snapshot(14, Some(13), 4)},
        {"action": "set-snapshot-ref", "ref-name": "main", "snapshot-id": 14, "type": "branch"},
        {"action": "remove-snapshots", "snapshot-ids": [1]},
        {"action": "remove-statistics", "snapshot-id": 1},
        {"action": "set-default-sort-order", "sort-order-id": 1},
    ]);
    assert_eq!(serde_json::to_value(updates(list.clone())).unwrap(), list);
    assert!(serde_json::from_value::<Update>(json!({"action": "drop-table"})).is_err());
}
