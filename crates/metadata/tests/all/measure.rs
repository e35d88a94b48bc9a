//! What is measured of a table, judged by PyIceberg; and that little is read for it.

use bytes::Bytes;
use metadata::{
    Content, DataFile, Literal, ManifestContent, ManifestFile, ManifestWriter, Measuring,
    TableMetadata, measure, write_manifest_list,
};
use model::health::{Facts, Thresholds};
use serde_json::{Value, json};
use storage::Storage;
use tempfile::TempDir;
use testkit::oracle;

const MIB: u64 = 1 << 20;
const SNAPSHOT: i64 = 7;
const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 86_400_000;
const REGION: i32 = 0;
/// The default of [`Lake::new`]'s tables.
const REGION_AND_ID: i32 = 1;

/// A table of metadata alone: nobody who measures opens a data file.
struct Lake {
    folder: TempDir,
    document: Value,
    manifests: Vec<ManifestFile>,
}

fn measuring() -> Measuring {
    Measuring {
        thresholds: Thresholds {
            target_file_size_bytes: 100 * MIB,
            min_input_files: 3,
            delete_file_threshold: 2,
            delete_ratio_threshold: 0.1,
        },
        now_ms: NOW,
        max_snapshot_age_ms: None,
        manifests_max: 256,
    }
}

fn data(path: &str, region: &str, bytes: u64, records: u64) -> DataFile {
    let mut file = DataFile::new(Content::Data, path);
    file.partition = vec![Some(Literal::String(region.to_owned()))];
    (file.file_size_in_bytes, file.record_count) = (bytes, records);
    file
}

/// As [`data`], laid out by the current spec.
fn own(path: &str, region: &str, bytes: u64, records: u64) -> DataFile {
    let mut file = data(path, region, bytes, records);
    file.spec_id = REGION_AND_ID;
    file.partition.push(Some(Literal::Int(1)));
    file
}

fn deleting(content: Content, path: &str, like: &DataFile, records: u64) -> DataFile {
    DataFile {
        content,
        file_path: path.to_owned(),
        record_count: records,
        file_size_in_bytes: 1_000,
        equality_ids: (content == Content::EqualityDeletes).then(|| vec![1]),
        ..like.clone()
    }
}

