//! Equality deletes: applied by a rewrite, dropped when nothing is left for them, and what is
//! wrong with a delete file never becomes what is wrong with a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray};
use catalog::{Catalog, NewTable};
use lake::{Changes, FileWriter, arrow_schema, commit_changes, key_schema};
use metadata::{DataFile, Field, Literal, PartitionSpec, Primitive, Schema, StructType, Type};
use planner::Report;
use serde_json::json;

use crate::rewrite::delete_rows;
use crate::world::{ALL, World, chain};

/// Rewrites everything and drops what is left without use.
const ALL_AND_DROP: &[(&str, &str)] =
    &[("rewrite-all", "true"), ("remove-dangling-deletes", "true")];

/// Field ids of the table `plain`.
pub(crate) const ID: i32 = 1;
pub(crate) const REGION: i32 = 2;
const NOTE: i32 = 4;

pub(crate) fn ids(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

pub(crate) fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from(values.to_vec()))
}

fn region(name: &str) -> Vec<Option<Literal>> {
    vec![Some(Literal::String(name.to_owned()))]
}

/// Where and on which fields an equality delete file deletes.
pub(crate) struct Scope<'a> {
    /// The current one when not said.
    pub(crate) spec_id: Option<i32>,
    pub(crate) partition: Vec<Option<Literal>>,
    pub(crate) ids: &'a [i32],
}

pub(crate) fn everywhere(ids: &[i32]) -> Scope<'_> {
    Scope {
        spec_id: Some(0),
        partition: vec![],
        ids,
    }
}

pub(crate) fn within<'a>(name: &str, ids: &'a [i32]) -> Scope<'a> {
    Scope {
        spec_id: None,
        partition: region(name),
        ids,
    }
}

/// Writes an equality delete file whose columns are in the order of the schema.
pub(crate) async fn written(world: &World, scope: Scope<'_>, columns: Vec<ArrayRef>) -> DataFile {
    let table = world.table().await;
    let schema = Arc::new(key_schema(table.metadata.current_schema(), scope.ids));
    let batch = RecordBatch::try_new(arrow_schema(&schema).unwrap(), columns).unwrap();
    let mut writer = FileWriter::new(&table, "test").unwrap();
    if let Some(spec_id) = scope.spec_id {
        writer = writer.with_spec(spec_id).unwrap();
    }
    writer
        .equality_deletes(scope.partition, scope.ids, &[batch])
        .await
        .unwrap()
}

pub(crate) async fn commit(world: &World, deletes: Vec<DataFile>) {
    let changes = Changes {
        deletes,
        ..Changes::default()
    };
    commit_changes(&*world.catalog, &world.name, &changes, world.now_ms().await)
        .await
        .unwrap();
}

/// Commits an equality delete file; returns its path.
pub(crate) async fn delete_equal(
    world: &World,
    scope: Scope<'_>,
    columns: Vec<ArrayRef>,
) -> String {
    let file = written(world, scope, columns).await;
    let path = file.file_path.clone();
    commit(world, vec![file]).await;
    path
}

/// The table as DuckDB reads it, which applies equality deletes; PyIceberg refuses them.
pub(crate) async fn duckdb(world: &World) -> serde_json::Value {
    let read = world.oracle("read", json!({"readers": ["duckdb"]})).await;
    read["duckdb"].clone()
}

/// A table partitioned by region, whose spec 0 has no fields, in `files` appends.
pub(crate) async fn by_region(files: u32, rows: u32) -> World {
    let world = World::with("plain", "none", 0, 0).await;
    world.oracle("evolve", json!({"how": "region"})).await;
    world.append(0, files, rows).await;
    world
}

async fn summary(world: &World, key: &str) -> String {
    let table = world.table().await;
    let current = table.metadata.current_snapshot().unwrap();
    let value = current.summary.get(key).map(String::as_str);
    value.unwrap_or("none").to_owned()
}

