//! Orphan files: what nothing refers to is listed and later deleted, everything else stays and says why.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use catalog::Catalog;
use futures::FutureExt as _;
use lake::{Changes, NativeEngine, commit_changes};
use model::{Action, Advice};
use planner::orphans::Plan as Orphans;
use planner::{Engine, EngineError, Plan, Reason, Report, Task, Unwatched};
use serde_json::json;

use crate::purge::{exists, local};
use crate::rest_like::RestLike;
use crate::world::{ALL, World, chain};

const DAY: Duration = Duration::from_hours(24);

fn task(options: &[(&str, &str)]) -> Task {
    World::task_of(Action::RemoveOrphanFiles, options)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn age(path: &Path, by: Duration) {
    let file = std::fs::File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

impl World {
    /// As if everything in the table's folder had been written ten days ago.
    async fn aged(&self) {
        let table = self.table().await;
        let mut files = Vec::new();
        files_below(local(table.metadata.location()), &mut files);
        for path in &files {
            age(path, 10 * DAY);
        }
    }

    /// Writes a file nothing refers to and says where it lies.
    async fn litter(&self, name: &str, days: u32) -> String {
        let path = format!("{}/{name}", self.table().await.metadata.location());
        std::fs::create_dir_all(local(&path).parent().unwrap()).unwrap();
        std::fs::write(local(&path), "0123456789").unwrap();
        age(local(&path), days * DAY);
        path
    }

    async fn orphans(&self, options: &[(&str, &str)]) -> Result<Orphans, EngineError> {
        let task = task(options);
        let plan = self
            .engine
            .plan(&self.name, &task, &self.ledger, &Unwatched)
            .await?;
        let Plan::RemoveOrphanFiles(plan) = plan else {
            panic!("another plan")
        };
        Ok(plan)
    }

    async fn remove_orphans(&self) -> Report {
        let plan = self.orphans(&[]).await.unwrap();
        self.execute(&Plan::RemoveOrphanFiles(plan)).await.unwrap()
    }
}

fn paths(plan: &Orphans) -> Vec<&str> {
    plan.files.iter().map(|file| file.path.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_refers_to_is_listed_and_purged_and_all_else_stays() {
    let world = World::with("plain", "region", 3, 40).await;
    // Files of snapshots that are not the current one, delete files, statistics of old ones.
    crate::rewrite::delete_rows(&world, &[3], false).await;
    world.maintain(ALL).await;
    let before = world.rows().await;
    world.aged().await;
    let reachable = {
        let mut files = Vec::new();
        files_below(local(world.table().await.metadata.location()), &mut files);
        files
    };
    let none = world.orphans(&[]).await.unwrap();
    // Metadata files the log forgot would be orphans; it forgets none so soon.
    assert_eq!(paths(&none), [""; 0], "{none:?}");
    assert_eq!(none.nothing(), Some("no file is an orphan"));
    assert_eq!(none.kept["the table refers to it"], reachable.len() as u64);

    let orphans = [
        world.litter("data/a.parquet", 10).await,
        world.litter("data/region=eu/b c%2F.parquet", 4).await,
        world.litter("metadata/00000-lost.metadata.json", 10).await,
        world.litter("other/notes.txt", 10).await,
    ];
    world.litter("data/young.parquet", 2).await;
    world.litter("data/_SUCCESS", 10).await;
    world
        .litter("data/.a.parquet.0123456789abcdef.tmp", 10)
        .await;
    world.litter("_spark_metadata/0", 10).await;
    let plan = world.orphans(&[]).await.unwrap();
    assert_eq!(paths(&plan), orphans);
    assert_eq!((plan.orphans, plan.bytes), (4, 40));
    assert_eq!(plan.kept["written after older_than"], 1);
    assert_eq!(
        plan.kept["hidden: a part of its path begins with `.` or `_`"],
        3
    );
    let report = world.execute(&Plan::RemoveOrphanFiles(plan)).await.unwrap();
    assert_eq!(report.message(), "4 orphan files to be deleted (40 bytes)");
    assert!(
        orphans.iter().all(|path| exists(path)),
        "nothing is deleted yet"
    );
    assert_eq!(world.ledger.deletions.grace_ms(), 86_400_000);
    // They wait: the next run finds nothing new.
    let again = world.orphans(&[]).await.unwrap();
    assert_eq!(paths(&again), [""; 0]);
    let accounted = "written by a job that may still commit, or waiting to be deleted";
    assert_eq!(again.kept[accounted], 4);

    let purged = world.purge().await;
    assert_eq!((purged.deleted, purged.kept), (4, 0));
    assert!(!orphans.iter().any(|path| exists(path)));
    assert!(reachable.iter().all(|path| path.exists()));
    assert_eq!(world.rows().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_writer_that_commits_meanwhile_keeps_its_files() {
    let world = World::with("plain", "none", 1, 20).await;
    let file = world.loose_file(7_000).await;
    let path = file.file_path.clone();
    age(local(&path), 10 * DAY);
    let plan = world.orphans(&[]).await.unwrap();
    assert_eq!(paths(&plan), [path.as_str()]);
    let changes = Changes {
        data: vec![file],
        ..Changes::default()
    };
    let now_ms = world.now_ms().await;
    let committed = commit_changes(&*world.catalog, &world.name, &changes, now_ms).await;
    committed.unwrap();
    let report = world.execute(&Plan::RemoveOrphanFiles(plan)).await.unwrap();
    assert_eq!(
        report.message(),
        "nothing to do: none of the files planned is an orphan any more"
    );
    assert_eq!(world.ledger.deletions.listed(), [""; 0]);
    assert_eq!(world.rows().await.count(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_while_the_folder_is_listed_is_no_orphan() {
    let mut world = World::with("plain", "none", 1, 20).await;
    let file = world.loose_file(7_000).await;
    let path = file.file_path.clone();
    age(local(&path), 10 * DAY);
    let lost = world.litter("data/lost.parquet", 10).await;
    let changes = Changes {
        data: vec![file],
        ..Changes::default()
    };
    let (catalog, name, now_ms) = (
        world.catalog.clone(),
        world.name.clone(),
        world.now_ms().await,
    );
    let commits = async move {
        let committed = commit_changes(&*catalog, &name, &changes, now_ms).await;
        committed.unwrap();
    };
    // Loaded to be planned, listed, and loaded again.
    let rest = RestLike::new(world.catalog.clone()).before_load(2, commits.boxed());
    world.engine = NativeEngine::new(Arc::new(rest));
    let plan = world.orphans(&[]).await.unwrap();
    assert_eq!(paths(&plan), [lost.as_str()]);
    assert_eq!(world.rows().await.count(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_moves_while_its_folder_is_listed_is_left_alone() {
    let mut world = World::with("plain", "none", 1, 20).await;
    world.litter("data/a.parquet", 10).await;
    let table = world.table().await;
    let update = metadata::Update::SetLocation {
        location: format!("{}-moved", table.metadata.location()),
    };
    let catalog = world.catalog.clone();
    let moves = async move {
        drop(catalog.commit(&table, vec![], vec![update]).await.unwrap());
    };
    let rest = RestLike::new(world.catalog.clone()).before_load(2, moves.boxed());
    world.engine = NativeEngine::new(Arc::new(rest));
    let error = world.orphans(&[]).await.unwrap_err();
    assert!(
        chain(&error).contains("was moved or created again while its folder was listed"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_job_that_has_not_committed_are_left_to_it() {
    let world = World::with("plain", "none", 1, 20).await;
    let path = world.litter("data/ours.parquet", 10).await;
    world.ledger.reserved.lock().unwrap().insert(path.clone());
    let plan = world.orphans(&[]).await.unwrap();
    assert_eq!(paths(&plan), [""; 0]);
    // One that reserves it after the plan keeps it as well.
    world.ledger.reserved.lock().unwrap().clear();
    let plan = world.orphans(&[]).await.unwrap();
    assert_eq!(paths(&plan), [path.as_str()]);
    world.ledger.reserved.lock().unwrap().insert(path.clone());
    let report = world.execute(&Plan::RemoveOrphanFiles(plan)).await.unwrap();
    assert!(report.skipped.is_some(), "{report:?}");
    assert_eq!(world.ledger.deletions.listed(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_cannot_be_read_lets_nothing_be_listed() {
    let world = World::with("plain", "none", 2, 20).await;
    world.litter("data/a.parquet", 10).await;
    let manifest = world.live().await.manifests[0].manifest_path.clone();
    let bytes = std::fs::read(local(&manifest)).unwrap();
    std::fs::write(local(&manifest), &bytes[..bytes.len() / 2]).unwrap();
    let error = world.orphans(&[]).await.unwrap_err();
    assert!(chain(&error).contains(&manifest), "{}", chain(&error));
    std::fs::remove_file(local(&manifest)).unwrap();
    let error = world.orphans(&[]).await.unwrap_err();
    assert!(chain(&error).contains(&manifest), "{}", chain(&error));
    std::fs::write(local(&manifest), bytes).unwrap();
    assert_eq!(world.orphans(&[]).await.unwrap().orphans, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_folder_is_refused_before_and_after_the_plan() {
    let world = World::with("plain", "none", 1, 20).await;
    world.litter("data/a.parquet", 10).await;
    let plan = world.orphans(&[]).await.unwrap();
    let folder = format!("{}/nested", world.table().await.metadata.location());
    let sql = format!(
        "insert into iceberg_tables (catalog_name, table_namespace, table_name, metadata_location) \
         values ('elsewhere', 'db', 'u', '{folder}/metadata/00000-x.metadata.json')"
    );
    world.sql(&sql).await;
    let error = world.orphans(&[]).await.unwrap_err();
    assert_eq!(error.advice(), Advice::GiveUp);
    assert!(
        chain(&error).contains("shares its location with db.u"),
        "{}",
        chain(&error)
    );
    let error = world
        .execute(&Plan::RemoveOrphanFiles(plan))
        .await
        .unwrap_err();
    assert!(chain(&error).contains("db.u"), "{}", chain(&error));
    assert_eq!(world.ledger.deletions.listed(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_below_the_table_is_looked_through_alone() {
    let world = World::with("plain", "none", 1, 20).await;
    let wanted = world.litter("data/a.parquet", 10).await;
    world.litter("metadata/b.avro", 10).await;
    let own = world.table().await.metadata.location().to_owned();
    let plan = world
        .orphans(&[("location", &format!("{own}/data/"))])
        .await
        .unwrap();
    assert_eq!(paths(&plan), [wanted.as_str()]);
    let above = own.rsplit_once('/').unwrap().0.to_owned();
    let error = world.orphans(&[("location", &above)]).await.unwrap_err();
    assert!(
        chain(&error).contains("a folder below it"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_reports_what_the_job_listed_before() {
    let world = World::with("plain", "none", 1, 20).await;
    world.litter("data/a.parquet", 10).await;
    let first = world.remove_orphans().await;
    assert_eq!(first.orphans.as_ref().unwrap().files, 1);
    assert_eq!(world.remove_orphans().await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_table_that_keeps_only_its_data_here_is_seen_by_the_plan_and_by_the_purge() {
    for key in ["write.data.path", "write.object-storage.path", "location"] {
        let world = World::with("plain", "none", 1, 20).await;
        let path = world.litter("data/a.parquet", 10).await;
        let plan = world.orphans(&[]).await.unwrap();
        let other = json!({"table": "db.other", "schema": "plain", "spec": "none", "files": 1,
            "rows": 20, "seed": 1});
        world.oracle("make", other).await;
        let other = world
            .catalog
            .load(&"db.other".parse().unwrap())
            .await
            .unwrap();
        let inside = format!("{}/data/theirs", world.table().await.metadata.location());
        // Its metadata stays where it is: only the document tells.
        let update = match key {
            "location" => metadata::Update::SetLocation { location: inside },
            key => metadata::Update::SetProperties {
                updates: [(key.to_owned(), inside)].into(),
            },
        };
        let before = other.metadata_location.clone();
        let update = vec![update];
        let location = before.replace("/00001-", "/00009-");
        let prepared = world
            .catalog
            .prepare(&other, vec![], update, Some(location))
            .await;
        world.catalog.swap(&prepared.unwrap(), None).await.unwrap();
        let error = world.orphans(&[]).await.unwrap_err();
        assert!(
            chain(&error).contains("db.other"),
            "{key}: {}",
            chain(&error)
        );
        let error = world
            .execute(&Plan::RemoveOrphanFiles(plan))
            .await
            .unwrap_err();
        assert!(
            chain(&error).contains("db.other"),
            "{key}: {}",
            chain(&error)
        );
        let uuid = world.table().await.metadata.uuid().to_owned();
        world.ledger.waiting.add(&uuid, &path, Reason::Orphan);
        let purged = world.purge().await;
        assert_eq!((purged.deleted, purged.kept), (0, 1), "{key}");
        assert!(exists(&path));
    }
}

/// Another table, whose files go where `inside` says from now on while its metadata stays.
async fn keeps_its_data_at(world: &World, inside: &str) {
    let other = json!({"table": "db.other", "schema": "plain", "spec": "none", "files": 1,
        "rows": 20, "seed": 1});
    world.oracle("make", other).await;
    let name = "db.other".parse().unwrap();
    let other = world.catalog.load(&name).await.unwrap();
    let update = metadata::Update::SetProperties {
        updates: [("write.data.path".to_owned(), inside.to_owned())].into(),
    };
    let update = vec![update];
    drop(world.catalog.commit(&other, vec![], update).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_another_catalog_or_of_a_name_we_cannot_use_is_seen_as_well() {
    let world = World::with("plain", "none", 1, 20).await;
    world.litter("data/a.parquet", 10).await;
    let own = world.table().await.metadata.location().to_owned();
    keeps_its_data_at(&world, &format!("{own}/data/theirs")).await;
    for (set, said) in [
        (
            "catalog_name = 'elsewhere'",
            "shares its location with db.other",
        ),
        (
            "catalog_name = 'elsewhere', table_name = E'o\\nther'",
            "shares its location with unnamed.unnamed",
        ),
        // Of the same name as ours.
        (
            "catalog_name = 'elsewhere', table_name = 't'",
            "shares its location with db.t",
        ),
        (
            "catalog_name = 'elsewhere', metadata_location = '/no/where/00001-x.metadata.json'",
            "/no/where/00001-x.metadata.json",
        ),
    ] {
        let sql = format!(
            "update iceberg_tables set {set} where table_name <> '{}' or catalog_name = 'elsewhere'",
            world.name.table()
        );
        world.sql(&sql).await;
        let error = world.orphans(&[]).await.unwrap_err();
        assert!(chain(&error).contains(said), "{set}: {}", chain(&error));
    }
    world
        .sql("delete from iceberg_tables where catalog_name = 'elsewhere'")
        .await;
    assert_eq!(world.orphans(&[]).await.unwrap().orphans, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_of_unknown_age_stays() {
    let world = World::with("plain", "none", 1, 20).await;
    let path = world.litter("data/a.parquet", 10).await;
    let uuid = world.table().await.metadata.uuid().to_owned();
    world.ledger.waiting.add(&uuid, &path, Reason::Orphan);
    let purged = world.purge().await;
    assert_eq!((purged.deleted, purged.kept), (0, 1));
    assert!(exists(&path));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_again_while_it_waits_stays() {
    let world = World::with("plain", "none", 1, 20).await;
    let (again, old) = (
        world.litter("import/again", 10).await,
        world.litter("import/old", 10).await,
    );
    assert_eq!(world.remove_orphans().await.orphans.unwrap().files, 2);
    std::fs::write(local(&again), b"another load").unwrap();
    let purged = world.purge().await;
    assert_eq!((purged.deleted, purged.kept), (1, 1));
    assert!(exists(&again) && !exists(&old));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_links_give_files_two_names_nothing_is_listed() {
    let world = World::with("plain", "none", 1, 20).await;
    world.litter("data/a.parquet", 10).await;
    let own = world.table().await.metadata.location().to_owned();
    let moved = format!("{}-real", local(&own).display());
    std::fs::rename(local(&own), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, local(&own)).unwrap();
    let error = world.orphans(&[]).await.unwrap_err();
    assert!(chain(&error).contains("by a link"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_within_the_folder_or_into_it_lets_nothing_be_listed() {
    let world = World::with("plain", "none", 1, 20).await;
    let path = world.litter("data/a.parquet", 10).await;
    let own = local(world.table().await.metadata.location()).to_owned();
    let link = own.join("other-name");
    std::os::unix::fs::symlink(own.join("data"), &link).unwrap();
    let error = world.orphans(&[]).await.unwrap_err();
    let told = chain(&error);
    assert!(
        told.contains(&*link.to_string_lossy()) && told.contains("by a link"),
        "{told}"
    );
    std::fs::remove_file(&link).unwrap();
    let plan = world.orphans(&[]).await.unwrap();
    assert_eq!(paths(&plan), [path.as_str()]);
    // Another table's files go to a link that leads into our folder.
    let link = own.with_file_name("looks-apart");
    std::os::unix::fs::symlink(own.join("data"), &link).unwrap();
    keeps_its_data_at(&world, &format!("file://{}", link.display())).await;
    let error = world.orphans(&[]).await.unwrap_err();
    assert!(chain(&error).contains("db.other"), "{}", chain(&error));
    let error = world
        .execute(&Plan::RemoveOrphanFiles(plan))
        .await
        .unwrap_err();
    assert!(chain(&error).contains("db.other"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_under_another_spelling_waits_on() {
    let world = World::with("plain", "none", 1, 20).await;
    let path = world.litter("data/a.parquet", 10).await;
    let spelled = [
        local(&path).display().to_string(),
        path.replace("file://", "file:"),
    ];
    for spelled in spelled {
        world
            .ledger
            .reserved
            .lock()
            .unwrap()
            .insert(spelled.clone());
        let plan = world.orphans(&[]).await.unwrap();
        assert_eq!(paths(&plan), [""; 0], "{spelled}");
        world.ledger.reserved.lock().unwrap().clear();
    }
    assert_eq!(world.orphans(&[]).await.unwrap().orphans, 1);
}
