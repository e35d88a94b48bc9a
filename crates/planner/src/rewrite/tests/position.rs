//! Position delete files: which apply, what they make eligible, what is refused.

use metadata::LiveFile;

use super::super::PositionDelete;
use super::{at, case, data, many, of, positions, region};

/// Field id of `file_path` in position delete files.
const FILE_PATH: i32 = 2_147_483_546;

const FINE: &str = "75 to 180 bytes already";

fn bounded(mut delete: LiveFile, lower: &str, upper: &str) -> LiveFile {
    delete
        .file
        .lower_bounds
        .insert(FILE_PATH, lower.as_bytes().into());
    delete
        .file
        .upper_bounds
        .insert(FILE_PATH, upper.as_bytes().into());
    delete
}

#[test]
fn position_deletes_apply_within_their_partition_up_to_their_sequence_number() {
    let files = [
        region(at(data("old", 10), 1), "eu"),
        region(at(data("same", 10), 2), "eu"),
        region(at(data("newer", 10), 3), "eu"),
        region(at(data("other", 10), 1), "us"),
        region(positions("d", 5), "eu"),
    ];
    case(files)
        .partitioned()
        .option("rewrite-all", "true")
        .check(&[
            "region=eu: old[d] same[d] newer -> 1: rewrite-all",
            "region=us: other -> 1: rewrite-all",
        ]);
}

#[test]
fn a_delete_file_of_one_data_file_applies_to_it_alone() {
    let files = [
        data("a", 10),
        data("b", 10),
        data("c", 10),
        of(positions("named", 1), "a"),
        bounded(positions("bound", 1), "b", "b"),
        bounded(positions("wide", 1), "a", "c"),
        at(of(positions("old", 1), "c"), 0),
    ];
    case(files)
        .option("rewrite-all", "true")
        .check(&["a[named wide] b[bound wide] c[wide] -> 1: rewrite-all"]);
}

#[test]
fn bounds_that_name_no_live_file_keep_the_delete_applied() {
    // A writer may have cut both bounds to the same text: leaving it out could revive rows.
    let files = [
        data("path-of-a", 10),
        bounded(positions("d", 1), "path", "path"),
    ];
    case(files)
        .option("rewrite-all", "true")
        .check(&["path-of-a[d] -> 1: rewrite-all"]);
}

#[test]
fn an_unpartitioned_delete_file_does_not_reach_other_specs() {
    let files = [region(data("a", 10), "eu"), positions("d", 1)];
    case(files)
        .partitioned()
        .option("rewrite-all", "true")
        .check(&["region=eu: a -> 1: rewrite-all"]);
}

#[test]
fn a_file_with_enough_deleted_rows_is_rewritten_alone() {
    let file = |records| [data("a", 100), of(positions("d", records), "a")];
    case(file(29)).check(&[&format!("1 left: {FINE}")]);
    case(file(30)).check(&["a[d] -> 1: deletes make 1 file eligible"]);
    case(file(30))
        .option("delete-ratio-threshold", "0.31")
        .check(&[&format!("1 left: {FINE}")]);
    // Deletes of the whole partition are not known to be this file's.
    case([data("a", 100), positions("d", 100)]).check(&[&format!("1 left: {FINE}")]);
}

#[test]
fn more_deletes_than_rows_count_as_all_rows() {
    let files = [
        data("a", 100),
        of(positions("d", 80), "a"),
        of(positions("e", 80), "a"),
    ];
    let asked = case(files).option("delete-ratio-threshold", "1");
    asked.check(&["a[d e] -> 1: deletes make 1 file eligible"]);
    assert_eq!(asked.plan().expect("a plan").groups[0].output_bytes, 0);
}

#[test]
fn a_file_with_enough_delete_files_is_rewritten_alone() {
    let files = [data("a", 100), positions("d", 1), positions("e", 1)];
    case(files.clone()).check(&[&format!("1 left: {FINE}")]);
    case(files.clone())
        .option("delete-file-threshold", "2")
        .check(&["a[d e] -> 1: deletes make 1 file eligible"]);
    case(files)
        .option("delete-file-threshold", "3")
        .check(&[&format!("1 left: {FINE}")]);
}

#[test]
fn a_delete_file_older_than_the_file_itself_makes_nothing_eligible() {
    // A rewrite's output carries an old data sequence number, but no older delete can name it.
    let mut output = data("a", 100);
    (output.sequence_number, output.file_sequence_number) = (1, 3);
    case([output, positions("d", 1)])
        .option("delete-file-threshold", "1")
        .check(&[&format!("1 left: {FINE}")]);
}

#[test]
fn deletes_that_cannot_be_read_leave_their_file() {
    let mut avro = of(positions("d", 50), "a");
    avro.file.file_format = "avro".into();
    case([data("a", 100), avro])
        .check(&["1 left: a delete file that applies to it is avro, not parquet"]);
    let mut encrypted = of(positions("d", 50), "a");
    encrypted.file.key_metadata = Some(vec![1]);
    case([data("a", 100), encrypted])
        .check(&["1 left: a delete file that applies to it is encrypted"]);
    let elsewhere = of(region(positions("d", 50), "eu"), "a");
    case([data("a", 100), elsewhere])
        .check(&["1 left: a delete file of another partition names it"]);
}

#[test]
fn deletion_vectors_are_refused() {
    let mut vector = of(positions("v.puffin", 1), "a");
    vector.file.file_format = "PUFFIN".into();
    let files = many("a", 5, 10).into_iter().chain([vector]);
    case(files).refused("deletion vectors (1, v.puffin holds one)");
}

#[test]
fn a_group_says_how_many_deletes_each_file_holds_and_makes_room_for_them() {
    let plan = |files: Vec<LiveFile>| {
        let files = many("a", 5, 10).into_iter().chain(files);
        case(files).plan().expect("a plan")
    };
    let bare = plan(vec![]).memory_bytes;
    let with = plan(vec![positions("p", 100), positions("q", 7)]);
    let of = |path: &str, records| PositionDelete {
        path: path.to_owned(),
        bytes: 10,
        records,
    };
    assert_eq!(
        with.groups[0].position_deletes,
        [of("p", 100), of("q", 7)],
        "each once, though they apply to five files"
    );
    // Sixteen bytes for each, and the bytes of the longest file.
    assert_eq!(with.memory_bytes - bare, 16 * 107 + 10);
}
