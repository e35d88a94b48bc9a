//! A Prometheus beside the cluster, which scrapes the scaler of one release as the chart's
//! ServiceMonitor has it scraped.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Process, request, until};

use crate::release::Release;

/// Where pods reach it: the host's address.
const ADDRESS: &str = "10.97.0.1:9990";

#[derive(Debug)]
pub(crate) struct Prometheus {
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    /// Started, and with a first answer of the scaler.
    pub(crate) async fn start(release: &Release) -> Self {
        let promtool = std::env::var("SNOWPACK_TEST_PROMTOOL").expect("tests/run says where it is");
        let program = PathBuf::from(promtool).with_file_name("prometheus");
        let folder = TempDir::new().expect("make a folder");
        let target = release.scaler().to_string();
        let namespace = release.namespace.name();
        let scrape = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{
                "job_name": "scaler",
                "static_configs": [{"targets": [target], "labels": {"namespace": namespace}}],
            }],
        });
        let file = folder.path().join("prometheus.yml");
        // JSON is YAML.
        std::fs::write(&file, scrape.to_string()).expect("write its settings");
        let data = folder.path().join("data");
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address={ADDRESS}"),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let process = Process::start(program, &[], &arguments);
        process
            .mentions("Server is ready to receive web requests")
            .await;
        let address: SocketAddr = ADDRESS.parse().expect("an address");
        until("the scaler is scraped", async || {
            let path = "/api/v1/query?query=snowpack_queue_ready";
            let (_, said) = request(address, "GET", path, &[]).await;
            let said: Value = serde_json::from_str(&said).unwrap_or_default();
            said["data"]["result"]
                .as_array()
                .is_some_and(|found| !found.is_empty())
        })
        .await;
        Self {
            _process: process,
            _folder: folder,
        }
    }

    /// What the chart's values say about it.
    pub(crate) fn values() -> Value {
        json!({"keda": {"prometheus": {"serverAddress": format!("http://{ADDRESS}")}}})
    }
}
