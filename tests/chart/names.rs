//! Names and labels: never too long, never taken twice, and selectors that never change.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{NAMESPACE, Shape, containers, name, none, pod, read, shapes, template, yaml};

/// Helm's own limit for a release's name.
const RELEASE_BYTES: usize = 53;
const NAME_BYTES_MAX: usize = 63;
/// A CronJob's Jobs get eleven letters more.
const CRON_JOB_BYTES_MAX: usize = 52;

const LABELS: [&str; 6] = [
    "name",
    "instance",
    "version",
    "component",
    "part-of",
    "managed-by",
];

fn render(release: &str, words: &[&str]) -> Vec<Value> {
    let rendered = template(release, words);
    yaml(&rendered.unwrap_or_else(|error| panic!("{release} {words:?}: {error}")))
}

#[test]
fn no_name_is_too_long_however_long_release_and_override_are() {
    let release = "r".repeat(RELEASE_BYTES);
    let full = format!("fullnameOverride={}", "f".repeat(63));
    let part = format!("nameOverride={}", "n".repeat(63));
    let pool = "worker.pools[0].name=fifteen-letters".to_owned();
    let all = [
        "--values",
        "ci/everything-values.yaml",
        "--set",
        &pool,
        "--set",
    ];
    let everything = |set: &str| render(&release, &[&all[..], &[set]].concat());
    let mut complaints = Vec::new();
    for objects in [
        render(&release, &[]),
        render(&release, &["--set", &full]),
        render(&release, &["--set", &part]),
        everything(&full),
        everything("fullnameOverride="),
    ] {
        for object in &objects {
            let letters = object["metadata"]["name"].as_str().expect("a name").len();
            let max = match object["kind"].as_str() {
                Some("CronJob") => CRON_JOB_BYTES_MAX,
                _ => NAME_BYTES_MAX,
            };
            if max < letters {
                complaints.push(format!(
                    "{}: {letters} letters, at most {max}",
                    name(object)
                ));
            }
            for (key, value) in labels(object) {
                if NAME_BYTES_MAX < value.len() {
                    complaints.push(format!("{}: label {key} is too long", name(object)));
                }
            }
        }
    }
    none(&complaints);
}

#[test]
fn a_release_with_dots_and_a_tag_that_ends_oddly_give_legal_names() {
    let tag = format!("image.tag={}.x", "t".repeat(62));
    for object in render("lake.eu", &["--set", &tag]) {
        let called = object["metadata"]["name"].as_str().expect("a name");
        assert!(!called.contains('.'), "{called}");
        for (key, value) in labels(&object).filter(|(key, _)| key.ends_with("/version")) {
            assert_eq!(value, "t".repeat(62), "{key}");
        }
    }
}

#[test]
fn two_long_names_that_begin_alike_stay_apart() {
    let names = |last: &str| -> BTreeSet<String> {
        let release = "r".repeat(RELEASE_BYTES - 1) + last;
        render(&release, &[]).iter().map(name).collect()
    };
    assert!(names("a").is_disjoint(&names("b")));
}

#[test]
fn every_object_carries_the_six_labels_and_no_two_have_one_name() {
    let mut complaints = Vec::new();
    for Shape { file, objects } in shapes() {
        let mut taken = BTreeSet::new();
        // Further objects are their owner's.
        for object in objects
            .iter()
            .filter(|object| object["metadata"]["labels"].is_object())
        {
            for label in LABELS {
                if labels(object).all(|(key, _)| *key != format!("app.kubernetes.io/{label}")) {
                    complaints.push(format!("{file}: {} has no label {label}", name(object)));
                }
            }
            if !taken.insert(name(object)) {
                complaints.push(format!("{file}: {} is there twice", name(object)));
            }
        }
        assert!(8 < taken.len(), "{file}: {taken:?}");
    }
    none(&complaints);
}

fn labels(object: &Value) -> impl Iterator<Item = (&String, String)> {
    let labels = object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten();
    labels.map(|(key, value)| (key, value.as_str().expect("a label is a text").to_owned()))
}

