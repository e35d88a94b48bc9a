//! Which files, in which groups, and why not the others.

use metadata::{DataFile, LiveFile};
use serde_json::json;

use super::super::groups::MOVED_ROWS_MAX;
use super::super::{RULES_KEY, spread};
use super::{CURRENT_SNAPSHOT, at, case, data, many, region, snapshot};

const FINE: &str = "75 to 180 bytes already";
const FEW: &str = "fewer than min-input-files 5 and not more than one target together";

#[test]
fn small_files_are_rewritten_when_there_are_enough() {
    case(many("a", 5, 10)).check(&["a1 a2 a3 a4 a5 -> 1: 5 files below 75 bytes"]);
    case(many("a", 4, 10)).check(&[&format!("4 left: 4 files below 75 bytes: {FEW}")]);
    case(many("a", 4, 10))
        .option("min-input-files", "4")
        .check(&["a1 a2 a3 a4 -> 1: 4 files below 75 bytes"]);
}

#[test]
fn bounds_are_strict() {
    let files = [data("a", 75), data("b", 180), data("c", 74), data("d", 181)];
    case(files).check(&[
        "c d -> 3: 1 file above 180 bytes",
        &format!("2 left: {FINE}"),
    ]);
}

#[test]
fn one_file_is_no_group_unless_it_is_too_large() {
    let alone = format!("1 left: 1 file below 75 bytes: {}", FEW.replace('5', "1"));
    case([data("a", 1)])
        .option("min-input-files", "1")
        .check(&[&alone]);
    case([data("a", 181)]).check(&["a -> 2: 1 file above 180 bytes"]);
}

#[test]
fn few_files_of_more_than_one_target_are_rewritten() {
    case(many("a", 3, 35))
        .check(&["a1 a2 a3 -> 1: 3 files below 75 bytes, more than one target together"]);
    case(many("a", 2, 50)).check(&[&format!("2 left: 2 files below 75 bytes: {FEW}")]);
}

#[test]
fn a_group_that_would_not_shrink_is_left() {
    case(many("a", 2, 70)).check(&["2 left: 2 files below 75 bytes would still be 2 files"]);
    case(many("a", 2, 70))
        .option("rewrite-all", "true")
        .check(&["a1 a2 -> 2: rewrite-all"]);
}

#[test]
fn rewrite_all_takes_every_file_and_group() {
    let files = [data("a", 100), data("b", 9)];
    case(files)
        .option("rewrite-all", "true")
        .check(&["a b -> 1: rewrite-all"]);
}

#[test]
fn a_group_is_bounded_in_bytes_and_files() {
    case(many("a", 6, 10))
        .option("max-file-group-size-bytes", "30")
        .option("min-input-files", "2")
        .check(&[
            "a1 a2 a3 -> 1: 3 files below 75 bytes",
            "a4 a5 a6 -> 1: 3 files below 75 bytes",
        ]);
    case(many("a", 5, 10))
        .option("max-file-group-input-files", "2")
        .option("min-input-files", "2")
        .check(&[
            "a1 a2 -> 1: 2 files below 75 bytes",
            "a3 a4 -> 1: 2 files below 75 bytes",
            &format!("1 left: 1 file below 75 bytes: {}", FEW.replace('5', "2")),
        ]);
}

#[test]
fn partitions_are_never_mixed() {
    let files = ["eu", "us"].into_iter().flat_map(|name| {
        many(name, 5, 10)
            .into_iter()
            .map(move |live| region(live, name))
    });
    case(files).partitioned().check(&[
        "region=eu: eu1 eu2 eu3 eu4 eu5 -> 1: 5 files below 75 bytes",
        "region=us: us1 us2 us3 us4 us5 -> 1: 5 files below 75 bytes",
    ]);
}

#[test]
fn rows_keep_the_order_they_were_written_in() {
    let files = [
        at(data("c", 10), 1),
        at(data("a", 10), 3),
        at(data("b", 10), 2),
    ];
    case(files)
        .option("min-input-files", "2")
        .check(&["c b a -> 1: 3 files below 75 bytes"]);
}

