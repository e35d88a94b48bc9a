//! Tables Spark made: we see the files and rows it saw, and maintenance leaves them so.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use model::Action;
use planner::{Engine, Task, Unwatched};
use serde_json::{Value, json};

use crate::world::{ALL, World};

/// Where the fixtures' metadata says they lie: `tests/fixtures/spark/make.py`.
const HOME: &str = "/tmp/snowpack-fixtures";

/// One fixture, put where it was made. Whoever else wants it waits.
pub(crate) struct Fixture {
    pub(crate) world: World,
    /// What Spark said of it.
    known: Value,
    _lock: File,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Fixture {
    pub(crate) async fn take(name: &str) -> Self {
        let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/spark");
        let home = Path::new(HOME).join("db").join(name);
        fs::create_dir_all(home.parent().unwrap()).unwrap();
        let lock = File::create(Path::new(HOME).join(format!("{name}.lock"))).unwrap();
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock));
        let lock = lock.await.unwrap().unwrap();
        if home.exists() {
            fs::remove_dir_all(&home).unwrap();
        }
        copy(&kept.join(name), &home);
        let known = fs::read_to_string(kept.join("tables.json")).unwrap();
        let known: Value = serde_json::from_str(&known).unwrap();
        let known = known[name].clone();
        let mut world = World::new().await;
        world.name = format!("db.{name}").parse().expect("a name");
        let asked = json!({"metadata_location": known["metadata_location"]});
        world.oracle("register", asked).await;
        Self {
            world,
            known,
            _lock: lock,
        }
    }

    /// Files, refs and rows are those Spark saw, in every snapshot.
    async fn check_as_made(&self) {
        let live = self.world.live().await;
        let count = |files: &[metadata::LiveFile]| {
            let rows: u64 = files.iter().map(|file| file.file.record_count).sum();
            json!([files.len(), rows])
        };
        assert_eq!(count(&live.data), self.known["data_files"]);
        assert_eq!(count(&live.deletes), self.known["delete_files"]);
        let table = self.world.table().await;
        let refs = table.metadata.refs().iter();
        let refs: Value = refs
            .map(|(name, found)| (name.clone(), json!(found.snapshot_id)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        assert_eq!(refs, self.known["refs"]);
        let sums = self.world.oracle("sums", json!({})).await;
        assert_eq!(sums, self.known["snapshots"]);
        assert_eq!(self.world.rows().await.count(), self.known["rows"]);
    }

    /// Both readers see the rows they saw before; the current ones sum up as Spark summed them.
    async fn rewrite(&self, options: &[(&str, &str)]) -> planner::Report {
        let before = self.world.rows().await;
        assert_eq!(before.pyiceberg["hash"], before.duckdb["hash"]);
        let report = self.world.maintain(options).await;
        assert_eq!(self.world.rows().await, before);
        let table = self.world.table().await;
        let current = table.metadata.current_snapshot().unwrap().snapshot_id;
        let sums = self.world.oracle("sums", json!({})).await;
        let want = json!([self.known["rows"], self.known["sum"]]);
        assert_eq!(sums[current.to_string()], want);
        report
    }

    /// Only what refs need stays; what is listed for deletion is deleted, and missed by nobody.
    async fn expire(&self) {
        let world = &self.world;
        let rows = world.rows().await;
        let older_than = (world.now_ms().await + 3_600_000).to_string();
        let options = [("older_than".to_owned(), older_than)].into();
        let task = Task::parse(Action::ExpireSnapshots, &options).unwrap();
        let plan = world
            .engine
            .plan(&world.name, &task, &world.ledger, &Unwatched)
            .await;
        world
            .execute_as("expiry", "expiry-1", &plan.unwrap())
            .await
            .unwrap();
        let listed = world.ledger.deletions.listed();
        assert!(!listed.is_empty());
        for path in &listed {
            fs::remove_file(path.trim_start_matches("file:")).unwrap();
        }
        assert_eq!(world.rows().await, rows);
        let sums = world.oracle("sums", json!({})).await;
        for (id, sum) in sums.as_object().unwrap() {
            if let Some(known) = self.known["snapshots"].get(id) {
                assert_eq!(sum, known, "snapshot {id}");
            }
        }
    }
}

async fn maintained(name: &str) {
    let fixture = Fixture::take(name).await;
    fixture.check_as_made().await;
    let report = fixture.rewrite(ALL).await;
    assert!(report.files_in > 0);
    fixture.expire().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_deletes_under_two_specs_are_applied() {
    maintained("deletes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_columns_that_came_went_and_moved_are_matched_by_id() {
    maintained("columns").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_types_are_read_and_written() {
    maintained("types").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_tables_of_format_v1_stay_readable() {
    maintained("old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_refs_statistics_and_rewritten_manifests_stay() {
    maintained("kept").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_columns_promoted_since_are_read_as_their_new_types() {
    maintained("promoted").await;
}
