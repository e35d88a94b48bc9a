//! What Snowpack needs goes away for a while.

use serde_json::Value;
use testkit::until;

use crate::cluster::run;
use crate::long::Long;
use crate::process;
use crate::release::{API, Release, SCALER_PORT, WORKER, WORKERS, keda, ready};

/// Whether a condition of the ScaledObject is true.
fn condition(release: &Release, kind: &str) -> bool {
    let scaled = release.namespace.get(&format!("scaledobject/{WORKER}"));
    let conditions = scaled["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == kind && one["status"] == "True")
}

fn wanted(release: &Release) -> Value {
    release.namespace.get(&format!("deployment/{WORKER}"))["spec"]["replicas"].clone()
}

#[tokio::test]
async fn postgres_is_gone_for_a_while_and_no_worker_job_or_row_is_lost() {
    let release = Release::install("postgres", keda("external-push", 1)).await;
    let long = Long::begin(&release, 2).await;
    until("KEDA wants two workers", async || wanted(&release) == 2).await;

    let stopped = process::stop("postgres", "INT").await;
    until("the scaler makes up no number", async || {
        release.ask("GET", SCALER_PORT, "/ready-count").await.0 == 503
    })
    .await;
    until("KEDA falls back", async || condition(&release, "Fallback")).await;
    until("no worker is ready", async || {
        !release.workers().iter().any(ready)
    })
    .await;
    assert_eq!(
        wanted(&release),
        2,
        "the fallback keeps the workers there are"
    );

    drop(stopped);
    until("the scaler counts again", async || {
        release.ask("GET", SCALER_PORT, "/ready-count").await.0 == 200
    })
    .await;
    long.end(&release).await;
    until("KEDA wants no worker", async || wanted(&release) == 0).await;
    release.never_restarted(WORKERS);
    release.never_restarted(API);
}

#[tokio::test]
async fn workers_go_on_without_the_api_server() {
    let release = Release::install("headless", serde_json::json!({})).await;
    let before = release.house.table("later").await;
    let long = Long::begin(&release, 1).await;

    let stopped = process::stop("kube-apiserver", "KILL").await;
    long.end(&release).await;
    let (jobs, _) = release.house.submit(&["later".to_owned()]).await;
    release.house.completed_once(&jobs).await;
    release.house.rewritten_once("later", &before).await;

    drop(stopped);
    until("the API server is ready", async || {
        run("kubectl", &["get", "--raw", "/readyz"], "").is_ok()
    })
    .await;
    release.workers_ready(1).await;
    release.never_restarted(WORKERS);
}
