//! Who scales the workers, and by which number.

use serde_json::{Value, json};

use crate::helm::{NAMESPACE, Shape, objects, read, shapes};
use crate::pods::find;

const WORKER: &str = "snowpack-worker-default";

fn scaled(words: &[&str]) -> Value {
    find(&objects(words), &format!("ScaledObject/{WORKER}"))["spec"].clone()
}

#[test]
fn m33_the_trigger_asks_whom_the_value_says() {
    let trigger = |words: &[&str]| scaled(words)["triggers"].clone();
    assert_eq!(
        trigger(&[]),
        json!([{"type": "external-push", "metadata": {
            "scalerAddress": format!("snowpack-scaler.{NAMESPACE}.svc:9092"),
            "lane": "snowpack", "pool": "default", "jobsPerWorker": "2", "mode": "demand",
        }}])
    );
    assert_eq!(
        trigger(&["--values", "ci/metrics-api-values.yaml"]),
        json!([{"type": "metrics-api", "metadata": {
            "url": format!("http://snowpack-scaler.{NAMESPACE}.svc:9091/v1/lanes/snowpack/ready?pool=default&jobsPerWorker=2"),
            "valueLocation": "demand", "targetValue": "2", "activationTargetValue": "0",
            "authMode": "bearer",
        }, "authenticationRef": {"name": "snowpack-keda"}}])
    );
    let prometheus = &trigger(&["--values", "ci/prometheus-values.yaml"])[0]["metadata"];
    let query = prometheus["query"].as_str().unwrap();
    assert!(
        query.contains("max(snowpack_queue_ready{")
            && query.contains("max(snowpack_queue_running{")
    );
    assert_eq!(
        prometheus["ignoreNullValues"], "false",
        "no answer is no zero"
    );
}

#[test]
fn m33_keda_gets_what_the_scaler_s_certificate_and_token_need() {
    let tls = "scaler.tls.existingSecret=scaler-tls";
    let token = "scaler.token.existingSecret=scaler-token";
    let secret = |parameter: &str, name: &str, key: &str| json!({"parameter": parameter, "name": name, "key": key});
    let ca = secret("ca", "scaler-tls", "ca.crt");
    let pair = [
        secret("cert", "scaler-tls", "tls.crt"),
        secret("key", "scaler-tls", "tls.key"),
    ];
    let bearer = secret("token", "scaler-token", "token");
    let none = "scaler.tls.caKey=";
    for (trigger, sets, mode, wanted) in [
        ("metrics-api", &[][..], json!(null), vec![]),
        ("metrics-api", &[tls, none], json!(null), vec![]),
        (
            "metrics-api",
            &[token],
            json!("bearer"),
            vec![bearer.clone()],
        ),
        (
            "metrics-api",
            &[tls, none, token],
            json!("bearer"),
            vec![bearer.clone()],
        ),
        (
            "metrics-api",
            &[tls],
            json!("tls"),
            vec![ca.clone(), pair[0].clone(), pair[1].clone()],
        ),
        (
            "metrics-api",
            &[tls, token],
            json!("tls,bearer"),
            vec![bearer, ca, pair[0].clone(), pair[1].clone()],
        ),
        (
            "external-push",
            &[tls, token],
            json!(null),
            vec![secret("caCert", "scaler-tls", "ca.crt")],
        ),
    ] {
        let trigger = format!("keda.trigger={trigger}");
        let set = [&[trigger.as_str()][..], sets].concat().join(",");
        let objects = objects(&["--set", &set]);
        let spec = &find(&objects, &format!("ScaledObject/{WORKER}"))["spec"];
        assert_eq!(spec["triggers"][0]["metadata"]["authMode"], mode, "{set}");
        let made = objects
            .iter()
            .find(|object| object["kind"] == "TriggerAuthentication");
        let given = made.map(|made| made["spec"]["secretTargetRef"].clone());
        let wanted = Some(json!(wanted)).filter(|_| !wanted.is_empty());
        assert_eq!(given, wanted, "{set}");
        let referred = spec["triggers"][0]["authenticationRef"]["name"].as_str();
        assert_eq!(referred, made.map(|_| "snowpack-keda"), "{set}");
    }
}

const OWN: &str = "crates/queue/sql/keda.sql";

/// The queue's own statement as one line, for an entry that serves `pools` by `slots`.
fn statement(pools: &str, slots: u32) -> String {
    let text = read(OWN);
    let lines = text.lines().filter(|line| !line.starts_with("--"));
    let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let asked = format!("array[{pools}] as pools, {slots} as slots");
    let all = "null::text[] as pools, 1 as slots";
    assert!(line.contains(all), "{line}");
    line.replace("{lane}", "snowpack").replace(all, &asked)
}

#[test]
fn m33_the_query_of_a_postgresql_trigger_is_the_queues_own() {
    assert_eq!(
        read("helm/snowpack/files/keda.sql"),
        read(OWN),
        "copy {OWN}"
    );
    let spec = scaled(&["--set", "keda.trigger=postgresql"]);
    let metadata = &spec["triggers"][0]["metadata"];
    assert_eq!(metadata["query"], statement("'default'", 2));
    assert_eq!(metadata["connectionFromEnv"], "SNOWPACK_DATABASE_URL");
    assert_eq!(metadata["activationTargetQueryValue"], "0");
    assert_eq!(spec["scaleTargetRef"]["envSourceContainerName"], "worker");
    let own_connection = scaled(&["--values", "ci/postgresql-values.yaml"]);
    let trigger = &own_connection["triggers"][0];
    assert!(trigger["metadata"]["connectionFromEnv"].is_null());
    assert_eq!(trigger["authenticationRef"]["name"], "snowpack-keda");
}