#[test]
fn selectors_use_what_never_changes_and_find_their_pods_alone() {
    let allowed = ["name", "instance", "component"].map(|part| format!("app.kubernetes.io/{part}"));
    let mut complaints = Vec::new();
    for Shape { file, objects } in shapes() {
        let pods: Vec<(&Value, &Value)> = objects
            .iter()
            .filter_map(|object| Some((object, pod(object)?)))
            .collect();
        for object in &objects {
            let Some(selector) = selector(object) else {
                continue;
            };
            let at = format!("{file}: {}", name(object));
            for key in selector.keys() {
                // One Deployment for each pool.
                if !allowed.contains(key) && key != "snowpack/pool" {
                    complaints.push(format!("{at} selects by {key}"));
                }
            }
            let found: Vec<String> = pods
                .iter()
                .filter(|(_, pod)| {
                    let labels = &pod["metadata"]["labels"];
                    selector.iter().all(|(key, value)| labels[key] == *value)
                })
                .map(|(owner, _)| name(owner))
                .collect();
            match object["kind"].as_str() {
                Some("Deployment") if found != [name(object)] => {
                    complaints.push(format!("{at} finds the pods of {found:?}"));
                }
                _ if found.is_empty() => complaints.push(format!("{at} finds no pod")),
                _ => {}
            }
        }
    }
    none(&complaints);
}

/// The pods an object is about; a ServiceMonitor is about Services.
fn selector(object: &Value) -> Option<&serde_json::Map<String, Value>> {
    let spec = &object["spec"];
    match object["kind"].as_str()? {
        "Service" => spec["selector"].as_object(),
        "Deployment" | "PodDisruptionBudget" | "PodMonitor" => {
            spec["selector"]["matchLabels"].as_object()
        }
        "NetworkPolicy" => spec["podSelector"]["matchLabels"].as_object(),
        _ => None,
    }
}

/// What Kubernetes refuses to change, and the labels by which a pool's Jobs are told apart.
fn immutable(object: &Value) -> Option<Value> {
    match object["kind"].as_str()? {
        "Deployment" | "Service" | "PodDisruptionBudget" => {
            Some(json!({"selector": object["spec"]["selector"]}))
        }
        "RoleBinding" => Some(json!({"roleRef": object["roleRef"]})),
        "Job" | "CronJob" | "ScaledJob" => {
            let mut labels = pod(object)?["metadata"]["labels"].clone();
            let own =
                ["name", "instance", "component"].map(|part| format!("app.kubernetes.io/{part}"));
            let kept = |key: &String| own.contains(key) || key == "snowpack/pool";
            labels.as_object_mut()?.retain(|key, _| kept(key));
            Some(json!({"labels": labels}))
        }
        _ => None,
    }
}

/// `released/*.immutable.json` is what a release made of its own values: never to be updated.
#[test]
fn what_cannot_be_changed_is_as_in_the_first_release() {
    let released = read("tests/chart/released/0.1.0.immutable.json");
    let released: Value = serde_json::from_str(&released).unwrap();
    let values = ["--values", "../../tests/chart/released/0.1.0.yaml", "--set"];
    let mut found = BTreeSet::new();
    for set in ["api.replicaCount=2,drain=false", "keda.kind=ScaledJob"] {
        for object in render("snowpack", &[&values[..], &[set]].concat()) {
            let name = name(&object);
            let Some(before) = released.get(&name) else {
                continue;
            };
            let now = immutable(&object).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(now, *before, "{name}: an upgrade would be refused");
            found.insert(name);
        }
    }
    assert!(found.contains("Deployment/snowpack-api"), "{found:?}");
    assert!(
        found.contains("Deployment/snowpack-worker-default"),
        "{found:?}"
    );
}

#[test]
fn what_a_pod_refers_to_is_rendered_or_made_by_somebody_else() {
    let mut complaints = Vec::new();
    for Shape { file, objects } in shapes() {
        let there: BTreeSet<String> = objects.iter().map(name).collect();
        for object in &objects {
            let Some(pod) = pod(object) else { continue };
            let at = format!("{file}: {}", name(object));
            for container in containers(pod) {
                for from in container["envFrom"].as_array().into_iter().flatten() {
                    let map = from["configMapRef"]["name"].as_str().unwrap_or("?");
                    if !there.contains(&format!("ConfigMap/{map}")) {
                        complaints.push(format!("{at} reads the absent ConfigMap {map}"));
                    }
                }
            }
            let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("?");
            let ours = there.contains(&format!("ServiceAccount/{account}"));
            if !ours && !["workers", "orchestrators"].contains(&account) {
                complaints.push(format!("{at} runs as the absent {account}"));
            }
        }
        for binding in objects
            .iter()
            .filter(|object| object["kind"] == "RoleBinding")
        {
            let role = binding["roleRef"]["name"].as_str().unwrap_or("?");
            assert!(there.contains(&format!("Role/{role}")), "{file}: {role}");
            assert_eq!(
                binding["subjects"][0]["namespace"], NAMESPACE,
                "{file}: {role}"
            );
        }
    }
    none(&complaints);
}
