//! Metadata that is missing, cut, or lies. What readers could disagree about is refused with the
//! file, the field and the value, and nothing is changed; what only counts wrongly does no harm.

use bytes::Bytes;
use catalog::Table;
use metadata::{
    DataFile, Fields, ManifestContent, ManifestFile, ManifestWriter, read_manifest,
    read_manifest_list, write_manifest_list,
};
use model::Advice;
use planner::{Engine, EngineError, Plan};
use serde_json::json;

use crate::world::{ALL, World, chain};

fn local(location: &str) -> &str {
    location.trim_start_matches("file://")
}

/// A table of three small files, whose metadata a test damages and restores.
struct Broken {
    world: World,
    table: Table,
    list: String,
    manifests: Vec<ManifestFile>,
}

impl Broken {
    async fn new() -> Self {
        let world = World::with("plain", "none", 3, 20).await;
        let table = world.table().await;
        let current = table.metadata.current_snapshot().unwrap();
        let list = current.manifest_list.clone();
        let manifests = read_manifest_list(&table.storage, current).await.unwrap();
        Self {
            world,
            table,
            list,
            manifests,
        }
    }

    async fn plan(&self) -> Result<Plan, EngineError> {
        let (name, task) = (&self.world.name, World::task(ALL));
        self.world
            .engine
            .plan(name, &task, &self.world.ledger, &planner::Unwatched)
            .await
    }

    /// Why a rewrite fails with `bytes` (none: without the file) at `path`. Nothing was committed;
    /// the file is as it was afterwards.
    async fn refused_with(&self, path: &str, bytes: Option<Bytes>) -> String {
        let whole = std::fs::read(local(path)).unwrap();
        match bytes {
            Some(bytes) => std::fs::write(local(path), bytes).unwrap(),
            None => std::fs::remove_file(local(path)).unwrap(),
        }
        let error = match self.plan().await {
            Err(error) => error,
            Ok(plan) => self.world.execute(&plan).await.unwrap_err(),
        };
        std::fs::write(local(path), whole).unwrap();
        let text = chain(&error);
        assert_eq!(error.advice(), Advice::GiveUp, "{text}");
        assert_eq!(*self.world.ledger.swaps.lock().unwrap(), 0, "{text}");
        text
    }

    /// The list with its first manifest changed.
    fn list_with(&self, change: impl FnOnce(&mut ManifestFile)) -> Bytes {
        let mut manifests = self.manifests.clone();
        change(&mut manifests[0]);
        self.list_of(&manifests)
    }

    fn list_of(&self, manifests: &[ManifestFile]) -> Bytes {
        let metadata = &self.table.metadata;
        let current = metadata.current_snapshot().unwrap();
        let (id, parent) = (current.snapshot_id, current.parent_snapshot_id);
        write_manifest_list(manifests, metadata, id, parent, current.sequence_number).unwrap()
    }

    /// The first manifest with what it says of its file changed.
    async fn manifest_with(
        &self,
        sequence_number: Option<i64>,
        lie: impl FnOnce(&mut DataFile),
    ) -> Bytes {
        let (manifest, metadata) = (&self.manifests[0], &self.table.metadata);
        let entries = read_manifest(&self.table.storage, manifest, metadata, Fields::ALL).await;
        let mut file = entries.unwrap().remove(0).file;
        lie(&mut file);
        let id = manifest.added_snapshot_id;
        let mut writer = ManifestWriter::new(ManifestContent::Data, metadata, 0, id).unwrap();
        writer.add(&file, sequence_number).unwrap();
        let (bytes, _) = writer.finish(&manifest.manifest_path).unwrap();
        bytes
    }

    /// The table is whole: it is rewritten and keeps its rows.
    async fn still_works(&self) {
        let before = self.world.rows().await;
        let report = self.world.maintain(ALL).await;
        assert_eq!((report.files_in, report.rows_out), (3, 60));
        assert_eq!(self.world.rows().await, before);
    }
}

