//! Another writer commits while a rewrite waits before its swap: one test for each rule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray};
use lake::{Changes, FileWriter, arrow_schema, commit_changes};
use model::Advice;
use serde_json::json;

use crate::rewrite::delete_rows;
use crate::world::{ALL, World, chain};

#[tokio::test(flavor = "multi_thread")]
async fn an_append_stays_and_the_rewrite_lands_on_top() {
    let world = World::with("plain", "none", 4, 25).await;
    let report = world
        .interrupted(ALL, world.append(1_000, 1, 25))
        .await
        .unwrap();
    assert_eq!(
        (report.files_in, report.files_out, report.commit_attempts),
        (4, 1, 2)
    );
    let rows = world.rows().await;
    assert_eq!(rows.count(), 125);
    assert_eq!(rows.pyiceberg, rows.duckdb);
    assert_eq!(world.live().await.data.len(), 2);
    // The data was not read or written again, and untouched manifests were used again.
    assert_eq!(world.ledger.reserved_with(".parquet"), 1);
    assert_eq!(world.ledger.reserved_with("-m"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_delete_on_a_rewritten_file_is_never_lost() {
    for scoped in [true, false] {
        let world = World::with("plain", "region", 3, 40).await;
        let report = world
            .interrupted(ALL, delete_rows(&world, &[2, 7], scoped))
            .await
            .unwrap();
        assert_eq!(
            (report.rows_in, report.deletes_applied, report.rows_out),
            (120, 24, 96)
        );
        let rows = world.rows().await;
        assert_eq!(rows.count(), 96);
        assert_eq!(rows.pyiceberg["hash"], rows.duckdb["hash"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_groups_a_delete_hits_are_rewritten_again() {
    let world = World::with("plain", "region", 3, 40).await;
    let meanwhile = async {
        let table = world.table().await;
        let live = world.live().await;
        let file = &live.data[0].file;
        let writer = FileWriter::new(&table, "test").unwrap();
        let positions = vec![(file.file_path.clone(), 4)];
        let delete = writer
            .position_deletes(file.partition.clone(), positions)
            .await
            .unwrap();
        let changes = Changes {
            deletes: vec![delete],
            ..Changes::default()
        };
        commit_changes(&*world.catalog, &world.name, &changes, world.now_ms().await)
            .await
            .unwrap();
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    assert_eq!((report.files_out, report.deletes_applied), (4, 1));
    assert_eq!(world.rows().await.count(), 119);
    // Four outputs, and the one of the group that was hit once more.
    assert_eq!(world.ledger.reserved_with(".parquet"), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_names_no_input_does_not_disturb() {
    let world = World::with("plain", "none", 3, 20).await;
    let meanwhile = async {
        world.append(1_000, 1, 20).await;
        let table = world.table().await;
        let live = world.live().await;
        let mut files: Vec<_> = live.data.iter().collect();
        files.sort_by_key(|file| file.sequence_number);
        let newest = files.last().unwrap().file.file_path.clone();
        let writer = FileWriter::new(&table, "test").unwrap();
        let mut delete = writer
            .position_deletes(vec![], vec![(newest, 1)])
            .await
            .unwrap();
        // As a writer that does not say what it refers to.
        delete.referenced_data_file = None;
        delete.lower_bounds.clear();
        delete.upper_bounds.clear();
        let changes = Changes {
            deletes: vec![delete],
            ..Changes::default()
        };
        commit_changes(&*world.catalog, &world.name, &changes, world.now_ms().await)
            .await
            .unwrap();
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    assert_eq!((report.files_in, report.deletes_applied), (3, 0));
    assert_eq!(world.rows().await.count(), 79);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_whose_bounds_were_cut_is_read_to_see_what_it_names() {
    let world = World::with("plain", "none", 3, 20).await;
    let meanwhile = async {
        let path = world.live().await.data[0].file.file_path.clone();
        let cut = path.as_bytes()[..16].to_vec();
        let writer = FileWriter::new(&world.table().await, "test").unwrap();
        let mut delete = writer
            .position_deletes(vec![], vec![(path, 1)])
            .await
            .unwrap();
        delete.referenced_data_file = None;
        for bounds in [&mut delete.lower_bounds, &mut delete.upper_bounds] {
            for (_, bound) in bounds.iter_mut() {
                *bound = cut.as_slice().into();
            }
        }
        let changes = Changes {
            deletes: vec![delete],
            ..Changes::default()
        };
        commit_changes(&*world.catalog, &world.name, &changes, world.now_ms().await)
            .await
            .unwrap();
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    assert_eq!((report.rows_in, report.deletes_applied), (60, 1));
}

/// What was added again is newer than the deletes that were applied to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_and_added_again_under_its_path_is_another_file() {
    let world = World::with("plain", "none", 3, 20).await;
    delete_rows(&world, &[7], true).await;
    let meanwhile = async {
        let live = world.live().await;
        let oldest = live.data.iter().min_by_key(|file| file.sequence_number);
        let again = oldest.unwrap().file.clone();
        world.oracle("delete", json!({"where": "id < 5"})).await;
        let changes = Changes {
            data: vec![again],
            ..Changes::default()
        };
        commit_changes(&*world.catalog, &world.name, &changes, world.now_ms().await)
            .await
            .unwrap();
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    assert_eq!((report.rows_in, report.deletes_applied), (60, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_another_writer_replaced_is_not_brought_back() {
    let world = World::with("plain", "none", 4, 25).await;
    let meanwhile = async {
        world.oracle("delete", json!({"where": "id = 3"})).await;
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    let rows = world.rows().await;
    assert_eq!(rows.count(), 99);
    // The three files that were left are one now, beside the one the other writer made.
    assert_eq!((report.files_in, report.files_out), (3, 1));
    assert_eq!(world.live().await.data.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_rewrite_of_the_same_files_does_nothing() {
    let world = World::with("plain", "none", 4, 25).await;
    let before = world.rows().await;
    let plan = world.plan(ALL).await;
    world.ledger.pause(1);
    let other = async {
        world.ledger.paused().await;
        world.execute_as("job-2", "attempt-2", &plan).await.unwrap();
        world.ledger.resume();
    };
    let (report, ()) = tokio::join!(world.execute(&plan), other);
    assert!(report.unwrap().skipped.is_some());
    assert_eq!(world.rows().await, before);
    assert_eq!(world.live().await.data.len(), 1);
}

/// As where swaps are not part of a transaction: a request may be under way while the next
/// attempt looks for what was committed, plans more, and begins.
#[tokio::test(flavor = "multi_thread")]
async fn i10_an_earlier_attempts_swap_that_comes_late_is_recognised_as_the_jobs_own() {
    let world = World::with("plain", "none", 4, 25).await;
    let first = world.plan(ALL).await;
    world.append(1_000, 2, 25).await;
    let before = world.rows().await;
    let next = world.plan(ALL).await;
    world.ledger.pause(1);
    let late = async {
        world.ledger.paused().await;
        let late = world.execute_as("job-1", "attempt-1", &first).await;
        world.ledger.resume();
        late.unwrap()
    };
    let (report, late) = tokio::join!(world.execute_as("job-1", "attempt-2", &next), late);
    assert_eq!(report.unwrap(), late);
    assert_eq!(late.files_in, 4);
    // One that begins only now finds it, too.
    let again = world.execute_as("job-1", "attempt-3", &next).await;
    assert_eq!(again.unwrap(), late);
    let table = world.table().await;
    let snapshots = table.metadata.snapshots().iter();
    let rewrites = snapshots.filter(|snapshot| snapshot.summary["operation"] == "replace");
    assert_eq!(rewrites.count(), 1);
    assert_eq!(world.rows().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_makes_the_rewrite_plan_again() {
    let world = World::with("plain", "none", 3, 25).await;
    let first = world.table().await.metadata.snapshots()[0].snapshot_id;
    world.append(500, 2, 25).await;
    let meanwhile = async {
        world
            .oracle("rollback", json!({"snapshot_id": first}))
            .await;
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    // One file was left by the rollback: rewriting it alone would only copy it.
    assert!(
        report
            .skipped
            .is_some_and(|why| why.contains("no longer in main's history"))
    );
    assert_eq!(world.rows().await.count(), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_snapshot_cannot_be_built_upon() {
    let world = World::with("plain", "none", 3, 25).await;
    let table = world.table().await;
    let planned_on = table.metadata.current_snapshot().unwrap().snapshot_id;
    let meanwhile = async {
        world.append(500, 1, 25).await;
        let asked = json!({"snapshot_id": planned_on});
        world.oracle("expire", asked).await;
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    assert_eq!((report.files_in, report.files_out), (3, 1));
    assert_eq!(world.ledger.reserved_with(".parquet"), 2);
    assert_eq!(world.rows().await.count(), 100);
}

/// Written again under what the table is by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_sort_order_or_format_version_makes_the_rewrite_start_over() {
    for (what, version) in [("evolve", "2"), ("upgrade", "1")] {
        let properties = json!({"format-version": version});
        let world = World::with_properties("plain", "none", 3, 20, properties).await;
        let before = world.rows().await;
        let meanwhile = async {
            world.oracle(what, json!({"how": "sort"})).await;
        };
        let report = world.interrupted(ALL, meanwhile).await.unwrap();
        assert_eq!((report.files_in, report.files_out), (3, 1), "{what}");
        assert_eq!(world.ledger.reserved_with(".parquet"), 2, "{what}");
        assert_eq!(world.rows().await, before, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_column_does_not_disturb() {
    let world = World::with("plain", "none", 3, 20).await;
    let meanwhile = async {
        world.oracle("evolve", json!({"how": "add"})).await;
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    assert_eq!((report.files_out, report.commit_attempts), (1, 2));
    assert_eq!(world.rows().await.count(), 60);
    assert_eq!(world.ledger.reserved_with(".parquet"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_column_makes_the_rewrite_start_over() {
    let world = World::with("plain", "none", 3, 20).await;
    let meanwhile = async {
        world.oracle("evolve", json!({"how": "drop"})).await;
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    assert_eq!(report.files_out, 1);
    assert_eq!(world.rows().await.count(), 60);
    assert_eq!(world.ledger.reserved_with(".parquet"), 2);
    // Written without the column that was dropped.
    let live = world.live().await;
    assert_eq!(
        live.data[0]
            .file
            .value_counts
            .keys()
            .copied()
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_partition_spec_stops_the_rewrite_of_old_files() {
    let world = World::with("plain", "none", 3, 20).await;
    let before = world.rows().await;
    let meanwhile = async {
        world.oracle("evolve", json!({"how": "spec"})).await;
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    // The files are of spec 0, asked for by the plan, and are planned again under it.
    assert_eq!(report.files_out, 1);
    assert_eq!(world.rows().await, before);
    assert_eq!(world.ledger.reserved_with(".parquet"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_dropped_and_made_again_is_left_alone_for_good() {
    let world = World::with("plain", "none", 3, 20).await;
    let meanwhile = async {
        world.oracle("drop", json!({})).await;
        let made = json!({"schema": "plain", "spec": "none", "files": 1, "rows": 5});
        world.oracle("make", made).await;
    };
    let error = world.interrupted(ALL, meanwhile).await.unwrap_err();
    assert_eq!(error.advice(), Advice::GiveUp);
    assert!(chain(&error).contains("uuid"), "{}", chain(&error));
    assert_eq!(world.rows().await.count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_ends_the_rewrite() {
    let world = World::with("plain", "none", 3, 20).await;
    let meanwhile = async {
        world.oracle("drop", json!({})).await;
    };
    let error = world.interrupted(ALL, meanwhile).await.unwrap_err();
    assert_eq!(error.advice(), Advice::GiveUp);
    assert!(
        chain(&error).contains("db.t does not exist"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_never_rests_ends_the_commit_after_its_retries() {
    let properties = json!({"commit.retry.num-retries": "1", "commit.retry.min-wait-ms": "1"});
    let world = World::with_properties("plain", "none", 3, 20, properties).await;
    let plan = world.plan(ALL).await;
    world.ledger.pause(2);
    let other = async {
        for start in [1_000, 2_000] {
            world.ledger.paused().await;
            world.append(start, 1, 20).await;
            world.ledger.resume();
        }
    };
    let (ended, ()) = tokio::join!(world.execute(&plan), other);
    let error = ended.unwrap_err();
    assert_eq!(error.advice(), Advice::RetryLater);
    assert!(
        chain(&error).contains("2 commit attempts"),
        "{}",
        chain(&error)
    );
    assert_eq!(world.rows().await.count(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_another_writer_merged_are_taken_apart_again() {
    let properties = json!({
        "commit.manifest-merge.enabled": "true",
        "commit.manifest.min-count-to-merge": "2",
    });
    let world = World::with_properties("plain", "none", 4, 25, properties).await;
    let report = world
        .interrupted(ALL, world.append(1_000, 1, 25))
        .await
        .unwrap();
    assert_eq!((report.files_in, report.commit_attempts), (4, 2));
    let rows = world.rows().await;
    assert_eq!(rows.count(), 125);
    assert_eq!(rows.pyiceberg, rows.duckdb);
    // The first try's manifests that were of no use are not marked as part of the table.
    let listed = world.live().await.manifests;
    let landed = world.ledger.landed.lock().unwrap();
    let manifests = landed.iter().filter(|path| path.contains("-m"));
    for path in manifests {
        assert!(
            listed
                .iter()
                .any(|manifest| manifest.manifest_path == *path),
            "{path}"
        );
    }
    assert!(
        listed.len() < world.ledger.reserved_with("-m"),
        "{listed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_progress_gives_up_what_it_cannot_commit() {
    for (failed_commits_max, gives_up) in [("1", true), ("0", false)] {
        let properties = json!({"commit.retry.num-retries": "0"});
        let world = World::with_properties("plain", "region", 3, 40, properties).await;
        let options = [
            ("rewrite-all", "true"),
            ("partial-progress.enabled", "true"),
            ("partial-progress.max-commits", "2"),
            ("partial-progress.max-failed-commits", failed_commits_max),
        ];
        let ended = world
            .interrupted(&options, world.append(1_000, 1, 40))
            .await;
        match ended {
            Ok(report) => {
                assert!(gives_up);
                assert_eq!((report.files_out, report.groups_failed), (2, 2));
            }
            Err(error) => {
                assert!(!gives_up, "{}", chain(&error));
                assert_eq!(error.advice(), Advice::RetryLater);
            }
        }
        assert_eq!(world.rows().await.count(), 160);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_progress_that_commits_nothing_fails_however_many_commits_may() {
    let properties = json!({"commit.retry.num-retries": "0"});
    let world = World::with_properties("plain", "none", 3, 40, properties).await;
    let options = [
        ("rewrite-all", "true"),
        ("partial-progress.enabled", "true"),
        ("partial-progress.max-failed-commits", "9"),
    ];
    let error = world
        .interrupted(&options, world.append(1_000, 1, 40))
        .await
        .unwrap_err();
    assert_eq!(error.advice(), Advice::RetryLater, "{}", chain(&error));
    assert_eq!(world.rows().await.count(), 160);
}

/// Appends files of ten rows and deletes a row of each earlier one, until told to stop; returns
/// how many rows there must be.
async fn stream(world: &World, stop: &AtomicBool) -> u64 {
    let schema = arrow_schema(world.table().await.metadata.current_schema()).unwrap();
    let (mut rows, mut refused, mut last) = (0, 0, None);
    // Without an end it can starve the rewrites for minutes: every commit makes the next one longer.
    for round in 0_i64..100 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let table = world.table().await;
        let writer = FileWriter::new(&table, "stream").unwrap();
        let ids: Vec<i64> = (0..10).map(|n| 100_000 + round * 10 + n).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(ids)),
            Arc::new(StringViewArray::from(vec!["eu"; 10])),
            Arc::new(Float64Array::from(vec![Some(0.5); 10])),
            Arc::new(StringViewArray::from(vec![None::<&str>; 10])),
        ];
        let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let data = writer.data_file(vec![], &[batch]).await.unwrap();
        let path = data.file_path.clone();
        let changes = Changes {
            data: vec![data],
            ..Changes::default()
        };
        commit_changes(&*world.catalog, &world.name, &changes, world.now_ms().await)
            .await
            .unwrap();
        rows += 10;
        if let Some(earlier) = last.replace(path) {
            let positions = vec![(String::clone(&earlier), 3)];
            let deletes = vec![writer.position_deletes(vec![], positions).await.unwrap()];
            let changes = Changes {
                deletes,
                must_exist: vec![earlier],
                ..Changes::default()
            };
            match commit_changes(&*world.catalog, &world.name, &changes, world.now_ms().await).await
            {
                Ok(_) => rows -= 1,
                // The file was rewritten meanwhile: a writer would find the row and try again.
                Err(lake::Error::Moved(_)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    println!("{rows} rows streamed, {refused} deletes refused");
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrites_and_a_streaming_writer_share_a_table() {
    let properties = json!({"commit.retry.num-retries": "20", "commit.retry.min-wait-ms": "5"});
    let world = World::with_properties("plain", "none", 3, 20, properties).await;
    let stop = AtomicBool::new(false);
    let maintain = async {
        let mut reports = Vec::new();
        for round in 0..4 {
            let plan = world.plan(&[("min-input-files", "2")]).await;
            let job = format!("job-s{round}");
            match world.execute_as(&job, &job, &plan).await {
                Ok(report) => reports.push(report),
                Err(error) => assert_ne!(error.advice(), Advice::GiveUp, "{}", chain(&error)),
            }
        }
        stop.store(true, Ordering::Relaxed);
        reports
    };
    let (streamed, reports) = tokio::join!(stream(&world, &stop), maintain);
    assert!(
        reports.iter().any(|report| report.files_out > 0),
        "{reports:?}"
    );
    let rows = world.rows().await;
    assert_eq!(rows.count(), 60 + streamed);
    assert_eq!(rows.pyiceberg["hash"], rows.duckdb["hash"]);
}