impl Lake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let document = json!({
            "format-version": 2, "table-uuid": "0199d7a2-5b1e-7c3a-9f00-3c1f6a7d9e21",
            "location": format!("file://{}", folder.path().display()),
            "last-sequence-number": 9, "last-updated-ms": NOW - DAY, "last-column-id": 2,
            "current-schema-id": 0,
            "schemas": [{"type": "struct", "schema-id": 0, "fields": [
                {"id": 1, "name": "id", "type": "int", "required": false},
                {"id": 2, "name": "region", "type": "string", "required": false}]}],
            "default-spec-id": REGION_AND_ID, "last-partition-id": 1001,
            "partition-specs": [
                {"spec-id": REGION, "fields": [
                    {"source-id": 2, "field-id": 1000, "name": "region", "transform": "identity"}]},
                {"spec-id": REGION_AND_ID, "fields": [
                    {"source-id": 2, "field-id": 1000, "name": "region", "transform": "identity"},
                    {"source-id": 1, "field-id": 1001, "name": "id_b", "transform": "bucket[4]"}]}],
            "default-sort-order-id": 0, "sort-orders": [{"order-id": 0, "fields": []}],
            "properties": {}, "snapshots": [], "refs": {},
        });
        let manifests = Vec::new();
        Self {
            folder,
            document,
            manifests,
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder.path().display())
    }

    fn parsed(&self) -> TableMetadata {
        TableMetadata::parse(self.document.to_string().as_bytes()).unwrap()
    }

    /// Adds one manifest of files of one kind and spec, with their data sequence number.
    fn manifest(&mut self, sequence_number: i64, files: &[DataFile]) {
        let content = match files[0].content {
            Content::Data => ManifestContent::Data,
            _ => ManifestContent::Deletes,
        };
        let (table, spec) = (self.parsed(), files[0].spec_id);
        let mut writer = ManifestWriter::new(content, &table, spec, SNAPSHOT).unwrap();
        for file in files {
            writer.add(file, Some(sequence_number)).unwrap();
        }
        let path = self.path(&format!("m{}.avro", self.manifests.len()));
        let (bytes, manifest) = writer.finish(&path).unwrap();
        put(&path, &bytes);
        self.manifests.push(manifest);
    }

    /// Writes the list and the metadata; the table, and where its metadata lies.
    fn table(&mut self) -> (TableMetadata, String) {
        let list = self.path("list.avro");
        let table = self.parsed();
        let bytes = write_manifest_list(&self.manifests, &table, SNAPSHOT, None, 9).unwrap();
        put(&list, &bytes);
        self.snapshot(SNAPSHOT, None, NOW - DAY, &json!({"operation": "append"}));
        self.document["snapshots"]
            .as_array_mut()
            .unwrap()
            .last_mut()
            .unwrap()["manifest-list"] = list.into();
        self.document["current-snapshot-id"] = SNAPSHOT.into();
        self.document["refs"]["main"] = json!({"snapshot-id": SNAPSHOT, "type": "branch"});
        let location = self.path("v1.metadata.json");
        std::fs::write(&location, self.document.to_string()).unwrap();
        (self.parsed(), location)
    }

    fn snapshot(&mut self, id: i64, parent: Option<i64>, at: i64, summary: &Value) {
        let mut snapshot = json!({
            "snapshot-id": id, "sequence-number": 1, "timestamp-ms": at, "summary": summary,
            "manifest-list": self.path("gone.avro"), "schema-id": 0,
        });
        if let Some(parent) = parent {
            snapshot["parent-snapshot-id"] = parent.into();
        }
        self.document["snapshots"]
            .as_array_mut()
            .unwrap()
            .push(snapshot);
    }
}

fn put(path: &str, bytes: &Bytes) {
    std::fs::write(path, bytes).unwrap();
}

async fn measured(lake: &mut Lake, measuring: &Measuring) -> Facts {
    let (table, location) = lake.table();
    measure(&Storage::local(), &table, &location, measuring, None)
        .await
        .unwrap()
}

/// A table with every kind of file there is.
fn varied() -> Lake {
    let mut lake = Lake::new();
    // Enough small ones in `a`, too few in `b`, and a large one.
    let in_a: Vec<DataFile> = (0..4)
        .map(|n| own(&format!("a{n}"), "a", MIB, 10))
        .collect();
    let mut rest = vec![own("b0", "b", MIB, 10), own("b1", "b", 75 * MIB - 1, 10)];
    rest.push(own("b2", "b", 75 * MIB, 1_000));
    // Of an older spec, in different partitions: a rewrite moves them together.
    let old: Vec<DataFile> = ["x", "y", "z"]
        .map(|r| data(&format!("old-{r}"), r, 5, 7))
        .into();
    lake.manifest(3, &in_a);
    lake.manifest(3, &rest);
    lake.manifest(2, &old);
    let mut named = deleting(Content::PositionDeletes, "d0", &in_a[0], 1);
    named.referenced_data_file = Some("a0".to_owned());
    // For all of `b`: one that is old enough, one that came before the files.
    let wide = [
        deleting(Content::PositionDeletes, "d1", &rest[0], 3),
        deleting(Content::EqualityDeletes, "d2", &rest[0], 2),
    ];
    lake.manifest(4, &[named]);
    lake.manifest(5, &wide);
    lake.manifest(2, &[deleting(Content::PositionDeletes, "d3", &in_a[0], 99)]);
    lake
}

