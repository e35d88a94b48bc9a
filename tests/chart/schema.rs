//! Wrong values are refused, with the path and what is allowed.

use crate::helm::template;

/// A value that must be refused, and what the refusal must say.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "api.replicaCount=-1",
        &["/api/replicaCount", "minimum", "0"],
    ),
    ("api.replicas=2", &["/api", "'replicas' not allowed"]),
    ("replicaCount=2", &["'replicaCount' not allowed"]),
    (
        "api.replicaCount=null",
        &["/api", "missing property 'replicaCount'"],
    ),
    (
        "image.pullPolicy=Sometimes",
        &["/image/pullPolicy", "IfNotPresent"],
    ),
    ("image.digest=sha256:12", &["/image/digest", "pattern"]),
    (
        "database.existingSecret=",
        &["/database/existingSecret", "pattern"],
    ),
    (
        "database.existingSecret=Big_Name",
        &["/database/existingSecret", "pattern"],
    ),
    ("catalog.type=glue", &["/catalog/type", "'sql'", "'rest'"]),
    ("catalog.type=rest", &["/catalog/existingSecret"]),
    ("catalog.scope=lakes", &["/catalog/scope"]),
    (
        "catalog.oauth2Uri=id.example",
        &["/catalog/oauth2Uri", "pattern"],
    ),
    (
        "storage.warehouse=gs://bucket/x",
        &["/storage/warehouse", "s3"],
    ),
    (
        "storage.locations={lake}",
        &["/storage/locations/0", "pattern"],
    ),
    ("policy.enrolment=all", &["/policy/enrolment", "opt-in"]),
    (
        "policy.rewriteDataDeleteRatioThreshold=0",
        &["/policy/rewriteDataDeleteRatioThreshold"],
    ),
    (
        "policy.minInputFiles=many",
        &["/policy/minInputFiles", "want integer"],
    ),
    ("budget.jobsMaxLive=-1", &["/budget/jobsMaxLive"]),
    (
        "worker.pools[0].serves={s}",
        &["/worker/pools", "'default'"],
    ),
    (
        "worker.pools[0].name=Large",
        &["/worker/pools/0/name", "pattern"],
    ),
    (
        "worker.pools[0].name=sixteen-letters-",
        &["/worker/pools/0/name", "pattern"],
    ),
    ("worker.pools[0].slots=0", &["/worker/pools/0/slots"]),
    (
        "worker.pools[0].memoryMiB=64",
        &["/worker/pools/0/memoryMiB", "128"],
    ),
    (
        "worker.pools[0].maxReplicas=0",
        &["/worker/pools/0/maxReplicas"],
    ),
    (
        "worker.pools[0].gpu=1",
        &["/worker/pools/0", "'gpu' not allowed"],
    ),
    ("worker.maxReplicas=0", &["/worker/maxReplicas"]),
    ("worker.leaseSeconds=1", &["/worker/leaseSeconds", "2"]),
    ("keda.trigger=cron", &["/keda/trigger", "'external-push'"]),
    ("keda.kind=Deployment", &["/keda/kind", "'ScaledJob'"]),
    (
        "keda.trigger=prometheus",
        &["/keda/prometheus/serverAddress"],
    ),
    ("keda.pollingInterval=0", &["/keda/pollingInterval"]),
    ("api.auth.mode=none", &["/api/auth/insecure", "true"]),
    ("api.auth.mode=password", &["/api/auth/mode", "'tokens'"]),
    ("api.auth.mode=jwt", &["/api/auth/jwt/jwksUrl"]),
    (
        "api.auth.jwt.jwksUrl=http://id.example/keys",
        &["/api/auth/jwt/jwksUrl"],
    ),
    (
        "healthSync.timezone=UTC",
        &["/healthSync", "'timezone' not allowed"],
    ),
    (
        "orchestrator.schedule=7 minutes",
        &["/orchestrator/schedule", "pattern"],
    ),
    (
        "healthSync.timeZone=Europe Berlin",
        &["/healthSync/timeZone", "pattern"],
    ),
    (
        "orchestrator.timeZone=/UTC",
        &["/orchestrator/timeZone", "pattern"],
    ),
    // Selectors find pods by these.
    (
        "worker.podLabels.app\\.kubernetes\\.io/name=mine",
        &["/worker/podLabels/app.kubernetes.io~1name"],
    ),
    (
        "commonLabels.snowpack/pool=mine",
        &["/commonLabels/snowpack~1pool"],
    ),
    (
        "networkPolicy.databasePorts={70000}",
        &["/networkPolicy/databasePorts/0"],
    ),
    (
        "monitoring.serviceMonitor.interval=often",
        &["/monitoring/serviceMonitor/interval"],
    ),
    ("helmTest.table=events", &["/helmTest/table"]),
    ("drain=perhaps", &["/drain", "boolean"]),
];

#[test]
fn wrong_values_are_refused_with_their_path_and_what_is_allowed() {
    for (set, wanted) in REFUSED {
        let Err(refusal) = template("snowpack", &["--set", set]) else {
            panic!("{set} was taken");
        };
        for part in *wanted {
            assert!(refusal.contains(part), "{set}: no {part} in\n{refusal}");
        }
    }
}

#[test]
fn what_the_schema_cannot_say_the_templates_refuse() {
    let ha = ["--values", "values-ha.yaml", "--set"];
    for (set, wanted) in [
        (
            "worker.pools[1].name=s",
            "worker.pools: each entry needs a name of its own",
        ),
        (
            "keda.trigger=prometheus,keda.prometheus.serverAddress=http://prometheus:9090",
            "keda.trigger: prometheus counts all pools together",
        ),
        (
            "keda.kind=ScaledJob",
            "worker.pools: m has minReplicas 1; a ScaledJob's workers end when idle, so it must be 0",
        ),
    ] {
        let refusal = template("snowpack", &[&ha[..], &[set]].concat()).unwrap_err();
        assert!(refusal.contains(wanted), "{set}: {refusal}");
    }
}