#[test]
fn m33_each_pool_is_scaled_by_the_jobs_it_serves() {
    let postgresql = [
        "--values",
        "values-ha.yaml",
        "--set",
        "keda.trigger=postgresql",
    ];
    let objects = objects(&postgresql);
    let query = |pool: &str| {
        let object = find(&objects, &format!("ScaledObject/snowpack-worker-{pool}"));
        object["spec"]["triggers"][0]["metadata"]["query"].clone()
    };
    assert_eq!(query("s"), statement("'s'", 4));
    assert_eq!(query("m"), statement("'m', 'default'", 2));
}

#[tokio::test]
async fn m33_postgres_answers_every_query_with_one_number_that_is_never_null() {
    let database = testkit::Database::new().await;
    let client = database.client().await;
    for words in [
        &["--set", "keda.trigger=postgresql"][..],
        &["--set", "keda.trigger=postgresql,keda.kind=ScaledJob"],
        &[
            "--set",
            "keda.trigger=postgresql",
            "--values",
            "values-ha.yaml",
        ],
    ] {
        for object in objects(words) {
            let query = &object["spec"]["triggers"][0]["metadata"]["query"];
            let Some(query) = query.as_str() else {
                continue;
            };
            let row = client.query_one(query, &[]).await.unwrap();
            assert_eq!((row.len(), row.get::<_, i64>(0)), (1, 0), "{query}");
        }
    }
}

#[test]
fn a_scaler_that_fails_never_costs_a_busy_pod_and_scale_down_is_slow() {
    let spec = scaled(&[]);
    assert_eq!(
        spec["fallback"],
        json!({"failureThreshold": 3, "replicas": 1, "behavior": "currentReplicasIfHigher"})
    );
    assert_eq!(spec["minReplicaCount"], 0);
    let down = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"];
    assert_eq!(down["stabilizationWindowSeconds"], 300);
    assert_eq!(
        down["policies"],
        json!([{"type": "Pods", "value": 1, "periodSeconds": 60}])
    );
    let worker = &find(&objects(&[]), &format!("Deployment/{WORKER}"))["spec"].clone();
    assert!(
        worker["replicas"].is_null(),
        "an upgrade leaves KEDA's number alone"
    );
}

#[test]
fn a_pools_own_value_wins_a_zero_too_and_the_rest_is_as_for_all() {
    let objects = objects(&["--values", "ci/everything-values.yaml"]);
    for (pool, slots, memory, bounds) in
        [("s", "4", "1024Mi", [0, 1]), ("m", "3", "2048Mi", [1, 7])]
    {
        let name = format!("lakehouse-keeper-worker-{pool}");
        let spec = &find(&objects, &format!("ScaledObject/{name}"))["spec"];
        assert_eq!(spec["minReplicaCount"], bounds[0], "{pool}");
        assert_eq!(spec["maxReplicaCount"], bounds[1], "{pool}");
        assert_eq!(spec["triggers"][0]["metadata"]["jobsPerWorker"], slots);
        let worker = find(&objects, &format!("Deployment/{name}"));
        let container = &worker["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["resources"]["limits"]["memory"], memory, "{pool}");
    }
}

#[test]
fn a_scaled_job_counts_only_what_waits_and_its_pods_end() {
    let objects = objects(&["--values", "ci/scaledjob-values.yaml"]);
    let spec = &find(&objects, &format!("ScaledJob/{WORKER}"))["spec"];
    assert_eq!(spec["scalingStrategy"]["strategy"], "accurate");
    assert_eq!(spec["rollout"]["strategy"], "gradual");
    // KEDA takes no pushes for a ScaledJob.
    assert_eq!(spec["triggers"][0]["type"], "external");
    assert_eq!(spec["triggers"][0]["metadata"]["mode"], "ready");
    let env = &spec["jobTargetRef"]["template"]["spec"]["containers"][0]["env"];
    let exits = env.as_array().unwrap().iter().any(|variable| {
        variable["name"] == "SNOWPACK_EXIT_WHEN_IDLE" && variable["value"] == "true"
    });
    assert!(exits, "{env}");
    let deployments = objects
        .iter()
        .filter(|object| object["kind"] == "Deployment");
    assert_eq!(deployments.count(), 1, "the API's");
}

#[test]
fn nothing_may_run_and_a_number_of_zero_is_a_number() {
    let objects = objects(&["--values", "ci/zero-values.yaml"]);
    for part in ["api", "worker-default"] {
        let deployment = find(&objects, &format!("Deployment/snowpack-{part}"));
        assert_eq!(deployment["spec"]["replicas"], 0, "{part}");
    }
    let kept = |kind: &str| objects.iter().any(|object| object["kind"] == kind);
    assert!(!kept("PodDisruptionBudget") && !kept("ScaledObject"));
    let job = find(&objects, "Job/snowpack-drain");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"][0], "drain");
    assert_eq!(container["args"][1], "on");
}

#[test]
fn more_than_one_api_pod_is_spread_and_kept_through_drains() {
    for Shape { file, objects } in shapes() {
        let api = objects
            .iter()
            .find(|object| {
                object["kind"] == "Deployment"
                    && object["metadata"]["name"]
                        .as_str()
                        .unwrap()
                        .ends_with("-api")
            })
            .unwrap_or_else(|| panic!("{file}: no API"));
        let many = 1 < api["spec"]["replicas"].as_u64().unwrap();
        let spread = api["spec"]["template"]["spec"]["topologySpreadConstraints"].is_array();
        let budget = objects
            .iter()
            .any(|object| object["kind"] == "PodDisruptionBudget");
        assert_eq!((spread, budget), (many, many), "{file}");
    }
}
