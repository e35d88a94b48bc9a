//! The rules of a merge, on manifests of a few lengths; the target is 100 bytes.

use std::collections::BTreeMap;

use metadata::{ManifestContent, ManifestFile, Shape, TableMetadata};
use serde_json::json;

use super::{Chosen, Options, Plan, Refused, plan};

fn table(version: u8) -> TableMetadata {
    let document = json!({
        "format-version": version, "table-uuid": "5a7b1cf3-8d3e-4e2f-9c61-1f2e3d4c5b6a",
        "location": "file:///t", "last-sequence-number": 0, "last-updated-ms": 0, "last-column-id": 1,
        "schemas": [{"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "id", "required": false, "type": "long"}]}],
        "current-schema-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": []}], "default-spec-id": 0,
        "last-partition-id": 999, "sort-orders": [{"order-id": 0, "fields": []}],
        "default-sort-order-id": 0, "snapshots": [], "refs": {}, "next-row-id": 0,
        "properties": {"commit.manifest.target-size-bytes": "100"},
    });
    TableMetadata::parse(document.to_string().as_bytes()).unwrap()
}

fn manifest(name: &str, length: i64) -> ManifestFile {
    ManifestFile {
        manifest_path: name.to_owned(),
        manifest_length: length,
        ..ManifestFile::blank()
    }
}

fn options(set: &[(&str, &str)]) -> Options {
    let set = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Options::parse(&set.collect()).unwrap()
}

/// A plan for manifests of one encoding.
fn planned(manifests: &[ManifestFile], set: &[(&str, &str)]) -> Plan {
    let (table, options) = (table(2), options(set));
    let chosen = Chosen::of(&table, manifests, &options).unwrap();
    let shapes = vec![Ok(Shape::default()); chosen.manifests.len()];
    plan(&table, "db.t", chosen, &shapes, &options)
}

fn groups(plan: &Plan) -> Vec<(usize, u64)> {
    let groups = plan.groups.iter();
    groups
        .map(|group| (group.inputs.len(), group.expected))
        .collect()
}

fn kept(plan: &Plan) -> Vec<(&str, u64)> {
    plan.kept
        .iter()
        .map(|(why, count)| (why.as_str(), *count))
        .collect()
}

#[test]
fn only_small_manifests_are_merged() {
    let sizes = [49, 50, 30, 100, 500, 20];
    let manifests: Vec<ManifestFile> = sizes.iter().map(|size| manifest("m", *size)).collect();
    let plan = planned(&manifests, &[]);
    assert_eq!(groups(&plan), [(3, 1)]);
    assert_eq!(kept(&plan), [("not small", 3)]);
    assert_eq!(plan.nothing(), None);
    let all = planned(&manifests, &[("rewrite-all", "true")]);
    assert_eq!(groups(&all), [(6, 8)]);
}

#[test]
fn two_small_ones_always_leave_fewer() {
    for (a, b) in [(1, 1), (49, 49), (1, 49)] {
        let plan = planned(&[manifest("a", a), manifest("b", b)], &[]);
        assert_eq!(groups(&plan), [(2, 1)]);
    }
    for count in 2..50 {
        let manifests = vec![manifest("m", 49); count];
        let group = groups(&planned(&manifests, &[]))[0];
        assert!(group.1 < group.0 as u64, "{group:?}");
    }
}

#[test]
fn one_to_one_is_no_work() {
    let plan = planned(&[manifest("a", 1), manifest("b", 80)], &[]);
    assert_eq!(
        kept(&plan),
        [("not small", 1), ("the only one of its kind", 1)]
    );
    assert_eq!(plan.nothing(), Some("no two manifests are worth merging"));
    let all = planned(&[manifest("a", 80)], &[("rewrite-all", "true")]);
    assert!(all.nothing().is_some());
    // One that is several times too long is split.
    let all = planned(&[manifest("a", 250)], &[("rewrite-all", "true")]);
    assert_eq!(groups(&all), [(1, 3)]);
}

#[test]
fn kinds_are_never_mixed() {
    let mut manifests = vec![manifest("m", 10); 4];
    manifests[1].content = ManifestContent::Deletes;
    manifests[2].partition_spec_id = 7;
    let plan = planned(&manifests, &[]);
    assert_eq!(groups(&plan), [(2, 1)]);
    assert_eq!(plan.groups[0].inputs[1].path, "m");
    assert_eq!(kept(&plan), [("the only one of its kind", 2)]);
}

#[test]
fn what_a_merge_could_lose_is_left_alone() {
    let mut manifests = vec![manifest("m", 10); 4];
    manifests[0].key_metadata = Some(vec![1]);
    manifests[1].first_row_id = Some(3);
    let plan = planned(&manifests, &[("rewrite-all", "true")]);
    assert_eq!(groups(&plan), [(2, 1)]);
    let want = [
        ("encrypted", 1),
        ("with fields that this version cannot merge", 1),
    ];
    assert_eq!(kept(&plan), want);
}

#[test]
fn what_cannot_be_written_anew_is_left_alone() {
    let (table, options) = (table(2), options(&[]));
    let manifests = vec![manifest("m", 10); 3];
    let chosen = Chosen::of(&table, &manifests, &options).unwrap();
    let shapes = [
        Ok(Shape::default()),
        Err("no".to_owned()),
        Ok(Shape::default()),
    ];
    let plan = plan(&table, "db.t", chosen, &shapes, &options);
    assert_eq!(groups(&plan), [(2, 1)]);
    assert_eq!(kept(&plan), [("no", 1)]);
}

#[test]
fn a_spec_is_asked_for_by_its_id() {
    let manifests = vec![manifest("m", 10); 3];
    assert_eq!(groups(&planned(&manifests, &[("spec_id", "0")])), [(3, 1)]);
    let asked = options(&[("spec_id", "4")]);
    let refused = Chosen::of(&table(2), &manifests, &asked).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "rewrite_manifests: option `spec_id` = `4`: the table has no such spec; it has 0"
    );
}

#[test]
fn format_version_3_is_refused() {
    let refused = Chosen::of(&table(3), &[], &Options::default()).unwrap_err();
    assert_eq!(refused, Refused::FormatVersion(3));
}

#[test]
fn options_say_what_is_allowed() {
    for (key, value, want) in [
        (
            "spec_id",
            "-1",
            "must be a whole number from 0 to 2147483647",
        ),
        (
            "target-size-bytes",
            "0",
            "must be a whole number from 1 to 268435456",
        ),
        ("rewrite-all", "yes", "must be one of true, false"),
        (
            "use_caching",
            "true",
            "rewrite_manifests: unknown option `use_caching`; allowed: spec_id, target-size-bytes, \
             rewrite-all",
        ),
    ] {
        let asked = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let refused = Options::parse(&asked).unwrap_err().to_string();
        assert!(refused.ends_with(want), "{refused}");
    }
}
