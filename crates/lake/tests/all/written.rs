//! What our files say of themselves, next to what PyIceberg reads from the same footers.

use metadata::{Primitive, Type};
use serde_json::{Value, json};

use crate::world::{ALL, World};

async fn one_file(schema: &str, properties: Value) -> (World, Value, Value) {
    let world = World::with_properties(schema, "none", 3, 60, properties).await;
    world.maintain(ALL).await;
    let files = world.oracle("files", json!({})).await;
    let file = files[0].clone();
    let path = file["path"].clone();
    let parquet = world.oracle("parquet", json!({"path": path})).await;
    (world, file, parquet)
}

/// PyArrow does not know the total order of floating point numbers that the footer states, and
/// shows no statistics for them.
fn bounded_alike(ty: &Type) -> bool {
    match ty {
        Type::Primitive(ty) => !matches!(ty, Primitive::Float | Primitive::Double),
        Type::Struct(_) | Type::List { .. } | Type::Map { .. } => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_of_floats_leave_nan_out_and_order_zeros() {
    let (_world, file, _) = one_file("wide", json!({})).await;
    // -0.0 .. +infinity, and -infinity .. below 1.
    assert_eq!(file["lower_bounds"]["4"], "00000080");
    assert_eq!(file["upper_bounds"]["4"], "0000807f");
    assert_eq!(file["lower_bounds"]["5"], "000000000000f0ff");
    assert!(
        file["nan_value_counts"]["4"].as_i64().unwrap() > 0,
        "{file}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_equal_what_pyiceberg_reads_from_the_footer() {
    let (world, file, parquet) = one_file("wide", json!({})).await;
    assert_eq!(file["records"], 180);
    assert_eq!(file["split_offsets"], parquet["split_offsets"]);
    for key in ["value_counts", "null_value_counts"] {
        assert_eq!(file[key], parquet[key], "{key}");
    }
    let table = world.table().await;
    let top: Vec<String> = table
        .metadata
        .current_schema()
        .root
        .fields
        .iter()
        .filter(|field| bounded_alike(&field.ty))
        .map(|field| field.id.to_string())
        .collect();
    for key in ["lower_bounds", "upper_bounds"] {
        for id in &top {
            assert_eq!(file[key][id], parquet[key][id], "{key} of field {id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codec_bloom_filters_and_metrics_modes_are_the_tables() {
    let properties = json!({
        "write.parquet.compression-codec": "snappy",
        "write.parquet.bloom-filter-enabled.column.region": "true",
        "write.metadata.metrics.default": "counts",
        "write.metadata.metrics.column.region": "truncate(2)",
        "write.metadata.metrics.column.note": "none",
        "write.metadata.metrics.column.id": "full",
    });
    let (_world, file, parquet) = one_file("plain", properties).await;
    for (column, chunk) in parquet["columns"].as_object().unwrap() {
        assert_eq!(chunk["compression"], "SNAPPY", "{column}");
    }
    let keys =
        |what: &str| -> Vec<String> { file[what].as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys("value_counts"), ["1", "2", "3"]);
    assert_eq!(keys("lower_bounds"), ["1", "2"]);
    // "as" .. "us" cut to two characters, the upper one raised only if it was cut.
    assert_eq!(file["lower_bounds"]["2"], "6173");
    assert_eq!(file["upper_bounds"]["2"], "7573");
}

#[tokio::test(flavor = "multi_thread")]
async fn zstd_is_the_default_and_every_field_has_its_id() {
    let (_world, _file, parquet) = one_file("wide", json!({})).await;
    for (column, chunk) in parquet["columns"].as_object().unwrap() {
        assert_eq!(chunk["compression"], "ZSTD", "{column}");
    }
    let schema = parquet["schema"].as_str().unwrap();
    for name in [
        "tags.list.element",
        "counts.key_value.key",
        "counts.key_value.value",
    ] {
        assert!(parquet["columns"].get(name).is_some(), "{name} in {schema}");
    }
    let fields = schema
        .lines()
        .filter(|line| line.contains("optional") || line.contains("required"));
    for line in fields.filter(|line| !line.contains("group field_id=-1 table")) {
        assert!(
            line.contains("field_id=") && !line.contains("field_id=-1"),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_where_the_table_wants_it() {
    let elsewhere = tempfile::tempdir().unwrap();
    let path = format!("file://{}", elsewhere.path().display());
    let properties = json!({"write.data.path": path, "write.object-storage.enabled": "true"});
    let (world, file, _) = one_file("plain", properties.clone()).await;
    let written = file["path"].as_str().unwrap();
    assert!(written.starts_with(&path), "{written}");
    let name = written.rsplit('/').next().unwrap();
    let table = world.table().await;
    let asked =
        json!({"location": table.metadata.location(), "properties": properties, "name": name});
    let theirs = world.oracle("object_path", asked).await;
    // Java puts the table's name between hash and file when the data lies elsewhere.
    let hash: String = theirs["path"]
        .as_str()
        .unwrap()
        .chars()
        .skip(path.len() + 1)
        .take(23)
        .collect();
    assert!(
        written.starts_with(&format!("{path}/{hash}/")),
        "{written} {theirs}"
    );
}
