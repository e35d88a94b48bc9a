//! Manifests and lists, both ways with PyIceberg; tables we wrote the metadata of, read by
//! PyIceberg and DuckDB.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use bytes::Bytes;
use metadata::{
    Bound, ColumnMap, Content, DataFile, Entry, EntryStatus, FieldSummary, Fields, Literal,
    ManifestContent, ManifestFile, ManifestWriter, TableMetadata, live_files, read_manifest,
    read_manifest_list, rewrite_manifest, write_manifest_list,
};
use serde_json::{Value, json};
use storage::Storage;
use testkit::oracle;

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn hex_map(bounds: &ColumnMap<Bound>) -> BTreeMap<i32, String> {
    bounds.iter().map(|(id, bytes)| (*id, hex(bytes))).collect()
}

fn by_id(counts: &ColumnMap<i64>) -> BTreeMap<i32, i64> {
    counts.iter().map(|(id, count)| (*id, *count)).collect()
}

/// An entry as `tests/oracle/manifests.py` shows it.
pub(crate) fn shown_entry(entry: &Entry) -> Value {
    let file = &entry.file;
    let partition: Vec<_> = file
        .partition
        .iter()
        .map(|value| value.as_ref().map(|value| hex(&value.to_bytes())))
        .collect();
    json!({
        "status": entry.status.code(),
        "snapshot_id": entry.snapshot_id,
        "sequence_number": entry.sequence_number,
        "file_sequence_number": entry.file_sequence_number,
        "content": file.content.code(),
        "file_path": file.file_path,
        "file_format": file.file_format,
        "spec_id": file.spec_id,
        "partition": partition,
        "record_count": file.record_count,
        "file_size_in_bytes": file.file_size_in_bytes,
        "column_sizes": by_id(&file.column_sizes),
        "value_counts": by_id(&file.value_counts),
        "null_value_counts": by_id(&file.null_value_counts),
        "nan_value_counts": by_id(&file.nan_value_counts),
        "lower_bounds": hex_map(&file.lower_bounds),
        "upper_bounds": hex_map(&file.upper_bounds),
        "key_metadata": file.key_metadata.as_deref().map(hex),
        "split_offsets": file.split_offsets,
        "equality_ids": file.equality_ids,
        "sort_order_id": file.sort_order_id,
        "referenced_data_file": file.referenced_data_file,
    })
}

pub(crate) fn shown_manifest(manifest: &ManifestFile, entries: &[Entry]) -> Value {
    let summary = |summary: &FieldSummary| {
        json!([
            summary.contains_null,
            summary.contains_nan,
            summary.lower_bound.as_deref().map(hex),
            summary.upper_bound.as_deref().map(hex),
        ])
    };
    let partitions: Vec<_> = manifest.partitions.iter().flatten().map(summary).collect();
    json!({
        "manifest_path": manifest.manifest_path,
        "manifest_length": manifest.manifest_length,
        "partition_spec_id": manifest.partition_spec_id,
        "content": manifest.content.code(),
        "sequence_number": manifest.sequence_number,
        "min_sequence_number": manifest.min_sequence_number,
        "added_snapshot_id": manifest.added_snapshot_id,
        "files": [manifest.added_files_count, manifest.existing_files_count,
            manifest.deleted_files_count],
        "rows": [manifest.added_rows_count, manifest.existing_rows_count,
            manifest.deleted_rows_count],
        "partitions": partitions,
        "key_metadata": manifest.key_metadata.as_deref().map(hex),
        "entries": entries.iter().map(shown_entry).collect::<Vec<_>>(),
    })
}

pub(crate) fn table_at(location: &str) -> TableMetadata {
    TableMetadata::parse(&std::fs::read(location).unwrap()).unwrap()
}

