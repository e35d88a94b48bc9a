//! Another writer lands on an expiring snapshot: before the intent, before the swap, and between
//! both at a catalog that checks only the refs it is told of.

use std::sync::Arc;

use lake::NativeEngine;
use planner::{EngineError, Report};
use serde_json::json;

use super::{check, check_but, expire_as, made, made_of, planned, seen, soon, tag};
use crate::deletions::{Death, Step};
use crate::ledger::Break;
use crate::rest_like::RestLike;
use crate::world::{World, chain};

async fn rest() -> World {
    rest_of("2").await
}

async fn rest_of(version: &str) -> World {
    let mut world = made_of(version).await;
    world.engine = NativeEngine::new(Arc::new(RestLike::new(world.catalog.clone())));
    world
}

/// The expiry runs up to its first swap; then `meanwhile` runs; then it goes on.
async fn expire_while<F: Future<Output = ()>>(
    world: &World,
    meanwhile: F,
) -> Result<Report, EngineError> {
    world.ledger.pause(1);
    let other = async {
        world.ledger.paused().await;
        meanwhile.await;
        world.ledger.resume();
    };
    let (ended, ()) = tokio::join!(expire_as(world, "attempt-1"), other);
    ended
}

async fn list_of(world: &World, snapshot_id: i64) -> String {
    let table = world.table().await;
    table
        .metadata
        .snapshot(snapshot_id)
        .unwrap()
        .manifest_list
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_made_after_the_plan_keeps_its_snapshot() {
    let world = made().await;
    let before = seen(&world).await;
    let older_than = soon(&world).await;
    let plan = planned(&world, &[("older_than", &older_than)])
        .await
        .unwrap();
    tag(&world, "late", before.snapshots[1]).await;
    let report = world.execute(&plan).await.unwrap();
    let after = check(&world, &before).await;
    assert_eq!(after.snapshots.len(), 2);
    assert_eq!(
        report.expired.unwrap().snapshots as usize,
        before.snapshots.len() - 2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_or_branch_or_rollback_before_the_swap_keeps_its_snapshot() {
    for how in ["tag", "branch", "rollback"] {
        let world = made().await;
        let before = seen(&world).await;
        let id = before.snapshots[1];
        let report = expire_while(&world, async {
            if how == "rollback" {
                drop(world.oracle("rollback", json!({"snapshot_id": id})).await);
            } else {
                let asked = json!({"kind": how, "name": "late", "snapshot_id": id});
                drop(world.oracle("ref", asked).await);
            }
        });
        let report = report.await.unwrap();
        assert_eq!(report.commit_attempts, 2, "{how}");
        let after = check(&world, &before).await;
        assert!(after.snapshots.contains(&id), "{how}");
        assert_eq!(world.ledger.deletions.open_count(), 0, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_meanwhile_changes_nothing_for_the_expired() {
    let world = rest().await;
    let before = seen(&world).await;
    let ended = expire_while(&world, world.append(900, 1, 5)).await;
    let report = ended.unwrap();
    let after = check(&world, &before).await;
    // What was main's head at the plan stays: it was not planned to go.
    assert_eq!(after.snapshots.len(), 2);
    assert_eq!(
        report.expired.unwrap().snapshots as usize,
        before.snapshots.len() - 1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_the_catalog_dropped_comes_back_as_a_branch_and_nothing_is_listed() {
    dropped_tag("2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_of_a_v1_table_comes_back_too() {
    dropped_tag("1").await;
}

async fn dropped_tag(version: &str) {
    let world = rest_of(version).await;
    let before = seen(&world).await;
    let id = before.snapshots[1];
    let old_list = list_of(&world, id).await;
    let error = expire_while(&world, tag(&world, "late", id))
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains(&format!("`late` landed on snapshot {id}")),
        "{text}"
    );
    assert_eq!(world.ledger.deletions.listed(), Vec::<String>::new());
    let now = seen(&world).await;
    let branch = now.reach["refs"][format!("snowpack-undo-{id}")]
        .as_i64()
        .unwrap();
    assert_eq!(now.rows[branch.to_string()], before.rows[id.to_string()]);

    // The next run lists what the others alone reached, and the branch keeps its files.
    let report = expire_as(&world, "attempt-2").await.unwrap();
    let after = check_but(&world, &before, Some(&old_list)).await;
    assert!(after.paths.contains(&list_of(&world, branch).await));
    assert_eq!(after.rows[branch.to_string()], before.rows[id.to_string()]);
    assert_eq!(
        report.expired.unwrap().snapshots as usize,
        before.snapshots.len() - 2
    );
    assert_eq!(world.ledger.deletions.open_count(), 0);
}

/// The undo is also made by whoever settles what a dead process left.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_tag_comes_back_though_the_expiry_died_after_its_swap() {
    let world = rest().await;
    let before = seen(&world).await;
    let id = before.snapshots[1];
    let old_list = list_of(&world, id).await;
    world.ledger.deletions.die(Death::After(Step::Swap));
    expire_while(&world, tag(&world, "late", id))
        .await
        .unwrap_err();
    let error = expire_as(&world, "attempt-2").await.unwrap_err();
    assert!(
        chain(&error).contains("landed on snapshot"),
        "{}",
        chain(&error)
    );
    expire_as(&world, "attempt-3").await.unwrap();
    check_but(&world, &before, Some(&old_list)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_log_back_to_the_plan_nothing_is_listed() {
    let mut world = World::with_properties(
        "plain",
        "none",
        3,
        5,
        json!({"write.metadata.previous-versions-max": "1"}),
    )
    .await;
    world.engine = NativeEngine::new(Arc::new(RestLike::new(world.catalog.clone())));
    // Changes no ref, so that the swap is not refused.
    let ended = expire_while(&world, async {
        for how in ["add", "spec"] {
            world.oracle("evolve", json!({"how": how})).await;
        }
    });
    let ended = ended.await;
    let text = chain(&ended.unwrap_err());
    assert!(text.contains("no longer reaches"), "{text}");
    assert_eq!(world.ledger.deletions.listed(), Vec::<String>::new());
}

/// A catalog in another database compares the metadata file's location, so no log is needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_by_location_needs_no_log_back_to_the_plan() {
    let mut world = World::with_properties(
        "plain",
        "none",
        3,
        5,
        json!({"write.metadata.previous-versions-max": "1"}),
    )
    .await;
    world.engine = NativeEngine::new(Arc::new(world.catalog_elsewhere().await));
    let before = seen(&world).await;
    world.ledger.deletions.die(Death::After(Step::Swap));
    expire_as(&world, "attempt-1").await.unwrap_err();
    for _ in 0..2 {
        world.append(100, 1, 8).await;
    }
    // Nothing more is old enough to go.
    let plan = planned(&world, &[]).await.unwrap();
    let report = world.execute_as("job-1", "attempt-2", &plan).await;
    let expired = report.unwrap().expired.unwrap().snapshots as usize;
    assert_eq!(expired, before.snapshots.len() - 1);
    check(&world, &before).await;
    assert_eq!(world.ledger.deletions.open_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_looked_for_and_nothing_is_done_twice() {
    for (how, tried) in [(Break::LostAnswer, 1), (Break::LostRequest, 2)] {
        let world = made().await;
        let before = seen(&world).await;
        world.ledger.break_next(how);
        let report = expire_as(&world, "attempt-1").await.unwrap();
        assert_eq!(report.commit_attempts, tried, "{how:?}");
        assert_eq!(
            report.expired.unwrap().snapshots as usize,
            before.snapshots.len() - 1
        );
        check(&world, &before).await;
        assert_eq!(world.ledger.deletions.open_count(), 0, "{how:?}");
    }
}

/// A request a dead attempt sent to a catalog that cannot see the fence may land for a day.
#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_may_still_land_stays_open_for_a_day() {
    let world = rest().await;
    let before = seen(&world).await;
    world.ledger.deletions.die(Death::Before(Step::Swap));
    expire_as(&world, "attempt-1").await.unwrap_err();
    let plan = planned(&world, &[]).await.unwrap();
    world.execute_as("job-2", "attempt-2", &plan).await.unwrap();
    assert_eq!(world.ledger.deletions.open_count(), 1);
    world.ledger.deletions.age();
    world.execute_as("job-2", "attempt-2", &plan).await.unwrap();
    assert_eq!(world.ledger.deletions.open_count(), 0);
    check(&world, &before).await;
}
