//! Alerts, runbooks and dashboards: they belong together, and ask for metrics there are.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::helm::{NAMESPACE, none, objects, read, root, yaml};

const ALERTS: &str = "helm/snowpack/files/alerts.yaml";
/// When they fire and when they do not.
const CASES: &str = "tests/chart/alerts.yaml";
const DASHBOARDS: [&str; 2] = ["snowpack-overview.json", "snowpack-workers.json"];

#[track_caller]
fn promtool(words: &[&str]) {
    let promtool = std::env::var("SNOWPACK_TEST_PROMTOOL")
        .expect("SNOWPACK_TEST_PROMTOOL names promtool; tests/run sets it");
    let run = Command::new(&promtool)
        .args(words)
        .current_dir(root())
        .output();
    let run = run.unwrap_or_else(|error| panic!("start {promtool}: {error}"));
    let said = [run.stdout, run.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(run.status.success(), "{words:?}: {said}");
}

/// Every rule of a file, or of a PrometheusRule's `spec`.
fn rules(of: &Value) -> Vec<Value> {
    let groups = of["groups"].as_array().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
    rules.cloned().collect()
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no {path}: {value}"))
}

#[test]
fn m32_promtool_takes_the_alerts_and_they_fire_when_they_should() {
    promtool(&["check", "rules", ALERTS]);
    promtool(&["test", "rules", CASES]);
    let cases = &yaml(&read(CASES))[0];
    let tests = cases["tests"].as_array().expect("tests").iter();
    let asked = tests.flat_map(|test| test["alert_rule_test"].as_array().expect("cases"));
    let fires: BTreeSet<&str> = asked
        .filter(|case| {
            case["exp_alerts"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
        })
        .map(|case| text(case, "/alertname"))
        .collect();
    let own = rules(&yaml(&read(ALERTS))[0]);
    let alerts = own.iter().map(|rule| text(rule, "/alert"));
    let silent = alerts.filter(|alert| !fires.contains(alert));
    let silent = silent.map(|alert| format!("{CASES}: {alert} never fires"));
    none(&silent.collect::<Vec<_>>());
}

#[test]
fn every_alert_has_its_runbook_and_points_there() {
    let own = rules(&yaml(&read(ALERTS))[0]);
    let alerts: BTreeSet<String> = own
        .iter()
        .map(|rule| text(rule, "/alert").to_owned())
        .collect();
    let folder = fs::read_dir(root().join("deploy/runbooks")).unwrap();
    let books: BTreeSet<String> = folder
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|file| file.strip_suffix(".md").expect("a .md").to_owned())
        .collect();
    assert_eq!(alerts, books, "left: alerts, right: deploy/runbooks");
    for alert in &alerts {
        let book = read(&format!("deploy/runbooks/{alert}.md"));
        assert!(book.starts_with(&format!("# {alert}\n")), "{alert}");
        for heading in ["Meaning", "Impact", "Diagnosis", "Mitigation"] {
            let (_, after) = book
                .split_once(&format!("\n## {heading}\n\n"))
                .expect(heading);
            let said = after.split("\n## ").next().unwrap().trim();
            assert!(20 < said.len(), "{alert}: {heading} says nothing");
        }
    }
    let how_to = read("deploy/README.md");
    let base = "monitoring.prometheusRule.runbookUrl=https://wiki.example/runbooks";
    let objects = objects(&[
        "--set",
        "monitoring.prometheusRule.enabled=true",
        "--set",
        base,
    ]);
    let rendered = objects
        .iter()
        .find(|object| object["kind"] == "PrometheusRule")
        .unwrap();
    let rendered = rules(&rendered["spec"]);
    assert_eq!(rendered.len(), own.len());
    for (rule, own) in rendered.iter().zip(&own) {
        let alert = text(rule, "/alert");
        let url = format!("https://wiki.example/runbooks/{alert}.md");
        assert_eq!(text(rule, "/annotations/runbook_url"), url);
        assert_eq!(
            text(rule, "/expr"),
            text(own, "/expr"),
            "rendered as it was tested"
        );
        for part in [
            "/annotations/summary",
            "/annotations/description",
            "/labels/severity",
        ] {
            assert_eq!(text(rule, part), text(own, part));
        }
        let link = format!("](runbooks/{alert}.md)");
        assert!(
            how_to.contains(&link),
            "deploy/README.md: no link to {alert}"
        );
    }
}

/// Every expression of a dashboard's panels.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets
        .map(|target| text(target, "/expr").to_owned())
        .collect()
}

