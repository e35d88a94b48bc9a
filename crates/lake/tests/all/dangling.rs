//! Delete files that apply to nothing are removed, and no other.

use model::Action;
use planner::{Plan, Report, Task};

use crate::equality::{
    ID, REGION, by_region, delete_equal, duckdb, everywhere, ids, texts, within,
};
use crate::ledger::Break;
use crate::rewrite::delete_rows;
use crate::world::{ALL, World};

fn task() -> Task {
    World::task_of(Action::RemoveDanglingDeletes, &[])
}

async fn plan(world: &World) -> Plan {
    world.plan_of(&task()).await
}

async fn remove(world: &World) -> Report {
    let plan = plan(world).await;
    world.execute(&plan).await.expect("they are removed")
}

/// What makes every output newer than the deletes it was read with.
const NEWER: (&str, &str) = ("use-starting-sequence-number", "false");

/// Position deletes that a rewrite applied and left.
async fn applied() -> World {
    let world = World::with("plain", "region", 3, 40).await;
    delete_rows(&world, &[2, 5], false).await;
    world.maintain(&[ALL[0], NEWER]).await;
    assert_eq!(world.live().await.deletes.len(), 4);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn position_deletes_older_than_all_data_go_and_no_row_comes_back() {
    let world = applied().await;
    let rows = world.rows().await;
    let report = remove(&world).await;
    assert_eq!((report.files_in, report.files_out), (4, 0));
    assert_eq!(report.deletes.as_ref().unwrap().removed, 24);
    assert_eq!(world.live().await.deletes, []);
    assert_eq!(world.rows().await, rows);
    let table = world.table().await;
    let summary = &table.metadata.current_snapshot().unwrap().summary;
    for (key, want) in [
        ("operation", "replace"),
        ("removed-delete-files", "4"),
        ("total-delete-files", "0"),
        ("snowpack.action", "remove_dangling_deletes"),
    ] {
        assert_eq!(summary[key], want, "{key}");
    }
    let nothing = plan(&world).await;
    assert_eq!(nothing.nothing(), Some("the table has no delete files"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_that_may_still_apply_stay() {
    let world = World::with("plain", "region", 3, 40).await;
    delete_rows(&world, &[2], false).await;
    let before = world.rows().await;
    let nothing = plan(&world).await;
    assert_eq!(nothing.nothing(), Some("every delete file may still apply"));
    // One of four partitions is rewritten.
    world
        .maintain(&[ALL[0], NEWER, ("where", "region = 'eu'")])
        .await;
    let report = remove(&world).await;
    assert_eq!(report.files_in, 1);
    assert_eq!(world.live().await.deletes.len(), 3);
    assert_eq!(world.rows().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn equality_deletes_go_once_nothing_older_is_left() {
    let world = by_region(2, 40).await;
    delete_equal(&world, everywhere(&[ID]), vec![ids(&[5])]).await;
    let eu = vec![ids(&[8]), texts(&[Some("eu")])];
    delete_equal(&world, within("eu", &[ID, REGION]), eu).await;
    assert!(plan(&world).await.nothing().is_some());
    world.maintain(ALL).await;
    let report = remove(&world).await;
    assert_eq!((report.files_in, report.deletes.unwrap().removed), (2, 2));
    assert_eq!(world.live().await.deletes, []);
    assert_eq!(duckdb(&world).await["rows"], 78);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_that_come_meanwhile_stay_and_apply() {
    let world = applied().await;
    let rows = world.rows().await.count();
    let plan = plan(&world).await;
    let meanwhile = async {
        world.append(1_000, 1, 20).await;
        delete_rows(&world, &[1], false).await;
    };
    let report = world.executed_beside(&plan, meanwhile).await.unwrap();
    assert_eq!((report.files_in, report.commit_attempts), (4, 2));
    let live = world.live().await;
    assert_eq!(live.deletes.len(), 4, "the new ones");
    let read = world.rows().await;
    assert_eq!(read.pyiceberg["hash"], read.duckdb["hash"]);
    assert_eq!(read.count(), rows + 20 - live.data.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_writer_may_leave_nothing_to_remove() {
    let world = applied().await;
    let plan = plan(&world).await;
    let other = async {
        world.ledger.let_through(1);
        remove(&world).await;
    };
    let report = world.executed_beside(&plan, other).await.unwrap();
    let why = report.skipped.unwrap();
    let want = "none of the delete files planned";
    assert!(why.starts_with(want), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_the_swap_they_are_removed_once_and_reported() {
    for how in Break::ENDS {
        let world = applied().await;
        let rows = world.rows().await;
        let report = world.maintained_in_spite_of(how, &task()).await;
        assert_eq!((report.files_in, report.files_out), (4, 0), "{how:?}");
        assert_eq!(world.live().await.deletes, [], "{how:?}");
        assert_eq!(world.rows().await, rows, "{how:?}");
    }
}
