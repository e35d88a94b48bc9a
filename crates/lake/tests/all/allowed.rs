//! A table that names files outside the allowed locations: nothing there is read, copied or
//! deleted, whatever the table says.

use std::path::Path;

use lake::{Changes, commit_changes};
use planner::{Fate, Purge, Reason, Task};
use serde_json::json;
use storage::{Args, Storage};

use crate::world::{ALL, World, chain};

const REFUSED: &str = "lies outside SNOWPACK_LOCATIONS=";

/// A table below `folder/lake`, which is all that may be touched.
async fn fenced_in(folder: &Path) -> World {
    let warehouse = format!("file://{}/lake", folder.display());
    let storage = Storage::new(&Args {
        warehouse: Some(warehouse.clone()),
        locations: Some(warehouse.clone()),
        ..Args::default()
    });
    let world = World::on(&storage.unwrap(), warehouse, json!({})).await;
    let made = json!({"schema": "plain", "spec": "none", "files": 3, "rows": 20, "seed": 1});
    world.oracle("make", made).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_does_not_copy_what_lies_outside_the_allowed_locations() {
    let folder = tempfile::tempdir().unwrap();
    let world = fenced_in(folder.path()).await;
    // Another's file, which a committer claims for this table.
    let mut claimed = world.live().await.data[0].file.clone();
    let inside = claimed.file_path.trim_start_matches("file://").to_owned();
    let outside = folder.path().join("another.parquet");
    std::fs::copy(&inside, &outside).unwrap();
    claimed.file_path = format!("file://{}", outside.display());
    let changes = Changes {
        data: vec![claimed],
        ..Changes::default()
    };
    let now_ms = world.now_ms().await;
    commit_changes(&*world.catalog, &world.name, &changes, now_ms)
        .await
        .unwrap();
    let before = world.table().await.metadata_location;
    let task: Task = World::task(ALL);
    let refused = match planner::Engine::plan(
        &world.engine,
        &world.name,
        &task,
        &world.ledger,
        &planner::Unwatched,
    )
    .await
    {
        Ok(plan) => world.execute(&plan).await.unwrap_err(),
        Err(error) => error,
    };
    let said = chain(&refused);
    assert!(
        said.contains(REFUSED) && said.contains("another.parquet"),
        "{said}"
    );
    assert_eq!(refused.advice(), model::Advice::GiveUp);
    assert_eq!(world.table().await.metadata_location, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_keeps_what_lies_outside_the_allowed_locations() {
    let folder = tempfile::tempdir().unwrap();
    let world = fenced_in(folder.path()).await;
    let outside = folder.path().join("elsewhere/a.parquet");
    std::fs::create_dir_all(outside.parent().unwrap()).unwrap();
    std::fs::write(&outside, "0123456789").unwrap();
    let path = format!("file://{}", outside.display());
    let table = world.table().await;
    let uuid = table.metadata.uuid();
    world.ledger.waiting.add(uuid, &path, Reason::Expired);
    let want = Purge {
        kept: 1,
        ..Purge::default()
    };
    assert_eq!(world.purge().await, want);
    match world.ledger.waiting.fate(&path) {
        Some(Fate::Kept(why)) => assert!(why.contains(REFUSED), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(outside.exists());
}