/// Rewrites, drops the deletes, and checks that all readers see what DuckDB saw before.
async fn rewritten(world: &World) -> Report {
    let before = duckdb(world).await;
    let report = world.maintain(ALL_AND_DROP).await;
    assert_eq!(world.live().await.deletes, []);
    let after = world.rows().await;
    assert_eq!(after.duckdb, before);
    assert_eq!(after.pyiceberg, before);
    assert_eq!(report.rows_in - report.deletes_applied, report.rows_out);
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_equal_to_newer_deletes_are_gone_and_counted_once() {
    let world = World::with("plain", "none", 4, 25).await;
    delete_equal(&world, everywhere(&[ID]), vec![ids(&[3, 50, 77, 5_000])]).await;
    // Ids that came back after they were deleted.
    world.append(50, 1, 25).await;
    let us = vec![texts(&[Some("us")]), texts(&[None])];
    delete_equal(&world, everywhere(&[NOTE, REGION]), us).await;
    // Rows 57 (twice) and 77 are deleted both ways.
    delete_rows(&world, &[2, 7], true).await;
    let report = rewritten(&world).await;
    assert_eq!((report.rows_in, report.deletes_applied), (125, 20));
    let plan = world.plan(&[]).await;
    assert!(plan.nothing().is_some(), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_reach_their_partition_and_global_ones_every_partition() {
    let world = by_region(3, 40).await;
    delete_equal(&world, everywhere(&[ID]), vec![ids(&[4, 5, 6, 7])]).await;
    let eu = vec![ids(&[8, 9]), texts(&[Some("eu"), Some("us")])];
    delete_equal(&world, within("eu", &[ID, REGION]), eu).await;
    // Row 9 lies in another partition than the delete that names it.
    let report = world.maintain(ALL_AND_DROP).await;
    assert_eq!((report.files_out, report.deletes_applied), (4, 5));
    let rows = world.rows().await;
    assert_eq!(rows.count(), 115);
    assert_eq!(rows.pyiceberg, rows.duckdb);
    assert_eq!(world.live().await.deletes, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_rows_are_all_deleted_becomes_none() {
    let world = World::with("plain", "none", 2, 30).await;
    let all: Vec<i64> = (0..60).collect();
    delete_equal(&world, everywhere(&[ID]), vec![ids(&all)]).await;
    let report = world.maintain(ALL_AND_DROP).await;
    assert_eq!((report.files_in, report.files_out), (2, 0));
    let live = world.live().await;
    assert_eq!((live.data.len(), live.deletes.len()), (0, 0));
    assert_eq!(summary(&world, "total-records").await, "0");
}

/// What a pass takes at least, five times over.
const MANY_KEYS: i64 = 5_000;

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_fit_are_looked_up_in_many_passes() {
    let mut left = Vec::new();
    for memory_bytes in [256 << 10, 256 << 20] {
        let world = World::with("plain", "none", 2, 4_000).await;
        let first: Vec<i64> = (0..MANY_KEYS).map(|n| 2 * n).collect();
        delete_equal(&world, everywhere(&[ID]), vec![ids(&first)]).await;
        let second: Vec<i64> = (0..MANY_KEYS).map(|n| 3 * n).collect();
        delete_equal(&world, everywhere(&[ID]), vec![ids(&second)]).await;
        let plan = world.plan(ALL).await;
        let report = world.execute_with("job-1", "attempt-1", &plan, memory_bytes);
        let report = report.await.unwrap();
        let alive = world
            .progress
            .alive
            .load(std::sync::atomic::Ordering::Relaxed);
        left.push((report.rows_out, duckdb(&world).await["hash"].clone(), alive));
    }
    // A third of 8,000 is in neither sequence.
    assert_eq!(left[0].0, 2_667);
    assert_eq!((left[0].0, &left[0].1), (left[1].0, &left[1].1));
    // Each pass reads both files again, and says so four times.
    assert!(left[0].2 >= left[1].2 + 4 * 8, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_matched_by_field_id_whatever_became_of_their_columns() {
    let world = World::with("plain", "none", 2, 30).await;
    // Rows 5, 22 and 56.
    let note = vec![texts(&[Some("note 5 ✓ ü")])];
    delete_equal(&world, everywhere(&[NOTE]), note).await;
    world.oracle("evolve", json!({"how": "rename"})).await;
    world.oracle("evolve", json!({"how": "add"})).await;
    // A column the files do not have: null equals null, and nothing else.
    let extra: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1)]));
    delete_equal(&world, everywhere(&[ID, 5]), vec![ids(&[10, 11]), extra]).await;
    world
        .oracle("evolve", json!({"how": "drop", "column": "remark"}))
        .await;
    let report = world.maintain(ALL_AND_DROP).await;
    assert_eq!((report.rows_in, report.deletes_applied), (60, 4));
    let rows = world.rows().await;
    assert_eq!(rows.count(), 56);
    assert_eq!(rows.pyiceberg, rows.duckdb);
}

/// A table of two columns, whose second is widened later.
async fn narrow() -> World {
    let world = World::new().await;
    let column = |id, name: &str, ty| Field::new(id, name, false, Type::Primitive(ty));
    let new = NewTable {
        schema: Schema {
            schema_id: 0,
            root: StructType {
                fields: vec![
                    column(1, "row", Primitive::Long),
                    column(2, "small", Primitive::Int),
                ],
            },
            identifier_field_ids: Vec::new(),
        },
        spec: PartitionSpec::unpartitioned(),
        properties: BTreeMap::from([("format-version".to_owned(), "2".to_owned())]),
        location: None,
    };
    let namespace = ["db".to_owned()];
    let properties = BTreeMap::new();
    let made = world.catalog.create_namespace(&namespace, &properties);
    made.await.unwrap();
    world.catalog.create_table(&world.name, new).await.unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_from_before_and_after_a_column_was_widened_are_the_same_values() {
    let world = narrow().await;
    let append = async |small: ArrayRef| {
        let table = world.table().await;
        let schema = arrow_schema(table.metadata.current_schema()).unwrap();
        let rows = ids(&(0..10).collect::<Vec<_>>());
        let batch = RecordBatch::try_new(schema, vec![rows, small]).unwrap();
        let writer = FileWriter::new(&table, "test").unwrap();
        let changes = Changes {
            data: vec![writer.data_file(vec![], &[batch]).await.unwrap()],
            ..Changes::default()
        };
        commit_changes(&*world.catalog, &world.name, &changes, world.now_ms().await)
            .await
            .unwrap();
    };
    append(Arc::new(Int32Array::from_iter_values(0..10))).await;
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![3]));
    delete_equal(&world, everywhere(&[2]), vec![narrow]).await;
    world.oracle("evolve", json!({"how": "widen"})).await;
    append(ids(&(0..10).collect::<Vec<_>>())).await;
    delete_equal(&world, everywhere(&[2]), vec![ids(&[5, 1 << 40])]).await;
    let report = world.maintain(ALL_AND_DROP).await;
    assert_eq!((report.rows_in, report.deletes_applied), (20, 3));
    let rows = world.rows().await;
    assert_eq!(rows.count(), 17);
    assert_eq!(rows.pyiceberg, rows.duckdb);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_lies_in_the_partition_only_is_compared() {
    let world = World::with("plain", "region", 2, 20).await;
    let mut changes = Changes::default();
    for live in world.live().await.data {
        let mut file = live.file;
        let to = file.file_path.replace(".parquet", "-bare.parquet");
        let asked = json!({"path": file.file_path, "to": to, "without": "region"});
        let made = world.oracle("rewrite_file", asked).await;
        changes.removed.push(file.file_path);
        file.file_path = to;
        file.file_size_in_bytes = made["bytes"].as_u64().unwrap();
        for counts in [&mut file.value_counts, &mut file.null_value_counts] {
            counts.remove(&REGION);
        }
        changes.data.push(file);
    }
    let now = world.now_ms().await;
    commit_changes(&*world.catalog, &world.name, &changes, now)
        .await
        .unwrap();
    // Rows 0, 12, 24 and 36: those of eu without a note.
    let keys = vec![texts(&[Some("eu"), Some("us")]), texts(&[None, None])];
    delete_equal(&world, within("eu", &[REGION, NOTE]), keys).await;
    let report = world.maintain(ALL_AND_DROP).await;
    assert_eq!((report.rows_in, report.deletes_applied), (40, 4));
    assert_eq!(world.rows().await.count(), 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_file_goes_when_nothing_it_can_apply_to_is_left() {
    let world = by_region(3, 40).await;
    delete_equal(&world, everywhere(&[ID]), vec![ids(&[5])]).await;
    let eu = vec![ids(&[8]), texts(&[Some("eu")])];
    delete_equal(&world, within("eu", &[ID, REGION]), eu).await;
    let mut only_eu = ALL_AND_DROP.to_vec();
    only_eu.push(("where", "region = 'eu'"));
    world.maintain(&only_eu).await;
    // The other partitions still need the global one.
    for (key, want) in [
        ("removed-delete-files", "1"),
        ("removed-equality-delete-files", "1"),
        ("removed-equality-deletes", "1"),
        ("total-equality-deletes", "1"),
        ("total-delete-files", "1"),
        ("deleted-records", "30"),
        ("added-records", "29"),
    ] {
        assert_eq!(summary(&world, key).await, want, "{key}");
    }
    world.maintain(ALL_AND_DROP).await;
    assert_eq!(summary(&world, "total-delete-files").await, "0");
    assert_eq!(summary(&world, "total-equality-deletes").await, "0");
    let rows = world.rows().await;
    assert_eq!(rows.count(), 118);
    assert_eq!(rows.pyiceberg, rows.duckdb);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_files_stay_unless_asked() {
    let world = by_region(2, 40).await;
    delete_equal(&world, everywhere(&[ID]), vec![ids(&[5])]).await;
    let eu = vec![ids(&[8]), texts(&[Some("eu")])];
    delete_equal(&world, within("eu", &[ID, REGION]), eu).await;
    let report = world.maintain(ALL).await;
    assert_eq!(report.deletes_applied, 2);
    assert_eq!(world.live().await.deletes.len(), 2);
    assert_eq!(duckdb(&world).await["rows"], 78);
    // They apply to nothing any more.
    let report = world.maintain(ALL_AND_DROP).await;
    assert_eq!(report.deletes_applied, 0);
    assert_eq!(world.live().await.deletes, []);
    assert_eq!(world.rows().await.count(), 78);
}

/// Rewrites and expects to be told why not; the table is as before.
async fn fails(world: &World, why: &str) {
    let before = world.table().await.metadata_location;
    let plan = world.plan(ALL).await;
    let error = world.execute(&plan).await.unwrap_err();
    assert!(chain(&error).contains(why), "{why}: {}", chain(&error));
    assert_eq!(world.table().await.metadata_location, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_file_that_is_not_what_it_says_stops_the_rewrite() {
    let local = |path: &str| path.trim_start_matches("file://").to_owned();
    let world = World::with("plain", "none", 2, 20).await;
    let path = delete_equal(&world, everywhere(&[ID]), vec![ids(&[1, 2])]).await;
    let whole = std::fs::read(local(&path)).unwrap();
    std::fs::write(local(&path), vec![7; whole.len()]).unwrap();
    fails(&world, &path).await;
    std::fs::write(local(&path), &whole[..40]).unwrap();
    fails(&world, "its manifest says").await;
    std::fs::remove_file(local(&path)).unwrap();
    fails(&world, &path).await;
    std::fs::write(local(&path), &whole).unwrap();
    let mut lying = written(&world, everywhere(&[ID]), vec![ids(&[3])]).await;
    lying.record_count = 2;
    commit(&world, vec![lying]).await;
    fails(&world, "it has 1 rows, its manifest says 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_delete_file_lacks_its_key_is_left_and_others_are_not() {
    let world = by_region(2, 40).await;
    let mut lying = written(&world, within("eu", &[ID]), vec![ids(&[4])]).await;
    lying.equality_ids = Some(vec![ID, NOTE]);
    let path = lying.file_path.clone();
    commit(&world, vec![lying]).await;
    let report = world.maintain(ALL).await;
    assert_eq!((report.files_out, report.groups_failed), (3, 1));
    assert_eq!(world.live().await.data.len(), 5);
    let mut only_eu = ALL.to_vec();
    only_eu.push(("where", "region = 'eu'"));
    let plan = world.plan(&only_eu).await;
    let error = world.execute_as("job-9", "attempt-9", &plan).await;
    let error = chain(&error.unwrap_err());
    let lacks = format!(
        "{path} is said to delete rows equal in column note (field id 4), which it does not have"
    );
    assert!(error.contains(&lacks), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn position_deletes_of_another_tables_file_delete_nothing() {
    let world = World::with("plain", "none", 2, 20).await;
    let writer = FileWriter::new(&world.table().await, "test").unwrap();
    let named = vec![
        ("file:///elsewhere/a.parquet".to_owned(), 1),
        ("file:///elsewhere/b.parquet".to_owned(), 2),
    ];
    let delete = writer.position_deletes(vec![], named).await.unwrap();
    let path = delete.file_path.clone();
    commit(&world, vec![delete]).await;
    let report = world.maintain(ALL).await;
    assert_eq!((report.rows_in, report.rows_out), (40, 40));
    std::fs::write(path.trim_start_matches("file://"), [7; 500]).unwrap();
    world.append(100, 1, 20).await;
    fails(&world, &path).await;
}
