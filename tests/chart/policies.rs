//! NetworkPolicies: each pod has one for as long as it runs, and may reach what it must.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{files, name, none, objects, pod};
use crate::pods::find;

/// The moments of Helm an object is made for; one that stays is for none.
fn events(object: &Value) -> BTreeSet<String> {
    let hook = object["metadata"]["annotations"]["helm.sh/hook"].as_str();
    let events = hook.into_iter().flat_map(|hook| hook.split(','));
    events.map(str::to_owned).collect()
}

/// Whether it is about a pod with these labels.
fn selects(policy: &Value, labels: &Value) -> bool {
    let wanted = policy["spec"]["podSelector"]["matchLabels"].as_object();
    let mut wanted = wanted.expect("a selector").iter();
    wanted.all(|(key, value)| labels[key] == *value)
}

#[test]
fn every_pod_has_a_policy_while_it_runs() {
    let mut complaints = Vec::new();
    let mut seen = 0;
    let mut shapes: Vec<Vec<String>> = files()
        .into_iter()
        .map(|file| vec!["--values".to_owned(), file])
        .collect();
    // The Job that drains is there although there is no migration.
    shapes.push(
        ["--set", "migrate.enabled=false,drain=true"]
            .map(str::to_owned)
            .into(),
    );
    for mut words in shapes {
        words.extend(["--set", "networkPolicy.enabled=true"].map(str::to_owned));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let objects = objects(&words);
        let policies: Vec<&Value> = objects
            .iter()
            .filter(|object| object["kind"] == "NetworkPolicy")
            .collect();
        for object in &objects {
            let Some(pod) = pod(object) else { continue };
            seen += 1;
            let lives = events(object);
            let held = policies.iter().any(|policy| {
                let there = events(policy);
                let whenever = lives.is_subset(&there) && lives.is_empty() == there.is_empty();
                selects(policy, &pod["metadata"]["labels"]) && whenever
            });
            if !held {
                let at = name(object);
                complaints.push(format!("{words:?}: {at} has no policy while it runs"));
            }
        }
    }
    assert!(50 < seen, "only {seen} pods were looked at");
    none(&complaints);
}

#[test]
fn a_policy_that_comes_for_a_moment_is_there_before_the_pod() {
    let words = ["--values", "ci/everything-values.yaml"];
    let objects = objects(&words);
    let weight = |object: &Value| {
        let weight = &object["metadata"]["annotations"]["helm.sh/hook-weight"];
        weight.as_str().unwrap_or("0").parse::<i32>().unwrap()
    };
    for (policy, pods) in [
        (
            "migrate",
            &["Job/lakehouse-keeper-migrate", "Job/lakehouse-keeper-drain"][..],
        ),
        ("test", &["Pod/lakehouse-keeper-test"]),
    ] {
        let policy = find(
            &objects,
            &format!("NetworkPolicy/lakehouse-keeper-{policy}"),
        );
        for pod in pods {
            assert!(weight(policy) < weight(find(&objects, pod)), "{pod}");
        }
    }
}

#[test]
fn helm_test_reaches_the_api_alone_or_postgres_and_the_lake() {
    let egress = |words: &[&str]| {
        let objects = objects(&[words, &["--set", "networkPolicy.enabled=true"]].concat());
        let policy = find(&objects, "NetworkPolicy/snowpack-test");
        policy["spec"]["egress"].clone()
    };
    let ports = |egress: &Value| {
        let rules = egress.as_array().expect("rules").iter();
        let ports = rules.flat_map(|rule| rule["ports"].as_array().expect("ports"));
        let ports: Vec<u64> = ports.map(|port| port["port"].as_u64().unwrap()).collect();
        ports
    };
    let api = egress(&["--values", "ci/open-values.yaml"]);
    assert_eq!(ports(&api), [53, 53, 8080]);
    let labels = &api[1]["to"][0]["podSelector"]["matchLabels"];
    assert_eq!(labels["app.kubernetes.io/component"], json!("api"));
    assert_eq!(ports(&egress(&[])), [53, 53, 5432, 443]);
}
