//! What a rewrite must leave as it was, and what it must change.

use std::sync::atomic::Ordering;

use lake::{Changes, FileWriter, commit_changes};
use metadata::{Content, DataFile};
use planner::{Engine, Plan};
use serde_json::json;

use crate::world::{ALL, Rows, World};

/// Rewrites everything and checks that both readers see the same rows as before.
async fn same_rows(world: &World, options: &[(&str, &str)]) -> planner::Report {
    let before = world.rows().await;
    let report = world.maintain(options).await;
    assert_eq!(world.rows().await, before);
    assert_eq!(report.rows_in, before.count() + report.deletes_applied);
    assert_eq!(report.rows_out, before.count());
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_become_one_and_the_rows_are_the_same() {
    let world = World::with("plain", "none", 8, 50).await;
    let report = same_rows(&world, &[]).await;
    assert_eq!(
        (report.files_in, report.files_out, report.commit_attempts),
        (8, 1, 1)
    );
    let live = world.live().await;
    assert_eq!(live.data.len(), 1);
    assert_eq!(report.snapshot_id, live.data[0].snapshot_id);
    let (total, done) = (&world.progress.total, &world.progress.done);
    assert_eq!(done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
    assert_eq!(total.load(Ordering::Relaxed), 8 * 50 * 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_finds_nothing_to_do() {
    let world = World::with("plain", "region", 6, 40).await;
    assert_eq!(world.maintain(&[]).await.files_out, 4);
    let plan = world.plan(&[]).await;
    assert!(plan.nothing().is_some(), "{plan:?}");
    let report = world.execute(&plan).await.unwrap();
    assert!(report.skipped.is_some());
    let live = world.live().await;
    assert_eq!(live.data.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_nested_and_null_survives_in_partitions() {
    let world = World::with("wide", "day", 6, 60).await;
    let rows = world.rows().await;
    assert_eq!(rows.pyiceberg["hash"], rows.duckdb["hash"], "{rows:?}");
    let report = same_rows(&world, &[]).await;
    assert_eq!(report.files_out, 4, "three days and null");
    // And PyIceberg goes on writing to what we left.
    let more = json!({"schema": "wide", "start": 10_000, "files": 2, "rows": 30, "seed": 7});
    world.oracle("append", more).await;
    assert_eq!(world.rows().await.count(), 6 * 60 + 2 * 30);
    same_rows(&world, ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_survives_small_row_groups_many_outputs_and_little_memory() {
    let properties = json!({
        "write.parquet.row-group-size-bytes": "20000",
        "write.parquet.page-row-limit": "37",
        "write.parquet.dict-size-bytes": "300",
    });
    let world = World::with_properties("wide", "none", 3, 400, properties).await;
    let before = world.rows().await;
    let options = [("target-file-size-bytes", "60000"), ("rewrite-all", "true")];
    let plan = world.plan(&options).await;
    let report = world
        .execute_with("job-0", "attempt-0", &plan, 1 << 20)
        .await
        .unwrap();
    assert!(report.files_out > 1, "{report:?}");
    assert_eq!(world.rows().await, before);
    // The outputs have many row groups: read them back in parts.
    let live = world.live().await;
    assert!(live.data.iter().any(|file| {
        file.file
            .split_offsets
            .as_ref()
            .is_some_and(|o| o.len() > 1)
    }));
    same_rows(
        &world,
        &[("target-file-size-bytes", "90000"), ("rewrite-all", "true")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_matched_by_field_id() {
    let world = World::with("plain", "none", 3, 30).await;
    for how in ["rename", "add"] {
        world.oracle("evolve", json!({"how": how})).await;
    }
    same_rows(&world, ALL).await;
    world
        .oracle("evolve", json!({"how": "drop", "column": "region"}))
        .await;
    same_rows(&world, ALL).await;
}

/// A file need not store what its identity partition says: readers take it from there, and the
/// outputs, which store every column, must hold it.
#[tokio::test(flavor = "multi_thread")]
async fn identity_values_that_lie_in_the_partition_only_are_kept() {
    let world = World::with("plain", "region", 2, 20).await;
    let mut data = Vec::new();
    for live in world.live().await.data {
        let mut file = live.file;
        let to = file.file_path.replace(".parquet", "-bare.parquet");
        let asked = json!({"path": file.file_path, "to": to, "without": "region"});
        let made = world.oracle("rewrite_file", asked).await;
        file.file_path = to;
        file.file_size_in_bytes = made["bytes"].as_u64().unwrap();
        for counts in [&mut file.value_counts, &mut file.null_value_counts] {
            counts.remove(&2);
        }
        data.push(file);
    }
    let changes = Changes {
        data,
        ..Changes::default()
    };
    let now = world.now_ms().await;
    commit_changes(&*world.catalog, &world.name, &changes, now)
        .await
        .unwrap();
    let before = world.rows().await;
    assert_eq!(before.pyiceberg["hash"], before.duckdb["hash"]);
    same_rows(&world, ALL).await;
    assert_eq!(world.rows().await.count(), 80);
}

/// Deletes rows `at` of every live data file with one delete file per partition, or one per
/// data file when `scoped`.
pub(crate) async fn delete_rows(world: &World, at: &[i64], scoped: bool) {
    let table = world.table().await;
    let writer = FileWriter::new(&table, "test").unwrap();
    let live = world.live().await;
    let mut deletes: Vec<DataFile> = Vec::new();
    let mut partitions: Vec<_> = live
        .data
        .iter()
        .map(|file| file.file.partition.clone())
        .collect();
    partitions.sort();
    partitions.dedup();
    for partition in partitions {
        let files = live
            .data
            .iter()
            .filter(|file| file.file.partition == partition);
        let all: Vec<Vec<(String, i64)>> = files
            .map(|file| {
                at.iter()
                    .map(|row| (file.file.file_path.clone(), *row))
                    .collect()
            })
            .collect();
        let all = if scoped {
            all
        } else {
            vec![all.into_iter().flatten().collect()]
        };
        for positions in all {
            deletes.push(
                writer
                    .position_deletes(partition.clone(), positions)
                    .await
                    .unwrap(),
            );
        }
    }
    let changes = Changes {
        deletes,
        ..Changes::default()
    };
    let now = world.now_ms().await;
    commit_changes(&*world.catalog, &world.name, &changes, now)
        .await
        .unwrap();
}

async fn duck(world: &World) -> Rows {
    world.rows().await
}

#[tokio::test(flavor = "multi_thread")]
async fn position_deletes_are_applied_once_and_only_to_older_files() {
    let world = World::with("plain", "region", 4, 40).await;
    // The same rows twice, by two delete files: each row counts once.
    delete_rows(&world, &[0, 3, 9], false).await;
    delete_rows(&world, &[3, 5], true).await;
    world.append(1_000, 1, 40).await;
    let before = duck(&world).await;
    assert_eq!(before.count(), 200 - 16 * 4);
    assert_eq!(before.pyiceberg["hash"], before.duckdb["hash"]);
    let report = world.maintain(ALL).await;
    assert_eq!(report.deletes_applied, 16 * 4);
    assert_eq!(duck(&world).await, before);
    // The delete files stay, and apply to nothing.
    assert!(!world.live().await.deletes.is_empty());
    let report = world.maintain(ALL).await;
    assert_eq!(report.deletes_applied, 0);
    assert_eq!(duck(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_read_column_by_column_and_cut() {
    let properties = json!({
        "write.parquet.compression-codec": "uncompressed",
        "write.parquet.row-group-limit": "700",
        "write.parquet.row-group-size-bytes": "3000000",
    });
    let world = World::with_properties("large", "none", 2, 2_500, properties).await;
    assert!(
        world
            .live()
            .await
            .data
            .iter()
            .all(|file| file.file.file_size_in_bytes > 8 << 20)
    );
    delete_rows(&world, &[0, 699, 700, 1_401, 2_499], true).await;
    let report = same_rows(
        &world,
        &[
            ("target-file-size-bytes", "7000000"),
            ("rewrite-all", "true"),
        ],
    )
    .await;
    assert_eq!(report.deletes_applied, 10);
    assert!(report.files_out > 2, "{report:?}");
    let live = world.live().await;
    let row_groups = |file: &DataFile| file.split_offsets.as_ref().map_or(0, Vec::len);
    assert!(live.data.iter().all(|file| row_groups(&file.file) > 1));
}

/// As many outputs as its bytes make, each about the target; then there is nothing more to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_above_the_maximum_is_split_though_it_is_alone() {
    let world = World::with("large", "none", 1, 200).await;
    let bytes = world.live().await.data[0].file.file_size_in_bytes;
    for (parts, deleted) in [(3, 0), (5, 2)] {
        if deleted > 0 {
            world.maintain(ALL).await;
            delete_rows(&world, &[0, 100], true).await;
        }
        let target = (bytes / parts).to_string();
        let options = [("target-file-size-bytes", target.as_str())];
        let plan = world.plan(&options).await;
        let Plan::RewriteDataFiles(of) = &plan else {
            panic!("{plan:?}");
        };
        assert_eq!((of.input_files(), of.output_files()), (1, parts as usize));
        let report = same_rows(&world, &options).await;
        assert_eq!((report.files_in, report.files_out), (1, parts));
        assert_eq!(report.deletes_applied, deleted);
        let live = world.live().await.data;
        let sizes: Vec<u64> = live
            .iter()
            .map(|file| file.file.file_size_in_bytes)
            .collect();
        let share = bytes / parts;
        let about = |size: &u64| *size > share * 3 / 4 && *size < share * 5 / 4;
        assert!(sizes.iter().all(about), "{sizes:?} of {share}");
        assert!(world.plan(&options).await.nothing().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_of_one_rewritten_file_are_dropped() {
    let world = World::with("plain", "none", 3, 40).await;
    delete_rows(&world, &[1], true).await;
    delete_rows(&world, &[2], false).await;
    let before = duck(&world).await;
    let report = world.maintain(&[("rewrite-all", "true")]).await;
    assert_eq!(report.deletes_applied, 6);
    assert_eq!(duck(&world).await, before);
    // The delete file of several data files stays: nobody asked what it may still apply to.
    assert_eq!(world.live().await.deletes.len(), 1);
    let table = world.table().await;
    let summary = &table.metadata.current_snapshot().unwrap().summary;
    assert_eq!(summary["removed-delete-files"], "3");
    assert_eq!(summary["total-delete-files"], "1");
    assert_eq!(summary["total-position-deletes"], "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn dangling_deletes_of_many_files_are_dropped_when_asked() {
    let world = World::with("plain", "none", 3, 40).await;
    delete_rows(&world, &[2], false).await;
    let before = duck(&world).await;
    world
        .maintain(&[("rewrite-all", "true"), ("remove-dangling-deletes", "true")])
        .await;
    assert_eq!(duck(&world).await, before);
    assert_eq!(world.live().await.deletes.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_file_that_may_apply_to_a_file_left_alone_is_kept() {
    let options = |filter| {
        [
            ("rewrite-all", "true"),
            ("remove-dangling-deletes", "true"),
            ("where", filter),
        ]
    };
    // One delete file for all; one data file is rewritten.
    let world = World::with("plain", "none", 3, 40).await;
    delete_rows(&world, &[2], false).await;
    let before = duck(&world).await;
    let report = world.maintain(&options("id < 40")).await;
    assert_eq!((report.files_in, report.deletes_applied), (1, 1));
    assert_eq!(duck(&world).await, before);
    assert_eq!(world.live().await.deletes.len(), 1);

    // One delete file for each of four partitions; one partition is rewritten.
    let world = World::with("plain", "region", 3, 40).await;
    delete_rows(&world, &[2], false).await;
    let before = duck(&world).await;
    let report = world.maintain(&options("region = 'eu'")).await;
    assert_eq!((report.files_in, report.deletes_applied), (3, 3));
    assert_eq!(duck(&world).await, before);
    assert_eq!(world.live().await.deletes.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_deleted_whole_is_removed_and_none_is_added() {
    let world = World::with("plain", "none", 2, 10).await;
    delete_rows(&world, &(0..10).collect::<Vec<_>>(), true).await;
    let report = world.maintain(ALL).await;
    assert_eq!((report.files_in, report.files_out), (2, 0));
    assert_eq!(
        (report.rows_in, report.deletes_applied, report.rows_out),
        (20, 20, 0)
    );
    assert_eq!(world.live().await.data.len(), 0);
    assert_eq!(duck(&world).await.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_progress_commits_groups_apart_and_reports_the_whole() {
    let world = World::with("plain", "region", 5, 40).await;
    let before = world.rows().await;
    let options = [
        ("rewrite-all", "true"),
        ("partial-progress.enabled", "true"),
        ("partial-progress.max-commits", "4"),
    ];
    let report = world.maintain(&options).await;
    assert_eq!(
        (report.files_in, report.files_out, report.commit_attempts),
        (20, 4, 4)
    );
    assert_eq!(world.rows().await, before);
    assert_eq!(*world.ledger.swaps.lock().unwrap(), 4);
    // Only the last commit writes the result.
    assert_eq!(
        world.ledger.reports.lock().unwrap().as_slice(),
        std::slice::from_ref(&report)
    );
    let committed = world
        .engine
        .committed(&world.name, &World::task(&options), &"job-1".into_id())
        .await;
    assert_eq!(committed.unwrap(), Some(report));
}

trait IntoId {
    fn into_id(self) -> model::JobId;
}

impl IntoId for &str {
    fn into_id(self) -> model::JobId {
        model::JobId::new(self)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_and_summary_tell_the_whole_story() {
    let world = World::with("plain", "none", 5, 20).await;
    let before = world.table().await;
    let planned_on = before.metadata.current_snapshot().unwrap().clone();
    let report = world.maintain(ALL).await;
    let after = world.table().await;
    let snapshot = after.metadata.current_snapshot().unwrap();
    assert_eq!(snapshot.parent_snapshot_id, Some(planned_on.snapshot_id));
    assert_eq!(snapshot.sequence_number, planned_on.sequence_number + 1);
    assert!(snapshot.timestamp_ms >= planned_on.timestamp_ms);
    for (key, want) in [
        ("operation", "replace"),
        ("added-data-files", "1"),
        ("deleted-data-files", "5"),
        ("added-records", "100"),
        ("deleted-records", "100"),
        ("total-data-files", "1"),
        ("total-records", "100"),
        ("total-delete-files", "0"),
        ("total-files-size", &report.bytes_out.to_string()),
        ("changed-partition-count", "1"),
        ("snowpack.job-id", "job-1"),
        ("snowpack.attempt-id", "attempt-1"),
        ("snowpack.action", "rewrite_data_files"),
    ] {
        assert_eq!(
            snapshot.summary.get(key).map(String::as_str),
            Some(want),
            "{key}"
        );
    }
    // Newer equality deletes keep applying: the output is as old as what was planned on.
    let live = world.live().await;
    assert_eq!(live.data[0].sequence_number, planned_on.sequence_number);
    assert_eq!(live.data[0].file_sequence_number, snapshot.sequence_number);
    assert_eq!(live.data[0].file.content, Content::Data);
    assert!(live.data[0].file.file_path.contains("attempt-1"));
    // One manifest of what was added, one of what was removed.
    assert_eq!(live.manifests.len(), 2);
    let landed = world.ledger.landed.lock().unwrap().clone();
    for path in landed.iter().chain([&after.metadata_location]) {
        assert!(
            std::path::Path::new(path.trim_start_matches("file://")).exists(),
            "{path}"
        );
        assert!(landed.contains(path), "{path} is the attempt's");
    }
}