#[tokio::test]
async fn m22_facts_are_what_pyiceberg_counts() {
    let mut lake = varied();
    let facts = measured(&mut lake, &measuring()).await;
    let theirs = oracle(
        "health_tables",
        &json!({"metadata": lake.path("v1.metadata.json"), "target": 100 * MIB,
            "min_input_files": 3, "manifest_target": 8 * MIB}),
    );
    let (files, deletes) = (&facts.file_stats, &facts.delete_stats);
    let ours = json!({
        "total_data_files": files.total_data_files,
        "total_delete_files": files.total_delete_files,
        "total_size_bytes": files.total_size_bytes,
        "small_file_count": files.small_file_count,
        "compactable_file_count": files.compactable_file_count,
        "compactable_bytes": files.compactable_bytes,
        "total_records": facts.total_records,
        "position_delete_records": deletes.position_delete_records,
        "equality_delete_records": deletes.equality_delete_records,
        "delete_bytes": deletes.delete_bytes,
        "manifest_count": facts.manifest_count,
        "manifest_bytes": facts.manifest_stats.total_bytes,
        "small_manifests": facts.manifest_stats.small_count,
        "old_spec_file_count": facts.manifest_stats.old_spec_file_count,
        "snapshot_count": facts.snapshot_count,
    });
    assert_eq!(ours, theirs);
    assert_eq!(
        (files.small_file_count, files.compactable_file_count),
        (9, 7)
    );
    assert_eq!(files.manifests_read, 6);
    let metadata = std::fs::metadata(lake.path("v1.metadata.json")).unwrap();
    assert_eq!(facts.metadata_bytes, metadata.len());
    // a0 has 10% of its rows deleted, the three of `b` have two delete files each.
    assert_eq!(deletes.heavy_file_count, 4);
}

#[tokio::test]
async fn m24_an_unchanged_table_costs_no_manifest() {
    let mut lake = varied();
    let (table, location) = lake.table();
    let storage = Storage::local();
    let first = measure(&storage, &table, &location, &measuring(), None)
        .await
        .unwrap();
    for entry in std::fs::read_dir(lake.folder.path()).unwrap().flatten() {
        std::fs::remove_file(entry.path()).unwrap();
    }
    let later = Measuring {
        now_ms: NOW + 30 * DAY,
        ..measuring()
    };
    let again = measure(&storage, &table, &location, &later, Some(&first))
        .await
        .unwrap();
    assert_eq!(again, first);

    let mut other = measuring();
    other.thresholds.target_file_size_bytes -= 1;
    let error = measure(&storage, &table, &location, &other, Some(&first))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("v1.metadata.json"), "{error}");
    let elsewhere = lake.path("v2.metadata.json");
    measure(&storage, &table, &elsewhere, &measuring(), Some(&first))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn m22_of_very_many_manifests_an_even_sample_is_scaled_up() {
    let mut lake = Lake::new();
    for n in 0..600_u64 {
        lake.manifest(3, &[own(&format!("f{n}"), "a", MIB, 10)]);
    }
    let few = Measuring {
        manifests_max: 60,
        ..measuring()
    };
    let facts = measured(&mut lake, &few).await;
    let files = &facts.file_stats;
    assert_eq!((facts.manifest_count, files.manifests_read), (600, 60));
    assert_eq!(
        (files.total_data_files, files.total_size_bytes),
        (600, 600 * MIB)
    );
    assert_eq!(
        (files.small_file_count, files.compactable_file_count),
        (600, 600)
    );
    assert_eq!(facts.total_records, 6_000);
    let (table, location) = (lake.parsed(), lake.path("v1.metadata.json"));
    let again = measure(&Storage::local(), &table, &location, &few, None).await;
    assert_eq!(again.unwrap().file_stats, *files, "always the same sample");
}