#[test]
fn groups_come_in_the_order_asked() {
    let order = |asked: &str| -> Vec<String> {
        let sizes = [("a", 3, 10), ("b", 2, 40), ("c", 4, 1)];
        let files = sizes.into_iter().flat_map(|(name, count, bytes)| {
            many(name, count, bytes)
                .into_iter()
                .map(move |live| region(live, name))
        });
        let asked = case(files)
            .partitioned()
            .option("min-input-files", "2")
            .option("rewrite-job-order", asked);
        let groups = asked.plan().expect("a plan").groups;
        groups
            .iter()
            .map(|group| group.partition_path.replace("region=", ""))
            .collect()
    };
    assert_eq!(order("none"), ["a", "b", "c"]);
    assert_eq!(order("bytes-asc"), ["c", "a", "b"]);
    assert_eq!(order("bytes-desc"), ["b", "a", "c"]);
    assert_eq!(order("files-asc"), ["b", "a", "c"]);
    assert_eq!(order("files-desc"), ["c", "a", "b"]);
}

#[test]
fn partial_progress_spreads_groups_over_commits() {
    let groups = |count: usize| {
        let files = (0..count).flat_map(|number| {
            let name = format!("p{number:02}");
            many(&name, 5, 10)
                .into_iter()
                .map(move |live| region(live, &name))
        });
        case(files)
            .partitioned()
            .option("partial-progress.enabled", "true")
    };
    let per_commit = |count: usize| groups(count).plan().expect("a plan").groups_per_commit;
    assert_eq!(
        (per_commit(0), per_commit(10), per_commit(11)),
        (Some(1), Some(1), Some(2))
    );
    let plan = groups(11)
        .option("partial-progress.max-commits", "3")
        .plan()
        .expect("a plan");
    assert_eq!(plan.groups_per_commit, Some(4));
}

fn with(mut live: LiveFile, change: impl FnOnce(&mut DataFile)) -> LiveFile {
    change(&mut live.file);
    live
}

#[test]
fn what_cannot_be_rewritten_is_left_with_the_reason() {
    let mut files = many("a", 5, 10);
    files.push(with(data("o", 10), |file| file.file_format = "ORC".into()));
    files.push(with(data("e", 10), |file| {
        file.key_metadata = Some(vec![1]);
    }));
    files.push(region(data("p", 10), "eu"));
    files.extend([data("twice", 10), data("twice", 10)]);
    case(files).check(&[
        "a1 a2 a3 a4 a5 -> 1: 5 files below 75 bytes",
        "1 left: encrypted",
        "2 left: listed more than once in the table",
        "1 left: orc files are not rewritten in this version, only parquet",
        "spec 1 -> 0: 1 left: 1 file below 75 bytes: fewer than min-input-files 5 and not more than one target together",
    ]);
}

#[test]
fn an_older_spec_can_be_asked_for() {
    let files = many("a", 5, 10);
    case(files)
        .partitioned()
        .option("output-spec-id", "0")
        .check(&["a1 a2 a3 a4 a5 -> 1: 5 files below 75 bytes"]);
}

#[test]
fn files_of_other_specs_move_together_whatever_their_partitions() {
    let mut files = many("a", 2, 10);
    files.extend([region(data("b", 10), "eu"), region(data("c", 10), "us")]);
    files.push(region(data("d", 100), "us"));
    let case = case(files).option("min-input-files", "2");
    case.check(&[
        "a1 a2 -> 1: 2 files below 75 bytes",
        "spec 1 -> 0: b c -> 1: 2 files below 75 bytes",
        "region=us: 1 left: 75 to 180 bytes already",
    ]);
    let plan = case.plan().unwrap();
    let moved = &plan.groups[1];
    let regions: Vec<_> = moved
        .inputs
        .iter()
        .map(|input| moved.place(input))
        .collect();
    assert!(moved.moves && moved.output_place().is_none());
    assert_eq!(regions, [&moved.places[0], &moved.places[1]]);
    assert!(!plan.groups[0].moves);
}

#[test]
fn a_group_that_moves_is_bounded_in_rows() {
    let mut files: Vec<LiveFile> = many("a", 5, 10);
    for file in &mut files {
        file.file.record_count = MOVED_ROWS_MAX / 3 + 1;
    }
    case(files)
        .partitioned()
        .option("min-input-files", "2")
        .check(&[
            "spec 0 -> 1: a1 a2 -> 1: 2 files below 75 bytes",
            "spec 0 -> 1: a3 a4 -> 1: 2 files below 75 bytes",
            &format!(
                "spec 0 -> 1: 1 left: 1 file below 75 bytes: {}",
                FEW.replace('5', "2")
            ),
        ]);
}

