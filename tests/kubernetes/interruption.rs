//! Pods go while long jobs run: idle ones first, and no job loses or repeats what it committed.

use serde_json::{Value, json};
use testkit::until;

use crate::cluster::run;
use crate::long::Long;
use crate::release::{Release, WORKER};

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().expect("it has a name")
}

/// What the pod says its end would cost.
fn cost(pod: &Value) -> i64 {
    let cost = &pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"];
    cost.as_str()
        .map_or(0, |cost| cost.parse().expect("a number"))
}

#[tokio::test]
async fn idle_workers_go_first_and_the_busy_ones_job_goes_on() {
    let release = Release::install("idle", json!({"worker": {"replicaCount": 3}})).await;
    let long = Long::begin(&release, 1).await;
    let holders = release.house.holders().await;
    let busy = |pod: &Value| holders[0].starts_with(name(pod));
    until("the busy worker says what its end would cost", async || {
        let pods = release.workers();
        let (busy, idle): (Vec<_>, Vec<_>) = pods.iter().partition(|pod| busy(pod));
        busy.len() == 1 && idle.iter().all(|pod| cost(pod) < cost(busy[0]))
    })
    .await;
    release
        .namespace
        .kubectl(&["scale", "deployment", WORKER, "--replicas", "1"]);
    release.workers_ready(1).await;
    assert!(busy(&release.workers()[0]), "{holders:?}");
    assert_eq!(
        release.house.holders().await,
        holders,
        "it still holds the job"
    );
    long.end(&release).await;
}

#[tokio::test]
async fn a_rolling_update_lets_long_jobs_end_where_they_run() {
    let release = Release::install("rolling", json!({})).await;
    let long = Long::begin(&release, 1).await;
    let holders = release.house.holders().await;
    release.helm("upgrade", json!({"worker": {"slots": 2}}));
    until(
        "the new worker is there and the old one is asked to end",
        async || {
            let pods = release.workers();
            pods.len() == 1 && !holders[0].starts_with(name(&pods[0]))
        },
    )
    .await;
    assert_eq!(
        release.house.holders().await,
        holders,
        "the old one still holds the job"
    );
    long.end(&release).await;
    release.workers_ready(1).await;
}

/// Takes the node's pods back when dropped.
struct Cordoned;

impl Drop for Cordoned {
    fn drop(&mut self) {
        if let Err(why) = run("kubectl", &["uncordon", "n1"], "") {
            eprintln!("{why}");
        }
    }
}

#[tokio::test]
async fn a_node_is_drained_and_jobs_that_outlast_the_grace_are_done_elsewhere() {
    // The jobs are stuck, the grace is short: the workers hand them back half done.
    let values = json!({"worker": {"replicaCount": 2, "graceSeconds": 1}});
    let release = Release::install("drained", values).await;
    let long = Long::begin(&release, 2).await;
    let cordoned = Cordoned;
    let drain = [
        "drain",
        "n1",
        "--delete-emptydir-data",
        "--ignore-daemonsets",
        "--timeout",
        "60s",
    ];
    run("kubectl", &drain, "").unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(
        release.house.holders().await,
        Vec::<String>::new(),
        "all were handed back"
    );
    drop(cordoned);
    release.workers_ready(2).await;
    long.end(&release).await;
}