/// Everything a snapshot's list and manifests say, as the oracle shows it.
pub(crate) async fn read_all(table: &TableMetadata) -> (Vec<ManifestFile>, Vec<Vec<Entry>>, Value) {
    let storage = Storage::local();
    let snapshot = table.current_snapshot().unwrap();
    let manifests = read_manifest_list(&storage, snapshot).await.unwrap();
    let mut entries = Vec::new();
    for manifest in &manifests {
        entries.push(
            read_manifest(&storage, manifest, table, Fields::ALL)
                .await
                .unwrap(),
        );
    }
    let shown = manifests
        .iter()
        .zip(&entries)
        .map(|(m, entries)| shown_manifest(m, entries));
    let shown = shown.collect();
    (manifests, entries, shown)
}

#[track_caller]
pub(crate) fn assert_same(ours: &Value, theirs: &Value) {
    for (ours, theirs) in ours
        .as_array()
        .unwrap()
        .iter()
        .zip(theirs.as_array().unwrap())
    {
        let entries = |value: &Value| value["entries"].as_array().unwrap().clone();
        for (ours, theirs) in entries(ours).iter().zip(entries(theirs)) {
            for (key, value) in ours.as_object().unwrap() {
                assert_eq!(*value, theirs[key], "{key} of {}", ours["file_path"]);
            }
        }
        for (key, value) in ours.as_object().unwrap() {
            assert_eq!(*value, theirs[key], "{key} of {}", ours["manifest_path"]);
        }
    }
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn what_pyiceberg_writes_is_read_with_every_field_equal() {
    for codec in ["gzip", "null", "zstd"] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_str().unwrap();
        let theirs = oracle(
            "manifests",
            &json!({"do": "write", "dir": dir, "codec": codec}),
        );
        let table = table_at(&format!("{dir}/v1.metadata.json"));
        let (_, entries, ours) = read_all(&table).await;
        assert_eq!(
            entries.iter().map(Vec::len).collect::<Vec<_>>(),
            [4, 2],
            "{codec}"
        );
        assert_same(&ours, &theirs);
    }
}

#[tokio::test]
async fn partition_values_have_the_types_of_their_spec() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    oracle(
        "manifests",
        &json!({"do": "write", "dir": dir, "codec": "gzip"}),
    );
    let table = table_at(&format!("{dir}/v1.metadata.json"));
    let (_, entries, _) = read_all(&table).await;
    let first = &entries[0][1].file.partition;
    let human = table.default_spec().path(first);
    let decimal = Literal::Decimal {
        unscaled: 12_345_678_901,
        scale: 3,
    };
    assert_eq!(first[5], Some(decimal));
    assert_eq!(first[7], Some(Literal::Date(20_454)));
    assert_eq!(first[10], Some(Literal::Timestamptz(1_767_225_600_000_001)));
    assert!(matches!(first[12], Some(Literal::Uuid(_))));
    assert_eq!(first[20], Some(Literal::Date(20_454)), "day");
    assert_eq!(first[22], None, "void");
    assert!(human.contains("date=2026-01-01"), "{human}");
    assert!(entries[0][2].file.partition.iter().all(Option::is_none));
}

pub(crate) fn put(path: &str, bytes: &Bytes) {
    std::fs::write(path, bytes).unwrap();
}

/// Writes manifests of the entries again with our writer, and a list of them.
pub(crate) fn write_again(
    table: &TableMetadata,
    manifests: &[ManifestFile],
    entries: &[Vec<Entry>],
    dir: &str,
) -> Vec<ManifestFile> {
    let snapshot_id = 77;
    let mut written = Vec::new();
    for (at, (manifest, entries)) in manifests.iter().zip(entries).enumerate() {
        let spec_id = manifest.partition_spec_id;
        let content = manifest.content;
        let mut writer = ManifestWriter::new(content, table, spec_id, snapshot_id).unwrap();
        for entry in entries {
            match entry.status {
                // The commit's own number is the one to be inherited.
                EntryStatus::Added if entry.sequence_number == 5 => writer.add(&entry.file, None),
                EntryStatus::Added => writer.add(&entry.file, Some(entry.sequence_number)),
                EntryStatus::Existing => writer.add_existing(entry),
                EntryStatus::Deleted => writer.add_deleted(entry),
            }
            .unwrap();
        }
        let path = format!("{dir}/ours-{at}.avro");
        let (bytes, manifest) = writer.finish(&path).unwrap();
        put(&path, &bytes);
        written.push(manifest);
    }
    let list = write_manifest_list(&written, table, snapshot_id, Some(66), 5).unwrap();
    put(&format!("{dir}/ours.avro"), &list);
    written
}

