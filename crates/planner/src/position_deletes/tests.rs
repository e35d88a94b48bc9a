//! The rules of a rewrite of position delete files; the target is 100 bytes: small below 75, large
//! above 180.

use std::collections::BTreeMap;

use metadata::{Content, DataFile, Literal, LiveFile, LiveFiles, TableMetadata};
use serde_json::json;

use super::{Options, Plan, Refused, plan};

fn table(version: u8) -> TableMetadata {
    let document = json!({
        "format-version": version, "table-uuid": "5a7b1cf3-8d3e-4e2f-9c61-1f2e3d4c5b6a",
        "location": "file:///t", "last-sequence-number": 9, "last-updated-ms": 0,
        "last-column-id": 1, "current-schema-id": 0, "schemas": [
            {"type": "struct", "schema-id": 0, "fields": [
                {"id": 1, "name": "k", "required": false, "type": "int"}]}],
        "partition-specs": [{"spec-id": 0, "fields": [
            {"source-id": 1, "field-id": 1000, "name": "k", "transform": "identity"}]}],
        "default-spec-id": 0, "last-partition-id": 1000,
        "sort-orders": [{"order-id": 0, "fields": []}], "default-sort-order-id": 0,
        "snapshots": [], "refs": {}, "next-row-id": 0,
        "properties": {"write.delete.target-file-size-bytes": "100"},
    });
    TableMetadata::parse(document.to_string().as_bytes()).unwrap()
}

fn delete(k: i32, bytes: u64) -> LiveFile {
    let mut file = DataFile::new(Content::PositionDeletes, format!("{k}-{bytes}"));
    file.partition = vec![Some(Literal::Int(k))];
    (file.file_size_in_bytes, file.record_count) = (bytes, bytes / 10);
    LiveFile {
        file,
        sequence_number: 1,
        file_sequence_number: 1,
        snapshot_id: None,
        manifest: 0,
    }
}

fn options(set: &[(&str, &str)]) -> Options {
    let set = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Options::parse(&set.collect()).unwrap()
}

fn planned(deletes: Vec<LiveFile>, set: &[(&str, &str)]) -> Plan {
    let live = LiveFiles {
        deletes,
        ..LiveFiles::default()
    };
    plan(&table(2), "db.t", &live, &options(set)).unwrap()
}

fn groups(plan: &Plan) -> Vec<(String, usize)> {
    let groups = plan.groups.iter();
    groups
        .map(|group| (group.partition_path.clone(), group.inputs.len()))
        .collect()
}

fn kept(plan: &Plan) -> Vec<(&str, u64)> {
    let kept = plan.kept.iter();
    kept.map(|(why, count)| (why.as_str(), *count)).collect()
}

#[test]
fn small_files_of_a_partition_are_rewritten_when_there_are_enough() {
    let mut deletes: Vec<LiveFile> = (0..5).map(|at| delete(1, 10 + at)).collect();
    deletes.extend((0..4).map(|at| delete(2, 10 + at)));
    deletes.push(delete(1, 100));
    let plan = planned(deletes.clone(), &[]);
    assert_eq!(groups(&plan), [("k=1".to_owned(), 5)]);
    let want = [
        ("fewer than min-input-files in its partition", 4),
        ("neither small nor large", 1),
    ];
    assert_eq!(kept(&plan), want);
    let fewer = planned(deletes.clone(), &[("min-input-files", "2")]);
    assert_eq!(fewer.groups.len(), 2);
    let all = planned(deletes, &[("rewrite-all", "true")]);
    assert_eq!((all.inputs(), all.kept.len()), (10, 0));
}

#[test]
fn few_files_are_enough_when_they_hold_more_than_a_target_or_one_is_large() {
    let of = |sizes: &[u64]| {
        let deletes = sizes.iter().map(|bytes| delete(1, *bytes)).collect();
        planned(deletes, &[]).groups.len()
    };
    assert_eq!(of(&[60, 60]), 1);
    assert_eq!(of(&[40, 41]), 0);
    assert_eq!(of(&[181]), 1);
    assert_eq!(of(&[180]), 0);
    assert_eq!(of(&[74]), 0);
}

#[test]
fn groups_are_no_larger_than_asked() {
    let deletes = (0..6).map(|_| delete(1, 50)).collect();
    let set = [
        ("max-file-group-size-bytes", "120"),
        ("min-input-files", "2"),
    ];
    let plan = planned(deletes, &set);
    assert!(plan.groups.iter().all(|group| group.inputs.len() == 2));
    assert_eq!(plan.groups.len(), 3);
}

#[test]
fn equality_deletes_and_what_cannot_be_read_stay() {
    let mut deletes: Vec<LiveFile> = (0..7).map(|at| delete(1, 10 + at)).collect();
    deletes[0].file.content = Content::EqualityDeletes;
    deletes[1].file.key_metadata = Some(vec![1]);
    deletes[2].file.file_format = "AVRO".to_owned();
    let plan = planned(deletes, &[("min-input-files", "2")]);
    assert_eq!(groups(&plan), [("k=1".to_owned(), 4)]);
    assert_eq!(
        kept(&plan),
        [("not readable: encrypted, or not Parquet", 2)]
    );
}

#[test]
fn one_that_names_a_data_file_of_another_partition_stays() {
    let mut deletes: Vec<LiveFile> = (0..6).map(|at| delete(1, 10 + at)).collect();
    deletes[0].file.referenced_data_file = Some("there".to_owned());
    deletes[1].file.referenced_data_file = Some("here".to_owned());
    let data = |path: &str, k| {
        let mut data = delete(k, 10);
        (data.file.content, data.file.file_path) = (Content::Data, path.to_owned());
        data
    };
    let live = LiveFiles {
        data: vec![data("here", 1), data("there", 2)],
        deletes,
        ..LiveFiles::default()
    };
    let plan = plan(&table(2), "db.t", &live, &options(&[])).unwrap();
    assert_eq!(groups(&plan), [("k=1".to_owned(), 5)]);
    assert_eq!(
        kept(&plan),
        [("of one data file that lies in another partition", 1)]
    );
}

#[test]
fn a_plan_says_why_there_is_nothing() {
    let none = planned(Vec::new(), &[]);
    assert_eq!(
        none.nothing(),
        Some("the table has no position delete files")
    );
    let few = planned(vec![delete(1, 10)], &[]);
    let want = "no position delete files are worth a rewrite";
    assert_eq!(few.nothing(), Some(want));
    let refused = plan(&table(3), "db.t", &LiveFiles::default(), &options(&[])).unwrap_err();
    assert_eq!(refused, Refused::FormatVersion(3));
}

#[test]
fn options_say_what_is_allowed() {
    for (key, value, want) in [
        (
            "min-input-files",
            "0",
            "must be a whole number from 1 to 2147483647",
        ),
        ("rewrite-all", "yes", "must be one of true, false"),
        (
            "target-file-size-bytes",
            "1",
            "must be below target-file-size-bytes 1",
        ),
        (
            "partial-progress.enabled",
            "true",
            "allowed: target-file-size-bytes, min-file-size-bytes, max-file-size-bytes, \
             min-input-files, rewrite-all, max-file-group-size-bytes",
        ),
    ] {
        let mut asked = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        if key == "target-file-size-bytes" {
            asked.insert("min-file-size-bytes".to_owned(), "1".to_owned());
        }
        let refused = Options::parse(&asked).unwrap_err().to_string();
        assert!(refused.ends_with(want), "{refused}");
    }
}