#[tokio::test]
async fn m22_hostile_counts_end_at_the_largest_there_is() {
    let mut lake = Lake::new();
    let most = i64::MAX.unsigned_abs();
    let huge: Vec<DataFile> = (0..4)
        .map(|n| own(&format!("h{n}"), "a", most, most))
        .collect();
    lake.manifest(3, &huge);
    let mut deletes = deleting(Content::PositionDeletes, "d", &huge[0], most);
    deletes.referenced_data_file = Some("h0".to_owned());
    lake.manifest(4, &[deletes]);
    lake.document["properties"] = json!({
        "commit.manifest.target-size-bytes": "-1", "history.expire.min-snapshots-to-keep": "x",
    });
    let summary = json!({"operation": "append", "removed-files-size": "99999999999999999999"});
    lake.snapshot(1, Some(2), i64::MIN, &summary);
    lake.snapshot(2, Some(1), i64::MAX, &json!({}));
    let facts = measured(&mut lake, &measuring()).await;
    assert_eq!(facts.file_stats.total_size_bytes, u64::MAX);
    assert_eq!(facts.total_records, u64::MAX);
    assert_eq!(facts.delete_stats.heavy_file_count, 1);
    assert_eq!(facts.manifest_stats.small_count, 2);
    assert_eq!(
        facts.snapshot_stats.expirable_count, 0,
        "no expiry would run"
    );
    let edge = Measuring {
        now_ms: i64::MIN,
        max_snapshot_age_ms: Some(i64::MAX),
        ..measuring()
    };
    lake.document["properties"] = json!({});
    lake.document["snapshots"] = json!([]);
    lake.document["refs"] = json!({});
    lake.document["current-snapshot-id"] = Value::Null;
    let facts = measured(&mut lake, &edge).await;
    assert_eq!(facts.snapshot_stats.expirable_count, 0);
}

#[tokio::test]
async fn m22_a_table_with_a_cut_manifest_is_not_measured() {
    let mut lake = varied();
    let (table, location) = lake.table();
    std::fs::write(lake.path("m1.avro"), b"Obj").unwrap();
    let error = measure(&Storage::local(), &table, &location, &measuring(), None).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("m1.avro"), "{error}");
}

#[tokio::test]
async fn m22_a_table_without_snapshots_has_nothing() {
    let lake = Lake::new();
    let location = lake.path("v0.metadata.json");
    std::fs::write(&location, lake.document.to_string()).unwrap();
    let facts = measure(
        &Storage::local(),
        &lake.parsed(),
        &location,
        &measuring(),
        None,
    )
    .await
    .unwrap();
    assert_eq!((facts.snapshot_count, facts.manifest_count), (0, 0));
    assert_eq!(facts.file_stats.total_data_files, 0);
    assert_eq!(facts.current_snapshot_id, None);
}

/// Four snapshots in a row, ten days apart; the newest is a day old. Each but the first removes
/// 100 bytes the one before it had.
fn ageing() -> Lake {
    let mut lake = Lake::new();
    let summary = |added: u64, removed: u64| {
        json!({"operation": "overwrite", "added-files-size": added.to_string(),
            "removed-files-size": removed.to_string()})
    };
    lake.snapshot(1, None, NOW - 31 * DAY, &summary(1_000, 0));
    lake.snapshot(2, Some(1), NOW - 21 * DAY, &summary(150, 100));
    lake.snapshot(3, Some(2), NOW - 11 * DAY, &summary(150, 100));
    lake.snapshot(4, Some(3), NOW - DAY, &summary(150, 100));
    lake.document["current-snapshot-id"] = 4.into();
    lake.document["refs"]["main"] = json!({"snapshot-id": 4, "type": "branch"});
    lake
}

#[track_caller]
fn expirable(lake: &Lake, age_ms: Option<i64>, want: (u64, u64)) {
    let past = metadata::snapshot_stats(&lake.parsed(), NOW, age_ms);
    assert_eq!((past.expirable_count, past.expirable_bytes), want);
}

