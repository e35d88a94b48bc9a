//! Manifests merged into fewer: every live file is tracked as before, whoever wrote its entry.

use std::collections::BTreeMap;

use metadata::{LiveFile, LiveFiles, ManifestContent, ManifestFile, read_manifest_list};
use model::Action;
use planner::{Engine, Plan, Report, Task, Unwatched};
use serde_json::json;

use crate::fixtures::Fixture;
use crate::ledger::Break;
use crate::world::{ALL, World, chain};

/// All that is known of every live file, but for where it is tracked.
pub(crate) fn tracked(live: &LiveFiles) -> Vec<LiveFile> {
    let mut files: Vec<LiveFile> = live.data.iter().chain(&live.deletes).cloned().collect();
    for file in &mut files {
        file.manifest = 0;
    }
    files.sort_by(|a, b| a.file.file_path.cmp(&b.file.file_path));
    files
}

fn task(options: &[(&str, &str)]) -> Task {
    World::task_of(Action::RewriteManifests, options)
}

async fn plan(world: &World, options: &[(&str, &str)]) -> Plan {
    world.plan_of(&task(options)).await
}

async fn merge(world: &World, options: &[(&str, &str)]) -> Report {
    let plan = plan(world, options).await;
    world.execute(&plan).await.expect("the merge succeeds")
}

async fn listed(world: &World) -> Vec<ManifestFile> {
    let table = world.table().await;
    let current = table.metadata.current_snapshot().unwrap();
    read_manifest_list(&table.storage, current).await.unwrap()
}

