//! Equality delete files: which apply, what they make eligible, what leaves a file alone.

use metadata::{Content, LiveFile, TableMetadata};
use serde_json::{Value, json};

use super::super::{EqualityDelete, Group, key_column};
use super::{ALL_REGIONS_SPEC, at, case, data, live, many, positions, region};

const FINE: &str = "75 to 180 bytes already";

/// An equality delete file of one row, on column 2.
fn equality(path: &str, sequence_number: i64) -> LiveFile {
    let mut delete = positions(path, 1);
    delete.file.content = Content::EqualityDeletes;
    delete.file.equality_ids = Some(vec![2]);
    live(delete.file, sequence_number)
}

fn on(mut delete: LiveFile, ids: &[i32]) -> LiveFile {
    delete.file.equality_ids = Some(ids.to_vec());
    delete
}

/// Each input with the equality delete files that apply to it.
fn applied(group: &Group) -> Vec<String> {
    let describe = |input: &super::super::Input| {
        let paths = input
            .equality_deletes
            .iter()
            .map(|index| group.equality_deletes[*index].path.as_str());
        format!("{}[{}]", input.path, paths.collect::<Vec<_>>().join(" "))
    };
    group.inputs.iter().map(describe).collect()
}

#[track_caller]
fn check(files: impl IntoIterator<Item = LiveFile>, want: &[&[&str]]) {
    let planned = case(files)
        .partitioned()
        .option("rewrite-all", "true")
        .plan()
        .expect("a plan");
    let groups: Vec<Vec<String>> = planned.groups.iter().map(applied).collect();
    assert_eq!(groups, want, "{:?}", planned.skipped);
}

#[test]
fn equality_deletes_apply_to_older_files_of_their_partition_only() {
    check(
        [
            region(at(data("old", 10), 1), "eu"),
            region(at(data("same", 10), 2), "eu"),
            region(at(data("newer", 10), 3), "eu"),
            region(at(data("other", 10), 1), "us"),
            region(equality("q", 2), "eu"),
        ],
        &[&["old[q]", "same[]", "newer[]"], &["other[]"]],
    );
}

#[test]
fn those_of_an_unpartitioned_spec_apply_everywhere() {
    check(
        [
            region(at(data("a", 10), 1), "eu"),
            region(at(data("b", 10), 4), "eu"),
            region(at(data("c", 10), 1), "us"),
            equality("global", 3),
            region(equality("us", 2), "us"),
        ],
        &[&["a[global]", "b[]"], &["c[us global]"]],
    );
    let mut void = region(equality("void", 3), "nowhere");
    void.file.spec_id = ALL_REGIONS_SPEC;
    void.file.partition = vec![None];
    check([region(data("a", 10), "eu"), void], &[&["a[void]"]]);
}

#[test]
fn a_group_lists_each_file_once_oldest_first_with_ascending_ids() {
    let files = [
        at(data("a", 10), 1),
        at(data("b", 10), 3),
        on(equality("y", 4), &[2, 1, 2]),
        equality("x", 4),
        equality("z", 2),
    ];
    let planned = case(files).option("rewrite-all", "true").plan();
    let group = &planned.expect("a plan").groups[0];
    let delete = |path: &str, sequence_number, field_ids: &[i32]| EqualityDelete {
        path: path.to_owned(),
        bytes: 10,
        records: 1,
        sequence_number,
        field_ids: field_ids.to_vec(),
    };
    assert_eq!(
        group.equality_deletes,
        [
            delete("z", 2, &[2]),
            delete("x", 4, &[2]),
            delete("y", 4, &[1, 2])
        ]
    );
    assert_eq!(group.inputs[0].equality_deletes, [0, 1, 2]);
    assert_eq!(group.inputs[1].equality_deletes, [1, 2]);
}

#[test]
fn equality_deletes_count_for_the_file_threshold_and_not_for_the_ratio() {
    let files = || {
        let mut wide = equality("q", 2);
        wide.file.record_count = 100;
        [data("a", 100), wide, equality("r", 3)]
    };
    case(files()).check(&[&format!("1 left: {FINE}")]);
    case(files())
        .option("delete-file-threshold", "2")
        .check(&["a -> 1: deletes make 1 file eligible"]);
    case(files())
        .option("delete-file-threshold", "3")
        .check(&[&format!("1 left: {FINE}")]);
}

#[test]
fn what_a_rewrite_left_is_not_eligible_for_the_deletes_it_applied() {
    let files = [at(data("output", 100), 5), equality("q", 5)];
    case(files)
        .option("delete-file-threshold", "1")
        .check(&[&format!("1 left: {FINE}")]);
}

#[test]
fn keys_count_in_the_memory_estimate() {
    let estimate = |records| {
        let mut delete = equality("q", 2);
        delete.file.record_count = records;
        let case = case([data("a", 10), delete]).option("rewrite-all", "true");
        case.plan().expect("a plan").memory_bytes
    };
    assert_eq!(estimate(1_001) - estimate(1), 96_000);
}

