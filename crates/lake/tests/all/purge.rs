//! The purge: what nothing refers to goes, everything else stays and says why.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray};
use catalog::Catalog;
use lake::{Changes, FileWriter, arrow_schema, commit_changes};
use metadata::DataFile;
use model::{Action, Advice};
use planner::{Engine, EngineError, Fate, Plan, Purge, Reason, Report, Task, Unwatched};
use serde_json::json;

use crate::world::{ALL, World, chain};

/// More waits than a purge of a few files has.
const CUTS_MAX: usize = 2_000;
/// Fewer than it has.
const CUTS_MIN: usize = 3;

pub(crate) fn local(location: &str) -> &Path {
    Path::new(
        location
            .trim_start_matches("file:")
            .trim_start_matches("//"),
    )
}

pub(crate) fn exists(location: &str) -> bool {
    local(location).exists()
}

impl World {
    async fn plan_purge(&self) -> Result<Plan, EngineError> {
        let task = Task::parse(Action::PurgePending, &BTreeMap::new()).unwrap();
        self.engine
            .plan(&self.name, &task, &self.ledger, &Unwatched)
            .await
    }

    async fn try_purge(&self) -> Result<Report, EngineError> {
        let plan = self.plan_purge().await?;
        self.execute(&plan).await
    }

    pub(crate) async fn purge(&self) -> Purge {
        let report = self.try_purge().await.unwrap();
        report
            .purge
            .unwrap_or_else(|| panic!("{:?}", report.skipped))
    }

    /// Lists a path of the world's table.
    async fn wait_for(&self, path: &str, reason: Reason) {
        let table = self.table().await;
        let uuid = table.metadata.uuid();
        self.ledger.waiting.add(uuid, path, reason);
    }

    /// Writes and lists a file nothing refers to, and says where it lies.
    async fn stray(&self, name: &str) -> String {
        let path = format!("{}/data/{name}", self.table().await.metadata.location());
        std::fs::create_dir_all(local(&path).parent().unwrap()).unwrap();
        std::fs::write(local(&path), "0123456789").unwrap();
        self.wait_for(&path, Reason::Expired).await;
        path
    }