async fn nothing(world: &World, options: &[(&str, &str)]) -> String {
    let plan = plan(world, options).await;
    plan.nothing().expect("nothing is left to do").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_manifests_become_one_that_tracks_every_file_as_before() {
    let world = World::with("plain", "region", 12, 40).await;
    let (before, rows) = (tracked(&world.live().await), world.rows().await);
    assert_eq!(listed(&world).await.len(), 12);
    let report = merge(&world, &[]).await;
    assert_eq!((report.files_in, report.files_out), (12, 1));
    let entries = report.manifest_entries.clone().unwrap();
    assert_eq!((entries.moved, entries.kept), (before.len() as u64, 0));
    assert_eq!(tracked(&world.live().await), before);
    assert_eq!(world.rows().await, rows);
    let manifests = listed(&world).await;
    assert_eq!(manifests.len(), 1);
    assert_eq!(manifests[0].existing_files_count, Some(before.len() as i32));
    assert_eq!(manifests[0].min_sequence_number, 1);
    assert_eq!(report.bytes_out, manifests[0].manifest_length as u64);
    let table = world.table().await;
    let snapshot = table.metadata.current_snapshot().unwrap();
    let said = |key: &str| snapshot.summary.get(key).map_or("", String::as_str);
    for (key, want) in [
        ("operation", "replace"),
        ("manifests-replaced", "12"),
        ("manifests-created", "1"),
        ("manifests-kept", "0"),
        ("snowpack.action", "rewrite_manifests"),
        ("total-records", "480"),
    ] {
        assert_eq!(said(key), want, "{key}");
    }
    // One to one is no work.
    assert_eq!(
        nothing(&world, &[]).await,
        "no two manifests are worth merging"
    );
    nothing(&world, &[("rewrite-all", "true")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_sorted_by_partition_and_split_at_the_target() {
    let world = World::with("plain", "region", 30, 40).await;
    let before = tracked(&world.live().await);
    let one = merge(&world, &[]).await.bytes_out;
    assert_eq!(listed(&world).await.len(), 1);
    let target = (one / 5).to_string();
    let options = [("rewrite-all", "true"), ("target-size-bytes", &*target)];
    let again = merge(&world, &options).await;
    assert_eq!(again.files_in, 1);
    assert!(again.files_out > 1, "{again:?}");
    let summaries = listed(&world).await;
    let bounds = summaries.iter().map(|one| {
        let region = &one.partitions.as_ref().unwrap()[0];
        (region.lower_bound.clone(), region.upper_bound.clone())
    });
    let bounds: Vec<_> = bounds.collect();
    assert!(bounds.is_sorted_by(|a, b| a.1 <= b.0), "{bounds:?}");
    let live = world.live().await;
    assert_eq!(tracked(&live), before);
    let partitions = live.data.iter().map(|file| &file.file.partition);
    assert!(partitions.is_sorted(), "sorted by partition");
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_s_manifests_of_data_and_deletes_are_never_mixed() {
    let fixture = Fixture::take("deletes").await;
    let world = &fixture.world;
    let (before, rows) = (tracked(&world.live().await), world.rows().await);
    let kinds = |manifests: &[ManifestFile]| {
        let mut kinds: BTreeMap<(ManifestContent, i32), usize> = BTreeMap::new();
        for manifest in manifests {
            let kind = (manifest.content, manifest.partition_spec_id);
            *kinds.entry(kind).or_default() += 1;
        }
        kinds
    };
    let had = kinds(&listed(world).await);
    assert!(had.values().any(|count| *count > 1), "{had:?}");
    let report = merge(world, &[]).await;
    assert_eq!(report.files_out as usize, {
        let merged = had.values().filter(|count| **count > 1);
        merged.count()
    });
    let has = kinds(&listed(world).await);
    assert!(has.values().all(|count| *count == 1), "{has:?}");
    assert_eq!(
        has.keys().collect::<Vec<_>>(),
        had.keys().collect::<Vec<_>>()
    );
    assert_eq!(tracked(&world.live().await), before);
    assert_eq!(world.rows().await, rows);
    nothing(world, &[]).await;
}

async fn v1(files: u32) -> World {
    let v1 = json!({"format-version": "1"});
    World::with_properties("plain", "region", files, 20, v1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_v1_table_s_manifests_are_merged_and_stay_v1() {
    let world = v1(3).await;
    let (before, rows) = (tracked(&world.live().await), world.rows().await);
    let report = merge(&world, &[]).await;
    assert_eq!((report.files_in, report.files_out), (3, 1));
    assert_eq!(world.table().await.metadata.format_version(), 1);
    assert_eq!(tracked(&world.live().await), before);
    assert_eq!(world.rows().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_from_before_an_upgrade_get_their_numbers() {
    let world = v1(5).await;
    world.oracle("upgrade", json!({})).await;
    world.append(2_000, 2, 20).await;
    let (before, rows) = (tracked(&world.live().await), world.rows().await);
    let report = merge(&world, &[]).await;
    assert_eq!(report.files_in, 7);
    assert!(listed(&world).await.len() < 3);
    assert_eq!(tracked(&world.live().await), before);
    assert_eq!(world.rows().await, rows);
    nothing(&world, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_meanwhile_stays_and_nothing_is_written_again() {
    let world = World::with("plain", "none", 5, 20).await;
    let plan = plan(&world, &[]).await;
    let append = world.append(1_000, 1, 20);
    let report = world.executed_beside(&plan, append).await.unwrap();
    assert_eq!((report.files_in, report.commit_attempts), (5, 2));
    assert_eq!(report.manifest_entries.unwrap().kept, 1);
    assert_eq!(world.ledger.reserved_with("-m"), 1);
    assert_eq!(world.rows().await.count(), 120);
    assert_eq!(world.live().await.data.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_another_writer_replaced_is_merged_as_it_is_by_then() {
    let world = World::with("plain", "none", 6, 20).await;
    let plan = plan(&world, &[]).await;
    let rewrite = async {
        world.ledger.let_through(1);
        let options = [("rewrite-all", "true"), ("where", "id < 30")];
        world.maintain(&options).await;
    };
    let report = world.executed_beside(&plan, rewrite).await.unwrap();
    assert_eq!(report.outcome(), model::ActionOutcome::Done);
    assert_eq!(world.rows().await.count(), 120);
    assert!(world.live().await.data.len() < 6);
    nothing(&world, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_the_swap_it_is_made_once_and_reported() {
    for how in Break::ENDS {
        let world = World::with("plain", "region", 4, 20).await;
        let before = tracked(&world.live().await);
        let report = world.maintained_in_spite_of(how, &task(&[])).await;
        assert_eq!((report.files_in, report.files_out), (4, 1), "{how:?}");
        assert_eq!(tracked(&world.live().await), before, "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_little_memory_it_is_merged_piece_by_piece() {
    let world = World::with("plain", "region", 9, 40).await;
    let before = tracked(&world.live().await);
    let plan = plan(&world, &[]).await;
    let piecewise = world
        .execute_with("job-1", "attempt-1", &plan, 90_000)
        .await;
    let report = piecewise.unwrap();
    assert!((2..9).contains(&report.files_out), "{report:?}");
    assert_eq!(tracked(&world.live().await), before);
    // Where as many would be left, nothing is committed.
    let at = world.table().await.metadata_location;
    let plan = self::plan(&world, &[]).await;
    let none = world.execute_with("job-2", "attempt-2", &plan, 1_000).await;
    let why = none.unwrap().skipped.unwrap();
    assert!(why.starts_with("merged, they are no fewer"), "{why}");
    assert_eq!(world.table().await.metadata_location, at);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_leaves_the_table_as_it_was() {
    for drain in [false, true] {
        let world = World::with("plain", "none", 3, 20).await;
        let plan = plan(&world, &[]).await;
        let at = world.table().await.metadata_location;
        if drain {
            world.signals.drain.cancel();
        } else {
            world.signals.cancel.cancel();
        }
        let ended = world.execute(&plan).await;
        assert!(matches!(ended, Err(planner::EngineError::Stopped)));
        assert_eq!(world.table().await.metadata_location, at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_missing_manifest_is_named_and_nothing_changes() {
    for damage in [None, Some(&b"Obj\x01"[..])] {
        let world = World::with("plain", "none", 3, 20).await;
        let planned = plan(&world, &[]).await;
        let path = listed(&world).await[1].manifest_path.clone();
        let local = path.trim_start_matches("file://");
        match damage {
            None => std::fs::remove_file(local).unwrap(),
            Some(bytes) => std::fs::write(local, bytes).unwrap(),
        }
        let at = world.table().await.metadata_location;
        let error = world.execute(&planned).await.unwrap_err();
        assert!(chain(&error).contains(&path), "{}", chain(&error));
        let asked = task(&[]);
        let planned = world
            .engine
            .plan(&world.name, &asked, &world.ledger, &Unwatched);
        let error = planned.await.unwrap_err();
        assert!(chain(&error).contains(&path), "{}", chain(&error));
        assert_eq!(world.table().await.metadata_location, at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_snapshots_has_nothing_to_merge() {
    let world = World::with("plain", "none", 0, 0).await;
    assert_eq!(nothing(&world, &[]).await, "the table has no manifests");
    let planned = plan(&world, &[]).await;
    let report = world.execute(&planned).await.unwrap();
    assert_eq!(
        report.skipped.as_deref(),
        Some("the table has no manifests")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_hold_only_removed_files_are_dropped() {
    let world = World::with("plain", "none", 4, 20).await;
    world.maintain(ALL).await;
    let before = tracked(&world.live().await);
    // The rewrite's, of what it added and of what it removed.
    let had = listed(&world).await;
    assert_eq!(had.len(), 2);
    let report = merge(&world, &[]).await;
    assert_eq!((report.files_in, report.files_out), (2, 1));
    assert_eq!(tracked(&world.live().await), before);
}
