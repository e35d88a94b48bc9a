//! What every pod promises: few rights, true probes, limits.

use serde_json::{Value, json};

use crate::helm::{Shape, containers, name, none, objects, pod, shapes};

/// Every pod of every shape, with where it stands.
fn each(mut look: impl FnMut(&str, &Value, &Value)) {
    let mut seen = 0;
    for Shape { file, objects } in shapes() {
        for object in &objects {
            if let Some(pod) = pod(object) {
                seen += 1;
                look(&format!("{file}: {}", name(object)), object, pod);
            }
        }
    }
    assert!(30 < seen, "only {seen} pods were looked at");
}

#[test]
fn every_pod_runs_with_the_least_rights() {
    let mut complaints = Vec::new();
    each(|at, _, pod| {
        let spec = &pod["spec"];
        let security = &spec["securityContext"];
        let mut demand = |held: bool, what: &str| {
            if !held {
                complaints.push(format!("{at}: {what}"));
            }
        };
        demand(security["runAsNonRoot"] == true, "may run as root");
        demand(security["runAsUser"] == 65532, "has no numeric user");
        let seccomp = &security["seccompProfile"]["type"];
        demand(seccomp == "RuntimeDefault", "has no seccomp profile");
        // The Service snowpack-api would set SNOWPACK_API_PORT.
        demand(spec["enableServiceLinks"] == false, "enableServiceLinks");
        for container in containers(pod) {
            let security = &container["securityContext"];
            demand(
                security["readOnlyRootFilesystem"] == true,
                "its root can be written",
            );
            demand(
                security["allowPrivilegeEscalation"] == false,
                "rights may grow",
            );
            demand(
                security["capabilities"]["drop"] == json!(["ALL"]),
                "keeps capabilities",
            );
            demand(container["command"][0].is_string(), "has no command");
        }
    });
    none(&complaints);
}

#[test]
fn only_containers_that_talk_to_the_api_server_have_a_token_and_rights() {
    let mut complaints = Vec::new();
    each(|at, object, pod| {
        let automount = &pod["spec"]["automountServiceAccountToken"];
        if *automount != false {
            complaints.push(format!("{at}: automountServiceAccountToken is {automount}"));
        }
        let lasting = ["Deployment", "ScaledJob"].contains(&object["kind"].as_str().unwrap());
        let enabled = lasting && !at.contains("keda-off");
        for container in containers(pod) {
            let talks = ["api", "worker"].contains(&container["name"].as_str().unwrap());
            let mounts = container["volumeMounts"].as_array().into_iter().flatten();
            let tokens = mounts.filter(|mount| {
                mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
            });
            if tokens.count() != usize::from(talks && enabled) {
                let mounts = &container["volumeMounts"];
                complaints.push(format!("{at}: {} mounts {mounts}", container["name"]));
            }
        }
    });
    none(&complaints);
    for Shape { file, objects } in shapes() {
        let in_roles = objects.iter().filter(|object| object["kind"] == "Role");
        let rules: Vec<&Value> = in_roles
            .flat_map(|role| role["rules"].as_array().unwrap())
            .collect();
        assert_eq!(rules.is_empty(), file.contains("keda-off"), "{file}");
        for rule in rules {
            let text = rule.to_string();
            assert!(
                !text.contains('*') && !text.contains("secrets"),
                "{file}: {text}"
            );
        }
    }
}

#[test]
fn liveness_and_readiness_ask_different_questions() {
    let mut complaints = Vec::new();
    each(|at, object, pod| {
        let lasting = ["Deployment", "ScaledJob"].contains(&object["kind"].as_str().unwrap());
        for container in pod["spec"]["containers"].as_array().unwrap() {
            let path = |probe: &str| container[probe]["httpGet"]["path"].as_str();
            let asked = ["livenessProbe", "readinessProbe", "startupProbe"].map(path);
            let want = if lasting {
                [Some("/healthz"), Some("/readyz"), Some("/healthz")]
            } else {
                [None; 3]
            };
            if asked != want {
                complaints.push(format!("{at}: {} asks {asked:?}", container["name"]));
            }
            let port = &container["livenessProbe"]["httpGet"]["port"];
            let ports = container["ports"].as_array().into_iter().flatten();
            if lasting && ports.clone().all(|open| open["name"] != *port) {
                complaints.push(format!("{at}: no port {port}"));
            }
        }
    });
    none(&complaints);
}

#[test]
fn every_container_asks_for_what_it_needs_and_has_a_memory_limit_alone() {
    let mut complaints = Vec::new();
    each(|at, _, pod| {
        for container in containers(pod) {
            let resources = &container["resources"];
            let asks = resources["requests"]["cpu"].is_string()
                && resources["requests"]["memory"].is_string();
            let limits = &resources["limits"];
            if !asks || !limits["memory"].is_string() || !limits["cpu"].is_null() {
                complaints.push(format!("{at}: {} has {resources}", container["name"]));
            }
        }
    });
    none(&complaints);
}

