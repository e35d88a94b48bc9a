//! The chart's life in a namespace: installed, tested, upgraded, rolled back, gone.

use std::collections::BTreeSet;

use serde_json::json;
use testkit::until;

use crate::release::{API_PORT, NAME, Release, WORKERS};

/// Kinds that Kubernetes fills by itself, and forgets by itself.
const NOT_OURS: [&str; 2] = ["events", "endpoints"];

/// Every object in the namespace, of every kind the API server lists.
fn objects(release: &Release) -> BTreeSet<String> {
    let arguments = [
        "api-resources",
        "--namespaced",
        "--verbs",
        "list,delete",
        "--output",
        "name",
    ];
    let kinds = release.namespace.kubectl(&arguments);
    let kinds: Vec<_> = kinds
        .lines()
        .filter(|kind| !NOT_OURS.iter().any(|other| kind.starts_with(other)))
        .collect();
    let arguments = ["get", &kinds.join(","), "--output", "name"];
    let listed = release.namespace.kubectl(&arguments);
    listed.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_release_is_installed_tested_upgraded_rolled_back_and_leaves_nothing_behind() {
    let release = Release::prepare("life").await;
    let before = objects(&release);
    release.helm(
        "install",
        json!({
            "keda": {"enabled": true, "trigger": "external-push"},
            "helmTest": {"table": "db.t"},
        }),
    );
    release.house.table("t").await;
    until("the API has found the table", async || {
        let (status, tables) = release.ask("GET", API_PORT, "/tables").await;
        status == 200 && tables.contains("\"t\"")
    })
    .await;
    let tested = async |times: i64| {
        release.command("test", &["--timeout", "90s"]);
        let planned = "select count(*) from snowpack.jobs where dry_run and status = 'completed'";
        assert_eq!(release.house.count(planned).await, times);
    };
    tested(1).await;
    release.workers_ready(0).await;

    // The API lets nobody in who has no token, and nobody gave one.
    let closed = json!({"mode": "tokens", "insecure": false});
    let fixed = json!({"worker": {"slots": 2}, "api": {"auth": closed}});
    release.helm("upgrade", fixed.clone());
    until("KEDA has let go of the workers", async || {
        release.namespace.list("scaledobjects", "").is_empty()
    })
    .await;
    // Until then it may have taken them to zero once more (deploy/README.md, "do without KEDA").
    if release.namespace.list("deployments", WORKERS)[0]["spec"]["replicas"] == 0 {
        release.helm("upgrade", fixed);
    }
    release.workers_ready(1).await;
    let pods = release.namespace.list("pods", WORKERS);
    let env = pods[0]["spec"]["containers"][0]["env"].as_array().unwrap();
    let slots = env
        .iter()
        .find(|one| one["name"] == "SNOWPACK_WORKER_SLOTS");
    assert_eq!(slots.unwrap()["value"], "2");
    tested(2).await;

    release.command("rollback", &["1", "--wait", "--timeout", "90s"]);
    tested(3).await;
    let status = release.command("status", &["--output", "json"]);
    assert!(status.contains("deployed"), "{status}");

    release.command("uninstall", &["--wait", "--timeout", "90s"]);
    until("nothing of the release is left", async || {
        objects(&release) == before
    })
    .await;
}

#[tokio::test]
async fn two_releases_in_two_namespaces_do_not_meet() {
    let one = Release::install("one", json!({})).await;
    let two = Release::install("two", json!({})).await;
    for release in [&one, &two] {
        let before = release.house.table("t").await;
        let (jobs, _) = release.house.submit(&["t".to_owned()]).await;
        release.house.completed_once(&jobs).await;
        release.house.rewritten_once("t", &before).await;
    }
    one.command("uninstall", &["--wait", "--timeout", "90s"]);
    two.workers_ready(1).await;
    assert_eq!(two.ask("GET", API_PORT, "/readyz").await.0, 200);
    assert_eq!(NAME, "snowpack", "both releases had one name");
}
