//! A namespace on the test's cluster, and service accounts in it.

use std::path::Path;

use k8s::{Cluster, Metrics, Pod};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use prometheus::{Registry, TextEncoder};
use testkit::Kubernetes;

pub(crate) struct Place {
    pub(crate) kubernetes: &'static Kubernetes,
    pub(crate) namespace: String,
    pub(crate) metrics: Metrics,
    registry: Registry,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let kubernetes = Kubernetes::shared().await;
        let registry = Registry::new();
        Self {
            kubernetes,
            namespace: kubernetes.namespace(),
            metrics: Metrics::register(&registry).unwrap(),
            registry,
        }
    }

    /// As a service account that may do what `rules` say and nothing else.
    pub(crate) async fn account(&self, name: &str, rules: &[&str]) -> Cluster {
        let kubeconfig = self.kubernetes.account(&self.namespace, name, rules);
        connect(&kubeconfig.await).await
    }

    pub(crate) fn pod(&self, name: &str) -> Pod {
        Pod {
            name: name.to_owned(),
            uid: Some(self.kubernetes.pod(&self.namespace, name)),
        }
    }

    pub(crate) fn value(&self, object: &str, path: &str) -> String {
        self.kubernetes.value(&self.namespace, object, path)
    }

    pub(crate) fn apply(&self, manifest: &str) {
        self.kubernetes.apply(&self.namespace, manifest);
    }

    /// Every metric.
    pub(crate) fn page(&self) -> String {
        let families = self.registry.gather();
        TextEncoder::new().encode_to_string(&families).unwrap()
    }

    /// How often calls of a kind ended so.
    pub(crate) fn called(&self, line: &str) -> u64 {
        let page = self.page();
        let found = page.lines().find_map(|found| found.strip_prefix(line));
        found.map_or(0, |count| count.trim().parse().unwrap())
    }
}

async fn connect(kubeconfig: &Path) -> Cluster {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Cluster::at(config.unwrap(), None).unwrap()
}