#[test]
fn m35_a_pod_is_given_more_time_than_its_program_takes() {
    for grace in ["0", "600"] {
        let set = format!("worker.graceSeconds={grace}");
        let objects = objects(&["--set", &set]);
        let config = find(&objects, "ConfigMap/snowpack-worker");
        assert_eq!(config["data"]["SNOWPACK_GRACE_SECONDS"], grace);
        let worker = find(&objects, "Deployment/snowpack-worker-default");
        let given = &worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
        let grace: u64 = grace.parse().unwrap();
        // The worker takes 20 more to hand back and 2 for its last Events.
        assert!(grace + 22 < given.as_u64().unwrap(), "{given} for {grace}");
    }
}

#[test]
fn a_changed_setting_restarts_the_pods_it_is_for_and_no_others() {
    let sums = |set: &str| {
        let objects = objects(&["--set", set]);
        ["api", "worker-default"].map(|part| {
            let deployment = find(&objects, &format!("Deployment/snowpack-{part}"));
            deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone()
        })
    };
    let before = sums("log.level=info");
    assert!(before[0].is_string());
    let worker = sums("worker.stallSeconds=901");
    assert_eq!(
        (worker[0] == before[0], worker[1] == before[1]),
        (true, false)
    );
    let api = sums("api.proxies=1");
    assert_eq!((api[0] == before[0], api[1] == before[1]), (false, true));
    // Draining is a row in Postgres.
    assert_eq!(sums("drain=true"), before);
}

#[test]
fn the_migration_needs_nothing_of_the_chart_but_its_own_account() {
    let objects = objects(&["--values", "ci/everything-values.yaml"]);
    let job = objects
        .iter()
        .find(|object| object["kind"] == "Job" && name(object).ends_with("-migrate"))
        .expect("a migration");
    let hook = |object: &Value| object["metadata"]["annotations"]["helm.sh/hook"].clone();
    assert_eq!(hook(job), "pre-install,pre-upgrade");
    let pod = pod(job).unwrap();
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap();
    let account = find(&objects, &format!("ServiceAccount/{account}"));
    assert_eq!(hook(account), hook(job));
    let weight = |object: &Value| {
        let weight = &object["metadata"]["annotations"]["helm.sh/hook-weight"];
        weight.as_str().unwrap().parse::<i32>().unwrap()
    };
    assert!(weight(account) < weight(job));
    for container in containers(pod) {
        assert!(container["envFrom"].is_null(), "{container}");
        // A missing Secret, or a URL that is none, is said at once and not tried again.
        let url = &container["env"][0]["valueFrom"]["secretKeyRef"];
        assert_eq!(url["optional"], true, "{container}");
    }
    let rule = &job["spec"]["podFailurePolicy"]["rules"][0];
    assert_eq!(rule["action"], "FailJob");
    assert_eq!(rule["onExitCodes"]["values"], json!([2]));
    assert_eq!(
        containers(pod)[0]["command"],
        json!(["/bin/snowpack-api", "migrate"])
    );
}

#[test]
fn helm_test_asks_the_api_where_it_may_and_postgres_where_it_may_not() {
    for (values, command, words) in [
        (
            "everything",
            "snowpack-api",
            &[
                "--url=https://lakehouse-keeper-api.lake.svc:443",
                "--token-file=",
                "sales.orders",
            ][..],
        ),
        (
            "open",
            "snowpack-api",
            &["--url=http://snowpack-api.lake.svc:8080"],
        ),
        ("external-secret", "snowpack", &["check", "sales.orders"]),
        ("minimal", "snowpack", &["check"]),
    ] {
        let objects = objects(&["--values", &format!("ci/{values}-values.yaml")]);
        let pods = objects.iter().filter(|object| object["kind"] == "Pod");
        let pods: Vec<&Value> = pods.collect();
        assert_eq!(pods.len(), 1, "{values}");
        assert_eq!(pods[0]["metadata"]["annotations"]["helm.sh/hook"], "test");
        let container = containers(pods[0])[0];
        assert_eq!(
            container["command"][0],
            format!("/bin/{command}"),
            "{values}"
        );
        let said = format!("{} {}", container["command"], container["args"]);
        for word in words {
            assert!(said.contains(word), "{values}: no {word} in {said}");
        }
        // What reads a table has the memory of the API, which does so, too.
        let own = container["resources"]["limits"]["memory"] == "256Mi";
        assert_eq!(own, command == "snowpack", "{values}");
    }
}

#[test]
fn schedules_never_run_twice_at_once_and_can_be_suspended() {
    let suspended = objects(&["--set", "orchestrator.suspend=true,healthSync.suspend=true"]);
    for (name, objects) in [("off", objects(&[])), ("on", suspended)] {
        for part in ["orchestrator", "health-sync"] {
            let spec = &find(&objects, &format!("CronJob/snowpack-{part}"))["spec"];
            assert_eq!(spec["concurrencyPolicy"], "Forbid");
            assert_eq!(spec["suspend"], name == "on");
            assert!(spec["startingDeadlineSeconds"].as_u64().is_some());
            assert!(spec["timeZone"].is_string());
            assert!(spec["failedJobsHistoryLimit"].is_u64());
            assert_eq!(spec["jobTemplate"]["spec"]["backoffLimit"], 0);
        }
    }
}

#[track_caller]
pub(crate) fn find<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    let found = objects.iter().find(|object| name(object) == wanted);
    found.unwrap_or_else(|| panic!("no {wanted}"))
}