#[tokio::test]
async fn what_we_write_pyiceberg_reads_with_every_field_equal() {
    for codec in ["gzip", "uncompressed", "zstd"] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_str().unwrap();
        oracle(
            "manifests",
            &json!({"do": "write", "dir": dir, "codec": "gzip"}),
        );
        let metadata = format!("{dir}/v1.metadata.json");
        let mut document: Value =
            serde_json::from_slice(&std::fs::read(&metadata).unwrap()).unwrap();
        document["properties"]["write.avro.compression-codec"] = codec.into();
        std::fs::write(&metadata, document.to_string()).unwrap();
        let table = table_at(&metadata);
        let (manifests, mut entries, mut expected) = read_all(&table).await;
        entries[1][0].file.referenced_data_file = Some("/some/data.parquet".to_owned());
        expected[1]["entries"][0]["referenced_data_file"] = "/some/data.parquet".into();
        let written = write_again(&table, &manifests, &entries, dir);
        for (at, manifest) in written.iter().enumerate() {
            expected[at]["manifest_path"] = manifest.manifest_path.clone().into();
            expected[at]["manifest_length"] = manifest.manifest_length.into();
        }
        let list = format!("{dir}/ours.avro");
        let task = json!({"do": "read", "metadata": metadata, "list": list});
        assert_same(&expected, &oracle("manifests", &task));
    }
}

#[tokio::test]
async fn a_rewritten_pyiceberg_manifest_is_read_by_pyiceberg_without_the_removed_file() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    oracle(
        "manifests",
        &json!({"do": "write", "dir": dir, "codec": "gzip"}),
    );
    let metadata = format!("{dir}/v1.metadata.json");
    let table = table_at(&metadata);
    let (manifests, entries, _) = read_all(&table).await;
    let bytes = Bytes::from(std::fs::read(&manifests[0].manifest_path).unwrap());
    let removed = HashSet::from([entries[0][1].file.file_path.clone()]);
    let path = format!("{dir}/survivors.avro");
    let rewritten = rewrite_manifest(&bytes, &manifests[0], &table, &removed, 78, &path).unwrap();
    assert_eq!(rewritten.removed, [entries[0][1].clone()]);
    let (bytes, survivors) = rewritten.survivors.unwrap();
    put(&path, &bytes);
    let mut tombs = ManifestWriter::new(ManifestContent::Data, &table, 0, 78).unwrap();
    tombs.add_deleted(&rewritten.removed[0]).unwrap();
    let tombs_path = format!("{dir}/tombs.avro");
    let (bytes, tombs) = tombs.finish(&tombs_path).unwrap();
    put(&tombs_path, &bytes);
    let list = format!("{dir}/after.avro");
    let after = [survivors, tombs, manifests[1].clone()];
    put(
        &list,
        &write_manifest_list(&after, &table, 78, Some(77), 6).unwrap(),
    );

    let theirs = oracle(
        "manifests",
        &json!({"do": "read", "metadata": metadata, "list": list}),
    );
    let kept = |at: usize| Entry {
        status: EntryStatus::Existing,
        ..entries[0][at].clone()
    };
    let kept = [kept(0), kept(3)];
    let gone = Entry {
        status: EntryStatus::Deleted,
        snapshot_id: Some(78),
        ..entries[0][1].clone()
    };
    assert_eq!(
        theirs[0]["entries"],
        kept.iter().map(shown_entry).collect::<Value>()
    );
    assert_eq!(theirs[0]["files"], json!([0, 2, 0]));
    assert_eq!(theirs[0]["rows"], json!([0, 203, 0]));
    assert_eq!(theirs[0]["min_sequence_number"], 4);
    assert_eq!(theirs[0]["sequence_number"], 6);
    assert_eq!(theirs[1]["entries"], json!([shown_entry(&gone)]));
    assert_eq!(theirs[1]["files"], json!([0, 0, 1]));
    assert_eq!(theirs[1]["min_sequence_number"], 6, "nothing in it is live");
    assert_eq!(theirs[2], shown_manifest(&manifests[1], &entries[1]));
}