#[test]
fn rows_that_no_partition_can_be_found_for_stay() {
    let document = |transform: &str, source: i32| {
        let spec = json!({"spec-id": 1, "fields": [
            {"source-id": source, "field-id": 1000, "name": "p", "transform": transform},
        ]});
        case(many("a", 5, 10)).partitioned().with_spec(spec)
    };
    let at = "its rows cannot be placed under spec 1";
    document("identity", 9).check(&[&format!(
        "5 left: written under spec 0; {at}: the column p is made of was dropped"
    )]);
    document("zorder[a]", 1).check(&[&format!(
        "5 left: written under spec 0; {at}: the transform zorder[a] of p is not known in this version"
    )]);
    document("void", 9).check(&["spec 0 -> 1: a1 a2 a3 a4 a5 -> 1: 5 files below 75 bytes"]);
}

#[track_caller]
fn spreads(sizes: &[u64], partitions: &[u64], want: Result<&[usize], &str>) {
    let files = sizes
        .iter()
        .enumerate()
        .map(|(n, bytes)| data(&format!("a{n}"), *bytes));
    let plan = case(files)
        .partitioned()
        .option("rewrite-all", "true")
        .plan()
        .unwrap();
    match (spread(&plan, &plan.groups[0], partitions), want) {
        (Ok(files), Ok(want)) => assert_eq!(files, want, "{sizes:?} to {partitions:?}"),
        (Err(why), Err(want)) => assert!(why.contains(want), "{why}"),
        (got, _) => panic!("{sizes:?} to {partitions:?}: {got:?}"),
    }
}

#[test]
fn moving_makes_no_more_small_files_than_there_were() {
    spreads(&[10, 10, 10], &[15, 15], Ok(&[1, 1]));
    spreads(&[10, 10, 10], &[10, 10, 10], Ok(&[1, 1, 1]));
    spreads(
        &[10, 10, 10],
        &[9, 9, 6, 6],
        Err(
            "spec 0 -> 1: 3 files, 3 of them below 75 bytes, would become 4 in 4 partitions, 4 of them below",
        ),
    );
    // A large file may be cut as long as the parts are large.
    spreads(&[400], &[200, 200], Ok(&[2, 2]));
    spreads(&[400], &[370, 30], Err("1 of them below"));
    spreads(&[400, 10], &[380, 30], Ok(&[4, 1]));
    // All rows deleted.
    spreads(&[10, 10], &[], Ok(&[]));
}

#[test]
fn where_leaves_out_what_cannot_match() {
    let files = ["eu", "us"].into_iter().flat_map(|name| {
        many(name, 5, 10)
            .into_iter()
            .map(move |live| region(live, name))
    });
    case(files)
        .partitioned()
        .option("where", "region = 'eu'")
        .check(&[
            "region=eu: eu1 eu2 eu3 eu4 eu5 -> 1: 5 files below 75 bytes",
            "region=us: 5 left: no row can match where",
        ]);
}

#[test]
fn an_empty_table_gives_an_empty_plan_with_the_reason() {
    let mut empty = case([]);
    empty.snapshots.clear();
    let plan = empty.plan().expect("a plan");
    assert_eq!((plan.snapshot_id, plan.groups.len()), (None, 0));
    assert_eq!(plan.nothing(), Some("the table has no data files"));
}

#[test]
fn the_reason_for_nothing_is_the_one_most_files_have() {
    let files = many("a", 3, 100).into_iter().chain(many("b", 2, 10));
    assert_eq!(case(files).plan().expect("a plan").nothing(), Some(FINE));
}

fn of_version(version: i64) -> Result<super::Plan, super::Refused> {
    let files = case(many("a", 5, 10)).files;
    let mut document: serde_json::Value =
        serde_json::from_slice(&case([]).table().to_json()).expect("json");
    document["format-version"] = version.into();
    document["snapshots"] = json!([]);
    document["refs"] = json!({});
    document["current-snapshot-id"] = json!(-1);
    document["next-row-id"] = json!(0);
    let table = metadata::TableMetadata::parse(document.to_string().as_bytes()).expect("metadata");
    super::plan(&table, "db.t", &files, &super::Options::default())
}

