//! Format v1, both ways with PyIceberg: manifests, lists, and snapshots that have no list.

use std::collections::HashSet;

use bytes::Bytes;
use metadata::{
    Entry, EntryStatus, Fields, ManifestFile, TableMetadata, live_files, read_manifest_list,
    rewrite_manifest, write_manifest_list,
};
use serde_json::{Value, json};
use storage::Storage;
use testkit::oracle;

use crate::manifest::{
    assert_same, put, read_all, shown_entry, shown_manifest, table_at, write_again,
};

/// A table of format v1 in `dir`, and what PyIceberg says of it.
fn written(dir: &str) -> (TableMetadata, Value) {
    let task = json!({"do": "write", "dir": dir, "codec": "gzip", "version": 1});
    let theirs = oracle("manifests", &task);
    (table_at(&format!("{dir}/v1.metadata.json")), theirs)
}

fn read_by_pyiceberg(dir: &str, list: &str) -> Value {
    let metadata = format!("{dir}/v1.metadata.json");
    let task = json!({"do": "read", "metadata": metadata, "list": format!("{dir}/{list}")});
    oracle("manifests", &task)
}

#[tokio::test]
async fn what_pyiceberg_writes_in_v1_is_read_and_what_we_write_in_v1_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let (table, theirs) = written(dir);
    assert_eq!(table.format_version(), 1);
    let (manifests, entries, mut ours) = read_all(&table).await;
    assert_same(&ours, &theirs);
    let written = write_again(&table, &manifests, &entries, dir);
    ours[0]["manifest_path"] = written[0].manifest_path.clone().into();
    ours[0]["manifest_length"] = written[0].manifest_length.into();
    assert_same(&ours, &read_by_pyiceberg(dir, "ours.avro"));
}

#[tokio::test]
async fn a_rewritten_v1_manifest_of_pyiceberg_is_read_by_it_without_the_removed_file() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let (table, _) = written(dir);
    let (manifests, entries, _) = read_all(&table).await;
    let bytes = Bytes::from(std::fs::read(&manifests[0].manifest_path).unwrap());
    let removed = HashSet::from([entries[0][1].file.file_path.clone()]);
    let path = format!("{dir}/survivors.avro");
    let rewritten = rewrite_manifest(&bytes, &manifests[0], &table, &removed, 78, &path).unwrap();
    assert_eq!(rewritten.removed, [entries[0][1].clone()]);
    let (bytes, survivors) = rewritten.survivors.unwrap();
    put(&path, &bytes);
    let list = write_manifest_list(&[survivors], &table, 78, Some(77), 0).unwrap();
    put(&format!("{dir}/after.avro"), &list);
    let theirs = read_by_pyiceberg(dir, "after.avro");
    let kept = |at: usize| Entry {
        status: EntryStatus::Existing,
        ..entries[0][at].clone()
    };
    let kept = [kept(0), kept(3)]
        .iter()
        .map(shown_entry)
        .collect::<Value>();
    assert_eq!(theirs[0]["entries"], kept);
    assert_eq!(theirs[0]["files"], json!([0, 2, 0]));
}

/// The table as a writer from before manifest lists would have left it: nothing but what the first
/// readers needed.
fn aged(dir: &str, manifests: &[&str]) -> TableMetadata {
    let metadata = format!("{dir}/v1.metadata.json");
    let document: Value = serde_json::from_slice(&std::fs::read(&metadata).unwrap()).unwrap();
    let mut old = json!({"format-version": 1});
    for key in [
        "location",
        "last-updated-ms",
        "last-column-id",
        "schema",
        "properties",
    ] {
        old[key] = document[key].clone();
    }
    old["schema"].as_object_mut().unwrap().remove("schema-id");
    old["partition-spec"] = document["partition-spec"].clone();
    for field in old["partition-spec"].as_array_mut().unwrap() {
        field.as_object_mut().unwrap().remove("field-id");
    }
    old["current-snapshot-id"] = 77.into();
    old["snapshots"] = json!([{"snapshot-id": 77, "timestamp-ms": 1, "manifests": manifests}]);
    TableMetadata::parse(old.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn a_snapshot_without_a_list_names_its_manifests_and_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let (_, theirs) = written(dir);
    let path = format!("{dir}/data.avro");
    let old = aged(dir, &[&path]);
    let (manifests, entries, _) = read_all(&old).await;
    // All a list would tell but the ranges of partitions, which are optional.
    let mut shown = shown_manifest(&manifests[0], &entries[0]);
    shown["partitions"] = theirs[0]["partitions"].clone();
    assert_eq!(shown, theirs[0]);
    let storage = Storage::local();
    let live = live_files(&storage, &old, 77, Fields::ALL).await.unwrap();
    assert_eq!(live.data.len(), 3);
    assert_eq!(live.manifests, manifests);
    // What is carried into a list says the same to PyIceberg.
    let list = write_manifest_list(&manifests, &old, 78, Some(77), 0).unwrap();
    put(&format!("{dir}/carried.avro"), &list);
    let carried = read_by_pyiceberg(dir, "carried.avro");
    shown["partitions"] = json!([]);
    assert_eq!(carried[0], shown);
    let missing = aged(dir, &[&path, &format!("{dir}/gone.avro")]);
    let error = read_manifest_list(&storage, &missing.snapshots()[0]).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("gone.avro"), "{error}");
    let twice = aged(dir, &[&path, &path]);
    let error = read_manifest_list(&storage, &twice.snapshots()[0]).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("snapshot 77") && error.contains("twice"),
        "{error}"
    );
}

#[tokio::test]
async fn counts_an_early_list_left_out_are_filled_in_from_the_entries() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let (table, _) = written(dir);
    let (manifests, _, _) = read_all(&table).await;
    let early = ManifestFile {
        added_files_count: None,
        existing_files_count: None,
        deleted_files_count: None,
        added_rows_count: None,
        existing_rows_count: None,
        deleted_rows_count: None,
        ..manifests[0].clone()
    };
    let list = write_manifest_list(&[early], &table, 77, None, 0).unwrap();
    put(&format!("{dir}/list.avro"), &list);
    let storage = Storage::local();
    let live = live_files(&storage, &table, 77, Fields::PLAN).await;
    assert_eq!(live.unwrap().manifests, manifests);
}
