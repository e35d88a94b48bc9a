//! `snowpack trigger` against a real API server.

use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::Kubernetes;

use crate::program::{Ran, run};

/// What `snowpack trigger --help` says is needed.
const RULES: [&str; 2] = ["cronjobs.batch=list,get", "jobs.batch=list,create,get"];

struct Place {
    kubernetes: &'static Kubernetes,
    namespace: String,
    kubeconfig: PathBuf,
}

impl Place {
    async fn new(rules: &[&str]) -> Self {
        let kubernetes = Kubernetes::shared().await;
        let namespace = kubernetes.namespace();
        let kubeconfig = kubernetes.account(&namespace, "person", rules).await;
        Self {
            kubernetes,
            namespace,
            kubeconfig,
        }
    }

    fn cronjob(&self, name: &str, component: &str) {
        let manifest = format!(
            "
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
  labels: {{app.kubernetes.io/component: {component}}}
spec:
  schedule: '0 0 1 1 *'
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers: [{{name: main, image: 'localhost/none:1'}}]
"
        );
        self.kubernetes.apply(&self.namespace, &manifest);
    }

    async fn trigger(&self, words: &[&str]) -> Ran {
        let kubeconfig = self.kubeconfig.display().to_string();
        let words: Vec<String> = ["trigger"]
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect();
        let run = move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            run(&words, &[("KUBECONFIG", &kubeconfig)])
        };
        tokio::task::spawn_blocking(run).await.expect("it ran")
    }

    /// Waits for the only Job of the namespace that has not ended, and ends it.
    async fn end(&self, phase: &str) {
        let mut name = String::new();
        testkit::until("a Job runs", async || {
            let path = "{.items[?(@.status.active==1)].metadata.name}";
            name = self.kubernetes.value(&self.namespace, "jobs", path);
            !name.is_empty()
        })
        .await;
        self.kubernetes.end_job(&self.namespace, &name, phase).await;
    }

    fn job(&self, name: &str) -> Value {
        self.kubernetes
            .json(&["-n", &self.namespace, "get", "job", name])
    }
}

#[tokio::test]
async fn m28_the_only_cronjob_of_a_component_is_run_and_the_job_says_who_asked() {
    let place = Place::new(&RULES).await;
    place.cronjob("plan", "orchestrator");
    place.cronjob("look", "health-sync");
    let ran = place.trigger(&["orchestrator", "--dry-run"]).await;
    let name = ran.expect(0).stdout.trim().to_owned();
    assert!(name.starts_with("plan-manual-"), "{name}");
    let container = &place.job(&name)["spec"]["template"]["spec"]["containers"][0];
    let env = container["env"].as_array().expect("variables");
    assert_eq!(env[0]["name"], "SNOWPACK_TRIGGERED_BY");
    assert_ne!(env[0]["value"], "");
    assert_eq!(
        env[1],
        json!({ "name": "SNOWPACK_DRY_RUN", "value": "true" })
    );

    let again = place.trigger(&["orchestrator"]).await;
    again.expect(1).complains(&["forbids a second Job", &name]);

    let words = ["health-sync", "--output", "json"];
    let ran = place.trigger(&words).await.expect(0).json();
    assert_eq!(
        (&ran["cronjob"], &ran["namespace"]),
        (&json!("look"), &json!(place.namespace))
    );
    let container = &place.job(ran["job"].as_str().expect("a name"))["spec"]["template"]["spec"];
    assert_eq!(container["containers"][0]["env"], Value::Null);
}

#[tokio::test]
async fn whoever_waits_learns_how_the_job_ended() {
    let place = Place::new(&RULES).await;
    place.cronjob("plan", "orchestrator");
    let words = ["orchestrator", "--wait", "--output", "json"];
    let (ran, ()) = tokio::join!(place.trigger(&words), place.end("Succeeded"));
    assert_eq!(ran.expect(0).json()["complete"], true);
    let (ran, ()) = tokio::join!(place.trigger(&words), place.end("Failed"));
    let ran = ran
        .expect(1)
        .complains(&["failed: BackoffLimitExceeded", "kubectl"]);
    assert_eq!(ran.json()["complete"], false);
}

#[tokio::test]
async fn without_one_to_choose_the_cronjobs_are_named_and_one_can_be() {
    let place = Place::new(&RULES).await;
    let none = place.trigger(&["orchestrator"]).await.expect(1);
    none.complains(&[
        "0 CronJobs in namespace",
        "app.kubernetes.io/component=orchestrator",
    ]);
    place.cronjob("plan", "orchestrator");
    place.cronjob("nightly", "orchestrator");
    let two = place.trigger(&["orchestrator"]).await.expect(1);
    two.complains(&["2 CronJobs", "nightly, plan"]);
    let words = [
        "orchestrator",
        "--cronjob",
        "nightly",
        "--namespace",
        &place.namespace,
    ];
    let name = place.trigger(&words).await.expect(0).stdout;
    assert!(name.starts_with("nightly-manual-"), "{name}");
    let gone = place.trigger(&["orchestrator", "--cronjob", "gone"]).await;
    gone.expect(1).complains(&["\"gone\" not found"]);
}

#[tokio::test]
async fn what_is_not_allowed_is_named() {
    let place = Place::new(&["cronjobs.batch=get"]).await;
    place.cronjob("plan", "orchestrator");
    let list = place.trigger(&["orchestrator"]).await;
    list.expect(1)
        .complains(&["cannot list resource \"cronjobs\""]);
    let create = place.trigger(&["orchestrator", "--cronjob", "plan"]).await;
    create
        .expect(1)
        .complains(&["cannot list resource \"jobs\""]);
    let dry = place.trigger(&["health-sync", "--dry-run"]).await;
    dry.expect(2)
        .complains(&["--dry-run is for the orchestrator"]);
    let bad = place
        .trigger(&["orchestrator", "--cronjob", "No_Name"])
        .await;
    bad.expect(2)
        .complains(&["--cronjob", "No_Name", "1 to 253"]);
}

#[test]
fn without_a_cluster_the_kubeconfig_is_named() {
    let nowhere = [("KUBECONFIG", "/nowhere/kubeconfig")];
    let ran = run(&["trigger", "orchestrator"], &nowhere);
    ran.expect(1)
        .complains(&["no Kubernetes API server is known", "/nowhere/kubeconfig"]);
}