#[test]
fn format_versions_1_and_2_are_planned_and_3_is_refused() {
    for version in [1, 2] {
        assert_eq!(of_version(version).expect("a plan").groups.len(), 1);
    }
    let error = of_version(3).expect_err("refused").to_string();
    assert!(error.contains("format version 3;"), "{error}");
}

#[test]
fn a_plan_survives_being_stored() {
    let files = many("a", 5, 10).into_iter().map(|live| region(live, "eu"));
    let plan = case(files).partitioned().plan().expect("a plan");
    let stored = serde_json::to_string(&plan).expect("json");
    assert_eq!(
        serde_json::from_str::<super::Plan>(&stored).expect("plan"),
        plan
    );
}

#[test]
fn memory_is_estimated_for_the_neediest_groups_at_once() {
    let files = ["eu", "us"].into_iter().flat_map(|name| {
        many(name, 5, 10)
            .into_iter()
            .map(move |live| region(live, name))
    });
    let one = 4 * 50 + 5 * 65_536 + 16_777_216;
    let asked = case(files).partitioned();
    assert_eq!(asked.plan().expect("a plan").memory_bytes, one);
    let two = asked.option("max-concurrent-file-group-rewrites", "2");
    assert_eq!(two.plan().expect("a plan").memory_bytes, 2 * one);
    // Two row groups of 8 bytes at most are held.
    let tight = two.property("write.parquet.row-group-size-bytes", "8");
    assert_eq!(
        tight.plan().expect("a plan").memory_bytes,
        2 * (4 * 16 + one - 200)
    );
}

/// A rewrite of the table committed at sequence number 5 that halved the bytes of each row.
fn rewritten(rules: &str) -> serde_json::Value {
    snapshot(
        5,
        5,
        None,
        json!({
            "operation": "replace",
            "snowpack.action": "rewrite_data_files",
            "snowpack.job-id": "first",
            RULES_KEY: rules,
            "added-files-size": "500", "added-records": "90",
            "removed-files-size": "1000", "deleted-records": "90",
        }),
    )
}

#[test]
fn new_small_files_are_expected_to_shrink_as_the_last_ones_did() {
    let mut table = case(many("a", 7, 50).into_iter().map(|live| at(live, 6)));
    table.snapshots.insert(0, rewritten("other rules"));
    table.snapshots[1] = snapshot(CURRENT_SNAPSHOT, 7, Some(5), json!({}));
    table.check(&["a1 a2 a3 a4 a5 a6 a7 -> 2: 7 files below 75 bytes"]);
    // Those that were there before are judged as they were then.
    table
        .files
        .data
        .iter_mut()
        .for_each(|live| live.file_sequence_number = 4);
    table.check(&["a1 a2 a3 a4 a5 a6 a7 -> 4: 7 files below 75 bytes"]);
}

#[test]
fn what_a_rewrite_left_small_is_left_until_something_new_comes() {
    // Ten outputs of half a target each: the rows compressed better than expected.
    let outputs = many("a", 10, 50).into_iter().map(|mut live| {
        (live.sequence_number, live.file_sequence_number) = (4, 5);
        live.snapshot_id = Some(5);
        live
    });
    let mut table = case(outputs);
    let rules = table.plan().expect("a plan").rules;
    table.snapshots.insert(0, rewritten(&rules));
    table.snapshots[1] = snapshot(CURRENT_SNAPSHOT, 7, Some(5), json!({}));
    table.check(&["10 left: as the last rewrite left it"]);
    table.files.data.push(at(data("new", 50), 6));
    table.check(&["a1 a10 a2 a3 a4 a5 a6 a7 a8 a9 new -> 5: 11 files below 75 bytes"]);
    table.files.data.pop();
    // Other rules make another judgement.
    let other = table.option("min-input-files", "4");
    other.check(&["a1 a10 a2 a3 a4 a5 a6 a7 a8 a9 -> 5: 10 files below 75 bytes"]);
}
