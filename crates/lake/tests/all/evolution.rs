//! Tables whose schema or partition spec changed: the rows are the same before and after for two
//! readers, and each file is where and what the table says now.

use std::time::Instant;

use lake::{Changes, FileWriter, commit_changes};
use planner::Report;
use serde_json::{Value, json};

use crate::rewrite::delete_rows;
use crate::world::{ALL, World, chain};

const ORACLE: &str = "evolution";

/// Everything is rewritten, and no file counts as small.
const ANYWAY: &[(&str, &str)] = &[
    ("rewrite-all", "true"),
    ("min-file-size-bytes", "0"),
    ("max-concurrent-file-group-rewrites", "2"),
];

async fn table(columns: Value, spec: Value) -> World {
    let world = World::new().await;
    let made = json!({"columns": columns, "spec": spec});
    world.ask(ORACLE, "create", made).await;
    world
}

async fn append(world: &World, start: u32, files: u32, rows: u32) {
    let seed = testkit::seed() % 1_000_000 + u64::from(start);
    let more = json!({"start": start, "files": files, "rows": rows, "seed": seed});
    world.ask(ORACLE, "append", more).await;
}

async fn evolve(world: &World, steps: Value) {
    world.ask(ORACLE, "evolve", json!({"steps": steps})).await;
}

/// Returns the new spec's id.
async fn respec(world: &World, steps: Value) -> i64 {
    let made = world.ask(ORACLE, "respec", json!({"steps": steps})).await;
    made["spec"].as_i64().unwrap()
}

/// Rewrites, and checks the rows and what the manifests say of each file.
async fn unchanged(world: &World, options: &[(&str, &str)]) -> Report {
    let before = world.rows().await;
    let report = world.maintain(options).await;
    assert_eq!(world.rows().await, before);
    if report.skipped.is_none() {
        assert_eq!(report.rows_out, report.rows_in - report.deletes_applied);
    }
    report
}

/// The live files; each has the table's current schema, its rows within its partition and bounds.
async fn checked(world: &World) -> Vec<Value> {
    let files = world.ask(ORACLE, "files", json!({})).await;
    let Value::Array(files) = files else {
        panic!("{files}");
    };
    for file in &files {
        assert_eq!(file["current"], true, "{file}");
        assert_eq!(file["records"], file["rows"], "{file}");
        assert_eq!(file["misplaced"], json!([]), "{file}");
        assert_eq!(file["outside"], json!([]), "{file}");
    }
    files
}