fn all_expressions() -> Vec<String> {
    let dashboards = DASHBOARDS.map(|file| {
        serde_json::from_str(&read(&format!("deploy/dashboards/{file}"))).expect("a dashboard")
    });
    dashboards.iter().flat_map(expressions).collect()
}

/// Metrics an expression names, without what a histogram's parts end in.
fn metrics(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let own = words.filter(|word| word.starts_with("snowpack_") && !word.is_empty());
    own.map(|word| {
        let part = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| word.strip_suffix(end));
        part.unwrap_or(word).to_owned()
    })
    .collect()
}

/// The metrics of the README's table, which tidy compares with the code.
fn measured() -> BTreeSet<String> {
    let readme = read("README.md");
    let start = readme.find("<!-- metrics -->").expect("the table");
    let end = readme.find("<!-- /metrics -->").expect("its end");
    let rows = readme[start..end]
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split(['`', '{']).next());
    names.map(str::to_owned).collect()
}

#[test]
fn m32_dashboards_show_every_metric_there_is_and_alerts_name_no_other() {
    let measured = measured();
    assert!(25 < measured.len(), "{measured:?}");
    let shown: BTreeSet<String> = all_expressions().iter().flat_map(|e| metrics(e)).collect();
    let alerts = rules(&yaml(&read(ALERTS))[0]);
    let asked = alerts.iter().flat_map(|rule| metrics(text(rule, "/expr")));
    let named: BTreeSet<String> = shown.iter().cloned().chain(asked).collect();
    let hidden = measured.difference(&shown);
    let hidden = hidden.map(|metric| format!("{metric} is in no dashboard of deploy/dashboards"));
    let unknown = named.difference(&measured);
    let unknown = unknown.map(|metric| format!("{metric} does not exist"));
    none(&hidden.chain(unknown).collect::<Vec<_>>());
}

#[test]
fn m32_promtool_takes_every_expression_of_the_dashboards() {
    let mut file = String::from("groups:\n  - name: dashboards\n    rules:\n");
    let expressions = all_expressions();
    for (number, expression) in expressions.iter().enumerate() {
        let expression = expression.replace("$namespace", "lake").replace('\'', "''");
        let rule = format!("      - {{record: 'panel:{number}', expr: '{expression}'}}\n");
        file.push_str(&rule);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("panels.yaml");
    fs::write(&path, file).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()]);
}

#[test]
fn the_dashboards_are_in_the_chart_as_they_are_in_deploy() {
    let objects = objects(&["--set", "monitoring.dashboards.enabled=true"]);
    let map = objects
        .iter()
        .find(|object| object["metadata"]["name"] == "snowpack-dashboards")
        .expect("a ConfigMap");
    let data = map["data"].as_object().unwrap();
    let names: Vec<&String> = data.keys().collect();
    assert_eq!(names, DASHBOARDS);
    for (file, rendered) in data {
        let deployed = read(&format!("deploy/dashboards/{file}"));
        assert_eq!(rendered.as_str().unwrap().trim(), deployed.trim(), "{file}");
    }
}

#[test]
fn m32_prometheus_checks_the_certificates_of_what_it_scrapes() {
    let scraped = |sets: &str| {
        let on = "monitoring.serviceMonitor.enabled=true";
        let objects = objects(&["--set", on, "--set", sets]);
        ["api", "scaler"].map(|component| {
            let name = format!("snowpack-{component}");
            let monitor = objects.iter().find(|object| {
                object["kind"] == "ServiceMonitor" && object["metadata"]["name"] == *name
            });
            let endpoint = &monitor.expect("a monitor")["spec"]["endpoints"][0];
            (endpoint["scheme"].clone(), endpoint["tlsConfig"].clone())
        })
    };
    let plain = (Value::Null, Value::Null);
    assert_eq!(
        scraped("api.replicaCount=1"),
        [plain.clone(), plain.clone()]
    );
    let name = |component: &str| format!("snowpack-{component}.{NAMESPACE}.svc");
    let [api, scaler] = scraped("api.tls.existingSecret=a,scaler.tls.existingSecret=s");
    for (found, component, secret) in [(api, "api", "a"), (scaler, "scaler", "s")] {
        let ca = json!({"secret": {"name": secret, "key": "ca.crt"}});
        let wanted = json!({"serverName": name(component), "ca": ca});
        assert_eq!(found, (json!("https"), wanted));
    }
    let [api, scaler] = scraped("api.tls.existingSecret=a,api.tls.caKey=");
    assert_eq!(api, (json!("https"), json!({"serverName": name("api")})));
    assert_eq!(scaler, plain);
}
