//! Rows put in order: the same rows as before, in the order that was asked for over all files of a
//! partition, as DuckDB reads both, whatever memory there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use lake::{Changes, FileWriter, arrow_schema, commit_changes};
use model::{Advice, AttemptId, JobId};
use planner::{Attempt, Engine, EngineError, Plan, Progress, Report, Signals};
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::equality::{delete_equal, duckdb, everywhere, ids};
use crate::rewrite::delete_rows;
use crate::world::{World, chain};

/// Every type that has an order, and one that has none.
fn columns() -> Value {
    json!([
        ["id", "long"], ["flag", "boolean"], ["small", "int"], ["number", "long"], ["ratio", "float"],
        ["amount", "double"], ["price", "decimal(9,2)"], ["volume", "decimal(18,4)"],
        ["total", "decimal(38,10)"], ["day", "date"], ["clock", "time"], ["local", "timestamp"],
        ["instant", "timestamptz"], ["name", "string"], ["key", "uuid"], ["code", "fixed[4]"],
        ["blob", "binary"], ["tags", {"list": "string"}], ["counts", {"map": ["string", "long"]}],
        ["place", {"struct": [["lat", "double"], ["names", {"list": "string"}]]}],
    ])
}

async fn table(columns: Value, spec: Value, properties: Value) -> World {
    let world = World::new().await;
    let made = json!({"columns": columns, "spec": spec, "properties": properties});
    world.ask("evolution", "create", made).await;
    world
}

async fn append(world: &World, start: u32, files: u32, rows: u32) {
    let seed = testkit::seed() % 1_000_000 + u64::from(start);
    let more = json!({"start": start, "files": files, "rows": rows, "seed": seed});
    world.ask("evolution", "append", more).await;
}

/// Of each folder its files, when their rows are in order.
async fn ordered(world: &World, columns: &str, by: &str) -> Vec<(String, u64)> {
    let asked = json!({"columns": columns, "by": by});
    let folders = world.ask("evolution", "ordered", asked).await;
    let folders = folders.as_array().unwrap().iter();
    let checked = folders.map(|folder| {
        assert_eq!(folder["wrong"], json!([]), "by {by}: {folder}");
        let name = folder["folder"].as_str().unwrap().to_owned();
        (name, folder["files"].as_u64().unwrap())
    });
    checked.collect()
}

fn by<'a>(order: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let options = [
        ("strategy", "sort"),
        ("rewrite-all", "true"),
        ("sort-order", order),
    ];
    [&options[..], more].concat()
}

/// Sorts everything with so much memory, and checks that both readers see the rows of before.
async fn sorted(world: &World, options: &[(&str, &str)], memory_bytes: u64) -> Report {
    let before = world.rows().await;
    let plan = world.plan(options).await;
    let number = world.table().await.metadata.last_sequence_number();
    let job = format!("job-after-{number}");
    let report = world
        .execute_with(&job, "attempt", &plan, memory_bytes)
        .await;
    let report = report.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(world.rows().await, before);
    assert_eq!(report.rows_out, before.count());
    assert_eq!(
        report.column_chunks.transcoded,
        report.column_chunks.reasons["sorted"]
    );
    let (task, job) = (World::task(options), JobId::new(job));
    let found = world.engine.committed(&world.name, &task, &job).await;
    assert_eq!(found.unwrap().as_ref(), Some(&report));
    report
}

