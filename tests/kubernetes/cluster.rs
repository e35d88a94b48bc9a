//! The cluster around the tests: kubectl, and namespaces that go with their test.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The image under test, imported by `tests/kubernetes/cluster`.
pub(crate) const IMAGE: &str = "localhost/snowpack:test";

/// Runs a program with `input` and returns what it printed, or what it said went wrong.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start {program}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // A program that ends without reading says why itself.
    stdin.write_all(input.as_bytes()).ok();
    drop(stdin);
    let output = child.wait_with_output().expect("wait for the program");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program} {}:\n{said}{errors}",
        arguments.join(" ")
    ))
}

/// A namespace of one test. It goes when the test passed; when it failed, what its pods said
/// and what happened to them is printed first.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        folder();
        run("kubectl", &["create", "namespace", name], "").unwrap_or_else(|why| panic!("{why}"));
        Self {
            name: name.to_owned(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs kubectl in the namespace; panics when it fails.
    #[track_caller]
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments, "")
            .unwrap_or_else(|why| panic!("{why}"))
    }

    pub(crate) fn try_kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let here = ["--namespace", &self.name];
        run("kubectl", &[&here, arguments].concat(), input)
    }

    #[track_caller]
    pub(crate) fn apply(&self, manifest: &Value) {
        self.try_kubectl(&["apply", "--filename", "-"], &manifest.to_string())
            .unwrap_or_else(|why| panic!("{why}"));
    }

    /// One object, as in `pod/worker`.
    #[track_caller]
    pub(crate) fn get(&self, what: &str) -> Value {
        let text = self.kubectl(&["get", what, "--output", "json"]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Every object of a kind, narrowed by a selector as in `app.kubernetes.io/component=worker`.
    #[track_caller]
    pub(crate) fn list(&self, kind: &str, selector: &str) -> Vec<Value> {
        let text = self.kubectl(&["get", kind, "--selector", selector, "--output", "json"]);
        let listed: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        listed["items"]
            .as_array()
            .unwrap_or_else(|| panic!("no items in {text}"))
            .clone()
    }

    /// What somebody who looks for the cause wants to see.
    fn tell(&self) {
        let look = |arguments: &[&str]| {
            let said = self.try_kubectl(arguments, "");
            eprintln!("{}", said.unwrap_or_else(|why| why));
        };
        look(&["get", "all,scaledobjects", "--output", "wide"]);
        look(&["get", "events", "--sort-by", ".lastTimestamp"]);
        look(&["describe", "pods"]);
        let pods = self.try_kubectl(&["get", "pods", "--output", "name"], "");
        for pod in pods.unwrap_or_default().lines() {
            look(&["logs", pod, "--all-containers", "--prefix", "--tail", "60"]);
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        let delete = ["delete", "namespace", &self.name, "--wait=false"];
        run("kubectl", &delete, "").ok();
    }
}

/// Where the cluster keeps its logs and processes.
pub(crate) fn folder() -> PathBuf {
    std::env::var("SNOWPACK_TEST_CLUSTER")
        .expect("SNOWPACK_TEST_CLUSTER names a running cluster; tests/run starts one")
        .into()
}
