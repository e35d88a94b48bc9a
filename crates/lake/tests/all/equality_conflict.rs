//! Equality deletes that other writers commit while a rewrite waits before its swap.

use lake::{Changes, commit_changes};
use metadata::Literal;
use serde_json::json;

use crate::equality::{
    Scope, by_region, commit, delete_equal, everywhere, ids, texts, within, written,
};
use crate::world::{ALL, World};

const NEW_SEQUENCE: &[(&str, &str)] = &[
    ("rewrite-all", "true"),
    ("use-starting-sequence-number", "false"),
];
const ID: &[i32] = &[1];

async fn duckdb_rows(world: &World) -> u64 {
    let read = world.oracle("read", json!({"readers": ["duckdb"]})).await;
    read["duckdb"]["rows"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_equality_deletes_keep_applying_to_outputs_as_old_as_the_plan() {
    let world = World::with("plain", "none", 4, 25).await;
    let meanwhile = async {
        delete_equal(&world, everywhere(ID), vec![ids(&[1, 2, 30])]).await;
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    assert_eq!((report.files_out, report.deletes_applied), (1, 0));
    assert_eq!(world.ledger.reserved_with(".parquet"), 1);
    let live = world.live().await;
    assert!(live.data[0].sequence_number < live.deletes[0].sequence_number);
    assert_eq!(duckdb_rows(&world).await, 97);
    let report = world.maintain(ALL).await;
    assert_eq!((report.rows_in, report.deletes_applied), (100, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_would_escape_new_equality_deletes_are_written_again() {
    let world = World::with("plain", "none", 4, 25).await;
    let meanwhile = async {
        delete_equal(&world, everywhere(ID), vec![ids(&[1, 2, 30])]).await;
    };
    let report = world.interrupted(NEW_SEQUENCE, meanwhile).await.unwrap();
    assert_eq!((report.files_out, report.deletes_applied), (1, 3));
    assert_eq!(world.ledger.reserved_with(".parquet"), 2);
    assert_eq!(duckdb_rows(&world).await, 97);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_groups_an_equality_delete_hits_start_over() {
    let world = by_region(3, 40).await;
    let meanwhile = async {
        let scope = Scope {
            spec_id: None,
            partition: vec![Some(Literal::String("eu".to_owned()))],
            ids: ID,
        };
        delete_equal(&world, scope, vec![ids(&[4, 8])]).await;
    };
    let report = world.interrupted(NEW_SEQUENCE, meanwhile).await.unwrap();
    assert_eq!((report.files_out, report.deletes_applied), (4, 2));
    // Four outputs, and the one of the group that was hit once more.
    assert_eq!(world.ledger.reserved_with(".parquet"), 5);
    assert_eq!(duckdb_rows(&world).await, 118);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_arrives_meanwhile_is_not_dropped_with_the_others() {
    let world = World::with("plain", "none", 3, 20).await;
    delete_equal(&world, everywhere(ID), vec![ids(&[1, 2])]).await;
    let meanwhile = async {
        delete_equal(&world, everywhere(ID), vec![ids(&[3])]).await;
    };
    let mut options = ALL.to_vec();
    options.push(("remove-dangling-deletes", "true"));
    let report = world.interrupted(&options, meanwhile).await.unwrap();
    assert_eq!((report.deletes_applied, report.commit_attempts), (2, 2));
    assert_eq!(world.live().await.deletes.len(), 1);
    assert_eq!(duckdb_rows(&world).await, 57);
    world.maintain(&options).await;
    assert_eq!(world.live().await.deletes, []);
    assert_eq!(world.rows().await.count(), 57);
}

/// Whether a delete file is of use is asked of the table committed on, not of the one planned on.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_nothing_needs_any_more_goes_though_the_plan_saw_a_need() {
    let world = World::with("plain", "region", 1, 40).await;
    let scope = |name: &str| Scope {
        spec_id: None,
        partition: vec![Some(Literal::String(name.to_owned()))],
        ids: ID,
    };
    delete_equal(&world, scope("us"), vec![ids(&[1])]).await;
    let of_us = |file: &metadata::LiveFile| file.file.partition == scope("us").partition;
    let meanwhile = async {
        let live = world.live().await;
        let us = live.data.iter().find(|file| of_us(file)).unwrap();
        let changes = Changes {
            removed: vec![us.file.file_path.clone()],
            ..Changes::default()
        };
        commit_changes(&*world.catalog, &world.name, &changes, world.now_ms().await)
            .await
            .unwrap();
    };
    let options = [
        ("rewrite-all", "true"),
        ("remove-dangling-deletes", "true"),
        ("where", "region = 'eu'"),
    ];
    assert_eq!(world.live().await.deletes.len(), 1);
    world.interrupted(&options, meanwhile).await.unwrap();
    assert_eq!(world.live().await.deletes, []);
    assert_eq!(world.rows().await.count(), 30);
}

/// Rows that leave the partition a delete is scoped to would come back.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_move_out_of_a_new_deletes_partition_stay_deleted() {
    let world = by_region(3, 40).await;
    let mut to_the_first_spec = ALL.to_vec();
    to_the_first_spec.push(("output-spec-id", "0"));
    let meanwhile = async {
        delete_equal(&world, within("eu", ID), vec![ids(&[4, 8])]).await;
    };
    let report = world.interrupted(&to_the_first_spec, meanwhile).await;
    let report = report.unwrap();
    assert_eq!((report.rows_in, report.deletes_applied), (120, 2));
    assert_eq!(world.ledger.reserved_with(".parquet"), 2);
    let live = world.live().await;
    assert!(live.data.iter().all(|file| file.file.spec_id == 0));
    assert_eq!(duckdb_rows(&world).await, 118);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_delete_of_every_partition_follows_rows_that_move() {
    let world = by_region(3, 40).await;
    let mut to_the_first_spec = ALL.to_vec();
    to_the_first_spec.push(("output-spec-id", "0"));
    let meanwhile = async {
        delete_equal(&world, everywhere(ID), vec![ids(&[4, 8])]).await;
    };
    let report = world.interrupted(&to_the_first_spec, meanwhile).await;
    let report = report.unwrap();
    assert_eq!((report.rows_in, report.deletes_applied), (120, 0));
    assert_eq!(world.ledger.reserved_with(".parquet"), 1);
    let live = world.live().await;
    assert!(live.data.iter().all(|file| file.file.spec_id == 0));
    assert_eq!(duckdb_rows(&world).await, 118);
}

/// The other way round: the delete never meant the rows that arrive in its partition.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_move_into_a_new_deletes_partition_are_not_deleted() {
    let world = World::with("plain", "none", 4, 25).await;
    world.oracle("evolve", json!({"how": "region"})).await;
    let meanwhile = async {
        delete_equal(&world, within("eu", ID), vec![ids(&[4, 8])]).await;
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    assert_eq!((report.rows_out, report.deletes_applied), (100, 0));
    let live = world.live().await;
    assert!(live.data.iter().all(|file| file.file.spec_id == 1));
    assert_eq!(duckdb_rows(&world).await, 100);
}

/// Outputs lack the column, so the delete would find nothing in them.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_delete_by_a_column_that_was_dropped_is_applied_before_its_values_go() {
    let world = World::with("plain", "none", 4, 25).await;
    let note = [Some("note 1 ✓ ü")];
    let delete = written(&world, everywhere(&[4]), vec![texts(&note)]).await;
    world.oracle("evolve", json!({"how": "drop"})).await;
    let mut options = ALL.to_vec();
    options.push(("remove-dangling-deletes", "true"));
    let report = world
        .interrupted(&options, commit(&world, vec![delete]))
        .await;
    let report = report.unwrap();
    assert_eq!((report.rows_in, report.deletes_applied), (100, 4));
    assert_eq!(world.live().await.deletes, []);
    assert_eq!(world.rows().await.count(), 96);
}