#[test]
fn m22_expirable_snapshots_follow_refs_and_properties() {
    let mut lake = ageing();
    expirable(&lake, None, (3, 300));
    expirable(&lake, Some(20 * DAY), (2, 200));
    lake.document["properties"]["history.expire.max-snapshot-age-ms"] =
        (25 * DAY).to_string().into();
    expirable(&lake, None, (1, 100));
    expirable(&lake, Some(20 * DAY), (2, 200));
    lake.document["properties"]["history.expire.min-snapshots-to-keep"] = "3".into();
    expirable(&lake, Some(0), (1, 100));
    lake.document["properties"]["gc.enabled"] = "false".into();
    expirable(&lake, None, (0, 0));
    for (refused, value) in [
        ("snowpack.deletion-grace-ms", "1 day"),
        ("history.expire.max-snapshot-age-ms", "+0"),
    ] {
        let mut lake = ageing();
        lake.document["properties"][refused] = value.into();
        expirable(&lake, Some(0), (0, 0));
    }

    let mut lake = ageing();
    lake.document["refs"]["audit"] = json!({"snapshot-id": 2, "type": "tag"});
    // What 2 removed only 1 had; what 4 removed, 3 had, and what it took from 2 the tag keeps.
    expirable(&lake, None, (2, 250));
    lake.document["refs"]["audit"]["max-ref-age-ms"] = (20 * DAY).into();
    expirable(&lake, None, (3, 300));
    lake.document["refs"]["main"]["min-snapshots-to-keep"] = 4.into();
    expirable(&lake, None, (0, 0));
}

#[test]
fn m22_a_line_nobody_needs_holds_what_it_added() {
    let mut lake = ageing();
    let summary = json!({"operation": "append", "added-files-size": "70"});
    lake.snapshot(5, Some(2), NOW - 20 * DAY, &summary);
    lake.snapshot(6, Some(5), NOW - 19 * DAY, &summary);
    expirable(&lake, None, (5, 440));
}

#[test]
fn m27_another_maintainer_is_seen_in_summaries() {
    let seen = |at: i64, summary: Value| {
        let mut lake = ageing();
        lake.snapshot(9, None, at, &summary);
        let measuring = measuring();
        let location = lake.path("v.metadata.json");
        std::fs::write(&location, lake.document.to_string()).unwrap();
        let bare = TableMetadata::parse(&without_current(&lake.parsed())).unwrap();
        async move {
            let _folder = lake.folder;
            measure(&Storage::local(), &bare, &location, &measuring, None)
                .await
                .unwrap()
                .rival
                .map(|rival| rival.name)
        }
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let replace = |more: Value| {
            let mut summary = json!({"operation": "replace"});
            summary
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            summary
        };
        let trino = replace(json!({"engine-name": "trino"}));
        assert_eq!(
            seen(NOW - DAY, trino.clone()).await.as_deref(),
            Some("trino")
        );
        assert_eq!(seen(NOW - 8 * DAY, trino).await, None);
        let hostile = replace(json!({"engine-name": "tri\u{0}no".repeat(1_000)}));
        let name = seen(NOW - DAY, hostile).await.unwrap();
        assert_eq!((name.len(), &name[..10]), (100, "trinotrino"));
        let spark = replace(json!({"spark.app.id": "local-1"}));
        assert_eq!(seen(NOW - DAY, spark).await.as_deref(), Some("spark"));
        let ours = replace(json!({"snowpack.action": "rewrite_data_files"}));
        assert_eq!(seen(NOW - DAY, ours).await, None);
        let append = json!({"operation": "append", "engine-name": "spark"});
        assert_eq!(seen(NOW - DAY, append).await, None);
    });
}

/// The document without a current snapshot, so that no manifest list need be there.
fn without_current(table: &TableMetadata) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(&table.to_json()).unwrap();
    document["current-snapshot-id"] = Value::Null;
    document["refs"] = json!({});
    document.to_string().into_bytes()
}
