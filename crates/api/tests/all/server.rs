//! A running API, and requests to it.

use std::net::SocketAddr;
use std::path::Path;

use maintenance::Submission;
use model::{Action, JobId};
use serde_json::Value;
use testkit::{Database, Process};

pub(crate) const API: &str = env!("CARGO_BIN_EXE_snowpack-api");

/// What it says, at WARN, when it lets everybody in.
pub(crate) const OPEN: &str = "no authentication";

pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    client: reqwest::Client,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        let value = value.unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.to_str().unwrap()
    }

    /// Demands a problem of this status and code; gives its body.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status, "{body}");
        assert_eq!(body["type"], format!("urn:snowpack:problem:{code}"));
        for field in ["title", "detail", "request_id"] {
            assert!(!body[field].as_str().unwrap().is_empty(), "{field}: {body}");
        }
        assert_eq!(body["request_id"], self.header("x-request-id"), "{body}");
        assert!(body["errors"].is_array(), "{body}");
        body
    }

    /// Demands a problem that names `path`, and `said` in its words.
    #[track_caller]
    pub(crate) fn names(&self, status: u16, code: &str, path: &str, said: &str) {
        let body = self.problem(status, code);
        assert_eq!(body["errors"][0]["path"], path, "{body}");
        let detail = body["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(said), "`{said}` is not in: {detail}");
    }
}

impl Server {
    /// One that lets everybody in.
    pub(crate) async fn start(database: &Database) -> Self {
        Self::with(database.url(), &[("SNOWPACK_AUTH", "none")]).await
    }

    /// One with the tokens of [`tokens`].
    pub(crate) async fn guarded(database: &Database, file: &Path) -> Self {
        let file = file.to_str().unwrap();
        let own = [("SNOWPACK_AUTH", "tokens"), ("SNOWPACK_TOKENS_FILE", file)];
        Self::with(database.url(), &own).await
    }

    pub(crate) async fn with(url: &str, more: &[(&str, &str)]) -> Self {
        let own = [
            ("SNOWPACK_DATABASE_URL", url),
            ("SNOWPACK_API_ADDR", "127.0.0.1:0"),
            ("SNOWPACK_API_LINGER_SECONDS", "0"),
            ("SNOWPACK_RATE_PER_SECOND", "10000"),
            ("SNOWPACK_CACHE_SYNC_SECONDS", "86400"),
            // Tests write times of long ago.
            ("SNOWPACK_HEALTH_RETENTION_DAYS", "36500"),
            ("SNOWPACK_RUNS_RETENTION_DAYS", "36500"),
        ];
        if !more
            .iter()
            .any(|(name, _)| *name == "SNOWPACK_CACHE_SYNC_SECONDS")
        {
            synced_already(url).await;
        }
        let process = Process::start(API, &[&own, more].concat(), &[]);
        let address = process.address("api listens").await;
        Self {
            process,
            address,
            client: client(),
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method.parse().unwrap(), url)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path)).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str) -> Answer {
        send(self.request(method, path)).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path);
        send(
            request
                .header("content-type", "application/json")
                .body(body.to_string()),
        )
        .await
    }

    /// Stops it as Kubernetes would, and reads its log for what nobody announced.
    pub(crate) async fn stop(self, announced: &[&str]) {
        self.process.signal("TERM");
        self.process.ended_with(0, announced).await;
    }
}

/// The table cache is the test's: as if another replica had just had its turn.
async fn synced_already(url: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    maintenance::loops::started(&client, "table_cache_sync", "test")
        .await
        .unwrap();
}

/// A client that speaks to this machine only.
pub(crate) fn client() -> reqwest::Client {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls);
    builder.no_proxy().build().unwrap()
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    }
}

/// Puts tables of database `db` into the cache, synced just now.
pub(crate) async fn cache(database: &Database, tables: &[&str]) {
    let client = database.client().await;
    for table in tables {
        let insert = "insert into snowpack.table_cache_entries (database_name, table_name, payload)
            values ('db', $1, '{}')";
        client.execute(insert, &[table]).await.unwrap();
    }
    age(database, 0.0).await;
}

/// Makes the cache so old.
pub(crate) async fn age(database: &Database, seconds: f64) {
    let update = "update snowpack.table_cache_meta
        set last_synced_at = now() - make_interval(secs => $1)";
    let rows = database.client().await.execute(update, &[&seconds]).await;
    assert_eq!(rows.unwrap(), 1);
}

/// A job for `db.{table}`, not by way of the API.
pub(crate) async fn submit(database: &Database, table: &str) -> JobId {
    let mut client = database.client().await;
    let tx = client.transaction().await.unwrap();
    let actions = vec![Action::RewriteDataFiles];
    let asked = Submission::new(format!("db.{table}").parse().unwrap(), actions, "test");
    let job = maintenance::submit(&tx, &asked).await.unwrap();
    tx.commit().await.unwrap();
    job.job().clone()
}
