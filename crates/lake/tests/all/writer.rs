//! The plain writer: what it commits is what DuckDB and PyIceberg read.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use lake::{Changes, Error, FileWriter, arrow_schema, commit_changes, key_schema};
use metadata::{Content, Literal};
use serde_json::json;

use crate::world::World;

async fn commit(world: &World, changes: &Changes) -> Result<catalog::Table, Error> {
    let now_ms = world.now_ms().await;
    commit_changes(&*world.catalog, &world.name, changes, now_ms).await
}

#[tokio::test(flavor = "multi_thread")]
async fn equality_deletes_hit_their_partition_and_global_ones_every_partition() {
    let world = World::with("plain", "none", 2, 20).await;
    world.oracle("evolve", json!({"how": "region"})).await;
    world.append(100, 2, 20).await;
    let table = world.table().await;
    let schema = Arc::new(key_schema(table.metadata.current_schema(), &[1]));
    let schema = arrow_schema(&schema).unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(4), Some(100), Some(101), None]));
    let ids = RecordBatch::try_new(schema, vec![ids]).unwrap();
    let global = FileWriter::new(&table, "global").unwrap();
    let global = global.with_spec(0).unwrap();
    let global = global.equality_deletes(vec![], &[1], &[ids]).await.unwrap();
    // The key names the partition too: DuckDB applies the deletes of one to all of its spec.
    let schema = Arc::new(key_schema(table.metadata.current_schema(), &[4, 2]));
    let regions: ArrayRef = Arc::new(StringViewArray::from(vec!["eu"]));
    let notes: ArrayRef = Arc::new(StringViewArray::from(vec![None::<&str>]));
    let notes = RecordBatch::try_new(arrow_schema(&schema).unwrap(), vec![regions, notes]).unwrap();
    let writer = FileWriter::new(&table, "test").unwrap();
    let eu = vec![Some(Literal::String("eu".to_owned()))];
    let nulls = writer
        .equality_deletes(eu, &[4, 2], &[notes])
        .await
        .unwrap();
    assert_eq!(nulls.content, Content::EqualityDeletes);
    assert_eq!((global.record_count, nulls.null_value_counts[&4]), (4, 1));
    assert_eq!(global.lower_bounds[&1][..], 4i64.to_le_bytes());
    assert_eq!(global.upper_bounds[&1][..], 101i64.to_le_bytes());
    let changes = Changes {
        deletes: vec![global, nulls],
        ..Changes::default()
    };
    let table = commit(&world, &changes).await.unwrap();
    let summary = &table.metadata.current_snapshot().unwrap().summary;
    assert_eq!(summary["total-equality-deletes"], "5");
    // Of 80 rows three by their id; of the eu rows 100, 104 .. 136 the ones without a note: 108, 120
    // and 132.
    let read = world.oracle("read", json!({"readers": ["duckdb"]})).await;
    assert_eq!(read["duckdb"]["rows"], 80 - 3 - 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_taken_out_on_what_was_read_only() {
    let world = World::with("plain", "none", 3, 20).await;
    let read = world
        .table()
        .await
        .metadata
        .current_snapshot()
        .unwrap()
        .snapshot_id;
    let first = world.live().await.data[0].file.clone();
    let changes = Changes {
        removed: vec![first.file_path.clone()],
        based_on: Some(read),
        ..Changes::default()
    };
    let table = commit(&world, &changes).await.unwrap();
    let current = table.metadata.current_snapshot().unwrap();
    assert_eq!(current.summary["operation"], "delete");
    assert_eq!(current.summary["total-data-files"], "2");
    assert_eq!(current.summary["deleted-records"], "20");
    let rows = world.rows().await;
    assert_eq!(rows.count(), 40);
    assert_eq!(rows.pyiceberg["hash"], rows.duckdb["hash"]);
    // The branch has moved; then the file is gone already.
    let refused = commit(&world, &changes).await;
    assert!(matches!(refused, Err(Error::Moved(_))), "{refused:?}");
    let changes = Changes {
        based_on: None,
        ..changes
    };
    let refused = commit(&world, &changes).await;
    assert!(matches!(refused, Err(Error::Moved(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_written_beside_main() {
    let world = World::with("plain", "none", 2, 20).await;
    let before = world.rows().await;
    let first = world.live().await.data[0].file.file_path.clone();
    let changes = Changes {
        removed: vec![first],
        branch: Some("audit".to_owned()),
        ..Changes::default()
    };
    let table = commit(&world, &changes).await.unwrap();
    let refs = table.metadata.refs();
    let audit = table.metadata.snapshot(refs["audit"].snapshot_id).unwrap();
    assert_eq!(audit.parent_snapshot_id, Some(refs["main"].snapshot_id));
    assert_eq!(audit.summary["total-records"], "20");
    assert_eq!(world.rows().await, before);
}