/// Commits a list by editing the document: this test is about manifests alone.
fn commit(from: &str, to: &str, list: &str, snapshot_id: i64, sequence_number: i64) {
    let mut document: Value = serde_json::from_slice(&std::fs::read(from).unwrap()).unwrap();
    let schema = document["current-schema-id"].clone();
    let now = document["last-updated-ms"].clone();
    let parent = document["current-snapshot-id"].clone();
    document["snapshots"].as_array_mut().unwrap().push(json!({
        "snapshot-id": snapshot_id, "parent-snapshot-id": parent,
        "sequence-number": sequence_number, "timestamp-ms": now, "manifest-list": list,
        "summary": {"operation": "overwrite"}, "schema-id": schema,
    }));
    document["current-snapshot-id"] = snapshot_id.into();
    document["last-sequence-number"] = sequence_number.into();
    document["refs"] = json!({"main": {"snapshot-id": snapshot_id, "type": "branch"}});
    std::fs::write(to, document.to_string()).unwrap();
}

/// Rewrites every manifest without one file and tells of its end in another.
fn without(
    path: &str,
    manifests: &[ManifestFile],
    table: &TableMetadata,
    snapshot_id: i64,
    dir: &str,
) -> Vec<ManifestFile> {
    let mut tombs = ManifestWriter::new(ManifestContent::Data, table, 0, snapshot_id).unwrap();
    let removed = HashSet::from([path.to_owned()]);
    let mut written = Vec::new();
    for (at, manifest) in manifests.iter().enumerate() {
        let bytes = Bytes::from(std::fs::read(local(&manifest.manifest_path)).unwrap());
        let to = format!("{dir}/kept-{at}.avro");
        let rewritten =
            rewrite_manifest(&bytes, manifest, table, &removed, snapshot_id, &to).unwrap();
        for entry in &rewritten.removed {
            tombs.add_deleted(entry).unwrap();
        }
        written.extend(rewritten.survivors);
    }
    written.push(tombs.finish(&format!("{dir}/tombs.avro")).unwrap());
    let keep = |(bytes, manifest): (Bytes, ManifestFile)| {
        put(&manifest.manifest_path, &bytes);
        manifest
    };
    written.into_iter().map(keep).collect()
}

fn local(location: &str) -> &str {
    location.strip_prefix("file://").unwrap_or(location)
}

