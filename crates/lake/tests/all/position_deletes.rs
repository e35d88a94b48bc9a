//! Position delete files rewritten into few: the same rows are deleted, and no other.

use catalog::Catalog;
use lake::{Changes, FileWriter, commit_changes};
use model::Action;
use planner::{Plan, Report, Task};
use serde_json::json;

use crate::ledger::Break;
use crate::rewrite::delete_rows;
use crate::world::{ALL, World, chain};

/// However few there are.
const TWO: (&str, &str) = ("min-input-files", "2");

fn task(options: &[(&str, &str)]) -> Task {
    World::task_of(Action::RewritePositionDeleteFiles, options)
}

async fn plan(world: &World, options: &[(&str, &str)]) -> Plan {
    world.plan_of(&task(options)).await
}

async fn rewrite(world: &World, options: &[(&str, &str)]) -> Report {
    let plan = plan(world, options).await;
    world.execute(&plan).await.expect("they are rewritten")
}

/// Four partitions of three data files, each with three delete files.
async fn deleted() -> World {
    let world = World::with("plain", "region", 3, 40).await;
    delete_thrice(&world, false).await;
    world
}

async fn delete_thrice(world: &World, scoped: bool) {
    for rows in [[2, 5], [3, 5], [0, 7]] {
        delete_rows(world, &rows, scoped).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_delete_files_of_a_partition_become_one() {
    let world = deleted().await;
    let rows = world.rows().await;
    assert_eq!(world.live().await.deletes.len(), 12);
    let report = rewrite(&world, &[TWO]).await;
    assert_eq!((report.files_in, report.files_out), (12, 4));
    let deletes = report.deletes.clone().unwrap();
    // Six of every data file, of which one was there twice.
    assert_eq!((deletes.removed, deletes.added), (72, 60));
    let live = world.live().await;
    assert_eq!(live.deletes.len(), 4);
    // The highest of those it was made of: three appends, then three of deletes.
    assert!(
        live.deletes
            .iter()
            .all(|delete| delete.sequence_number == 6)
    );
    assert_eq!(world.rows().await, rows);
    let table = world.table().await;
    let summary = &table.metadata.current_snapshot().unwrap().summary;
    for (key, want) in [
        ("operation", "replace"),
        ("removed-delete-files", "12"),
        ("added-delete-files", "4"),
        ("total-delete-files", "4"),
        ("total-position-deletes", "60"),
        ("snowpack.action", "rewrite_position_delete_files"),
    ] {
        assert_eq!(summary[key], want, "{key}");
    }
    assert!(plan(&world, &[]).await.nothing().is_some());
    // They apply as before: a rewrite of the data finds the same rows.
    let applied = world.maintain(ALL).await;
    assert_eq!(applied.deletes_applied, 60);
    assert_eq!(world.rows().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_of_files_that_are_gone_go_too() {
    let world = deleted().await;
    let options = [ALL[0], ("where", "region = 'eu'")];
    world.maintain(&options).await;
    let rows = world.rows().await;
    let report = rewrite(&world, &[TWO]).await;
    assert_eq!((report.files_in, report.files_out), (12, 3));
    assert_eq!(report.deletes.unwrap().added, 45);
    assert_eq!(world.rows().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_one_data_file_stay_so_when_the_table_says_so() {
    let by_file = json!({"write.delete.granularity": "file"});
    let world = World::with_properties("plain", "region", 3, 40, by_file).await;
    delete_thrice(&world, true).await;
    let rows = world.rows().await;
    let report = rewrite(&world, &[TWO]).await;
    assert_eq!((report.files_in, report.files_out), (36, 12));
    let live = world.live().await;
    let named = |delete: &metadata::LiveFile| delete.file.referenced_data_file.is_some();
    assert!(live.deletes.iter().all(named));
    assert_eq!(world.rows().await, rows);
    // One each is as few as it can be.
    let none = rewrite(&world, &[TWO]).await;
    assert!(none.skipped.is_some(), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_apart_by_data_file_stays_apart_when_the_table_says_nothing() {
    let world = World::with("plain", "region", 3, 40).await;
    delete_thrice(&world, true).await;
    let rows = world.rows().await;
    let report = rewrite(&world, &[TWO]).await;
    assert_eq!((report.files_in, report.files_out), (36, 12));
    assert_eq!(world.rows().await, rows);
    // Few for the partition where the table asks for that.
    let set = metadata::Update::SetProperties {
        updates: [(
            "write.delete.granularity".to_owned(),
            "partition".to_owned(),
        )]
        .into(),
    };
    let table = world.table().await;
    world
        .catalog
        .commit(&table, vec![], vec![set])
        .await
        .unwrap();
    let report = rewrite(&world, &[TWO]).await;
    assert_eq!((report.files_in, report.files_out), (12, 4));
    assert_eq!(world.rows().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_names_rows_of_another_partition_is_left_with_its_group() {
    let world = deleted().await;
    let rows = world.rows().await;
    let table = world.table().await;
    let live = world.live().await;
    let place = |live: &metadata::LiveFile| live.file.partition.clone();
    let first = &live.data[0];
    let same = live
        .data
        .iter()
        .find(|data| place(data) == place(first) && data != &first);
    let other = live.data.iter().find(|data| place(data) != place(first));
    let (same, other) = (same.unwrap(), other.unwrap());
    let names = [first, same, other].map(|data| (data.file.file_path.clone(), 2));
    let writer = FileWriter::new(&table, "zz-odd").unwrap();
    let file = writer.position_deletes(place(first), names.to_vec()).await;
    let path = file.as_ref().unwrap().file_path.clone();
    let changes = Changes {
        deletes: vec![file.unwrap()],
        ..Changes::default()
    };
    let now_ms = world.now_ms().await;
    let committed = commit_changes(&*world.catalog, &world.name, &changes, now_ms).await;
    committed.unwrap();
    let report = rewrite(&world, &[TWO]).await;
    // Three of the four groups.
    assert_eq!((report.files_in, report.files_out), (9, 3));
    let left = world.live().await;
    assert!(
        left.deletes
            .iter()
            .any(|delete| delete.file.file_path == path)
    );
    // Position 2 was deleted everywhere before.
    assert_eq!(world.rows().await, rows);
    let planned = plan(&world, &[TWO]).await;
    let refused = world.execute(&planned).await.unwrap_err();
    assert!(
        chain(&refused).contains("another partition"),
        "{}",
        chain(&refused)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_that_come_meanwhile_stay() {
    let world = deleted().await;
    let plan = plan(&world, &[TWO]).await;
    let meanwhile = async {
        world.append(1_000, 1, 20).await;
        delete_rows(&world, &[9], false).await;
    };
    let report = world.executed_beside(&plan, meanwhile).await.unwrap();
    assert_eq!((report.files_in, report.commit_attempts), (12, 2));
    let read = world.rows().await;
    assert_eq!(read.pyiceberg["hash"], read.duckdb["hash"]);
    let live = world.live().await;
    let had = 120 + 20;
    let nines = live.data.iter().filter(|data| data.file.record_count > 9);
    assert_eq!(read.count(), had - 60 - nines.count() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_rewrite_removed_meanwhile_is_planned_again() {
    let world = deleted().await;
    let plan = plan(&world, &[TWO]).await;
    let other = async {
        world.ledger.let_through(1);
        let drop = ("remove-dangling-deletes", "true");
        let options = [ALL[0], drop, ("where", "region = 'eu'")];
        world.maintain(&options).await;
    };
    let report = world.executed_beside(&plan, other).await.unwrap();
    assert_eq!((report.files_in, report.files_out), (9, 3));
    let rows = world.rows().await;
    assert_eq!(rows.count(), 60);
    assert_eq!(rows.pyiceberg, rows.duckdb);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_of_a_data_file_that_a_rollback_brings_back_are_not_lost() {
    let world = deleted().await;
    let rows = world.rows().await;
    let table = world.table().await;
    let before = table.metadata.current_snapshot().unwrap().snapshot_id;
    // Its data files are gone, its delete files stay.
    let options = [ALL[0], ("where", "region = 'eu'")];
    world.maintain(&options).await;
    let plan = plan(&world, &[TWO]).await;
    let back = async {
        world
            .oracle("rollback", json!({"snapshot_id": before}))
            .await;
    };
    let report = world.executed_beside(&plan, back).await.unwrap();
    assert_eq!(report.files_in, 12);
    assert_eq!(world.rows().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_the_swap_they_are_rewritten_once_and_reported() {
    for how in Break::ENDS {
        let world = deleted().await;
        let rows = world.rows().await;
        let report = world.maintained_in_spite_of(how, &task(&[TWO])).await;
        assert_eq!((report.files_in, report.files_out), (12, 4), "{how:?}");
        assert_eq!(world.live().await.deletes.len(), 4, "{how:?}");
        assert_eq!(world.rows().await, rows, "{how:?}");
    }
}
