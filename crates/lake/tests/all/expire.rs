//! Expiry against tables PyIceberg made: what goes, what stays, and what is listed for deletion
//! wherever a process dies and whatever lands meanwhile.

#[path = "expire/meanwhile.rs"]
mod meanwhile;

use std::collections::{BTreeMap, BTreeSet};

use model::Action;
use planner::{Engine, EngineError, Expired, Plan, Report, Task, Unwatched};
use serde_json::{Value, json};

use crate::deletions::{Death, Step};
use crate::world::{World, chain};

/// Merges manifests at every second append, so that snapshots share files, not manifests.
const MERGING: &str = "commit.manifest-merge.enabled";

/// A table of four appends and a delete.
async fn made() -> World {
    made_of("2").await
}

async fn made_of(version: &str) -> World {
    let properties = json!({
        "format-version": version,
        MERGING: "true", "commit.manifest.min-count-to-merge": "2",
        "commit.retry.min-wait-ms": "1", "commit.retry.max-wait-ms": "2",
    });
    let world = World::with_properties("plain", "region", 3, 12, properties).await;
    world.oracle("delete", json!({"where": "id < 5"})).await;
    world.append(100, 1, 8).await;
    world
}

fn task(options: &[(&str, &str)]) -> Task {
    let options: BTreeMap<String, String> = options
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Task::parse(Action::ExpireSnapshots, &options).expect("valid options")
}

/// Everything is older than an hour from now.
async fn soon(world: &World) -> String {
    (world.now_ms().await + 3_600_000).to_string()
}

async fn planned(world: &World, options: &[(&str, &str)]) -> Result<Plan, EngineError> {
    let task = task(options);
    world
        .engine
        .plan(&world.name, &task, &world.ledger, &Unwatched)
        .await
}

async fn expire_as(world: &World, attempt: &str) -> Result<Report, EngineError> {
    let older_than = soon(world).await;
    let plan = planned(world, &[("older_than", &older_than)]).await?;
    world.execute_as("job-1", attempt, &plan).await
}

/// What PyIceberg reaches, and the rows of every snapshot.
struct Seen {
    paths: BTreeSet<String>,
    snapshots: Vec<i64>,
    reach: Value,
    rows: Value,
}

async fn seen(world: &World) -> Seen {
    let reach = world.oracle("reach", json!({})).await;
    let paths = reach["paths"].as_array().unwrap().iter();
    let snapshots = reach["snapshots"].as_array().unwrap().iter();
    Seen {
        paths: paths
            .map(|path| path.as_str().unwrap().to_owned())
            .collect(),
        snapshots: snapshots.map(|id| id.as_i64().unwrap()).collect(),
        rows: world.oracle("travel", json!({})).await,
        reach,
    }
}

/// Nothing reachable is listed; all that was reachable before and is not now is; and what stays
/// reads as it did.
async fn check(world: &World, before: &Seen) -> Seen {
    check_but(world, before, None).await
}

/// As [`check`]; `left` is known to stay for good.
async fn check_but(world: &World, before: &Seen, left: Option<&String>) -> Seen {
    let after = seen(world).await;
    let listed: BTreeSet<String> = world.ledger.deletions.listed().into_iter().collect();
    let gone = before.paths.difference(&after.paths);
    let want: BTreeSet<String> = gone.filter(|path| Some(*path) != left).cloned().collect();
    let wrong: Vec<_> = listed.intersection(&after.paths).collect();
    assert!(wrong.is_empty(), "listed and reachable: {wrong:#?}");
    assert_eq!(listed, want);
    for (id, rows) in after.rows.as_object().unwrap() {
        if before.rows.get(id).is_some() {
            assert_eq!(rows, &before.rows[id], "snapshot {id}");
        }
    }
    after
}