const ENOUGH: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_in_order_over_all_files_of_a_group() {
    let world = World::with("plain", "none", 6, 400).await;
    let order = "region desc nulls last, amount asc nulls last, id";
    let options = by(order, &[("target-file-size-bytes", "5000")]);
    let report = sorted(&world, &options, ENOUGH).await;
    assert_eq!(report.spilled.runs, 0);
    let folders = ordered(&world, "region, amount, id", order).await;
    assert_eq!(folders, [("data".to_owned(), report.files_out)]);
    assert!(report.files_out > 2, "{report:?}");
    let rows: Vec<u64> = world
        .live()
        .await
        .data
        .iter()
        .map(|file| file.file.record_count)
        .collect();
    assert!(
        rows.iter().max().unwrap() - rows.iter().min().unwrap() <= 1,
        "{rows:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_sorted_with_hardly_any_memory() {
    let world = table(columns(), json!([]), json!({})).await;
    append(&world, 0, 4, 400).await;
    let before = world.rows().await;
    for (number, column) in [
        "flag", "small", "number", "ratio", "amount", "price", "volume", "total", "day", "clock",
        "local", "instant", "name", "key", "code", "blob",
    ]
    .into_iter()
    .enumerate()
    {
        let way = [
            "asc nulls first",
            "desc nulls last",
            "asc nulls last",
            "desc nulls first",
        ][number % 4];
        // The id comes backwards: what is in order is not so by chance.
        let order = format!("{column} {way}, id desc nulls last");
        let plan = world.plan(&by(&order, &[])).await;
        let report = world
            .execute_with(column, column, &plan, 600 << 10)
            .await
            .unwrap();
        let spilled = report.spilled;
        assert!(spilled.runs > 1 && spilled.bytes > 0, "{report:?}");
        // To DuckDB both zeros are one.
        let of_zeros = match (column, way.starts_with("desc")) {
            ("ratio" | "amount", true) => format!("{column} {way}, signbit({column}), id desc"),
            ("ratio" | "amount", false) => {
                format!("{column} {way}, signbit({column}) desc, id desc")
            }
            _ => order,
        };
        ordered(&world, &format!("{column}, id"), &of_zeros).await;
    }
    assert_eq!(world.rows().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_equal_keys_stay_in_the_order_of_their_files() {
    let world = World::with("plain", "none", 5, 300).await;
    for memory in [600 << 10, ENOUGH] {
        sorted(&world, &by("region", &[]), memory).await;
        ordered(&world, "region, id", "region asc nulls first, id").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_are_applied_to_rows_that_are_sorted() {
    let world = World::with("plain", "region", 4, 100).await;
    delete_rows(&world, &[0, 3, 9], false).await;
    delete_rows(&world, &[3, 5], true).await;
    let report = sorted(&world, &by("note, id desc", &[]), ENOUGH).await;
    assert_eq!(report.deletes_applied, 4 * 16);
    ordered(
        &world,
        "note, id",
        "note asc nulls first, id desc nulls last",
    )
    .await;

    let world = World::with("plain", "none", 4, 100).await;
    let hit: Vec<i64> = (0..400).step_by(3).collect();
    delete_equal(&world, everywhere(&[1]), vec![ids(&hit)]).await;
    let before = duckdb(&world).await;
    let mut options = by("amount desc, id", &[]);
    options.push(("remove-dangling-deletes", "true"));
    let report = world.maintain(&options).await;
    assert_eq!(report.deletes_applied, hit.len() as u64);
    let after = world.rows().await;
    assert_eq!((&after.duckdb, &after.pyiceberg), (&before, &before));
    ordered(
        &world,
        "amount, id",
        "amount desc nulls last, id asc nulls first",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_is_in_order_also_when_rows_move_there() {
    let world = World::with("plain", "none", 3, 200).await;
    world.oracle("evolve", json!({"how": "region"})).await;
    let options = by(
        "amount desc nulls first, id",
        &[("min-file-size-bytes", "0")],
    );
    let of_each = async |from: u64| {
        let report = sorted(&world, &options, 8 << 20).await;
        assert_eq!((report.files_in, report.files_out), (from, 4));
        let order = "amount desc nulls first, id asc nulls first";
        let folders = ordered(&world, "amount, id", order).await;
        let good = |(name, files): &(String, u64)| name.starts_with("region=") && *files == 1;
        assert!(
            folders.len() == 4 && folders.iter().all(good),
            "{folders:?}"
        );
    };
    of_each(3).await;
    world.append(1000, 3, 200).await;
    of_each(4 + 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_were_added_widened_and_renamed_are_sorted_by() {
    let plain = json!([
        ["id", "long"],
        ["small", "int"],
        ["note", "string"],
        ["price", "decimal(9,2)"]
    ]);
    let world = table(plain, json!([]), json!({})).await;
    append(&world, 0, 2, 50).await;
    let steps = json!([
        ["type", "small", "long"],
        ["type", "price", "decimal(20,2)"],
        ["rename", "note", "odd \"remark"],
        ["add", "extra", "double"],
    ]);
    world
        .ask("evolution", "evolve", json!({"steps": steps}))
        .await;
    append(&world, 100, 2, 50).await;
    for (order, columns, of_zeros) in [
        (
            "extra asc nulls first, small desc nulls first, id asc nulls first",
            "extra, small, id",
            "extra nulls first, signbit(extra) desc, small desc nulls first, id",
        ),
        (
            "small asc nulls last, id asc nulls first",
            "small, id",
            "small nulls last, id",
        ),
        (
            "price desc nulls last, \"odd \"\"remark\" asc nulls last, id asc nulls first",
            "price, \"odd \"\"remark\", id",
            "price desc nulls last, \"odd \"\"remark\" nulls last, id",
        ),
    ] {
        sorted(&world, &by(order, &[]), ENOUGH).await;
        ordered(&world, columns, of_zeros).await;
    }
    // A column that none of the files stores.
    world
        .ask(
            "evolution",
            "evolve",
            json!({"steps": [["add", "later", "string"]]}),
        )
        .await;
    sorted(&world, &by("later, id desc", &[]), ENOUGH).await;
    ordered(&world, "later, id", "later, id desc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_say_that_they_have_the_tables_order() {
    let world = World::with("plain", "none", 3, 40).await;
    let bare = [("strategy", "sort"), ("rewrite-all", "true")];
    let task = World::task(&bare);
    let refused = world
        .engine
        .plan(&world.name, &task, &world.ledger, &world.progress)
        .await;
    let refused = chain(&refused.unwrap_err());
    assert!(refused.contains("the table has no sort order"), "{refused}");

    let of = async || -> Vec<Option<i32>> {
        world
            .live()
            .await
            .data
            .iter()
            .map(|live| live.file.sort_order_id)
            .collect()
    };
    world.oracle("evolve", json!({"how": "sort"})).await;
    let default = world.table().await.metadata.default_sort_order_id();
    assert!(default > 0);
    sorted(&world, &bare, ENOUGH).await;
    ordered(&world, "id", "id").await;
    assert_eq!(of().await, [Some(default)]);
    // PyIceberg sees it too.
    let files = world.oracle("files", json!({})).await;
    assert_eq!(files[0]["sort_order_id"], default);
    sorted(&world, &by("id desc", &[]), ENOUGH).await;
    assert_eq!(of().await, [Some(0)]);
    sorted(&world, &by("id asc nulls last", &[]), ENOUGH).await;
    assert_eq!(of().await, [Some(default)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sort_finds_nothing_to_do() {
    let world = World::with("plain", "region", 6, 40).await;
    let options = [("strategy", "sort"), ("sort-order", "id desc")];
    assert_eq!(world.maintain(&options).await.files_out, 4);
    assert!(world.plan(&options).await.nothing().is_some());
    // One new file in a partition, and its files count again.
    world.append(1000, 5, 40).await;
    assert_eq!(world.maintain(&options).await.files_out, 4);
    ordered(&world, "id", "id desc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_table_wants_of_files_holds_for_sorted_ones() {
    let properties = json!({
        "write.parquet.row-group-size-bytes": "20000",
        "write.parquet.compression-codec": "gzip",
        "write.parquet.bloom-filter-enabled.column.name": "true",
        "write.metadata.metrics.column.blob": "none",
        "write.object-storage.enabled": "true",
    });
    let world = table(columns(), json!([]), properties).await;
    append(&world, 0, 3, 600).await;
    sorted(&world, &by("name, id", &[]), ENOUGH).await;
    let files = world.oracle("files", json!({})).await;
    let file = &files[0];
    assert!(file["lower_bounds"].get("17").is_none() && file["lower_bounds"].get("1").is_some());
    let parquet = world.oracle("parquet", json!({"path": file["path"]})).await;
    assert_eq!(file["split_offsets"], parquet["split_offsets"]);
    assert!(parquet["row_groups"].as_u64().unwrap() > 1, "{parquet}");
    assert_eq!(parquet["columns"]["name"]["compression"], "GZIP");
    assert!(parquet["columns"]["name"]["bloom_bytes"].as_u64().unwrap() > 0);
    let path = file["path"].as_str().unwrap();
    let (_, under) = path.split_once("/data/").unwrap();
    assert_eq!(under.matches('/').count(), 4, "{path}");
}

/// Deletes that come in between are applied, and what is written then is in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_planned_again_is_sorted_again() {
    let world = World::with("plain", "none", 4, 50).await;
    let options = by("id desc", &[]);
    let meanwhile = async {
        delete_rows(&world, &[7], true).await;
    };
    let report = Box::pin(world.interrupted(&options, meanwhile))
        .await
        .unwrap();
    assert_eq!(
        (report.rows_in, report.deletes_applied, report.rows_out),
        (200, 4, 196)
    );
    assert_eq!(world.rows().await.count(), 196);
    ordered(&world, "id", "id desc").await;
}

/// Stops the attempt after so many signs of life.
#[derive(Debug)]
struct StopAfter(AtomicUsize, CancellationToken);

impl Progress for StopAfter {
    fn total(&self, _: u64) {}

    fn advance(&self, _: u64) {
        self.alive();
    }

    fn alive(&self) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.1.cancel();
        }
    }
}

async fn stopped_after(world: &World, plan: &Plan, steps: usize) -> Result<Report, EngineError> {
    let signals = Signals::default();
    let progress = StopAfter(steps.into(), signals.cancel.clone());
    let (job, id) = (
        JobId::new("job-c"),
        AttemptId::new(format!("attempt-{steps}")),
    );
    let attempt = Attempt {
        job: &job,
        attempt: &id,
        ledger: &world.ledger,
        progress: &progress,
        signals: &signals,
        memory_bytes: 600 << 10,
    };
    world.engine.execute(plan, &attempt).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_it_is_stopped_nothing_is_left_and_the_table_is_as_before() {
    let mut world = World::with("plain", "none", 6, 2_000).await;
    let folder = tempfile::tempdir().unwrap();
    world.engine = world.engine.clone().spilling_to(folder.path());
    let before = world.table().await.metadata_location;
    let plan = world.plan(&by("note, id desc", &[])).await;
    // Opening takes one step for each input, reading another.
    for steps in 1..=12 {
        let error = stopped_after(&world, &plan, steps).await.unwrap_err();
        assert!(
            matches!(error, EngineError::Stopped),
            "{steps}: {}",
            chain(&error)
        );
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "{steps}"
        );
        assert_eq!(world.table().await.metadata_location, before);
    }
    let report = stopped_after(&world, &plan, usize::MAX).await.unwrap();
    assert!(report.spilled.runs > 1, "{report:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    ordered(&world, "note, id", "note asc nulls first, id desc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_to_and_too_little_memory_are_named() {
    let mut world = World::with("plain", "none", 6, 2_000).await;
    world.engine = world.engine.clone().spilling_to("/proc/no-such-folder");
    let before = world.table().await.metadata_location;
    let plan = world.plan(&by("note", &[])).await;
    let failed = async |memory_bytes| {
        let failed = world
            .execute_with("job-x", "attempt-x", &plan, memory_bytes)
            .await;
        failed.unwrap_err()
    };
    let error = failed(600 << 10).await;
    let why = chain(&error);
    assert!(
        why.contains("temporary file in /proc/no-such-folder: "),
        "{why}"
    );
    assert_eq!(error.advice(), Advice::RetryLater);
    let error = failed(100 << 10).await;
    let why = chain(&error);
    assert!(
        why.contains("bytes of memory are needed to sort the rows of file:///"),
        "{why}"
    );
    assert_eq!(error.advice(), Advice::GiveUp);
    assert_eq!(world.table().await.metadata_location, before);
    assert!(world.ledger.reserved.lock().unwrap().is_empty());
    // With enough of it no folder is needed.
    assert_eq!(world.execute(&plan).await.unwrap().spilled.runs, 0);
}

const SIDE: i64 = 64;

/// Files of a square of `SIDE` points a side that may hold some of a small square in it.
async fn touched(world: &World) -> (usize, usize) {
    let live = world.live().await.data;
    let within = |low: &[u8], high: &[u8]| {
        let value = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().unwrap());
        value(low) < 16 && value(high) >= 8
    };
    let hit = live.iter().filter(|live| {
        let (low, high) = (&live.file.lower_bounds, &live.file.upper_bounds);
        [1, 2].iter().all(|id| within(&low[id], &high[id]))
    });
    (hit.count(), live.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn zorder_brings_near_rows_into_few_files() {
    let world = table(json!([["x", "long"], ["y", "long"]]), json!([]), json!({})).await;
    let seed = testkit::seed();
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
    let mut points: Vec<i64> = (0..SIDE * SIDE).collect();
    points.shuffle(&mut random);
    let loaded = world.table().await;
    let writer = FileWriter::new(&loaded, "grid").unwrap();
    let schema = arrow_schema(loaded.metadata.current_schema()).unwrap();
    let mut data = Vec::new();
    for points in points.chunks(256) {
        let column = |of: fn(i64) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                points.iter().map(|point| of(*point)),
            ))
        };
        let columns = vec![column(|point| point % SIDE), column(|point| point / SIDE)];
        let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
        data.push(writer.data_file(vec![], &[batch]).await.unwrap());
    }
    let bytes: u64 = data.iter().map(|file| file.file_size_in_bytes).sum();
    let changes = Changes {
        data,
        ..Changes::default()
    };
    commit_changes(&*world.catalog, &world.name, &changes, world.now_ms().await)
        .await
        .unwrap();
    assert_eq!(touched(&world).await, (16, 16), "seed {seed}");

    let target = (bytes / 16).to_string();
    let common = [
        ("rewrite-all", "true"),
        ("target-file-size-bytes", target.as_str()),
        ("compression-factor", "1"),
    ];
    let zorder = [
        &common[..],
        &[("strategy", "zorder"), ("zorder-columns", "x, y")],
    ]
    .concat();
    let report = sorted(&world, &zorder, 600 << 10).await;
    let (hit, files) = touched(&world).await;
    assert_eq!(files as u64, report.files_out);
    assert!(files >= 12 && hit <= 4, "{hit} of {files}, seed {seed}");
    assert!(
        world
            .live()
            .await
            .data
            .iter()
            .all(|live| live.file.sort_order_id == Some(0))
    );
    // Sorting by one of them is as good for that one only.
    let sort = [&common[..], &[("strategy", "sort"), ("sort-order", "x, y")]].concat();
    sorted(&world, &sort, ENOUGH).await;
    assert!(touched(&world).await.0 <= 3 + 1);
}
