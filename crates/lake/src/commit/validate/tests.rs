//! Equality deletes that arrived since the plan, and those that are left without use.

use std::sync::Arc;

use metadata::{
    Content, DataFile, Literal, LiveFile, LiveFiles, Schema, StructType, TableMetadata,
};
use planner::ColumnChunks;
use planner::rewrite::{EqualityDelete, Group, Input, Place};
use serde_json::json;

use super::{Findings, dangling_equality_deletes, new_equality_deletes, removed_deletes};
use crate::rewrite::{Pin, Rewritten, Terms};

/// The spec without fields.
const GLOBAL: i32 = 0;
const BY_REGION: i32 = 1;
/// Sequence number of the snapshot planned on; inputs have 2.
const PLANNED_ON: i64 = 5;

fn table() -> TableMetadata {
    let document = json!({
        "format-version": 2, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
        "location": "file:///t", "last-sequence-number": 9, "last-updated-ms": 9,
        "last-column-id": 1, "current-schema-id": 0,
        "schemas": [{"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "region", "required": false, "type": "string"},
        ]}],
        "default-spec-id": 1,
        "partition-specs": [
            {"spec-id": GLOBAL, "fields": []},
            {"spec-id": BY_REGION, "fields": [
                {"source-id": 1, "field-id": 1000, "name": "region", "transform": "identity"},
            ]},
        ],
        "last-partition-id": 1000, "default-sort-order-id": 0,
        "sort-orders": [{"order-id": 0, "fields": []}],
    });
    TableMetadata::parse(document.to_string().as_bytes()).unwrap()
}

fn place(region: &str) -> Place {
    Place {
        spec_id: BY_REGION,
        partition: vec![Some(Literal::String(region.to_owned()))],
    }
}

fn file(content: Content, path: &str, place: &Place) -> DataFile {
    DataFile {
        spec_id: place.spec_id,
        partition: place.partition.clone(),
        ..DataFile::new(content, path)
    }
}

fn live(file: DataFile, sequence_number: i64, added: i64) -> LiveFile {
    LiveFile {
        file,
        sequence_number,
        file_sequence_number: added,
        snapshot_id: None,
        manifest: 0,
    }
}

fn delete(place: &Place, sequence_number: i64, added: i64) -> LiveFile {
    let file = file(Content::EqualityDeletes, "q", place);
    live(file, sequence_number, added)
}

fn global() -> Place {
    Place {
        spec_id: GLOBAL,
        partition: vec![],
    }
}

/// One file of eu rewritten to one file there, or in asia when it moves.
fn rewritten(keep_sequence: bool, moves: bool) -> Rewritten {
    let input = Input {
        path: "in".to_owned(),
        bytes: 1,
        records: 1,
        sequence_number: 2,
        place: 0,
        deletes: Vec::new(),
        equality_deletes: Vec::new(),
    };
    let schema = Schema {
        schema_id: 0,
        root: StructType::default(),
        identifier_field_ids: Vec::new(),
    };
    Rewritten {
        group: Group {
            places: vec![place("eu")],
            moves,
            partition_path: String::new(),
            inputs: vec![input],
            position_deletes: Vec::new(),
            equality_deletes: Vec::new(),
            output_files: 1,
            output_bytes: 1,
            reason: String::new(),
        },
        pin: Pin {
            snapshot_id: 1,
            sequence_number: PLANNED_ON,
        },
        terms: Arc::new(Terms {
            schema: Arc::new(schema),
            format_version: 2,
            default_spec_id: BY_REGION,
            sort_order_id: 0,
            keep_sequence,
        }),
        outputs: vec![file(
            Content::Data,
            "out",
            &place(if moves { "asia" } else { "eu" }),
        )],
        rows_in: 1,
        deletes_applied: 0,
        rows_out: 1,
        column_chunks: ColumnChunks::default(),
        spilled: planner::Spilled::default(),
    }
}

#[track_caller]
fn goes_on(delete: LiveFile, (keep_sequence, moves): (bool, bool), want: bool) {
    let files = LiveFiles {
        deletes: vec![delete],
        ..LiveFiles::default()
    };
    let groups = [rewritten(keep_sequence, moves)];
    let mut stale = Findings::new(1);
    new_equality_deletes(&table(), &files, &groups, &mut stale);
    assert_eq!(stale.into_stale().is_empty(), want, "{files:?}");
}

const KEPT: (bool, bool) = (true, false);
const NOT_KEPT: (bool, bool) = (false, false);
const MOVED: (bool, bool) = (true, true);

#[test]
fn outputs_in_the_inputs_place_go_on_being_hit_if_their_sequence_number_is_kept() {
    goes_on(delete(&place("eu"), 6, 6), KEPT, true);
    goes_on(delete(&global(), 6, 6), KEPT, true);
    goes_on(delete(&place("eu"), 6, 6), NOT_KEPT, false);
    goes_on(delete(&global(), 6, 6), NOT_KEPT, false);
}