/// A change to a list, and what the error must say.
type Lie<'a> = (fn(&mut ManifestFile), Vec<&'a str>);

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_or_manifest_that_is_missing_cut_or_something_else_is_named() {
    let broken = Broken::new().await;
    for path in [&broken.list, &broken.manifests[1].manifest_path] {
        let whole = Bytes::from(std::fs::read(local(path)).unwrap());
        let found = broken.refused_with(path, None).await;
        assert_says(&found, &[path, "does not exist"]);
        for cut in [0, 3, whole.len() / 2, whole.len() - 1] {
            let found = broken.refused_with(path, Some(whole.slice(..cut))).await;
            assert_says(&found, &[path]);
        }
        let other = Bytes::from(vec![b'x'; whole.len()]);
        let found = broken.refused_with(path, Some(other)).await;
        assert_says(&found, &[path, "not an Avro file"]);
        let at = whole.windows(7).position(|part| part == b"deflate");
        let at = at.expect("what PyIceberg writes");
        let mut other = whole.to_vec();
        other[at..at + 7].copy_from_slice(b"lzma-12");
        let found = broken.refused_with(path, Some(other.into())).await;
        assert_says(&found, &[path, "codec \"lzma-12\""]);
    }
    broken.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_contradicts_its_manifests_is_refused() {
    let broken = Broken::new().await;
    let manifest = broken.manifests[0].manifest_path.clone();
    let length = broken.manifests[0].manifest_length;
    let longer = (length + 1).to_string();
    let lies: [Lie; 8] = [
        (|m| m.manifest_length += 1, vec![&manifest, &longer]),
        (
            |m| m.manifest_length = i64::MAX,
            vec![&manifest, "9223372036854775807"],
        ),
        (
            |m| m.partition_spec_id = 7,
            vec![&manifest, "spec 0", "says 7"],
        ),
        (
            |m| m.content = ManifestContent::Deletes,
            vec![&manifest, "manifest of deletes"],
        ),
        (
            |m| m.sequence_number = 4,
            vec![&manifest, "sequence_number is 4", "last is 3"],
        ),
        (
            |m| m.sequence_number = i64::MIN,
            vec![&manifest, "sequence_number"],
        ),
        (
            |m| m.added_files_count = Some(0),
            vec![&manifest, "1 live files", "added_files_count"],
        ),
        (|m| m.manifest_path += "x", vec!["avrox", "does not exist"]),
    ];
    for (lie, says) in lies {
        let list = Some(broken.list_with(lie));
        assert_says(&broken.refused_with(&broken.list, list).await, &says);
    }
    let twice = [&broken.manifests[..], &broken.manifests[..1]].concat();
    let list = Some(broken.list_of(&twice));
    let found = broken.refused_with(&broken.list, list).await;
    let says = format!("manifest {manifest} is listed twice");
    assert_says(&found, &[&broken.list, &says]);
    broken.still_works().await;
}

/// Nothing here relies on what a list counts, nor on a length that is too short.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_only_counts_wrongly_does_no_harm() {
    let broken = Broken::new().await;
    let before = broken.world.rows().await;
    let list = broken.list_with(|manifest| {
        manifest.manifest_length = 1;
        manifest.added_files_count = Some(i32::MAX);
        manifest.existing_files_count = Some(-5);
        manifest.deleted_files_count = Some(i32::MIN);
        manifest.added_rows_count = Some(i64::MAX);
        manifest.existing_rows_count = Some(i64::MIN);
        manifest.deleted_rows_count = Some(i64::MAX);
        manifest.min_sequence_number = 0;
        manifest.partitions = None;
    });
    std::fs::write(local(&broken.list), list).unwrap();
    let report = broken.world.maintain(ALL).await;
    assert_eq!((report.files_in, report.rows_out), (3, 60));
    assert_eq!(broken.world.rows().await, before);
    let counted = broken.world.live().await.manifests;
    assert_eq!(counted[0].added_rows_count, Some(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_lies_about_its_file_is_refused() {
    let broken = Broken::new().await;
    let manifest = broken.manifests[0].manifest_path.clone();
    // Ours may be shorter than PyIceberg's was.
    let list = broken.list_with(|manifest| manifest.manifest_length = 1);
    std::fs::write(local(&broken.list), list).unwrap();
    let data = broken.world.live().await.data;
    let file = data
        .iter()
        .find(|live| broken.manifests[live.manifest].manifest_path == manifest)
        .unwrap();
    let (path, size) = (&file.file.file_path, file.file.file_size_in_bytes);
    for lie in [size - 1, size + 1, 0, 1 << 62] {
        let bytes = broken.manifest_with(None, |file| file.file_size_in_bytes = lie);
        let found = broken.refused_with(&manifest, Some(bytes.await)).await;
        assert_says(&found, &[path, &lie.to_string()]);
    }
    for lie in [0, 19, 21, 1 << 62] {
        let bytes = broken.manifest_with(None, |file| file.record_count = lie);
        let found = broken.refused_with(&manifest, Some(bytes.await)).await;
        assert_says(
            &found,
            &[path, &format!("20 rows, its manifest says {lie}")],
        );
    }
    // With the others' it is more than any sum holds.
    let most = i64::MAX as u64;
    for field in ["record_count", "file_size_in_bytes"] {
        let lie = |file: &mut DataFile| match field {
            "record_count" => file.record_count = most,
            _ => file.file_size_in_bytes = most,
        };
        let bytes = broken.manifest_with(None, lie).await;
        let found = broken.refused_with(&manifest, Some(bytes)).await;
        assert_says(&found, &[&broken.list, field, "more than 63 bits"]);
    }
    let bytes = broken.manifest_with(Some(9), |_| {}).await;
    let found = broken.refused_with(&manifest, Some(bytes)).await;
    assert_says(&found, &[&manifest, path, "sequence_number 9", "last is 3"]);
    let other = &data[1].file.file_path;
    let bytes = broken.manifest_with(None, |file| file.file_path.clone_from(other));
    let found = broken.refused_with(&manifest, Some(bytes.await)).await;
    assert_says(&found, &[&broken.list, other, "is live twice"]);
    broken.still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_missing_cut_or_something_else_is_named() {
    let broken = Broken::new().await;
    let at = broken.table.metadata_location.clone();
    let whole = Bytes::from(std::fs::read(local(&at)).unwrap());
    let found = broken.refused_with(&at, None).await;
    assert_says(&found, &[&at, "does not exist"]);
    let half = whole.slice(..whole.len() / 2);
    for other in [
        half,
        Bytes::new(),
        Bytes::from_static(b"PAR1"),
        Bytes::from_static(b"[]"),
    ] {
        let found = broken.refused_with(&at, Some(other)).await;
        assert_says(&found, &[&at]);
    }
    let mut document: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    document["current-snapshot-id"] = json!("latest");
    let other = Bytes::from(document.to_string());
    let found = broken.refused_with(&at, Some(other)).await;
    assert_says(&found, &[&at, "current-snapshot-id: is \"latest\""]);
    broken.still_works().await;
}
