//! Runs helm, and reads what it renders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The namespace everything is rendered for.
pub(crate) const NAMESPACE: &str = "lake";

/// The repository's root folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("tests/ lies in the root").to_owned()
}

pub(crate) fn chart() -> PathBuf {
    root().join("helm/snowpack")
}

#[track_caller]
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs helm in the chart's folder.
#[track_caller]
pub(crate) fn helm(words: &[&str]) -> Output {
    tool("helm", words)
}

/// Runs a program of Kubernetes in the chart's folder.
#[track_caller]
pub(crate) fn tool(name: &str, words: &[&str]) -> Output {
    let tools = std::env::var("SNOWPACK_TEST_KUBERNETES").expect(
        "SNOWPACK_TEST_KUBERNETES names the folder with bin/helm; tests/run makes it and sets it",
    );
    let program = Path::new(&tools).join("bin").join(name);
    let run = Command::new(&program)
        .args(words)
        .current_dir(chart())
        .output();
    run.unwrap_or_else(|error| panic!("start {}: {error}", program.display()))
}

/// What `helm template` prints for a release, or what it says against it.
pub(crate) fn template(release: &str, words: &[&str]) -> Result<String, String> {
    let ask = ["template", release, ".", "--namespace", NAMESPACE];
    let run = helm(&[&ask, words].concat());
    if run.status.success() {
        Ok(String::from_utf8(run.stdout).expect("helm prints UTF-8"))
    } else {
        Err(String::from_utf8_lossy(&run.stderr).into_owned())
    }
}

/// The objects of the release `snowpack`.
#[track_caller]
pub(crate) fn objects(words: &[&str]) -> Vec<Value> {
    let text = template("snowpack", words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    yaml(&text)
}

/// Every document that is not empty.
#[track_caller]
pub(crate) fn yaml(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).expect("helm prints YAML");
    all.into_iter().filter(|object| !object.is_null()).collect()
}

/// One rendering: the name of its values file, and what came of it.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) file: String,
    pub(crate) objects: Vec<Value>,
}

/// The names of every `ci/*-values.yaml`, and of the overlay for high availability.
pub(crate) fn files() -> Vec<String> {
    let folder = fs::read_dir(chart().join("ci")).expect("read ci/");
    let mut files: Vec<String> = folder
        .map(|entry| entry.expect("read ci/").file_name())
        .map(|name| format!("ci/{}", name.to_string_lossy()))
        .collect();
    assert!(5 < files.len(), "the values files were not found");
    files.push("values-ha.yaml".to_owned());
    files.sort();
    files
}

/// Every supported shape, rendered.
pub(crate) fn shapes() -> Vec<Shape> {
    let render = |file: String| Shape {
        objects: objects(&["--values", &file]),
        file,
    };
    files().into_iter().map(render).collect()
}

/// `kind/name`, for complaints.
pub(crate) fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!(
        "{}/{}",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

/// The pod an object makes, as an object with `metadata` and `spec`.
pub(crate) fn pod(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Pod" => Some(object),
        "Deployment" | "Job" => Some(&object["spec"]["template"]),
        "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]["template"]),
        "ScaledJob" => Some(&object["spec"]["jobTargetRef"]["template"]),
        _ => None,
    }
}

/// A pod's containers, those that run before the others included.
pub(crate) fn containers(pod: &Value) -> Vec<&Value> {
    let list = |key: &str| pod["spec"][key].as_array().into_iter().flatten();
    list("initContainers").chain(list("containers")).collect()
}

/// Fails with every complaint at once.
#[track_caller]
pub(crate) fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn the_packaged_chart_renders_what_the_folder_does() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let run = helm(&["package", ".", "--destination", place]);
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    let mut packages = fs::read_dir(place).unwrap();
    let package = packages.next().expect("a package").unwrap().path();
    for file in ["ci/everything-values.yaml", "ci/postgresql-values.yaml"] {
        let words = ["template", "snowpack", package.to_str().unwrap()];
        let run = helm(&[&words[..], &["--namespace", NAMESPACE, "--values", file]].concat());
        let packed = String::from_utf8(run.stdout).expect("helm prints UTF-8");
        assert!(
            packed == template("snowpack", &["--values", file]).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn helm_lint_finds_nothing_in_any_shape() {
    for file in files() {
        let run = helm(&["lint", "--strict", ".", "--values", &file]);
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{file}: {said}");
    }
}
