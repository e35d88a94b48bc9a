//! Tables of format v1: rewritten, and v1 afterwards. PyIceberg makes them; documents of older
//! writers are made from PyIceberg's by taking away what those did not write.

use metadata::{Fields, live_files, read_manifest_list};
use model::{Action, JobId};
use planner::{Engine, Task, Unwatched};
use serde_json::{Value, json};

use crate::world::{ALL, Rows, World, chain};

async fn table(spec: &str, files: u32) -> World {
    World::with_properties("plain", spec, files, 20, json!({"format-version": "1"})).await
}

fn local(location: &str) -> &str {
    location.trim_start_matches("file://")
}

async fn document(world: &World) -> Value {
    let location = world.table().await.metadata_location;
    serde_json::from_slice(&std::fs::read(local(&location)).unwrap()).unwrap()
}

/// Changes the current document where it lies.
async fn edit(world: &World, change: impl FnOnce(&mut Value)) {
    let location = world.table().await.metadata_location;
    let mut document = document(world).await;
    change(&mut document);
    std::fs::write(local(&location), document.to_string()).unwrap();
}

/// Nothing that only format v2 has is in the document, its list or its manifests.
async fn assert_stays_v1(world: &World) {
    let document = document(world).await;
    assert_eq!(document["format-version"], 1);
    assert_eq!(document.get("last-sequence-number"), None);
    let last = document["snapshots"].as_array().unwrap().last().unwrap();
    assert_eq!(last["summary"]["operation"], "replace");
    assert_eq!(last.get("sequence-number"), None);
    // What old readers look at says the same as what new ones do.
    let find = |list: &str, key: &str, id: &str| {
        let mut entries = document[list].as_array().unwrap().iter();
        entries.find(|entry| entry[key] == document[id]).unwrap()
    };
    let schema = find("schemas", "schema-id", "current-schema-id");
    assert_eq!(document["schema"], *schema);
    let spec = find("partition-specs", "spec-id", "default-spec-id");
    assert_eq!(document["partition-spec"], spec["fields"]);
    // content, sequence numbers, equality ids, referenced data file; content and numbers of lists.
    let v2 = [134, 3, 4, 135, 143, 515, 516, 517];
    for header in world.oracle("headers", json!({})).await.as_array().unwrap() {
        assert_eq!(header["meta"]["format-version"], "1", "{header}");
        for key in ["content", "sequence-number"] {
            assert_eq!(header["meta"].get(key), None, "{header}");
        }
        let ids = header["ids"].as_array().unwrap();
        let found = ids.iter().find(|id| v2.contains(&id.as_i64().unwrap()));
        assert_eq!(found, None, "{header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_v1_table_is_rewritten_and_stays_v1() {
    for (spec, partitions) in [("none", 1), ("region", 4)] {
        let world = table(spec, 4).await;
        let deleted = json!({"where": "id in (3, 21, 22, 23)"});
        world.oracle("delete", deleted).await;
        let before = world.rows().await;
        let report = world.maintain(ALL).await;
        assert_eq!((report.files_out, report.rows_out), (partitions, 76));
        assert_eq!(world.rows().await, before);
        assert_stays_v1(&world).await;
        // What the rewrite left is carried by PyIceberg's next commit, and by ours after it.
        world.append(1_000, 2, 20).await;
        let before = world.rows().await;
        let report = world.maintain(ALL).await;
        assert_eq!((report.files_out, report.rows_out), (partitions, 116));
        assert_eq!(world.rows().await, before);
        assert_stays_v1(&world).await;
        let settled = world.plan(&[]).await;
        assert!(settled.nothing().is_some(), "{settled:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_v1_table_of_every_type_keeps_every_value() {
    let properties = json!({"format-version": "1"});
    let world = World::with_properties("wide", "day", 3, 40, properties).await;
    let before = world.rows().await;
    world.maintain(ALL).await;
    assert_eq!(world.rows().await, before);
    assert_stays_v1(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_v1_table_whose_schema_and_spec_changed_keeps_its_rows() {
    let world = table("none", 2).await;
    world.oracle("evolve", json!({"how": "add"})).await;
    world.append(200, 2, 20).await;
    world.oracle("evolve", json!({"how": "region"})).await;
    world.append(300, 2, 20).await;
    world
        .oracle("unpartition", json!({"field": "region"}))
        .await;
    world.append(400, 2, 20).await;
    let spec = world.table().await.metadata.default_spec().clone();
    let void = spec.fields.iter().find(|field| field.source_id == 2);
    assert_eq!(void.unwrap().transform, metadata::Transform::Void);
    let before = world.rows().await;
    assert_eq!(before.count(), 160);
    world.maintain(ALL).await;
    assert_eq!(world.rows().await, before);
    assert_stays_v1(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_to_a_v1_table_meanwhile_stays_and_the_rewrite_lands_on_top() {
    let world = table("none", 3).await;
    let append = world.append(1_000, 1, 20);
    let report = world.interrupted(ALL, append).await.unwrap();
    assert_eq!((report.files_in, report.files_out), (3, 1));
    assert_eq!(report.commit_attempts, 2);
    assert_eq!(world.rows().await.count(), 80);
    assert_eq!(world.live().await.data.len(), 2);
    assert_stays_v1(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_deleted_from_a_v1_table_meanwhile_stay_deleted() {
    let world = table("none", 3).await;
    let delete = async {
        world.oracle("delete", json!({"where": "id = 7"})).await;
    };
    world.interrupted(ALL, delete).await.unwrap();
    assert_eq!(world.rows().await.count(), 59);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_upgraded_to_v2_meanwhile_is_planned_again() {
    let world = table("region", 3).await;
    let before = world.rows().await;
    let upgrade = async {
        world.oracle("upgrade", json!({})).await;
    };
    let report = world.interrupted(ALL, upgrade).await.unwrap();
    assert_eq!(report.files_out, 4);
    assert_eq!(world.rows().await, before);
    let metadata = world.table().await.metadata;
    assert_eq!(metadata.format_version(), 2);
    // Its v1 manifests were written anew with numbers.
    assert_eq!(metadata.last_sequence_number(), 1);
    assert_eq!(world.ledger.reserved_with(".parquet"), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_job_finds_its_commit_in_a_v1_table() {
    let world = table("none", 3).await;
    let plan = world.plan(ALL).await;
    let report = world.execute_as("job-1", "attempt-1", &plan).await.unwrap();
    let (task, job) = (World::task(ALL), JobId::new("job-1"));
    let committed = world.engine.committed(&world.name, &task, &job).await;
    assert_eq!(committed.unwrap(), Some(report));
}

/// The document of a writer from before manifest lists, refs, ids of specs, schemas and partition
/// fields.
fn age(document: &mut Value, manifests: &[String]) {
    let fields = document.as_object_mut().unwrap();
    for key in [
        "schemas",
        "current-schema-id",
        "partition-specs",
        "default-spec-id",
        "last-partition-id",
        "sort-orders",
        "default-sort-order-id",
        "refs",
        "snapshot-log",
        "metadata-log",
    ] {
        fields.shift_remove(key);
    }
    let schema = document["schema"].as_object_mut().unwrap();
    schema.shift_remove("schema-id");
    for field in document["partition-spec"].as_array_mut().unwrap() {
        field.as_object_mut().unwrap().shift_remove("field-id");
    }
    let current = document["current-snapshot-id"].clone();
    let at = document["last-updated-ms"].clone();
    document["snapshots"] =
        json!([{"snapshot-id": current, "timestamp-ms": at, "manifests": manifests}]);
}

/// The table as an old writer would have left it, and its rows.
async fn aged(spec: &str) -> (World, Rows) {
    let world = table(spec, 4).await;
    let before = world.rows().await;
    let table = world.table().await;
    let current = table.metadata.current_snapshot().unwrap();
    let listed = read_manifest_list(&table.storage, current).await.unwrap();
    let manifests: Vec<String> = listed.into_iter().map(|m| m.manifest_path).collect();
    edit(&world, |document| age(document, &manifests)).await;
    (world, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_from_before_manifest_lists_is_rewritten_and_keeps_its_rows() {
    for (spec, partitions) in [("none", 1), ("region", 4)] {
        let (world, before) = aged(spec).await;
        let old = world.table().await.metadata;
        let first = old.current_snapshot().unwrap().clone();
        assert_eq!((first.manifests.len(), old.refs().len()), (4, 1));
        let report = world.maintain(ALL).await;
        assert_eq!(
            (report.files_in, report.files_out),
            (4 * partitions, partitions)
        );
        // The old snapshot is left as it was, and can still be read.
        let table = world.table().await;
        assert_eq!(table.metadata.snapshots()[0], first);
        let (storage, id) = (&table.storage, first.snapshot_id);
        let old = live_files(storage, &table.metadata, id, Fields::PLAN).await;
        assert_eq!(old.unwrap().data.len() as u64, 4 * partitions);
        // Readers of today want a list: they are shown the new snapshot alone.
        edit(&world, |document| {
            document["snapshots"].as_array_mut().unwrap().remove(0);
            document["snapshots"][0]
                .as_object_mut()
                .unwrap()
                .shift_remove("parent-snapshot-id");
        })
        .await;
        assert_eq!(world.rows().await, before);
        assert_stays_v1(&world).await;
    }
}

/// Manifests the old snapshot named itself and the new list carries must not be taken for its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_snapshot_without_a_list_reached_is_listed_when_it_expires() {
    let (world, before) = aged("none").await;
    // Two of the four files; the other two keep their manifests.
    let report = world
        .maintain(&[("rewrite-all", "true"), ("where", "id < 40")])
        .await;
    assert_eq!((report.files_in, report.files_out), (2, 1));
    let older_than = (world.now_ms().await + 3_600_000).to_string();
    let options = [("older_than".to_owned(), older_than)].into();
    let task = Task::parse(Action::ExpireSnapshots, &options).unwrap();
    let planned = world
        .engine
        .plan(&world.name, &task, &world.ledger, &Unwatched)
        .await;
    let report = world
        .execute_as("job-9", "attempt-9", &planned.unwrap())
        .await;
    assert_eq!(report.unwrap().expired.unwrap().snapshots, 1);
    let listed = world.ledger.deletions.listed();
    assert_eq!(
        listed.len(),
        4,
        "two data files, two manifests: {listed:#?}"
    );
    for path in listed {
        std::fs::remove_file(local(&path)).unwrap();
    }
    assert_eq!(world.table().await.metadata.snapshots().len(), 1);
    assert_eq!(world.rows().await, before);
    assert_stays_v1(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_uuid_is_refused_before_anything_is_written() {
    let world = table("none", 3).await;
    edit(&world, |document| {
        document.as_object_mut().unwrap().shift_remove("table-uuid");
    })
    .await;
    let planned = world
        .engine
        .plan(&world.name, &World::task(ALL), &world.ledger, &Unwatched)
        .await;
    let error = planned.unwrap_err();
    assert!(chain(&error).contains("table-uuid"), "{}", chain(&error));
    assert!(world.ledger.reserved.lock().unwrap().is_empty());
}
