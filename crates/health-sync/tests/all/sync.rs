//! A pass over the inventory: what it costs, its bounds, and where the next one goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use maintenance::loops::{self, Outcome};
use model::TableName;
use runner::Memory;
use runtime::Shutdown;
use steward::health::{Cut, LOOP};
use tokio::sync::Barrier;

use crate::watched::Watched;
use crate::world::{FILES, World, syncing};

const SNAPSHOTS: &str = "select count(*) from snowpack.health_snapshots";

#[tokio::test(flavor = "multi_thread")]
async fn m24_every_table_is_assessed_and_an_unchanged_one_costs_one_load_and_no_manifest() {
    let world = World::new().await;
    let mut tables = world.tables(20).await;
    tables.push(world.written("db.events").await);
    let first = world.sync(&world.watched(), &syncing(10)).await;
    assert_eq!((first.changed, first.unchanged, first.failed), (21, 0, 0));
    assert_eq!(first.outcome(), Outcome::Done);
    let payload = world.latest(&tables[20]).await.unwrap().payload.unwrap();
    assert_eq!(payload["file_stats"]["total_data_files"], FILES);
    assert_eq!(
        payload["recommended_actions"],
        serde_json::json!(["rewrite_data_files"])
    );

    let lists_and_manifests = world.files(".avro");
    assert!(lists_and_manifests.len() as u64 >= FILES);
    for file in lists_and_manifests {
        std::fs::remove_file(file).unwrap();
    }
    let watched = world.watched();
    let second = world.sync(&watched, &syncing(10)).await;
    assert_eq!(
        (second.changed, second.unchanged, second.failed),
        (0, 21, 0),
        "{second:?}"
    );
    let loads = watched.loads();
    let distinct: BTreeSet<&TableName> = loads.iter().collect();
    assert_eq!((loads.len(), distinct.len()), (21, 21), "one load each");
    assert_eq!(
        world.count(SNAPSHOTS).await,
        21,
        "history holds what is new"
    );

    let client = world.pool.get().await.unwrap();
    let passes = loops::list(&**client).await.unwrap();
    let pass = passes.iter().find(|pass| pass.name == LOOP).unwrap();
    assert_eq!(pass.outcome.as_deref(), Some("done"));
    assert_eq!(
        pass.detail.as_deref(),
        Some("21 assessed (0 changed), 0 failed")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_as_many_tables_as_asked_are_looked_at_side_by_side_and_no_more() {
    let world = World::new().await;
    world.tables(16).await;
    let four = Arc::new(Barrier::new(4));
    // Nobody goes on before four are there: fewer side by side would never end.
    let watched = Watched::new(&world.catalog, move |_, _| {
        let four = Arc::clone(&four);
        async move {
            four.wait().await;
            Ok(())
        }
        .boxed()
    });
    let synced = world.sync(&watched, &syncing(4)).await;
    assert_eq!((synced.changed, synced.failed), (16, 0), "{synced:?}");
    assert_eq!((watched.most(), synced.at_once_most), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_fewer_are_looked_at_side_by_side_where_memory_is_short() {
    let world = World::new().await;
    world.tables(8).await;
    let mut short = syncing(8);
    short.memory = Memory::new(64 << 20);
    let watched = world.watched();
    let synced = world.sync(&watched, &short).await;
    assert_eq!((synced.changed, synced.failed), (8, 0), "{synced:?}");
    assert_eq!(watched.most(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_a_pass_that_is_stopped_is_resumed_at_the_tables_it_left() {
    let world = World::new().await;
    let tables = world.tables(12).await;
    let shutdown = Shutdown::default();
    let drain = shutdown.drain.clone();
    let stopped = Watched::new(&world.catalog, move |before, _| {
        if before == 4 {
            drain.cancel();
        }
        async { Ok(()) }.boxed()
    });
    let first = world.sync_until(&stopped, &syncing(1), &shutdown).await;
    assert_eq!((first.changed, &first.cut), (5, &Some(Cut::Stopped)));
    assert_eq!(first.outcome(), Outcome::Partial);
    assert_eq!(stopped.loads(), tables[..5]);

    let watched = world.watched();
    let second = world.sync(&watched, &syncing(1)).await;
    assert_eq!((second.changed, second.unchanged), (7, 5));
    let wanted = [&tables[5..], &tables[..5]].concat();
    assert_eq!(watched.loads(), wanted, "the stalest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_a_deadline_cuts_a_pass_short_and_the_next_goes_on() {
    let world = World::new().await;
    let tables = world.tables(6).await;
    let deadline = Duration::from_millis(200);
    let slow = Watched::new(&world.catalog, move |_, _| {
        async move {
            let held = Instant::now();
            while held.elapsed() <= deadline {
                tokio::task::yield_now().await;
            }
            Ok(())
        }
        .boxed()
    });
    let mut hurried = syncing(1);
    hurried.deadline = Some(deadline);
    let first = world.sync(&slow, &hurried).await;
    assert_eq!(
        (first.changed, &first.cut),
        (1, &Some(Cut::Deadline)),
        "{first:?}"
    );
    assert_eq!(first.outcome(), Outcome::Partial);
    let watched = world.watched();
    world.sync(&watched, &syncing(1)).await;
    assert_eq!(watched.loads(), [&tables[1..], &tables[..1]].concat());

    hurried.deadline = Some(Duration::ZERO);
    let none = world.sync(&world.watched(), &hurried).await;
    assert_eq!((none.assessed(), &none.cut), (0, &Some(Cut::Deadline)));
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_more_tables_than_a_page_are_each_looked_at_once() {
    let world = World::new().await;
    let tables = world.tables(2).await;
    let client = world.pool.get().await.unwrap();
    // Many names of one table's metadata.
    let many = "insert into iceberg_tables (catalog_name, table_namespace, table_name, \
                metadata_location) select catalog_name, table_namespace, 'copy' || n, \
                metadata_location from iceberg_tables, generate_series(1, 450) as n \
                where table_name = 't000'";
    client.execute(many, &[]).await.unwrap();
    let know = "insert into snowpack.table_cache_entries (database_name, table_name) \
                select 'db', 'copy' || n from generate_series(1, 450) as n";
    client.execute(know, &[]).await.unwrap();
    let watched = world.watched();
    let synced = world.sync(&watched, &syncing(10)).await;
    let all = 450 + tables.len();
    assert_eq!((synced.changed, synced.failed), (all as u64, 0));
    let loads = watched.loads();
    assert_eq!(loads.iter().collect::<BTreeSet<_>>().len(), all);
    assert_eq!(loads.len(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_an_empty_inventory_is_done_at_once() {
    let world = World::new().await;
    let synced = world.sync(&world.watched(), &syncing(10)).await;
    assert_eq!((synced.assessed(), synced.outcome()), (0, Outcome::Done));
}