#[test]
fn outputs_that_moved_to_another_spec_escape_all_but_global_deletes() {
    goes_on(delete(&place("eu"), 6, 6), MOVED, false);
    goes_on(delete(&global(), 6, 6), MOVED, true);
}

#[test]
fn deletes_that_did_not_reach_the_inputs_must_not_reach_what_moved() {
    goes_on(delete(&place("asia"), 6, 6), MOVED, false);
    // As old as the outputs, or older than they.
    goes_on(delete(&place("asia"), 5, 6), MOVED, true);
    goes_on(delete(&place("asia"), 6, 6), (false, true), true);
    goes_on(delete(&place("asia"), 6, 6), KEPT, true);
}

#[test]
fn deletes_of_other_places_and_those_planned_with_do_not_disturb() {
    for how in [KEPT, NOT_KEPT, MOVED, (false, true)] {
        goes_on(delete(&place("us"), 6, 6), how, true);
        goes_on(delete(&place("eu"), 5, 5), how, true);
        // It arrived late and is too old for the inputs.
        goes_on(delete(&place("eu"), 2, 6), how, true);
    }
}

#[test]
fn a_delete_file_that_arrives_with_an_old_number_would_miss_the_outputs() {
    goes_on(delete(&place("eu"), 5, 6), KEPT, false);
    goes_on(delete(&global(), 3, 6), KEPT, false);
}

#[test]
fn a_delete_file_taken_out_since_the_plan_brings_its_rows_back() {
    let used = EqualityDelete {
        path: "q".to_owned(),
        bytes: 1,
        records: 1,
        sequence_number: 3,
        field_ids: vec![1],
    };
    let mut group = rewritten(true, false);
    group.group.equality_deletes = vec![used];
    group.group.inputs[0].deletes = vec!["p".to_owned()];
    let equality = delete(&place("eu"), 3, 3);
    let position = live(file(Content::PositionDeletes, "p", &place("eu")), 3, 3);
    for (left, want) in [
        (vec![equality.clone(), position.clone()], None),
        (vec![equality], Some("another writer removed p")),
        (vec![position], Some("another writer removed q")),
    ] {
        let files = LiveFiles {
            deletes: left,
            ..LiveFiles::default()
        };
        let mut stale = Findings::new(1);
        removed_deletes(&files, std::slice::from_ref(&group), &mut stale);
        let found = stale.into_stale().pop().map(|stale| stale.why);
        assert_eq!(found.as_deref(), want);
    }
}

#[track_caller]
fn dropped(delete: LiveFile, others: Vec<LiveFile>, keep_sequence: bool, want: bool) {
    let input = live(file(Content::Data, "in", &place("eu")), 2, 2);
    let files = LiveFiles {
        data: others.into_iter().chain([input]).collect(),
        deletes: vec![delete],
        ..LiveFiles::default()
    };
    let groups = [rewritten(keep_sequence, false)];
    let found = dangling_equality_deletes(&table(), &files, &groups);
    assert_eq!(!found.is_empty(), want, "{files:?}");
}

fn data(place: &Place, sequence_number: i64) -> LiveFile {
    let file = file(Content::Data, "other", place);
    live(file, sequence_number, sequence_number)
}

#[test]
fn a_delete_goes_when_everything_in_its_place_is_as_new() {
    let eu = place("eu");
    dropped(delete(&eu, 5, 5), vec![], true, true);
    dropped(delete(&eu, 5, 5), vec![data(&eu, 5)], true, true);
    dropped(delete(&eu, 5, 5), vec![data(&eu, 4)], true, false);
    // The outputs themselves, as old as the plan.
    dropped(delete(&eu, 6, 6), vec![], true, false);
    dropped(delete(&eu, 6, 6), vec![], false, true);
    dropped(delete(&place("us"), 5, 5), vec![data(&eu, 1)], true, true);
}

#[test]
fn a_global_delete_goes_when_everything_everywhere_is_as_new() {
    let no_fields = global();
    dropped(delete(&global(), 5, 5), vec![], true, true);
    dropped(
        delete(&global(), 5, 5),
        vec![data(&place("us"), 4)],
        true,
        false,
    );
    dropped(
        delete(&global(), 5, 5),
        vec![data(&no_fields, 4)],
        true,
        false,
    );
    dropped(
        delete(&global(), 5, 5),
        vec![data(&place("us"), 5)],
        true,
        true,
    );
}

#[test]
fn a_delete_of_an_unknown_spec_is_kept() {
    let unknown = Place {
        spec_id: 9,
        partition: vec![],
    };
    dropped(delete(&unknown, 5, 5), vec![], true, false);
}