    /// A data file of one row that is not part of the table.
    pub(crate) async fn loose_file(&self, id: i64) -> DataFile {
        let table = self.table().await;
        let schema = arrow_schema(table.metadata.current_schema()).unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![id])),
            Arc::new(StringViewArray::from(vec!["eu"])),
            Arc::new(Float64Array::from(vec![1.0])),
            Arc::new(StringViewArray::from(vec!["note"])),
        ];
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        let writer = FileWriter::new(&table, "zz-loose").unwrap();
        writer.data_file(vec![], &[batch]).await.unwrap()
    }

    fn kept(&self, path: &str) -> String {
        match self.ledger.waiting.fate(path) {
            Some(Fate::Kept(why)) => why,
            other => panic!("{path}: {other:?}"),
        }
    }

    fn deleted(&self, path: &str) -> bool {
        self.ledger.waiting.fate(path) == Some(Fate::Deleted)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_refers_to_goes_and_everything_the_table_can_reach_stays() {
    let world = World::with("plain", "none", 3, 20).await;
    let old = world.live().await.data[0].file.file_path.clone();
    world.maintain(ALL).await;
    let before = world.rows().await;
    let table = world.table().await;
    let snapshot = table.metadata.current_snapshot().unwrap().clone();
    let manifests = metadata::read_manifest_list(&table.storage, &snapshot)
        .await
        .unwrap();
    let live = world.live().await.data[0].file.file_path.clone();
    let mut reachable = vec![
        table.metadata_location.clone(),
        table.metadata.metadata_log()[0].metadata_file.clone(),
        snapshot.manifest_list.clone(),
        manifests[0].manifest_path.clone(),
        // Written another way, it is the same file.
        local(&live).to_str().unwrap().to_owned(),
        live.replace("file://", "file:"),
        live,
        // Of snapshots that are not the current one.
        old,
    ];
    let hint = format!("{}/metadata/version-hint.text", table.metadata.location());
    std::fs::write(local(&hint), "1").unwrap();
    reachable.push(hint);
    for path in &reachable {
        assert!(exists(path), "{path}");
        world.wait_for(path, Reason::Expired).await;
    }
    let strays = [
        world.stray("a.parquet").await,
        world.stray("b c%2F.parquet").await,
    ];
    let gone = format!("{}/data/never-there.parquet", table.metadata.location());
    world.wait_for(&gone, Reason::Attempt).await;

    let Plan::PurgePending(plan) = world.plan_purge().await.unwrap() else {
        panic!("another plan")
    };
    assert_eq!((plan.files, plan.bytes), (12, 120));
    let want = Purge {
        deleted: 3,
        bytes: 30,
        kept: 9,
        failed: 0,
    };
    assert_eq!(world.purge().await, want);
    for path in &reachable {
        assert_eq!(world.kept(path), "the table refers to it", "{path}");
        assert!(exists(path), "{path}");
    }
    assert!(
        strays
            .iter()
            .all(|path| world.deleted(path) && !exists(path))
    );
    assert!(world.deleted(&gone), "one that is not there is gone");
    assert_eq!(world.rows().await, before);
    let report = world.execute(&Plan::PurgePending(plan)).await.unwrap();
    assert_eq!(report.purge, Some(want), "a retry reports what the job did");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_due_is_nothing_to_do() {
    let world = World::with("plain", "none", 1, 20).await;
    let plan = world.plan_purge().await.unwrap();
    assert_eq!(plan.nothing(), Some("no file is due for deletion"));
    let report = world.execute(&plan).await.unwrap();
    assert_eq!(
        report.message(),
        "nothing to do: no file is due for deletion"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_another_tables_folder_stays() {
    let world = World::with("plain", "none", 1, 20).await;
    let other = json!({"table": "db.other", "schema": "plain", "spec": "none", "files": 1,
        "rows": 20, "seed": 1});
    world.oracle("make", other).await;
    let other = world
        .catalog
        .load(&"db.other".parse().unwrap())
        .await
        .unwrap();
    let path = format!("{}/data/x.parquet", other.metadata.location());
    std::fs::write(local(&path), "x").unwrap();
    world.wait_for(&path, Reason::Expired).await;
    let stray = world.stray("a.parquet").await;
    world.purge().await;
    assert_eq!(world.kept(&path), "it lies in the folder of db.other");
    assert!(exists(&path) && !exists(&stray));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_shares_its_folder_keeps_everything() {
    for place in ["", "/nested", "/.."] {
        let world = World::with("plain", "none", 1, 20).await;
        let stray = world.stray("a.parquet").await;
        let own = world.table().await.metadata.location().to_owned();
        let folder = match place {
            "/.." => own.rsplit_once('/').unwrap().0.to_owned(),
            below => format!("{own}{below}"),
        };
        // Of another catalog in the same database, and under the same name: its folder counts.
        for (catalog, name) in [("elsewhere", "t"), ("snowpack", "u")] {
            let sql = format!(
                "insert into iceberg_tables (catalog_name, table_namespace, table_name, \
                 metadata_location) values ('{catalog}', 'db', '{name}', \
                 '{folder}/metadata/00000-x.metadata.json')"
            );
            world.sql(&sql).await;
            world.purge().await;
            let want = format!("the table shares its location with db.{name}");
            assert_eq!(world.kept(&stray), want, "{folder}");
            assert!(exists(&stray));
            world.wait_for(&stray, Reason::Expired).await;
            world
                .sql("delete from iceberg_tables where metadata_location like '%00000-x.%'")
                .await;
        }
        world.purge().await;
        assert!(!exists(&stray), "alone again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_must_not_collect_keeps_all_but_failed_attempts_files() {
    // Whatever is not `true` is false, as Java reads it.
    for (value, collects) in [
        ("false", false),
        ("off", false),
        ("", false),
        ("TRUE", true),
    ] {
        let properties = json!({"gc.enabled": value});
        let world = World::with_properties("plain", "none", 1, 20, properties).await;
        let stray = world.stray("a.parquet").await;
        let left = world.stray("left.parquet").await;
        world.wait_for(&left, Reason::Attempt).await;
        world.purge().await;
        if !collects {
            assert_eq!(world.kept(&stray), format!("gc.enabled is {value}"));
        }
        assert_eq!(exists(&stray), !collects, "{value}");
        assert!(!exists(&left), "{value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_in_a_folder_stays() {
    let world = World::with("plain", "none", 1, 20).await;
    let own = world.table().await.metadata.location().to_owned();
    let above = own.rsplit_once('/').unwrap().0.to_owned();
    for path in [
        "",
        "data/a.parquet",
        "file:///",
        "file:///a",
        "/w/../a",
        &own,
        &above,
    ] {
        world.wait_for(path, Reason::Expired).await;
    }
    world.purge().await;
    for path in ["file:///", "file:///a", &own, &above] {
        assert_eq!(world.kept(path), "it is not a file in a folder", "{path}");
    }
    for path in ["", "data/a.parquet", "/w/../a"] {
        assert!(world.kept(path).contains("location"), "{path}");
    }
    assert_eq!(world.rows().await.count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_table_that_is_gone_or_replaced_stay() {
    for recreated in [false, true] {
        let world = World::with("plain", "none", 1, 20).await;
        let stray = world.stray("a.parquet").await;
        let uuid = world.table().await.metadata.uuid().to_owned();
        world.sql("delete from iceberg_tables").await;
        if recreated {
            let again =
                json!({"schema": "plain", "spec": "none", "files": 1, "rows": 20, "seed": 1});
            world.oracle("make", again).await;
        }
        world.purge().await;
        let want = format!("table {uuid} does not exist any more");
        assert_eq!(world.kept(&stray), want, "recreated {recreated}");
        assert!(exists(&stray));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_dropped_or_replaced_after_the_plan_keeps_its_files() {
    for recreated in [false, true] {
        let world = World::with("plain", "none", 1, 20).await;
        let stray = world.stray("a.parquet").await;
        let plan = world.plan_purge().await.unwrap();
        world.sql("delete from iceberg_tables").await;
        if recreated {
            let again =
                json!({"schema": "plain", "spec": "none", "files": 1, "rows": 20, "seed": 1});
            world.oracle("make", again).await;
        }
        world.execute(&plan).await.unwrap();
        let want = if recreated {
            "another table has the name by now"
        } else {
            "the table does not exist any more"
        };
        assert_eq!(world.kept(&stray), want);
        assert!(exists(&stray));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_renamed_table_wait_for_a_job_of_its_new_name() {
    let mut world = World::with("plain", "none", 1, 20).await;
    let stray = world.stray("a.parquet").await;
    world
        .sql("update iceberg_tables set table_name = 'renamed'")
        .await;
    let Plan::PurgePending(plan) = world.plan_purge().await.unwrap() else {
        panic!("another plan")
    };
    assert_eq!((plan.files, plan.gone.len(), plan.renamed.len()), (0, 0, 1));
    assert_eq!(plan.nothing(), Some("no file is due for deletion"));
    world.name = "db.renamed".parse().unwrap();
    world.purge().await;
    assert!(world.deleted(&stray) && !exists(&stray));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_deleted_does_not_stop_the_others() {
    let world = World::with("plain", "none", 1, 20).await;
    let paths = [
        world.stray("a.parquet").await,
        world.stray("b.parquet").await,
        world.stray("c.parquet").await,
    ];
    std::fs::remove_file(local(&paths[1])).unwrap();
    std::fs::create_dir(local(&paths[1])).unwrap();
    let want = Purge {
        deleted: 2,
        bytes: 20,
        kept: 0,
        failed: 1,
    };
    assert_eq!(world.purge().await, want);
    assert!(world.deleted(&paths[0]) && world.deleted(&paths[2]));
    let failed = world.ledger.waiting.fate(&paths[1]);
    assert!(
        matches!(&failed, Some(Fate::Failed(why)) if why.contains("b.parquet")),
        "{failed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_while_anything_the_table_holds_cannot_be_read() {
    let world = World::with("plain", "none", 2, 20).await;
    let stray = world.stray("a.parquet").await;
    let table = world.table().await;
    let oldest = table.metadata.snapshots()[0].clone();
    let manifests = metadata::read_manifest_list(&table.storage, &oldest)
        .await
        .unwrap();
    let broken = [
        table.metadata_location.clone(),
        oldest.manifest_list.clone(),
        manifests[0].manifest_path.clone(),
    ];
    for path in broken {
        let aside = format!("{path}.aside");
        std::fs::rename(local(&path), local(&aside)).unwrap();
        let error = world.try_purge().await.unwrap_err();
        assert!(
            chain(&error).contains(local(&path).to_str().unwrap()),
            "{}",
            chain(&error)
        );
        assert_eq!(world.ledger.waiting.fate(&stray), None, "still due");
        std::fs::rename(local(&aside), local(&path)).unwrap();
    }
    assert!(exists(&stray));
    world.purge().await;
    assert!(!exists(&stray));
}

impl World {
    /// Purges a batch of files that were never there; then `meanwhile` runs; then the rest goes on.
    async fn purge_around<F: Future<Output = ()>>(&self, meanwhile: F) -> Purge {
        let location = self.table().await.metadata.location().to_owned();
        for number in 0..1_000 {
            // Before any name a writer gives.
            let path = format!("{location}/data/!{number:04}.parquet");
            self.wait_for(&path, Reason::Expired).await;
        }
        let plan = self.plan_purge().await.unwrap();
        self.ledger.pause(1);
        let meanwhile = async {
            self.ledger.paused().await;
            meanwhile.await;
            self.ledger.resume();
        };
        let (report, ()) = tokio::join!(self.execute(&plan), meanwhile);
        report.unwrap().purge.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_added_again_between_two_batches_stays() {
    let world = World::with("plain", "none", 1, 20).await;
    let file = world.loose_file(1_000).await;
    let path = file.file_path.clone();
    world.wait_for(&path, Reason::Expired).await;
    let added = async {
        let changes = Changes {
            data: vec![file],
            ..Changes::default()
        };
        let now_ms = world.now_ms().await;
        let committed = commit_changes(&*world.catalog, &world.name, &changes, now_ms).await;
        committed.unwrap();
    };
    let purge = world.purge_around(added).await;
    assert_eq!((purge.deleted, purge.kept), (1_000, 1));
    assert_eq!(world.kept(&path), "the table refers to it");
    assert_eq!(world.rows().await.count(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_comes_to_lie_in_the_folder_between_two_batches_keeps_its_files() {
    let world = World::with("plain", "none", 1, 20).await;
    let stray = world.stray("a.parquet").await;
    let location = world.table().await.metadata.location().to_owned();
    let sql = format!(
        "insert into iceberg_tables (catalog_name, table_namespace, table_name, metadata_location) \
         values ('snowpack', 'db', 'u', '{location}/metadata/00000-x.metadata.json')"
    );
    let purge = world.purge_around(world.sql(&sql)).await;
    assert_eq!((purge.deleted, purge.kept), (1_000, 1));
    assert_eq!(
        world.kept(&stray),
        "the table shares its location with db.u"
    );
    assert!(exists(&stray));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_told_to_stop_stops_between_batches() {
    for drain in [false, true] {
        let mut world = World::with("plain", "none", 1, 20).await;
        let stray = world.stray("a.parquet").await;
        let plan = world.plan_purge().await.unwrap();
        if drain {
            world.signals.drain.cancel();
        } else {
            world.signals.cancel.cancel();
        }
        let stopped = world.execute(&plan).await.unwrap_err();
        assert!(matches!(stopped, EngineError::Stopped), "{stopped:?}");
        assert_eq!(stopped.advice(), Advice::RetryLater);
        assert!(exists(&stray));
        world.signals = planner::Signals::default();
        world.execute(&plan).await.unwrap();
        assert!(!exists(&stray));
    }
}

/// Drops the work at its `left`-th wait, as a process that dies there would.
struct CutAt<F> {
    work: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for CutAt<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.work.as_mut().poll(cx).map(Some)
    }
}

#[tokio::test]
async fn a_purge_cut_anywhere_is_finished_by_the_next() {
    let world = World::with("plain", "none", 2, 20).await;
    let live = world.live().await.data[0].file.file_path.clone();
    let before = world.rows().await;
    for cut in 0..CUTS_MAX {
        world.wait_for(&live, Reason::Expired).await;
        let strays = [
            world.stray(&format!("{cut}-a.parquet")).await,
            world.stray(&format!("{cut}-b.parquet")).await,
        ];
        let ended = CutAt {
            work: Box::pin(world.try_purge()),
            left: cut,
        }
        .await;
        assert!(exists(&live), "cut at {cut}");
        for path in &strays {
            // Known, or gone: nothing leaks.
            let waits = world.ledger.waiting.fate(path).is_none();
            assert!(waits || !exists(path), "cut at {cut}: {path}");
        }
        world.try_purge().await.unwrap();
        for path in &strays {
            assert!(world.deleted(path) && !exists(path), "cut at {cut}: {path}");
        }
        assert_eq!(world.kept(&live), "the table refers to it", "cut at {cut}");
        if ended.is_some() {
            assert!(
                cut > CUTS_MIN,
                "only {cut} cuts: a purge has more waits than that"
            );
            assert_eq!(world.rows().await, before);
            return;
        }
    }
    panic!("a purge has more than {CUTS_MAX} waits");
}
