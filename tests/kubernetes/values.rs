//! What the chart makes of every supported values file is what the API server takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::cluster::{Namespace, run};
use crate::release::{NAME, chart};

/// Every `ci/*-values.yaml`, and the overlay we would run ourselves.
fn files() -> Vec<PathBuf> {
    let chart = PathBuf::from(chart());
    let listed = std::fs::read_dir(chart.join("ci")).expect("the chart has a folder ci");
    let mut files: Vec<_> = listed.map(|one| one.expect("an entry").path()).collect();
    assert!(5 < files.len(), "{files:?}");
    files.push(chart.join("values-ha.yaml"));
    files
}

fn rendered(file: &Path) -> String {
    let file = file.display().to_string();
    let arguments = ["template", NAME, &chart(), "--values", &file];
    let manifests = run("helm", &arguments, "").unwrap_or_else(|why| panic!("{why}"));
    assert!(manifests.contains("kind: Deployment"), "{manifests}");
    manifests
}

#[test]
fn the_api_server_takes_what_every_values_file_makes_with_no_unknown_field() {
    let namespace = Namespace::new("values");
    let strict = [
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "--filename",
        "-",
    ];
    let bad = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dat": {}}"#;
    let why = namespace.try_kubectl(&strict, bad).unwrap_err();
    assert!(why.contains("dat"), "an unknown field is found: {why}");
    // One of the files has it from elsewhere.
    namespace.apply(&json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "high"},
        "value": 1,
    }));
    for file in files() {
        let manifests = rendered(&file);
        // A pod of its own, as that of `helm test`, is refused while its account is not there.
        for account in manifests
            .split("\n---")
            .filter(|one| one.contains("\nkind: ServiceAccount"))
        {
            let made = namespace.try_kubectl(&["apply", "--filename", "-"], account);
            made.unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        }
        let taken = namespace.try_kubectl(&strict, &manifests);
        taken.unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    }
}

#[test]
fn the_api_server_takes_the_plain_manifests_with_no_unknown_field() {
    // The base is for this namespace.
    let namespace = Namespace::new("snowpack");
    let deploy = PathBuf::from(chart()).join("../../deploy");
    let base = deploy.display().to_string();
    let apply = ["apply", "--dry-run=server", "--validate=strict"];
    let taken = namespace.kubectl(&[&apply[..], &["--kustomize", &base]].concat());
    for object in ["deployment.apps/snowpack-api", "job.batch/snowpack-migrate"] {
        assert!(taken.contains(object), "{taken}");
    }
}

#[test]
fn kubeconform_finds_every_manifest_valid_by_the_api_servers_own_openapi() {
    let folder = schemas();
    let location = folder.path().display().to_string();
    let location =
        format!("{location}/{{{{.ResourceKind}}}}_{{{{.Group}}}}_{{{{.ResourceAPIVersion}}}}.json");
    let conform = |manifests: &str| {
        run(
            "kubeconform",
            &["-strict", "-summary", "-schema-location", &location],
            manifests,
        )
    };
    let bad = r#"{"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": "three"}}"#;
    let why = conform(bad).unwrap_err();
    assert!(why.contains("replicas"), "a wrong type is found: {why}");
    for file in files() {
        let said = conform(&rendered(&file));
        let said = said.unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        assert!(said.contains("Invalid: 0, Errors: 0, Skipped: 0"), "{said}");
    }
}

/// A JSON schema for each kind the API server knows, from its own description.
fn schemas() -> TempDir {
    let openapi = run("kubectl", &["get", "--raw", "/openapi/v2"], "").unwrap();
    let openapi: Value = serde_json::from_str(&openapi).expect("it is JSON");
    let definitions = openapi["definitions"]
        .as_object()
        .expect("it has definitions");
    let folder = TempDir::new().expect("make a folder");
    for (name, definition) in definitions {
        let kinds = definition["x-kubernetes-group-version-kind"].as_array();
        for kind in kinds.into_iter().flatten() {
            let text = |key: &str| kind[key].as_str().expect("a text").to_lowercase();
            let (kind, version) = (text("kind"), text("version"));
            // kubeconform calls the core group by its version.
            let group = Some(text("group")).filter(|group| !group.is_empty());
            let group = group.unwrap_or_else(|| version.clone());
            let mut used = BTreeMap::new();
            collect(name, definitions, &mut used);
            let schema = json!({"$ref": format!("#/definitions/{name}"), "definitions": used});
            let file = folder.path().join(format!("{kind}_{group}_{version}.json"));
            std::fs::write(file, schema.to_string()).expect("write a schema");
        }
    }
    folder
}

/// A definition, and all it refers to.
fn collect(name: &str, all: &Map<String, Value>, used: &mut BTreeMap<String, Value>) {
    if used.contains_key(name) {
        return;
    }
    let schema = strict(all[name].clone());
    used.insert(name.to_owned(), schema.clone());
    refer(&schema, &mut |name| collect(name, all, used));
}

fn refer(schema: &Value, found: &mut impl FnMut(&str)) {
    match schema {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(Value::as_str) {
                found(name.trim_start_matches("#/definitions/"));
            }
            fields.values().for_each(|field| refer(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| refer(item, found)),
        _ => {}
    }
}

/// No field beside those that are described; numbers where a text may be a number.
fn strict(schema: Value) -> Value {
    let Value::Object(mut fields) = schema else {
        return schema;
    };
    let number_or_text = fields.get("format") == Some(&json!("int-or-string"))
        || fields
            .get("description")
            .and_then(Value::as_str)
            .is_some_and(|text| text.starts_with("Quantity "));
    if number_or_text {
        return json!({"type": ["string", "number"]});
    }
    let open = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if fields.contains_key("properties") && !fields.contains_key("additionalProperties") && !open {
        fields.insert("additionalProperties".to_owned(), json!(false));
    }
    for (key, field) in &mut fields {
        match (key.as_str(), field) {
            ("properties", Value::Object(properties)) => {
                for property in properties.values_mut() {
                    *property = strict(property.take());
                }
            }
            ("items" | "additionalProperties", field) => *field = strict(field.take()),
            _ => {}
        }
    }
    Value::Object(fields)
}
