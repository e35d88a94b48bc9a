//! The rules of a search for orphans; it is day 100.

use std::collections::BTreeMap;

use metadata::TableMetadata;
use serde_json::{Value, json};
use storage::{Listed, Location};

use super::{FILES_MAX, Found, HASHES_MAX, Options, Plan, Refused, Search, Unreached};

const DAY_MS: i64 = 86_400_000;
const NOW_MS: i64 = 100 * DAY_MS;

fn table(version: u8, properties: &Value) -> TableMetadata {
    let document = json!({
        "format-version": version, "table-uuid": "5a7b1cf3-8d3e-4e2f-9c61-1f2e3d4c5b6a",
        "location": "s3a://bucket/t/", "last-sequence-number": 0, "last-updated-ms": NOW_MS,
        "last-column-id": 1, "schemas": [{"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "_day", "required": false, "type": "int"}]}],
        "current-schema-id": 0, "partition-specs": [{"spec-id": 0, "fields": [
            {"source-id": 1, "field-id": 1000, "name": "_day", "transform": "identity"}]}],
        "default-spec-id": 0, "last-partition-id": 1000,
        "sort-orders": [{"order-id": 0, "fields": []}], "default-sort-order-id": 0,
        "snapshots": [], "refs": {}, "next-row-id": 0, "properties": properties,
    });
    TableMetadata::parse(document.to_string().as_bytes()).unwrap()
}

fn options(set: &[(&str, &str)]) -> Options {
    let set = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Options::parse(&set.collect()).unwrap()
}

fn search(set: &[(&str, &str)]) -> Search {
    Search::of(&table(2, &json!({})), &options(set), NOW_MS).unwrap()
}

fn at(path: &str) -> Location {
    Location::parse(path).unwrap()
}

fn listed(path: &str, day: i64) -> Listed {
    Listed {
        location: at(path),
        size_bytes: 10,
        modified_ms: Some(day * DAY_MS),
    }
}

/// The plan when all of `files` are listed and those of `reached` struck, in passes of so many.
fn planned_in(
    set: &[(&str, &str)],
    files: &[Listed],
    reached: &[&str],
    hashes_max: usize,
) -> Result<Plan, Refused> {
    let table = table(2, &json!({}));
    let search = search(set);
    let mut unreached = Unreached::new(&search, hashes_max);
    let known = [at("s3://bucket/t/data/waits")].into();
    let mut found = Found::default();
    loop {
        for file in files.iter().filter(|file| search.kept(file).is_none()) {
            unreached.offer(&file.location);
        }
        for path in reached {
            unreached.strike(&at(path));
        }
        for file in files {
            found.take(&search, &unreached, file, &known);
        }
        if !unreached.next_pass() {
            return found.plan((&table, "db.t", "m"), &search, &unreached);
        }
    }
}

fn planned(set: &[(&str, &str)], files: &[Listed], reached: &[&str]) -> Result<Plan, Refused> {
    planned_in(set, files, reached, HASHES_MAX)
}

#[test]
fn in_many_passes_it_finds_the_same() {
    let path = |number: usize| format!("s3://bucket/t/data/{number:04}");
    let files: Vec<Listed> = (0..1_000).map(|number| listed(&path(number), 96)).collect();
    let reached: Vec<String> = (0..1_000).step_by(3).map(path).collect();
    let reached: Vec<&str> = reached.iter().map(String::as_str).collect();
    let want = planned(&[], &files, &reached).unwrap();
    assert_eq!(
        (want.orphans, want.kept["the table refers to it"]),
        (666, 334)
    );
    for hashes_max in [1_000, 400, 30, 1] {
        let plan = planned_in(&[], &files, &reached, hashes_max).unwrap();
        assert_eq!(plan, want, "{hashes_max}");
    }
}

#[test]
fn what_is_old_and_not_reached_is_an_orphan_spelled_as_the_table_does() {
    let mut ageless = listed("s3://bucket/t/data/c", 1);
    ageless.modified_ms = None;
    let files = [
        listed("s3://bucket/t/data/a", 96),
        listed("s3://bucket/t/data/b", 96),
        listed("s3://bucket/t/data/_day=1/d", 96),
        listed("s3://bucket/t/data/_tmp/e", 96),
        listed("s3://bucket/t/data/.f", 96),
        listed("s3://bucket/t/data/waits", 96),
        listed("s3://bucket/t/data/h", 97),
        ageless,
    ];
    let plan = planned(&[], &files, &["s3n://bucket/t/data/b", "s3://bucket/t/x"]).unwrap();
    let paths: Vec<&str> = plan.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        ["s3a://bucket/t/data/_day=1/d", "s3a://bucket/t/data/a"]
    );
    assert_eq!((plan.orphans, plan.bytes), (2, 20));
    let kept: Vec<(&str, u64)> = plan.kept.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    assert_eq!(
        kept,
        [
            ("hidden: a part of its path begins with `.` or `_`", 2),
            ("nobody says when it was written", 1),
            ("the table refers to it", 1),
            ("written after older_than", 1),
            (
                "written by a job that may still commit, or waiting to be deleted",
                1
            ),
        ]
    );
    assert_eq!(
        plan.message(),
        "would list 2 orphan files for deletion; 20 bytes in all, 6 files stay"
    );
}

#[test]
fn another_prefix_is_refused_with_the_pairs_or_left_alone() {
    let files = [
        listed("s3://bucket/t/data/a", 1),
        listed("s3://bucket/t/data/b", 1),
    ];
    let reached = ["hdfs://name/t/data/a", "s3://copy/t/data/b"];
    let refused = planned(&[], &files, &reached).unwrap_err();
    let text = refused.to_string();
    assert!(text.starts_with("2 of the table's files"), "{text}");
    assert!(
        text.contains("hdfs://name/t/data/a (listed as s3://bucket/t/data/a)")
            && text.contains("s3://copy/t/data/b (listed as s3://bucket/t/data/b)")
            && text.contains("prefix_mismatch_mode=ignore"),
        "{text}"
    );
    let plan = planned(&[("prefix_mismatch_mode", "IGNORE")], &files, &reached).unwrap();
    assert_eq!(
        (plan.orphans, plan.nothing()),
        (0, Some("no file is an orphan"))
    );
}

#[test]
fn less_than_a_day_needs_force_and_a_time_is_read_both_ways() {
    let soon = (NOW_MS - DAY_MS + 1).to_string();
    let table = table(2, &json!({}));
    let of = |set: &[(&str, &str)]| Search::of(&table, &options(set), NOW_MS);
    let refused = of(&[("older_than", &soon)]).unwrap_err();
    assert!(refused.to_string().contains("24 hours"), "{refused}");
    let forced = of(&[("older_than", &soon), ("force", "true")]).unwrap();
    assert_eq!(forced.older_than_ms, NOW_MS - DAY_MS + 1);
    let day = of(&[("older_than", "1970-01-03T00:00:00Z")]).unwrap();
    assert_eq!(day.older_than_ms, 2 * DAY_MS);
    assert_eq!(of(&[]).unwrap().older_than_ms, 97 * DAY_MS);
}

#[test]
fn a_table_that_must_not_collect_and_a_clock_that_is_behind_are_refused() {
    let of = |version, properties: &Value, now_ms| {
        let table = table(version, properties);
        Search::of(&table, &Options::default(), now_ms).map(|_| ())
    };
    for value in ["false", "no", ""] {
        let refused = of(2, &json!({"gc.enabled": value}), NOW_MS).unwrap_err();
        assert_eq!(refused, Refused::GarbageKept(value.to_owned()));
    }
    of(2, &json!({"gc.enabled": "TRUE"}), NOW_MS).unwrap();
    assert_eq!(of(3, &json!({}), NOW_MS), Err(Refused::FormatVersion(3)));
    let behind = of(2, &json!({}), NOW_MS - 60_001).unwrap_err();
    assert!(matches!(behind, Refused::Clock { .. }), "{behind}");
    of(2, &json!({}), NOW_MS - 60_000).unwrap();
}

#[test]
fn only_folders_of_the_table_are_looked_through() {
    let table = table(2, &json!({}));
    for (location, folder) in [
        ("s3://bucket/t/data/", Some("s3a://bucket/t/data")),
        ("s3n://bucket/t", Some("s3a://bucket/t")),
        ("s3://bucket", None),
        ("s3://bucket/tt", None),
        ("s3://other/t", None),
        ("t", None),
    ] {
        let searched = Search::of(&table, &options(&[("location", location)]), NOW_MS);
        match (searched, folder) {
            (Ok(search), Some(folder)) => assert_eq!(search.folder, folder),
            (Err(refused), None) => {
                assert!(refused.to_string().contains("`location`"), "{location}");
            }
            (searched, _) => panic!("{location}: {searched:?}"),
        }
    }
}

#[test]
fn more_than_a_plan_names_are_counted_and_left() {
    let file = |number: usize| listed(&format!("s3://bucket/t/data/{number:09}"), 1);
    // In no order: those first by path are taken.
    let files: Vec<Listed> = (0..FILES_MAX + 7).rev().map(file).collect();
    let plan = planned(&[], &files, &[]).unwrap();
    assert_eq!(plan.files.len(), FILES_MAX);
    assert_eq!(plan.orphans, FILES_MAX as u64 + 7);
    assert_eq!(plan.files[0].path, "s3a://bucket/t/data/000000000");
    assert!(plan.message().contains("(7 more are left to the next run)"));
}

#[test]
fn options_are_refused_by_name() {
    for (key, value, want) in [
        (
            "older_than",
            "yesterday",
            "`older_than` = `yesterday`: must be a time",
        ),
        (
            "prefix_mismatch_mode",
            "delete",
            "must be one of error, ignore",
        ),
        (
            "dry_run",
            "true",
            "allowed: older_than, location, prefix_mismatch_mode, force",
        ),
    ] {
        let asked = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let refused = Options::parse(&asked).unwrap_err().to_string();
        assert!(refused.contains(want), "{refused}");
    }
}