#[track_caller]
fn left(delete: LiveFile, why: &str) {
    let files = many("a", 5, 10).into_iter().chain([delete]);
    case(files).check(&[&format!("5 left: {why}")]);
}

#[test]
fn deletes_that_cannot_be_applied_leave_the_files_they_reach() {
    let mut avro = equality("q", 2);
    avro.file.file_format = "AVRO".into();
    left(
        avro.clone(),
        "a delete file that applies to it is avro, not parquet",
    );
    let mut encrypted = equality("q", 2);
    encrypted.file.key_metadata = Some(vec![1]);
    left(encrypted, "a delete file that applies to it is encrypted");
    let none = "an equality delete file that applies to it does not say which columns it compares";
    left(on(equality("q", 2), &[]), none);
    let mut missing = equality("q", 2);
    missing.file.equality_ids = None;
    left(missing, none);
    let unknown =
        "an equality delete file that applies to it compares field id 77, which no schema has";
    left(on(equality("q", 2), &[1, 77]), unknown);
    // Those it does not reach are free.
    avro.sequence_number = 1;
    case(many("a", 5, 10).into_iter().chain([avro]))
        .check(&["a1 a2 a3 a4 a5 -> 1: 5 files below 75 bytes"]);
}

#[test]
fn a_delete_file_listed_twice_is_not_guessed_at() {
    let files = many("a", 5, 10).into_iter();
    case(files.chain([equality("q", 2), equality("q", 3)]))
        .check(&["5 left: an equality delete file that applies to it is listed more than once"]);
}

#[test]
fn a_delete_file_of_an_unknown_spec_may_reach_anything() {
    let mut odd = equality("q", 2);
    odd.file.spec_id = 9;
    left(
        odd,
        "an equality delete file that applies to it is of an unknown spec",
    );
}

/// A table whose schemas hold, in order, these types for field 2 (absent for null).
fn evolved(types: &[Value]) -> TableMetadata {
    let mut document = case([]).document();
    let schemas = types.iter().enumerate().map(|(id, ty)| {
        let mut fields = vec![json!({"id": 1, "name": "one", "required": true, "type": "int"})];
        if !ty.is_null() {
            let name = format!("two{id}");
            fields.push(json!({"id": 2, "name": name, "required": false, "type": ty}));
        }
        json!({"type": "struct", "schema-id": id, "fields": fields})
    });
    document["schemas"] = schemas.collect();
    document["current-schema-id"] = json!(types.len() - 1);
    document["partition-specs"] = json!([{"spec-id": 0, "fields": []}]);
    document["last-column-id"] = json!(9);
    TableMetadata::parse(document.to_string().as_bytes()).expect("metadata")
}

#[track_caller]
fn key(types: &[Value], want: Result<(&str, &str), &str>) {
    let found = key_column(&evolved(types), 2).map(|field| {
        assert!(!field.required);
        let ty = field.ty.primitive().expect("a primitive").to_string();
        (field.name, ty)
    });
    let found = found
        .as_ref()
        .map(|(name, ty)| (name.as_str(), ty.as_str()));
    assert_eq!(found.map_err(String::as_str), want, "{types:?}");
}

#[test]
fn a_key_is_compared_in_the_widest_type_its_column_ever_had() {
    key(&[json!("int"), json!("long")], Ok(("two1", "long")));
    // A schema of long ago made current again.
    key(&[json!("long"), json!("int")], Ok(("two1", "long")));
    key(&[json!("float"), json!("double")], Ok(("two1", "double")));
    let (narrow, wide) = (json!("decimal(4, 2)"), json!("decimal(9, 2)"));
    let ty = evolved(std::slice::from_ref(&wide));
    let ty = key_column(&ty, 2).expect("a key").ty;
    let text = ty.primitive().expect("a primitive").to_string();
    key(&[narrow, wide], Ok(("two1", &text)));
    key(
        &[json!("string"), json!("int")],
        Err("compares two1 (field id 2), which was once string and is int"),
    );
}

#[test]
fn a_column_that_was_dropped_is_still_compared() {
    key(&[json!("int"), json!(null)], Ok(("two0", "int")));
    key(
        &[json!(null)],
        Err("compares field id 2, which no schema has"),
    );
}

#[test]
fn columns_that_hold_no_single_value_are_not_compared() {
    let inner = json!({"type": "struct", "fields": [
        {"id": 3, "name": "inside", "required": false, "type": "int"},
    ]});
    let list = json!({
        "type": "list", "element-id": 3, "element": "int", "element-required": false,
    });
    let no_value = Err("compares two0 (field id 2), which is no single value");
    key(std::slice::from_ref(&inner), no_value);
    key(&[list], no_value);
    assert_eq!(
        key_column(&evolved(&[inner]), 3).expect_err("refused"),
        "compares inside (field id 3), which is inside another column"
    );
}