fn all_of_spec(files: &[Value], spec: i64) {
    assert!(files.iter().all(|file| file["spec"] == spec), "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_an_old_spec_are_moved_and_a_second_run_finds_nothing() {
    let columns = json!([["id", "long"], ["region", "string"], ["at", "timestamptz"]]);
    let world = table(columns, json!([])).await;
    append(&world, 0, 9, 40).await;
    let steps = json!([
        ["add", "at", "month", "at_month"],
        ["add", "id", "bucket[2]", "id_bucket"]
    ]);
    let spec = respec(&world, steps).await;
    append(&world, 1_000, 1, 4).await;
    let plan = world.plan(&[]).await;
    let planner::Plan::RewriteDataFiles(planned) = &plan else {
        panic!("{plan:?}");
    };
    assert!(planned.groups[0].moves);
    assert_eq!(planned.groups[0].partition_path, "spec 0 -> 1");
    let report = unchanged(&world, &[]).await;
    assert_eq!((report.files_in, report.rows_in), (9, 360));
    let files = checked(&world).await;
    all_of_spec(&files, spec);
    let table = world.table().await;
    let summary = &table.metadata.current_snapshot().unwrap().summary;
    // The partitions left and those entered.
    let changed = (report.files_out + 1).to_string();
    assert_eq!(summary["changed-partition-count"], changed);
    assert_eq!(summary["deleted-records"], "360");
    assert_eq!(summary["added-records"], "360");
    let plan = world.plan(&[]).await;
    assert!(plan.nothing().is_some(), "{plan:?}");
    // And PyIceberg goes on writing to it.
    append(&world, 2_000, 2, 40).await;
    unchanged(&world, ALL).await;
    all_of_spec(&checked(&world).await, spec);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_not_moved_where_that_made_more_small_files() {
    let columns = json!([["id", "long"], ["x", "string"]]);
    let world = table(columns, json!([])).await;
    append(&world, 0, 6, 40).await;
    respec(&world, json!([["add", "id", "identity", "id"]])).await;
    for _ in 0..2 {
        let report = unchanged(&world, &[]).await;
        let why = report.skipped.unwrap();
        assert!(
            why.contains("spec 0 -> 1: 6 files, 6 of them below")
                && why.contains("would become 240 in 240 partitions"),
            "{why}"
        );
    }
    assert_eq!(world.live().await.data.len(), 6);
    assert_eq!(world.ledger.reserved_with(".parquet"), 0);
    // Who wants them moved all the same says that no file is too small.
    let report = unchanged(&world, ANYWAY).await;
    assert_eq!((report.files_in, report.files_out), (6, 240));
    all_of_spec(&checked(&world).await, 1);
}

fn every_type() -> Value {
    json!([
        ["id", "long"],
        ["flag", "boolean"],
        ["small", "int"],
        ["ratio", "float"],
        ["amount", "double"],
        ["price", "decimal(9,2)"],
        ["volume", "decimal(18,4)"],
        ["total", "decimal(38,10)"],
        ["day", "date"],
        ["clock", "time"],
        ["local", "timestamp"],
        ["instant", "timestamptz"],
        ["text", "string"],
        ["key", "uuid"],
        ["code", "fixed[4]"],
        ["blob", "binary"],
        ["place", {"struct": [["deep", {"struct": [["x", "int"]]}]]}],
    ])
}

/// One table that moves from spec to spec: from no partition, then from one partitioning to the
/// next, until every type was a partition's and every transform was used.
#[tokio::test(flavor = "multi_thread")]
async fn every_transform_of_every_type_places_rows_where_pyiceberg_does() {
    let world = table(every_type(), json!([])).await;
    append(&world, 0, 2, 12).await;
    let before = world.rows().await;
    let specs: &[&[(&str, &str)]] = &[
        &[
            ("flag", "identity"),
            ("small", "bucket[3]"),
            ("day", "year"),
        ],
        &[("ratio", "identity"), ("price", "bucket[3]")],
        &[("amount", "identity"), ("total", "truncate[1000]")],
        &[("text", "identity")],
        &[
            ("text", "truncate[1]"),
            ("instant", "day"),
            ("blob", "bucket[2]"),
        ],
        &[("key", "identity"), ("local", "hour")],
        &[("code", "identity"), ("volume", "identity")],
        &[("blob", "identity"), ("clock", "bucket[4]")],
        &[("place.deep.x", "identity"), ("day", "month")],
        &[
            ("instant", "month"),
            ("blob", "truncate[1]"),
            ("key", "bucket[2]"),
        ],
        &[
            ("small", "truncate[10]"),
            ("price", "identity"),
            ("code", "bucket[2]"),
        ],
    ];
    let mut last: &[(&str, &str)] = &[];
    let name = |source: &str, transform: &str| format!("p {source} {transform}");
    for spec in specs {
        let remove = last
            .iter()
            .map(|(source, transform)| json!(["remove", name(source, transform)]));
        let add = spec
            .iter()
            .map(|(source, transform)| json!(["add", source, transform, name(source, transform)]));
        let steps: Vec<Value> = remove.chain(add).collect();
        let id = respec(&world, steps.into()).await;
        let report = world.maintain(ANYWAY).await;
        assert_eq!(report.rows_out, 24, "{spec:?}");
        assert_eq!(world.rows().await, before, "{spec:?}");
        let files = checked(&world).await;
        all_of_spec(&files, id);
        last = spec;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_are_applied_to_rows_that_move() {
    let columns = json!([["id", "long"], ["x", "int"]]);
    let world = table(columns, json!([])).await;
    append(&world, 0, 3, 40).await;
    delete_rows(&world, &[0, 7, 8, 39], true).await;
    delete_rows(&world, &[7, 20], false).await;
    respec(&world, json!([["add", "id", "bucket[3]", "b"]])).await;
    let options = [("rewrite-all", "true"), ("remove-dangling-deletes", "true")];
    let report = unchanged(&world, &options).await;
    assert_eq!((report.deletes_applied, report.files_out), (15, 3));
    checked(&world).await;
    assert_eq!(world.live().await.deletes.len(), 0);
    // All rows of a file that moves are deleted: nothing takes its place.
    delete_rows(&world, &(0..40).collect::<Vec<_>>(), true).await;
    respec(&world, json!([["remove", "b"]])).await;
    let before = world.rows().await;
    let report = world.maintain(ALL).await;
    assert_eq!(report.rows_out, before.count());
    assert_eq!(world.rows().await, before);
}

/// A delete that lands on a file while it is moved is never lost, and an append stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_lands_while_files_move_is_applied() {
    let columns = json!([["id", "long"], ["x", "int"]]);
    let world = table(columns, json!([])).await;
    append(&world, 0, 3, 40).await;
    let spec = respec(&world, json!([["add", "id", "bucket[3]", "b"]])).await;
    let meanwhile = async {
        let table = world.table().await;
        let writer = FileWriter::new(&table, "test").unwrap();
        let mut changes = Changes::default();
        for live in world.live().await.data {
            let rows = vec![(live.file.file_path.clone(), 3)];
            let mut delete = writer.position_deletes(vec![None], rows).await.unwrap();
            // Where the file lies that it deletes from.
            delete.spec_id = live.file.spec_id;
            delete.partition = live.file.partition;
            changes.deletes.push(delete);
        }
        let now = world.now_ms().await;
        commit_changes(&*world.catalog, &world.name, &changes, now)
            .await
            .unwrap();
        append(&world, 500, 1, 10).await;
    };
    let report = world.interrupted(ALL, meanwhile).await.unwrap();
    assert_eq!((report.rows_in, report.deletes_applied), (120, 3));
    assert_eq!(world.rows().await.count(), 127);
    all_of_spec(&checked(&world).await, spec);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_spec_takes_files_of_newer_ones() {
    let columns = json!([["id", "long"], ["x", "string"]]);
    let world = table(columns, json!([])).await;
    append(&world, 0, 2, 20).await;
    respec(&world, json!([["add", "x", "identity", "x"]])).await;
    append(&world, 100, 2, 20).await;
    respec(&world, json!([["add", "id", "bucket[2]", "b"]])).await;
    append(&world, 200, 2, 20).await;
    let mut options = ALL.to_vec();
    options.push(("output-spec-id", "0"));
    let report = unchanged(&world, &options).await;
    // Two of the old spec, the rest of both others together.
    assert_eq!(report.files_out, 2);
    let files = checked(&world).await;
    all_of_spec(&files, 0);
    let error = World::task(&[("output-spec-id", "7")]);
    let error = planner::Engine::plan(
        &world.engine,
        &world.name,
        &error,
        &world.ledger,
        &planner::Unwatched,
    )
    .await;
    let error = chain(&error.unwrap_err());
    assert!(
        error.contains("output-spec-id") && error.contains("it has 0, 1, 2"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_cannot_move_to_a_spec_whose_column_is_gone() {
    let columns = json!([["id", "long"], ["x", "string"]]);
    let world = table(columns, json!([["x", "identity", "x"]])).await;
    append(&world, 0, 2, 20).await;
    respec(&world, json!([["remove", "x"]])).await;
    append(&world, 100, 2, 20).await;
    evolve(&world, json!([["drop", "x"]])).await;
    let mut options = ALL.to_vec();
    options.push(("output-spec-id", "0"));
    let plan = world.plan(&options).await;
    let text = format!("{plan:?}");
    assert!(
        text.contains("the column x is made of was dropped"),
        "{text}"
    );
    // Away from it they can. DuckDB cannot read such a table.
    let read = json!({"readers": ["pyiceberg"]});
    let before = world.oracle("read", read.clone()).await;
    world.maintain(ANYWAY).await;
    let after = world.oracle("read", read).await;
    assert_eq!(after["pyiceberg"], before["pyiceberg"]);
    all_of_spec(&checked(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_dropped_added_renamed_reordered_and_added_again_keep_their_values() {
    let columns = json!([
        ["id", "long"],
        ["a", "string"],
        ["b!", "int"],
        ["c", "double"],
        ["s", {"struct": [["x", "int"], ["y", {"struct": [["z", {"list": "string"}], ["w", "date"]]}]]}],
        ["l", {"list": {"struct": [["p", "long"], ["q", "string"]]}}],
        ["m", {"map": ["string", {"struct": [["v", "float"], ["u", {"map": ["int", "binary"]}]]}]}],
    ]);
    let world = table(columns, json!([])).await;
    append(&world, 0, 2, 25).await;
    let rounds = [
        json!([
            ["add", "d", "uuid"],
            ["rename", "a", "größe / =%"],
            ["first", "c"]
        ]),
        json!([
            ["drop", "c"],
            ["add", "c", "string"],
            ["optional", "b"],
            ["add", "s.v", "timestamp"]
        ]),
        json!([
            ["drop", "s.x"],
            ["add", "s.x", "string"],
            ["rename", "s.y", "why"],
            ["after", "s.v", "s.x"]
        ]),
        json!([
            ["add", "l.element.r", {"list": "int"}], ["drop", "l.element.p"], ["rename", "l.element.q", "p"],
            ["add", "m.value.t", {"struct": [["n", "boolean"]]}], ["drop", "m.value.v"],
        ]),
        json!([["drop", "s"], ["add", "s", {"list": "time"}]]),
    ];
    for (round, steps) in rounds.into_iter().enumerate() {
        evolve(&world, steps).await;
        append(&world, 100 * (round as u32 + 1), 1, 25).await;
        let report = unchanged(&world, ALL).await;
        assert_eq!(report.files_out, 1);
        checked(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_columns_hold_the_same_values_also_inside_others() {
    let columns = json!([
        ["id", "long"],
        ["i", "int"],
        ["f", "float"],
        ["d9", "decimal(5,2)"],
        ["d18", "decimal(9,2)"],
        ["d38", "decimal(18,2)"],
        ["s", {"struct": [["i", "int"], ["f", "float"], ["d", "decimal(4,1)"]]}],
        ["l", {"list": "int"}],
        ["m", {"map": ["int", {"list": "float"}]}],
    ]);
    let world = table(columns, json!([])).await;
    append(&world, 0, 2, 30).await;
    evolve(
        &world,
        json!([
            ["type", "i", "long"],
            ["type", "f", "double"],
            ["type", "d9", "decimal(9,2)"],
            ["type", "d18", "decimal(18,2)"],
            ["type", "d38", "decimal(38,2)"],
            ["type", "s.i", "long"],
            ["type", "s.f", "double"],
            ["type", "s.d", "decimal(20,1)"],
            ["type", "l.element", "long"],
            ["type", "m.value.element", "double"],
        ]),
    )
    .await;
    // All old, then old and new together.
    unchanged(&world, ALL).await;
    let files = checked(&world).await;
    for (leaf, physical) in [
        ("i", "INT64"),
        ("f", "DOUBLE"),
        ("d9", "INT32"),
        ("d18", "INT64"),
        ("d38", "FIXED_LEN_BYTE_ARRAY"),
        ("s.i", "INT64"),
        ("s.d", "FIXED_LEN_BYTE_ARRAY"),
        ("l.element", "INT64"),
        ("m.value.element", "DOUBLE"),
    ] {
        assert_eq!(files[0]["leaves"][leaf][0], physical, "{leaf}");
    }
    append(&world, 100, 1, 30).await;
    unchanged(&world, ALL).await;
    checked(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_promoted_columns_stay_and_move() {
    let columns = json!([
        ["id", "long"],
        ["i", "int"],
        ["f", "float"],
        ["d", "decimal(5,2)"]
    ]);
    let spec = json!([["i", "identity", "i"], ["d", "identity", "d"]]);
    let world = table(columns, spec).await;
    append(&world, 0, 2, 30).await;
    evolve(
        &world,
        json!([
            ["type", "i", "long"],
            ["type", "f", "double"],
            ["type", "d", "decimal(12,2)"]
        ]),
    )
    .await;
    append(&world, 100, 2, 30).await;
    unchanged(&world, ALL).await;
    let files = checked(&world).await;
    let mut partitions: Vec<String> = files
        .iter()
        .map(|file| file["partition"].to_string())
        .collect();
    let count = partitions.len();
    partitions.sort();
    partitions.dedup();
    assert_eq!(
        partitions.len(),
        count,
        "a value is one partition before and after"
    );
    let spec = respec(
        &world,
        json!([["remove", "d"], ["add", "d", "bucket[2]", "db"]]),
    )
    .await;
    unchanged(&world, ANYWAY).await;
    all_of_spec(&checked(&world).await, spec);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_partition_values_may_hold_any_character() {
    let name = "größe / =%. '\"🙂";
    let columns = json!([["id", "long"], [name, "string"], ["x y", "string"]]);
    let spec = json!([[name, "identity", "a/b=c % \"🙂\""]]);
    let world = table(columns, spec).await;
    append(&world, 0, 3, 40).await;
    let report = unchanged(&world, ALL).await;
    assert_eq!(report.files_out, 15, "fourteen texts and null");
    let files = checked(&world).await;
    for file in &files {
        let path = file["path"].as_str().unwrap();
        let folder = path.rsplit('/').nth(1).unwrap();
        assert!(
            folder.starts_with("a%2Fb%3Dc+%25+%22%F0%9F%99%82%22="),
            "{path}"
        );
        assert!(folder.is_ascii() && !folder.contains(' '), "{path}");
    }
    respec(&world, json!([["add", "x y", "identity", "x.y"]])).await;
    unchanged(&world, ANYWAY).await;
    checked(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_two_thousand_columns_is_rewritten_in_sane_time() {
    let mut columns = vec![json!(["id", "long"])];
    for number in 0..1_999 {
        let ty = ["long", "string", "double", "int"][number % 4];
        columns.push(json!([format!("c{number}"), ty]));
    }
    let world = table(columns.into(), json!([])).await;
    append(&world, 0, 2, 4).await;
    let before = world.rows().await;
    let began = Instant::now();
    let report = world.maintain(ALL).await;
    let took = began.elapsed();
    assert_eq!(report.files_out, 1);
    assert_eq!(world.rows().await, before);
    assert!(took.as_secs() < 60, "{took:?}");
    println!("2,000 columns took {took:?}");
}
