//! Broken input, lost answers, and ends at every point: the table is as before or as after.

use model::{Advice, JobId};
use planner::{Engine, EngineError};
use serde_json::json;

use crate::ledger::Break;
use crate::world::{ALL, World, chain};

fn local(path: &str) -> String {
    path.trim_start_matches("file://").to_owned()
}

/// Executes a plan that must fail and leave the table as it was; returns the error.
async fn fails(world: &World) -> EngineError {
    let before = world.table().await;
    let plan = world.plan(ALL).await;
    let error = world.execute(&plan).await.unwrap_err();
    assert_eq!(
        world.table().await.metadata_location,
        before.metadata_location
    );
    assert_eq!(*world.ledger.swaps.lock().unwrap(), 0);
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_named() {
    let world = World::with("plain", "none", 3, 20).await;
    let path = world.live().await.data[1].file.file_path.clone();
    std::fs::remove_file(local(&path)).unwrap();
    let error = fails(&world).await;
    assert_eq!(error.advice(), Advice::GiveUp);
    assert!(
        chain(&error).contains(&path) && chain(&error).contains("does not exist"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_file_is_named() {
    let world = World::with("plain", "none", 3, 20).await;
    let path = world.live().await.data[1].file.file_path.clone();
    let bytes = std::fs::read(local(&path)).unwrap();
    std::fs::write(local(&path), &bytes[..bytes.len() / 2]).unwrap();
    let error = fails(&world).await;
    assert_eq!(error.advice(), Advice::GiveUp);
    assert!(chain(&error).contains(&path), "{}", chain(&error));
    assert!(
        chain(&error).contains(&bytes.len().to_string()),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named() {
    let world = World::with("plain", "none", 3, 20).await;
    let path = world.live().await.data[1].file.file_path.clone();
    let mut bytes = std::fs::read(local(&path)).unwrap();
    bytes[4..64].fill(0xff);
    std::fs::write(local(&path), &bytes).unwrap();
    let error = fails(&world).await;
    assert!(chain(&error).contains(&path), "{}", chain(&error));
}

/// Else the rewrite would make the flipped bit last, and give it a good checksum.
#[tokio::test(flavor = "multi_thread")]
async fn a_bit_flipped_below_a_page_checksum_is_noticed() {
    let world = World::with("plain", "none", 2, 20).await;
    let mut file = world.live().await.data[0].file.clone();
    let to = file.file_path.replace(".parquet", "-flipped.parquet");
    let asked = json!({"path": file.file_path, "to": to});
    let made = world.oracle("rewrite_file", asked).await;
    file.file_path.clone_from(&to);
    file.file_size_in_bytes = made["bytes"].as_u64().unwrap();
    let changes = lake::Changes {
        data: vec![file],
        ..lake::Changes::default()
    };
    let now = world.now_ms().await;
    lake::commit_changes(&*world.catalog, &world.name, &changes, now)
        .await
        .unwrap();
    let error = chain(&fails(&world).await);
    assert!(error.contains(&to) && error.contains("checksum"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_field_ids_is_refused_before_anything_is_written() {
    let world = World::with("plain", "none", 3, 20).await;
    world.oracle("add_file", json!({})).await;
    let error = fails(&world).await;
    assert_eq!(error.advice(), Advice::GiveUp);
    assert!(chain(&error).contains("no field id"), "{}", chain(&error));
    assert!(world.ledger.reserved.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_type_is_refused_before_anything_is_written() {
    let world = World::with("wide", "none", 2, 20).await;
    let steps = json!([["type", "small", "string"]]);
    world
        .ask("evolution", "evolve", json!({"steps": steps}))
        .await;
    let error = fails(&world).await;
    assert!(
        chain(&error).contains("column small as Int32"),
        "{}",
        chain(&error)
    );
    assert!(world.ledger.reserved.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_before_the_swap_the_next_attempt_does_it() {
    let world = World::with("plain", "region", 3, 40).await;
    let before = world.rows().await;
    let plan = world.plan(ALL).await;
    world.ledger.break_next(Break::Before);
    world.execute(&plan).await.unwrap_err();
    assert_eq!(world.rows().await, before);
    let job = JobId::new("job-1");
    assert_eq!(
        world
            .engine
            .committed(&world.name, &World::task(ALL), &job)
            .await
            .unwrap(),
        None
    );
    let report = world.execute_as("job-1", "attempt-2", &plan).await.unwrap();
    assert_eq!(report.files_out, 4);
    assert_eq!(world.rows().await, before);
    // Nothing of the first attempt is part of the table.
    let live = world.live().await;
    assert!(
        live.data
            .iter()
            .all(|file| file.file.file_path.contains("attempt-2"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_after_the_swap_the_next_attempt_recognises_it() {
    let world = World::with("plain", "region", 3, 40).await;
    let before = world.rows().await;
    let plan = world.plan(ALL).await;
    world.ledger.break_next(Break::After);
    world.execute(&plan).await.unwrap_err();
    let task = World::task(ALL);
    let report = world
        .engine
        .committed(&world.name, &task, &JobId::new("job-1"))
        .await
        .unwrap();
    let report = report.expect("it was committed");
    assert_eq!(
        (report.files_in, report.files_out, report.rows_out),
        (12, 4, 120)
    );
    assert_eq!(
        report.snapshot_id,
        world
            .table()
            .await
            .metadata
            .current_snapshot()
            .map(|s| s.snapshot_id)
    );
    assert_eq!(
        world
            .engine
            .committed(&world.name, &task, &JobId::new("job-2"))
            .await
            .unwrap(),
        None
    );
    assert_eq!(world.rows().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_looked_for_before_anything_else() {
    for (how, swaps) in [(Break::LostAnswer, 1), (Break::LostRequest, 2)] {
        let properties = json!({"commit.retry.min-wait-ms": "1"});
        let world = World::with_properties("plain", "none", 4, 25, properties).await;
        let before = world.rows().await;
        world.ledger.break_next(how);
        let report = world.maintain(ALL).await;
        assert_eq!((report.files_out, report.rows_out), (1, 100));
        assert_eq!(*world.ledger.swaps.lock().unwrap(), swaps, "{how:?}");
        assert_eq!(world.rows().await, before);
        let table = world.table().await;
        let ours = table
            .metadata
            .snapshots()
            .iter()
            .filter(|s| s.summary["operation"] == "replace");
        assert_eq!(ours.count(), 1, "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_attempt_stops() {
    let world = World::with("plain", "none", 3, 20).await;
    let before = world.table().await.metadata_location;
    let plan = world.plan(ALL).await;
    world.ledger.break_next(Break::Replaced);
    let error = world.execute(&plan).await.unwrap_err();
    assert_eq!(error.advice(), Advice::Stop);
    assert_eq!(world.table().await.metadata_location, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_or_drained_rewrite_commits_nothing() {
    for cancel in [true, false] {
        let world = World::with("plain", "none", 3, 20).await;
        let before = world.table().await.metadata_location;
        let plan = world.plan(ALL).await;
        if cancel {
            world.signals.cancel.cancel();
        } else {
            world.signals.drain.cancel();
        }
        let ended = world.execute(&plan).await;
        assert!(matches!(ended, Err(EngineError::Stopped)), "{ended:?}");
        assert_eq!(world.table().await.metadata_location, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_when_only_the_commit_is_missing_it_is_made() {
    let world = World::with("plain", "none", 3, 20).await;
    let drain = async { world.signals.drain.cancel() };
    let report = world.interrupted(ALL, drain).await.unwrap();
    assert_eq!(report.files_out, 1);
    assert_eq!(world.live().await.data.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_before_a_retry_nothing_is_committed() {
    let world = World::with("plain", "none", 3, 20).await;
    let meanwhile = async {
        world.append(1_000, 1, 20).await;
        world.signals.cancel.cancel();
    };
    let ended = world.interrupted(ALL, meanwhile).await;
    assert!(matches!(ended, Err(EngineError::Stopped)), "{ended:?}");
    assert_eq!(world.live().await.data.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_the_table_no_longer_has_means_plan_again() {
    let world = World::with("plain", "none", 3, 20).await;
    let plan = world.plan(ALL).await;
    let path = world.live().await.data[0].file.file_path.clone();
    world
        .oracle("delete", json!({"where": "id >= 0 and id < 60"}))
        .await;
    assert!(world.live().await.data.is_empty());
    std::fs::remove_file(local(&path)).unwrap();
    let error = world.execute(&plan).await.unwrap_err();
    assert_eq!(error.advice(), Advice::PlanAgain, "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_on_a_snapshot_that_is_gone_is_not_begun() {
    let world = World::with("plain", "none", 2, 20).await;
    let first = world.table().await.metadata.snapshots()[0].snapshot_id;
    let plan = world.plan(ALL).await;
    world
        .oracle("rollback", json!({"snapshot_id": first}))
        .await;
    let error = world.execute(&plan).await.unwrap_err();
    assert_eq!(error.advice(), Advice::PlanAgain, "{}", chain(&error));
    assert!(world.ledger.reserved.lock().unwrap().is_empty());
}

/// A table of three small files, one of which says of itself what `lie` makes of it.
async fn lying(lie: impl FnOnce(&mut metadata::DataFile)) -> World {
    let world = World::with("plain", "none", 2, 20).await;
    let mut file = world.live().await.data[0].file.clone();
    let path = local(&file.file_path);
    let copy = path.replace(".parquet", "-copy.parquet");
    std::fs::copy(&path, &copy).unwrap();
    file.file_path = format!("file://{copy}");
    lie(&mut file);
    let changes = lake::Changes {
        data: vec![file],
        ..lake::Changes::default()
    };
    let now = world.now_ms().await;
    lake::commit_changes(&*world.catalog, &world.name, &changes, now)
        .await
        .unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_rows_that_do_not_add_up_are_not_committed() {
    let world = lying(|file| file.record_count += 1).await;
    let error = fails(&world).await;
    assert!(
        chain(&error).contains("20 rows, its manifest says 21"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_column_counts_that_do_not_add_up_are_not_committed() {
    let world = lying(|file| {
        file.null_value_counts.insert(1, 3);
    })
    .await;
    let error = fails(&world).await;
    assert_eq!(error.advice(), Advice::GiveUp);
    assert!(
        chain(&error).contains("column 1: 3 nulls in, 0 out"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_ended_attempt_committed_is_kept_and_counted() {
    let world = World::with("plain", "region", 4, 40).await;
    let before = world.rows().await;
    let options = [
        ("rewrite-all", "true"),
        ("partial-progress.enabled", "true"),
        ("max-concurrent-file-group-rewrites", "1"),
    ];
    let plan = world.plan(&options).await;
    // The first commit lands, the second ends the process.
    world.ledger.break_next(Break::Before);
    world.ledger.let_through(1);
    world.execute(&plan).await.unwrap_err();
    let (task, job) = (World::task(&options), JobId::new("job-1"));
    assert_eq!(
        world
            .engine
            .committed(&world.name, &task, &job)
            .await
            .unwrap(),
        None
    );
    assert_eq!(world.live().await.data.len(), 13);
    let again = world
        .plan(&[("min-input-files", "2"), options[1], options[2]])
        .await;
    let report = world
        .execute_as("job-1", "attempt-2", &again)
        .await
        .unwrap();
    assert_eq!(
        (report.files_in, report.files_out, report.rows_out),
        (16, 4, 160)
    );
    assert_eq!(world.rows().await, before);
    let committed = world
        .engine
        .committed(&world.name, &task, &job)
        .await
        .unwrap();
    assert_eq!(committed, Some(report));
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_between_commits_what_was_committed_stays() {
    let world = World::with("plain", "region", 3, 40).await;
    let before = world.rows().await;
    let options = [
        ("rewrite-all", "true"),
        ("partial-progress.enabled", "true"),
        ("max-concurrent-file-group-rewrites", "1"),
    ];
    let drain = async { world.signals.drain.cancel() };
    let ended = world.interrupted(&options, drain).await;
    assert!(matches!(ended, Err(EngineError::Stopped)), "{ended:?}");
    assert_eq!(*world.ledger.swaps.lock().unwrap(), 1);
    assert_eq!(world.live().await.data.len(), 10);
    assert_eq!(world.rows().await, before);
    // The next attempt finds nothing left that is worth it, and reports what was done; another
    // job did nothing.
    let left = world.plan(&[]).await;
    assert!(left.nothing().is_some(), "{left:?}");
    let report = world.execute_as("job-1", "attempt-2", &left).await.unwrap();
    assert_eq!(
        (report.skipped, report.files_in, report.files_out),
        (None, 3, 1)
    );
    let other = world.execute_as("job-2", "attempt-3", &left).await.unwrap();
    assert!(other.skipped.is_some() && other.files_in == 0, "{other:?}");
}
