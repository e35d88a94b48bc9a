//! Passes of the CronJobs, started by hand: by kubectl and through the API.

use serde_json::{Value, json};
use testkit::until;

use crate::release::{API_PORT, NAME, Release};

/// Waits until the Job has ended well.
async fn completes(release: &Release, job: &str) -> Value {
    let mut found = Value::Null;
    until(&format!("{job} has ended"), async || {
        found = release.namespace.get(&format!("job/{job}"));
        let conditions = found["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|one| one["status"] == "True" && one["type"] == "Complete")
    })
    .await;
    found
}

fn by_kubectl(release: &Release, component: &str) -> String {
    let (job, from) = (
        format!("manual-{component}"),
        format!("cronjob/{NAME}-{component}"),
    );
    let from = format!("--from={from}");
    release.namespace.kubectl(&["create", "job", &job, &from]);
    job
}

/// What the API answers, and the Job it made.
async fn by_the_api(release: &Release, component: &str) -> (u16, String) {
    let path = format!("/{component}/trigger");
    let (status, body) = release.ask("POST", API_PORT, &path).await;
    let body: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
    let job = body["kubernetes_job"].as_str().unwrap_or_default();
    (status, job.to_owned())
}

#[tokio::test]
async fn cronjobs_run_on_request_to_completion_and_one_at_a_time() {
    let values = json!({"policy": {"enrolment": "opt-out"}});
    let release = Release::install("runs", values).await;
    let before = release.house.table("t").await;
    let cached = "select count(*) from snowpack.table_cache_entries";
    assert_eq!(
        release
            .ask("POST", API_PORT, "/tables/cache/refresh")
            .await
            .0,
        200
    );
    assert_eq!(release.house.count(cached).await, 1);

    let job = by_kubectl(&release, "health-sync");
    completes(&release, &job).await;
    let measured = "select count(*) from snowpack.health_snapshots";
    assert_eq!(release.house.count(measured).await, 1);

    // One that is held makes the next wait its turn.
    let runs = "select count(*) from snowpack.orchestrator_runs";
    let hold = release
        .house
        .hold("lock table snowpack.orchestrator_runs")
        .await;
    let (status, job) = by_the_api(&release, "orchestrator").await;
    assert_eq!(status, 202);
    hold.holds(1).await;
    assert_eq!(
        by_the_api(&release, "orchestrator").await.0,
        409,
        "{job} runs"
    );
    hold.release().await;
    let done = completes(&release, &job).await;
    let owner = &done["metadata"]["ownerReferences"][0];
    let owner = (&owner["kind"], &owner["name"]);
    assert_eq!(owner, (&json!("CronJob"), &json!("snowpack-orchestrator")));
    assert_eq!(release.house.count(runs).await, 1);
    until("what was decided is done", async || {
        let done = "select count(*) from snowpack.jobs where status = 'completed'";
        release.house.count(done).await == 1
    })
    .await;
    release.house.rewritten_once("t", &before).await;

    let job = by_kubectl(&release, "orchestrator");
    completes(&release, &job).await;
    assert_eq!(release.house.count(runs).await, 2);
    let (status, job) = by_the_api(&release, "health-sync").await;
    assert_eq!(status, 202);
    completes(&release, &job).await;
    assert_eq!(release.house.count(measured).await, 2);
}
