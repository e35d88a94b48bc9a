//! Columns copied, remapped, unpacked or transcoded from files PyArrow wrote: two readers see the
//! same rows, and manifests say what they say after a transcode.

use lake::{Changes, commit_changes, inspect};
use metadata::{Content, DataFile};
use planner::ColumnChunks;
use serde_json::{Value, json};

use crate::world::{ALL, World};

const FILES: u32 = 3;
const ROWS: u32 = 1_000;
/// The flat columns of the table; eight leaves are below others.
const FLAT: [&str; 16] = [
    "id", "flag", "small", "ratio", "amount", "price", "volume", "total", "day", "clock", "local",
    "instant", "größe", "key", "code", "blob",
];
const NESTED: u64 = 8;

/// A table of files with rows of so many different contents.
async fn table(properties: &Value, variety: u32, options: &Value, seed: u64) -> World {
    let mut all = json!({"write.parquet.page-row-limit": "200"});
    let more = properties.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    let world = World::with_properties("wide", "none", 0, 0, all).await;
    let location = world.table().await.metadata.location().to_owned();
    let mut changes = Changes::default();
    for number in 0..FILES {
        let path = format!("{location}/data/stored-{number}.parquet");
        let store = json!({
            "path": path, "start": number * ROWS, "rows": ROWS, "options": options,
            "variety": variety,
            // Unique rows are others in each file.
            "seed": if variety < ROWS { seed } else { seed + u64::from(number) },
        });
        let stored = world.oracle("store", store).await;
        let mut file = DataFile::new(Content::Data, path);
        file.record_count = u64::from(ROWS);
        file.file_size_in_bytes = stored["bytes"].as_u64().unwrap();
        changes.data.push(file);
    }
    let now_ms = world.now_ms().await;
    let committed = commit_changes(&*world.catalog, &world.name, &changes, now_ms).await;
    committed.unwrap();
    world
}

/// What its one file's manifest entry says of the columns, but for where and how large they are.
async fn rewritten(world: &World) -> (ColumnChunks, Value) {
    let before = world.rows().await;
    assert_eq!(before.count(), u64::from(FILES * ROWS));
    let report = world.maintain(ALL).await;
    assert_eq!(world.rows().await, before);
    let files = world.oracle("files", json!({})).await;
    assert_eq!(files.as_array().unwrap().len(), 1);
    let path = files[0]["path"].as_str().unwrap();
    let bytes = std::fs::read(path.trim_start_matches("file://")).unwrap();
    inspect(path, &bytes.into(), Some(u64::from(FILES * ROWS))).unwrap();
    let parquet = world.oracle("parquet", json!({"path": path})).await;
    assert_eq!(files[0]["split_offsets"], parquet["split_offsets"]);
    assert_eq!(files[0]["column_sizes"], parquet["column_sizes"]);
    let metrics = [
        "value_counts",
        "null_value_counts",
        "nan_value_counts",
        "lower_bounds",
        "upper_bounds",
    ];
    let metrics = metrics.map(|key| files[0][key].clone());
    (report.column_chunks, json!(metrics))
}

/// Bloom filters need every value.
fn filtered() -> Value {
    let enabled = FLAT.map(|column| {
        let key = format!("write.parquet.bloom-filter-enabled.column.{column}");
        (key, json!("true"))
    });
    Value::Object(enabled.into_iter().collect())
}

/// Rewrites twice: as it is done, and with every column transcoded.
async fn ways(variety: u32, options: Value) -> ColumnChunks {
    let seed = testkit::seed() % 1_000_000;
    let world = table(&json!({}), variety, &options, seed).await;
    let (ways, metrics) = rewritten(&world).await;
    let world = table(&filtered(), variety, &options, seed).await;
    let (forced, same) = rewritten(&world).await;
    assert_eq!(metrics, same);
    let all = FLAT.len() as u64 + NESTED;
    assert_eq!(
        (forced.transcoded, forced.reasons["bloom_filter"]),
        (all, 16)
    );
    let cheap = ways.copied + ways.remapped + ways.unpacked + ways.transplanted;
    assert_eq!(cheap + ways.transcoded, all);
    assert_eq!(ways.reasons["nested"], NESTED);
    println!("{ways:?}");
    ways
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_pages_of_pyarrow_are_copied() {
    let options = json!({
        "use_dictionary": false, "compression": "zstd", "max_rows_per_page": 200,
        "write_page_checksum": true,
    });
    assert_eq!(ways(ROWS, options).await.copied, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_second_kind_in_several_row_groups_are_copied() {
    let options = json!({
        "use_dictionary": false, "compression": "zstd", "max_rows_per_page": 200,
        "data_page_version": "2.0", "row_group_size": 300, "write_page_checksum": true,
    });
    let ways = ways(ROWS, options).await;
    // Flags are not PLAIN there.
    assert_eq!((ways.copied, ways.reasons["other_encoding"]), (15, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn dictionaries_of_pyarrow_are_merged_or_become_pages() {
    let options = json!({"compression": "zstd", "write_page_checksum": true});
    let ways = ways(20, options).await;
    // Flags have no dictionary, ids are unique; those with NaN do not become one.
    assert_eq!((ways.copied, ways.transplanted), (1, 1));
    let swelling = ways.reasons.get("swells").copied().unwrap_or_default();
    assert_eq!(ways.remapped + ways.unpacked + swelling, 14, "{ways:?}");
    assert!(ways.remapped >= 12, "{ways:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dictionaries_in_another_codec_and_of_the_second_kind_are_merged() {
    let options = json!({"compression": "snappy", "data_page_version": "2.0"});
    let ways = ways(50, options).await;
    assert!(ways.remapped >= 12, "{ways:?}");
    assert_eq!(ways.transplanted, 0, "{ways:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_values_of_pyarrow_are_transplanted() {
    let options = json!({"compression": "zstd"});
    let ways = ways(ROWS, options).await;
    assert!(ways.transplanted >= 5, "{ways:?}");
}
