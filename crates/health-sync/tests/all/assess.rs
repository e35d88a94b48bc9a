//! One look at one table: what is stored, and whose thresholds apply.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::Catalog;
use maintenance::health::{Stored, history};
use metadata::Update;
use model::{Action, TableName};
use policy::{Defaults, Source};
use steward::health::{Assessed, Assessor, Keep, Payload};

use crate::world::{FILES, World};

fn assessor(world: &World) -> Assessor {
    let catalog: Arc<dyn Catalog> = world.catalog.clone();
    Assessor::new(catalog, Some(world.pool.clone()), Defaults::default())
}

async fn look(world: &World, table: &TableName, keep: Keep) -> Assessed {
    assessor(world).assess(table, keep).await.unwrap()
}

fn actions(assessed: &Assessed) -> Vec<Action> {
    assessed.payload().recommended_actions
}

#[tokio::test(flavor = "multi_thread")]
async fn m22_a_look_is_stored_with_facts_and_judgement() {
    let world = World::new().await;
    let table = world.written("db.events").await;
    let first = look(&world, &table, Keep::IfNew).await;
    let Some(Stored::New(id)) = first.stored else {
        panic!("{first:?}")
    };
    assert_eq!(first.facts.file_stats.total_data_files, FILES);
    assert_eq!(first.facts.total_records, FILES * 10);
    assert_eq!(
        (first.facts.snapshot_count, first.facts.manifest_count),
        (FILES, FILES)
    );
    assert_eq!(actions(&first), [Action::RewriteDataFiles]);
    assert!(first.assessment.score < 100.0);

    let latest = world.latest(&table).await.unwrap();
    assert_eq!(latest.health_snapshot_id, Some(id));
    let stored = Payload::read(latest.payload.clone().unwrap()).unwrap();
    assert_eq!(stored, first.payload(), "nothing is lost on the way");
    assert_eq!(latest.needs_maintenance, Some(true));
    assert!((latest.score.unwrap() - first.assessment.score).abs() < 0.001);

    let again = look(&world, &table, Keep::IfNew).await;
    assert_eq!(again.stored, Some(Stored::Unchanged));
    let moved = world.latest(&table).await.unwrap();
    assert!(moved.checked_at > latest.checked_at);
    assert_eq!(moved.assessed_at, latest.assessed_at);

    let always = look(&world, &table, Keep::Always).await;
    let Some(Stored::New(newer)) = always.stored else {
        panic!("{always:?}")
    };
    let client = world.pool.get().await.unwrap();
    let page = history(&**client, &table, None, 1).await.unwrap();
    assert_eq!(page[0].id, newer);
    let before = Some((page[0].assessed_at, page[0].id));
    let rest = history(&**client, &table, before, 10).await.unwrap();
    let ids: Vec<i64> = rest.iter().map(|snapshot| snapshot.id).collect();
    assert_eq!(ids, [id], "newest first, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn m23_a_table_that_was_never_assessed_has_no_newest() {
    let world = World::new().await;
    let table = world.written("db.events").await;
    assert_eq!(world.latest(&table).await, None);
    let unknown: TableName = "db.nothing".parse().unwrap();
    let error = assessor(&world)
        .assess(&unknown, Keep::IfNew)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "table db.nothing does not exist");
    assert_eq!(
        world.latest(&unknown).await,
        None,
        "anybody may ask for any name"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn m22_a_look_that_fails_is_noted_beside_what_was_known() {
    let world = World::new().await;
    let table = world.written("db.events").await;
    look(&world, &table, Keep::IfNew).await;
    std::fs::write(world.metadata(&table).await, b"nothing").unwrap();
    assessor(&world)
        .assess(&table, Keep::IfNew)
        .await
        .unwrap_err();
    let latest = world.latest(&table).await.unwrap();
    assert_eq!(latest.failure_count, 1);
    assert!(latest.payload.is_some() && latest.error.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn m27_the_tables_properties_go_over_the_defaults() {
    let world = World::new().await;
    let table = world.written("db.events").await;
    let set = async |key: &str, value: &str| {
        let base = world.catalog.load(&table).await.unwrap();
        let updates = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let update = Update::SetProperties { updates };
        world
            .catalog
            .commit(&base, Vec::new(), vec![update])
            .await
            .unwrap();
        look(&world, &table, Keep::IfNew).await
    };
    let more = set("snowpack.min_input_files", "7").await;
    assert_eq!(more.effective.min_input_files.source, Source::Table);
    assert_eq!(more.facts.file_stats.small_file_count, FILES);
    assert_eq!(more.facts.file_stats.compactable_file_count, 0);
    assert_eq!(actions(&more), []);

    let enough = set("snowpack.min_input_files", "6").await;
    assert_eq!(enough.facts.file_stats.compactable_file_count, FILES);
    assert_eq!(actions(&enough), [Action::RewriteDataFiles]);

    let tiny = set("snowpack.target_file_size_bytes", "1024").await;
    assert_eq!(tiny.facts.file_stats.target_file_size_bytes, 1024);
    assert_eq!(tiny.facts.file_stats.small_file_count, 0);

    let short = set("snowpack.max_snapshot_age_days", "0").await;
    assert_eq!(short.facts.snapshot_stats.expirable_count, FILES - 1);
    assert_eq!(actions(&short)[0], Action::ExpireSnapshots);
}

#[tokio::test(flavor = "multi_thread")]
async fn m34_without_a_database_a_look_is_stored_nowhere() {
    let world = World::new().await;
    let table = world.written("db.events").await;
    let catalog: Arc<dyn Catalog> = world.catalog.clone();
    let alone = Assessor::new(catalog, None, Defaults::default());
    let assessed = alone.assess(&table, Keep::Always).await.unwrap();
    assert_eq!(assessed.stored, None);
    let stored = look(&world, &table, Keep::IfNew).await;
    assert_eq!(assessed.payload(), stored.payload());
}
