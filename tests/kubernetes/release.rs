//! The chart, installed in a namespace of its own with a lakehouse behind it.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use testkit::{S3, until};

use crate::cluster::{Namespace, run};
use crate::lakehouse::Lakehouse;

/// A release's name; the chart's objects begin with it.
pub(crate) const NAME: &str = "snowpack";
/// Ports of the API's pod: the API's own, and the scaler's.
pub(crate) const API_PORT: u16 = 8080;
pub(crate) const SCALER_PORT: u16 = 9091;
pub(crate) const API: &str = "app.kubernetes.io/component=api";
pub(crate) const WORKERS: &str = "app.kubernetes.io/component=worker";
pub(crate) const WORKER: &str = "snowpack-worker-default";

#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) namespace: Namespace,
    pub(crate) house: Lakehouse,
}

impl Release {
    /// A namespace with the secrets the chart asks for, and nothing installed.
    pub(crate) async fn prepare(name: &str) -> Self {
        let namespace = Namespace::new(name);
        let house = Lakehouse::new().await;
        for (secret, content) in [
            (NAME, json!({"database-url": house.database.url()})),
            (
                "s3",
                json!({
                    "access-key-id": S3::ACCESS_KEY_ID,
                    "secret-access-key": S3::SECRET_ACCESS_KEY,
                }),
            ),
        ] {
            namespace.apply(&json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": secret},
                "stringData": content,
            }));
        }
        Self { namespace, house }
    }

    /// Prepared, installed with `values` over those of every test, and ready.
    pub(crate) async fn install(name: &str, values: Value) -> Self {
        let release = Self::prepare(name).await;
        release.helm("install", values);
        release
    }

    /// Installs or upgrades, and waits until its pods are ready.
    #[track_caller]
    pub(crate) fn helm(&self, what: &str, values: Value) {
        self.begin(what, values, &["--wait", "--timeout", "90s"]);
    }

    /// Installs or upgrades, and lets the pods come up or not.
    #[track_caller]
    pub(crate) fn begin(&self, what: &str, values: Value, more: &[&str]) {
        self.try_begin(what, values, more)
            .unwrap_or_else(|why| panic!("{why}"));
    }

    pub(crate) fn try_begin(
        &self,
        what: &str,
        values: Value,
        more: &[&str],
    ) -> Result<String, String> {
        let (chart, namespace) = (chart(), self.namespace.name());
        let arguments = [
            what,
            NAME,
            &chart,
            "--namespace",
            namespace,
            "--values",
            "-",
        ];
        let values = self.values(values).to_string();
        run("helm", &[&arguments, more].concat(), &values)
    }

    /// A command of helm about this release, as in `rollback`.
    #[track_caller]
    pub(crate) fn command(&self, what: &str, more: &[&str]) -> String {
        let about = [what, NAME, "--namespace", self.namespace.name()];
        run("helm", &[&about, more].concat(), "").unwrap_or_else(|e| panic!("{e}"))
    }

    /// The values of every test with these over them.
    pub(crate) fn values(&self, over: Value) -> Value {
        let mut values = json!({
            "image": {"repository": "localhost/snowpack", "tag": "test", "pullPolicy": "Never"},
            "storage": self.house.values(),
            "api": {
                "auth": {"mode": "none", "insecure": true},
                "cpu": "10m",
                "cacheSyncSeconds": 10,
                "lingerSeconds": 0,
            },
            "scaler": {"resources": {"requests": {"cpu": "10m"}}},
            "worker": {
                "graceSeconds": 30,
                "slots": 1,
                "memoryMiB": 256,
                "cpu": "10m",
                "maxReplicas": 4,
            },
            "keda": {"enabled": false},
            "orchestrator": {"suspend": true, "resources": {"requests": {"cpu": "10m"}}},
            "healthSync": {"suspend": true, "cpu": "10m"},
        });
        merge(&mut values, over);
        values
    }

    /// The worker's pods that are not on their way out.
    pub(crate) fn workers(&self) -> Vec<Value> {
        let mut pods = self.namespace.list("pods", WORKERS);
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    /// Waits until so many workers are ready, and no other is left.
    pub(crate) async fn workers_ready(&self, count: usize) {
        until(&format!("{count} workers are ready"), async || {
            let pods = self.namespace.list("pods", WORKERS);
            pods.len() == count && pods.iter().all(ready)
        })
        .await;
    }

    /// No container of the pods was started twice.
    pub(crate) fn never_restarted(&self, selector: &str) {
        for pod in self.namespace.list("pods", selector) {
            for container in pod["status"]["containerStatuses"]
                .as_array()
                .into_iter()
                .flatten()
            {
                assert_eq!(container["restartCount"], 0, "{container}");
            }
        }
    }

    /// Asks the API's pod at one of its ports, ready or not.
    pub(crate) async fn ask(&self, method: &str, port: u16, path: &str) -> (u16, String) {
        testkit::request(self.at(port), method, path, &[]).await
    }

    /// Where the scaler answers by HTTP.
    pub(crate) fn scaler(&self) -> SocketAddr {
        self.at(SCALER_PORT)
    }

    /// A port of the API's pod.
    fn at(&self, port: u16) -> SocketAddr {
        let mut pods = self.namespace.list("pods", API);
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let address = pods[0]["status"]["podIP"]
            .as_str()
            .expect("it has an address");
        SocketAddr::new(address.parse().expect("an IP address"), port)
    }
}

pub(crate) fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Values with KEDA, which goes back to zero soon.
pub(crate) fn keda(trigger: &str, polling_interval: u32) -> Value {
    json!({"keda": {
        "enabled": true,
        "trigger": trigger,
        "pollingInterval": polling_interval,
        "cooldownPeriod": 1,
        "fallback": {"failureThreshold": 1},
        "scaleDown": {"stabilizationWindowSeconds": 0, "pods": 10, "periodSeconds": 1},
    }})
}

/// The chart of this clone.
pub(crate) fn chart() -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.join("../helm/snowpack").display().to_string()
}

/// Lays `over` on `base`: objects are merged, everything else is replaced.
pub(crate) fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}
