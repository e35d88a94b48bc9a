//! KEDA takes the workers from zero to as many as there is work for, and back to zero.

use serde_json::{Value, json};
use testkit::{Certificate, until};

use crate::prometheus::Prometheus;
use crate::release::{NAME, Release, WORKER, keda, merge};
use crate::replicas::Replicas;

const JOBS: usize = 40;
/// As `worker.maxReplicas` in the values of every test.
const WORKERS_MAX: u32 = 4;
/// As the data model of the first Snowpack gives it, with the schema that it lies in here.
const SEEDS_QUERY: &str =
    "SELECT COUNT(*) FROM snowpack.job_queue WHERE claimed_at IS NULL AND visible_at <= NOW()";
const OUR_QUERY: &str = include_str!("../../crates/queue/sql/keda.sql");

/// A certificate that nobody knows, and a token: what the scaler then wants, KEDA gets from Secrets.
fn guarded(release: &Release) -> Value {
    let name = format!("{NAME}-scaler.{}.svc", release.namespace.name());
    let certificate = Certificate::of(&name);
    let [cert, key] = certificate.pem();
    for (secret, content) in [
        (
            "scaler-tls",
            json!({"tls.crt": cert, "tls.key": key, "ca.crt": cert}),
        ),
        (
            "scaler-token",
            json!({"token": "0123456789abcdef0123456789abcdef"}),
        ),
    ] {
        release.namespace.apply(&json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret},
            "stringData": content,
        }));
    }
    json!({"scaler": {
        "tls": {"existingSecret": "scaler-tls"},
        "token": {"existingSecret": "scaler-token"},
    }})
}

/// 40 jobs come at once; all of them are done in the end by workers that were not there before.
async fn scales(release: &Release, trigger: &str, polling_interval: u32, tables: &[String]) {
    let mut values = keda(trigger, polling_interval);
    match trigger {
        "prometheus" => merge(&mut values, Prometheus::values()),
        "metrics-api" => merge(&mut values, guarded(release)),
        _ => {}
    }
    release.helm("upgrade", values);
    release.workers_ready(0).await;
    let replicas = Replicas::watch(release.namespace.name(), WORKER);
    replicas.when("nobody is wanted", |count| count == 0);

    // Nobody ends a job before as many workers as may be are there.
    let hold = release.house.hold_loads().await;
    let (jobs, committed) = release.house.submit(tables).await;
    let from_zero = replicas.when("somebody is wanted", |count| 0 < count);
    let all = replicas.when("all are wanted", |count| count == WORKERS_MAX);
    hold.holds(i64::from(WORKERS_MAX)).await;
    hold.release().await;
    release.house.completed_once(&jobs).await;
    let none = replicas.when("nobody is wanted", |count| count == 0);
    release.workers_ready(0).await;
    println!(
        "{trigger}, asked every {polling_interval} s: from enqueue commit to 1 replica {:.2?}, to \
         {WORKERS_MAX} {:.2?}, to 0 {:.1?}",
        from_zero - committed,
        all - committed,
        none - committed,
    );
}

#[tokio::test]
async fn m33_m34_forty_jobs_scale_the_workers_from_zero_and_back_by_every_trigger() {
    let release = Release::install("scaling", json!({})).await;
    let tables: Vec<_> = (0..JOBS).map(|number| format!("t{number}")).collect();
    release.house.tables(&tables).await;
    // The push does not wait for the interval; it is the chart's default.
    scales(&release, "external-push", 15, &tables).await;
    scales(&release, "metrics-api", 5, &tables).await;
    scales(&release, "postgresql", 5, &tables).await;
    let _prometheus = Prometheus::start(&release).await;
    scales(&release, "prometheus", 5, &tables).await;
}

/// The pods of a ScaledJob end by themselves when nothing is due.
#[tokio::test]
async fn m33_m34_forty_jobs_are_done_by_jobs_that_come_for_them_and_end() {
    let mut values = keda("external-push", 2);
    merge(&mut values, json!({"keda": {"kind": "ScaledJob"}}));
    let release = Release::install("scaledjob", values).await;
    let tables: Vec<_> = (0..JOBS).map(|number| format!("t{number}")).collect();
    release.house.tables(&tables).await;
    let runs = || {
        let of_ours = format!("scaledjob.keda.sh/name={WORKER}");
        release.namespace.list("jobs", &of_ours)
    };
    assert_eq!(runs().len(), 0, "nothing is due");

    // Nobody ends a job before as many workers as may be are there.
    let hold = release.house.hold_loads().await;
    let (jobs, _) = release.house.submit(&tables).await;
    hold.holds(i64::from(WORKERS_MAX)).await;
    assert_eq!(runs().len(), WORKERS_MAX as usize, "as many as may be");
    hold.release().await;
    release.house.completed_once(&jobs).await;
    until("every run has ended well", async || {
        let runs = runs();
        for run in &runs {
            assert!(run["status"]["failed"].is_null(), "{run}");
        }
        // KEDA keeps the last few.
        !runs.is_empty() && runs.iter().all(|run| run["status"]["succeeded"] == 1)
    })
    .await;
}

/// Nobody works, and what a dead worker had is due again: KEDA asks `query`, and somebody comes.
async fn a_dead_workers_job_is_done(release: &Release, query: &str) {
    let house = &release.house;
    let before = house.table("t").await;
    let job = house.lost("t").await;
    release.namespace.apply(&json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": WORKER},
        "spec": {
            "scaleTargetRef": {"name": WORKER, "envSourceContainerName": "worker"},
            "pollingInterval": 1,
            "cooldownPeriod": 1,
            "minReplicaCount": 0,
            "maxReplicaCount": 1,
            "triggers": [{"type": "postgresql", "metadata": {
                "connectionFromEnv": "SNOWPACK_DATABASE_URL",
                "query": query,
                "targetQueryValue": "1",
                "activationTargetQueryValue": "0",
            }}],
        },
    }));
    let replicas = Replicas::watch(release.namespace.name(), WORKER);
    replicas.when("somebody is wanted", |count| 0 < count);
    house.completed_once(&[job]).await;
    house.rewritten_once("t", &before).await;
    replicas.when("nobody is wanted", |count| count == 0);
}

#[tokio::test]
async fn m33_the_seeds_query_as_written_scales_from_zero_expired_leases_included() {
    // It sees an expired lease once that is swept, by a loop of the API.
    let nobody = json!({"worker": {"replicaCount": 0}});
    let release = Release::install("seed", nobody).await;
    a_dead_workers_job_is_done(&release, SEEDS_QUERY).await;
}

#[tokio::test]
async fn m33_our_query_sees_an_expired_lease_with_no_sweeper_alive() {
    let nobody = json!({"api": {"replicaCount": 0}, "worker": {"replicaCount": 0}});
    let release = Release::install("sweeperless", nobody).await;
    a_dead_workers_job_is_done(&release, &OUR_QUERY.replace("{lane}", "snowpack")).await;
}