#[tokio::test]
async fn a_table_whose_manifests_we_wrote_is_scanned_by_pyiceberg_and_duckdb() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let made = oracle("manifests", &json!({"do": "table", "dir": dir}));
    let metadata = made["metadata"].as_str().unwrap();
    let table = table_at(metadata);
    let storage = Storage::local();
    let base = table.current_snapshot().unwrap();
    let live = live_files(&storage, &table, base.snapshot_id, Fields::ALL)
        .await
        .unwrap();
    assert_eq!(
        (live.data.len(), live.deletes.len(), live.manifests.len()),
        (3, 0, 2)
    );

    // Rows 5 and 6 go with their file; of 1 and 2 the second is deleted by position.
    let with_row = |id: i64| {
        let holds = |file: &DataFile| file.lower_bounds[&1][..] == id.to_le_bytes();
        live.data.iter().find(|live| holds(&live.file)).unwrap()
    };
    let (gone, target) = (with_row(5), with_row(1));
    let deletes_path = format!("{dir}/deletes.parquet");
    let task = json!({"do": "position_deletes", "path": deletes_path, "pos": 1,
        "target": target.file.file_path});
    let bytes = oracle("manifests", &task)["bytes"].as_u64().unwrap();
    let snapshot_id = 4242;
    let sequence_number = table.last_sequence_number() + 1;

    let mut deletes =
        ManifestWriter::new(ManifestContent::Deletes, &table, 0, snapshot_id).unwrap();
    let mut file = DataFile::new(Content::PositionDeletes, deletes_path);
    file.partition = target.file.partition.clone();
    (file.record_count, file.file_size_in_bytes) = (1, bytes);
    file.referenced_data_file = Some(target.file.file_path.clone());
    deletes.add(&file, None).unwrap();
    let (bytes, deletes) = deletes.finish(&format!("{dir}/deletes.avro")).unwrap();
    put(&deletes.manifest_path, &bytes);
    let mut manifests = without(
        &gone.file.file_path,
        &live.manifests,
        &table,
        snapshot_id,
        dir,
    );
    manifests.push(deletes);
    let list = format!("{dir}/list.avro");
    let parent = Some(base.snapshot_id);
    let bytes =
        write_manifest_list(&manifests, &table, snapshot_id, parent, sequence_number).unwrap();
    put(&list, &bytes);
    let after = format!("{dir}/after.metadata.json");
    commit(metadata, &after, &list, snapshot_id, sequence_number);

    let rows = oracle("manifests", &json!({"do": "scan", "metadata": after}));
    assert_eq!(rows, json!({"pyiceberg": [1, 3, 4], "duckdb": [1, 3, 4]}));
    let table = table_at(&after);
    let live = live_files(&storage, &table, snapshot_id, Fields::PLAN)
        .await
        .unwrap();
    assert_eq!((live.data.len(), live.deletes.len()), (2, 1));
    assert_eq!(live.deletes[0].sequence_number, sequence_number);
}

#[tokio::test]
async fn what_is_live_twice_is_a_corrupt_table_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let task = json!({"do": "write", "dir": dir, "codec": "gzip"});
    oracle("manifests", &task);
    let metadata = format!("{dir}/v1.metadata.json");
    let table = table_at(&metadata);
    let (manifests, _, _) = read_all(&table).await;
    let again = |path: &str| ManifestFile {
        manifest_path: path.to_owned(),
        ..manifests[0].clone()
    };
    let copy = format!("{dir}/copy.avro");
    std::fs::copy(&manifests[0].manifest_path, &copy).unwrap();
    let (own, list) = (&manifests[0].manifest_path, format!("{dir}/twice.avro"));
    let same = format!("manifest {own} is listed twice");
    for (path, why) in [(&copy, "0.parquet is live twice"), (own, &same)] {
        let twice = [&manifests[..], &[again(path)]].concat();
        let bytes = write_manifest_list(&twice, &table, 79, Some(77), 7).unwrap();
        put(&list, &bytes);
        let after = format!("{dir}/v2.metadata.json");
        commit(&metadata, &after, &list, 79, 7);
        let table = table_at(&after);
        let live = live_files(&Storage::local(), &table, 79, Fields::PLAN).await;
        let error = live.unwrap_err().to_string();
        assert!(error.contains(why) && error.contains(&list), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_that_is_missing_or_cut_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    oracle(
        "manifests",
        &json!({"do": "write", "dir": dir, "codec": "gzip"}),
    );
    let table = table_at(&format!("{dir}/v1.metadata.json"));
    let (storage, path) = (Storage::local(), format!("{dir}/deletes.avro"));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = live_files(&storage, &table, 77, Fields::PLAN)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&path) && error.contains("bytes"), "{error}");
    std::fs::remove_file(Path::new(&path)).unwrap();
    let error = live_files(&storage, &table, 77, Fields::PLAN)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&path) && error.contains("does not exist"),
        "{error}"
    );
}