async fn tag(world: &World, name: &str, snapshot_id: i64) {
    let asked = json!({"kind": "tag", "name": name, "snapshot_id": snapshot_id});
    world.oracle("ref", asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_expired_snapshots_reached_is_listed_and_nothing_else() {
    let world = made().await;
    let ids = seen(&world).await.snapshots;
    let (first, second, last) = (ids[0], ids[1], ids[ids.len() - 1]);
    tag(&world, "release", second).await;
    let old_tag = json!({"kind": "tag", "name": "old", "snapshot_id": first,
        "keep": {"max_ref_age_ms": 1}});
    world.oracle("ref", old_tag).await;
    let branch = json!({"kind": "branch", "name": "audit", "snapshot_id": last,
        "keep": {"min_snapshots_to_keep": 2}});
    world.oracle("ref", branch).await;
    let more = json!({"branch": "audit", "start": 500, "rows": 6});
    world.oracle("append_to", more).await;
    world.append(200, 2, 8).await;
    for (name, id) in [("gone", first), ("both", first), ("kept", second)] {
        world
            .oracle("statistics", json!({"name": name, "snapshot_ids": [id]}))
            .await;
    }
    let before = seen(&world).await;
    // A rollback leaves a snapshot no branch has.
    world.oracle("rollback", json!({"snapshot_id": last})).await;

    let older_than = soon(&world).await;
    let options = [
        ("older_than", older_than.as_str()),
        ("deletion-grace-ms", "0"),
    ];
    let plan = planned(&world, &options).await.unwrap();
    assert_eq!(plan.nothing(), None);
    let report = world.execute(&plan).await.unwrap();

    let after = check(&world, &before).await;
    let audit = before.reach["refs"]["audit"].as_i64().unwrap();
    assert_eq!(after.snapshots, [second, last, audit]);
    let refs = json!({"main": last, "release": second, "audit": audit});
    assert_eq!(after.reach["refs"], refs);
    let listed = world.ledger.deletions.candidates();
    let expired = report.expired.clone().unwrap();
    assert_eq!(expired.snapshots as usize, before.snapshots.len() - 3);
    assert_eq!((expired.refs, expired.files), (1, listed.len() as u64));
    let known: u64 = listed.iter().filter_map(|file| file.size_bytes).sum();
    assert_eq!(expired.bytes, known);
    assert_eq!(world.ledger.deletions.grace_ms(), 0);
    assert_eq!(*world.ledger.reports.lock().unwrap(), [report]);
    assert_eq!(world.ledger.deletions.open_count(), 0);
    assert_eq!(world.rows().await.pyiceberg, world.rows().await.duckdb);

    let again = planned(&world, &options).await.unwrap();
    assert_eq!(again.nothing(), Some("every snapshot is retained"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_snapshots_has_nothing_to_expire() {
    let world = World::with("plain", "none", 0, 0).await;
    let plan = planned(&world, &[]).await.unwrap();
    assert_eq!(plan.nothing(), Some("the table has no snapshots"));
}

#[tokio::test(flavor = "multi_thread")]
async fn specs_and_schemas_nothing_needs_go_when_asked() {
    let world = World::with("plain", "none", 2, 10).await;
    for how in ["add", "spec"] {
        world.oracle("evolve", json!({"how": how})).await;
    }
    let older_than = soon(&world).await;
    let clean = [
        ("older_than", older_than.as_str()),
        ("clean_expired_metadata", "true"),
    ];
    // The files that stay are of the old spec, and the snapshot that stays of the old schema.
    let plan = planned(&world, &clean).await.unwrap();
    let report = world.execute(&plan).await.unwrap();
    assert_eq!(report.expired.unwrap().definitions, 0);
    let before = seen(&world).await;
    assert_eq!(
        (&before.reach["specs"], &before.reach["schemas"]),
        (&json!([0, 1]), &json!([0, 1]))
    );

    world.oracle("delete", json!({"where": "id >= 0"})).await;
    world.append(300, 1, 5).await;
    let rows = world.rows().await;
    // Emptied manifests of the old spec are not carried on, so nothing needs it by now.
    let report = world
        .execute(&planned(&world, &clean).await.unwrap())
        .await
        .unwrap();
    assert_eq!(report.expired.unwrap().definitions, 2);
    let after = seen(&world).await;
    assert_eq!(
        (&after.reach["specs"], &after.reach["schemas"]),
        (&json!([1]), &json!([1]))
    );
    assert_eq!(world.rows().await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_metadata_that_cannot_be_read_stops_the_listing_and_is_named() {
    let world = made().await;
    let before = seen(&world).await;
    let live = world.live().await;
    let manifest = live.manifests[0].manifest_path.clone();
    let path = manifest.trim_start_matches("file://");
    let bytes = std::fs::read(path).unwrap();
    for broken in [None, Some(bytes[..bytes.len() / 2].to_vec())] {
        std::fs::remove_file(path).unwrap();
        if let Some(broken) = broken {
            std::fs::write(path, broken).unwrap();
        }
        let error = expire_as(&world, "attempt-1").await.unwrap_err();
        assert!(chain(&error).contains(&manifest), "{}", chain(&error));
        assert_eq!(world.ledger.deletions.listed(), Vec::<String>::new());
        assert_eq!(world.ledger.deletions.open_count(), 1);
        std::fs::write(path, &bytes).unwrap();
    }
    let report = expire_as(&world, "attempt-2").await.unwrap();
    check(&world, &before).await;
    assert_eq!(
        report.expired.unwrap().snapshots as usize,
        before.snapshots.len() - 1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_snapshots_missing_manifest_is_passed_over() {
    let world = made().await;
    let before = seen(&world).await;
    let table = world.table().await;
    let list = &table
        .metadata
        .snapshot(before.snapshots[0])
        .unwrap()
        .manifest_list;
    std::fs::remove_file(list.trim_start_matches("file://")).unwrap();
    expire_as(&world, "attempt-1").await.unwrap();
    let after = world.oracle("reach", json!({})).await;
    let listed = world.ledger.deletions.listed();
    assert!(listed.contains(list));
    for path in after["paths"].as_array().unwrap() {
        assert!(
            !listed.contains(&path.as_str().unwrap().to_owned()),
            "{path}"
        );
    }
}

/// Old writers of format v1 named a snapshot's manifests in the document itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_v1_table_expires_with_lists_and_without() {
    let world = made_of("1").await;
    let before = seen(&world).await;
    let table = world.table().await;
    let first = table.metadata.snapshot(before.snapshots[0]).unwrap();
    let listed = metadata::read_manifest_list(&table.storage, first)
        .await
        .unwrap();
    let paths: Vec<String> = listed.into_iter().map(|m| m.manifest_path).collect();
    let path = table.metadata_location.trim_start_matches("file://");
    let mut document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let snapshots = document["snapshots"].as_array_mut().unwrap();
    let old = snapshots
        .iter_mut()
        .find(|s| s["snapshot-id"] == first.snapshot_id);
    let old = old.unwrap().as_object_mut().unwrap();
    old.remove("manifest-list");
    old.insert("manifests".to_owned(), json!(paths));
    std::fs::write(path, document.to_string()).unwrap();

    let report = expire_as(&world, "attempt-1").await.unwrap();
    let after = check_but(&world, &before, Some(&first.manifest_list)).await;
    assert_eq!(after.snapshots.len(), 1);
    assert_eq!(
        report.expired.unwrap().snapshots as usize,
        before.snapshots.len() - 1
    );
    assert_eq!(world.table().await.metadata.format_version(), 1);
    assert_eq!(world.rows().await.pyiceberg, world.rows().await.duckdb);
}

/// Wherever a process dies, the next one lists all that is free and nothing else, and reports what
/// the job did as a whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_finishes_what_a_dead_one_began() {
    use Death::{After, Before};
    let steps = [Step::Intend, Step::Swap, Step::List, Step::Settle];
    let deaths = steps
        .into_iter()
        .flat_map(|step| [Before(step), After(step)]);
    for death in deaths {
        let world = World::with("plain", "none", 3, 5).await;
        let before = seen(&world).await;
        world.ledger.deletions.die(death);
        let error = expire_as(&world, "attempt-1").await.unwrap_err();
        assert!(
            chain(&error).contains("the process ended"),
            "{}",
            chain(&error)
        );
        assert!(world.ledger.deletions.died(), "{death:?}");
        let now = world.oracle("reach", json!({})).await;
        for path in world.ledger.deletions.listed() {
            assert!(
                !now["paths"].as_array().unwrap().contains(&json!(path)),
                "{death:?}: {path}"
            );
        }

        let report = expire_as(&world, "attempt-2").await.unwrap();
        check(&world, &before).await;
        assert_eq!(world.ledger.deletions.open_count(), 0, "{death:?}");
        if death != After(Step::Settle) {
            let want = Expired {
                snapshots: 2,
                files: world.ledger.deletions.listed().len() as u64,
                ..report.expired.clone().unwrap()
            };
            assert_eq!(report.expired, Some(want), "{death:?}");
        }
    }
}

/// Another job, say of a purge, settles an expiry whose job never comes back.
#[tokio::test(flavor = "multi_thread")]
async fn another_job_settles_what_a_lost_job_left() {
    let world = made().await;
    let before = seen(&world).await;
    world.ledger.deletions.die(Death::After(Step::Swap));
    expire_as(&world, "attempt-1").await.unwrap_err();
    let plan = planned(&world, &[]).await.unwrap();
    assert_eq!(plan.nothing(), None, "there is an expiry to settle");
    let report = world.execute_as("job-2", "attempt-2", &plan).await.unwrap();
    assert!(
        report.message().contains("1 earlier expiries settled"),
        "{}",
        report.message()
    );
    check(&world, &before).await;
    assert_eq!(world.ledger.deletions.open_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_asked_for_go_and_refs_refuse() {
    let world = made().await;
    let before = seen(&world).await;
    let (first, last) = (before.snapshots[0], *before.snapshots.last().unwrap());
    let error = planned(&world, &[("snapshot_ids", &last.to_string())])
        .await
        .unwrap_err();
    assert!(
        chain(&error).contains("ref `main` names it"),
        "{}",
        chain(&error)
    );
    let ids = first.to_string();
    let plan = planned(&world, &[("snapshot_ids", &ids)]).await.unwrap();
    let report = world.execute(&plan).await.unwrap();
    assert_eq!(report.expired.unwrap().snapshots, 1);
    let after = check(&world, &before).await;
    assert_eq!(after.snapshots, before.snapshots[1..]);
    let error = planned(&world, &[("snapshot_ids", &ids)])
        .await
        .unwrap_err();
    assert!(chain(&error).contains(&ids), "{}", chain(&error));
}
