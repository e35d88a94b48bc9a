//! A scaler that runs, and the jobs it counts.

use std::net::SocketAddr;

use keda::{Code, ScaledObjectRef};
use maintenance::Submission;
use model::{Action, JobId};
use serde_json::Value;
use testkit::{Database, Process, get, until};
use tokio::net::TcpStream;

pub(crate) const SCALER: &str = env!("CARGO_BIN_EXE_snowpack-scaler");
/// What a scaler says once, at WARN, when Postgres does not answer.
pub(crate) const CANNOT_COUNT: &str = "cannot count jobs";

pub(crate) struct Scaler {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

impl Scaler {
    pub(crate) async fn start(url: &str) -> Self {
        Self::start_with(url, &[]).await
    }

    pub(crate) async fn start_with(url: &str, more: &[(&str, &str)]) -> Self {
        let own = [
            ("SNOWPACK_DATABASE_URL", url),
            ("SNOWPACK_SCALER_ADDR", "127.0.0.1:0"),
            ("SNOWPACK_SCALER_GRPC_ADDR", "127.0.0.1:0"),
        ];
        let process = Process::start(SCALER, &[&own, more].concat(), &[]);
        let address = process.address("scaler listens").await;
        let grpc = process.address("scaler answers gRPC").await;
        Self {
            process,
            address,
            grpc,
        }
    }

    /// A connection as KEDA's.
    pub(crate) async fn keda(&self) -> keda::Client {
        let stream = TcpStream::connect(self.grpc).await.unwrap();
        let origin = format!("http://{}", self.grpc).parse().unwrap();
        keda::Client::on(stream, origin).await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = get(self.address, path, &[]).await;
        (
            status,
            serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}")),
        )
    }

    /// Polls past the second an answer lives, until `path` answers `want`.
    pub(crate) async fn answers(&self, path: &str, want: Value) {
        let mut got = Value::Null;
        until(&format!("{path} answers {want}"), async || {
            got = self.json(path).await.1;
            got == want
        })
        .await;
    }

    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = get(self.address, "/metrics", &[]).await;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// Stops it as Kubernetes would.
    pub(crate) async fn stop(self, announced: &[&str]) {
        self.process.signal("TERM");
        self.process.ended_with(0, announced).await;
    }
}

/// What KEDA sends of a trigger with these keys.
pub(crate) fn trigger(metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    ScaledObjectRef {
        name: "workers".to_owned(),
        namespace: "snowpack".to_owned(),
        scaler_metadata: metadata.iter().map(owned).collect(),
    }
}

/// What KEDA is told of a trigger with these keys, or with which code it is refused.
pub(crate) async fn active(
    keda: &mut keda::Client,
    metadata: &[(&str, &str)],
) -> Result<bool, Code> {
    let answer = keda.is_active(trigger(metadata)).await;
    answer.map_err(|status| status.code())
}

pub(crate) async fn submit(database: &Database, table: &str, pool: &str) -> JobId {
    let mut client = database.client().await;
    let tx = client.transaction().await.unwrap();
    let actions = vec![Action::RewriteDataFiles];
    let mut asked = Submission::new(format!("db.{table}").parse().unwrap(), actions, "test");
    asked.pool = pool.to_owned();
    let job = maintenance::submit(&tx, &asked)
        .await
        .unwrap()
        .job()
        .clone();
    tx.commit().await.unwrap();
    job
}

/// As a claim would, with a lease that ends in `lease_seconds` (or ended, when negative).
pub(crate) async fn claimed(database: &Database, job: &JobId, lease_seconds: i32) {
    let rows = database
        .client()
        .await
        .execute(
            "update snowpack.job_queue set claimed_at = now() - interval '1 hour', \
             claimed_by = 'w', attempt_id = job_id, attempt_count = 1, \
             visible_at = now() + make_interval(secs => $2) where job_id = $1",
            &[&job.as_str(), &f64::from(lease_seconds)],
        )
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

pub(crate) async fn scheduled(database: &Database, job: &JobId) {
    let rows = database
        .client()
        .await
        .execute(
            "update snowpack.job_queue set scheduled = true, \
             visible_at = now() + interval '1 hour' where job_id = $1",
            &[&job.as_str()],
        )
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

/// One job of each kind in pool `default`, and one more due in pool `l`.
pub(crate) async fn one_of_each(database: &Database) {
    submit(database, "due", "default").await;
    submit(database, "large", "l").await;
    let expired = submit(database, "expired", "default").await;
    claimed(database, &expired, -1).await;
    let running = submit(database, "running", "default").await;
    claimed(database, &running, 3_600).await;
    let later = submit(database, "later", "default").await;
    scheduled(database, &later).await;
}

/// The database goes away under its name and comes back.
pub(crate) async fn renamed(from: &str, to: &str) {
    let server = Database::empty().await.client().await;
    let busy =
        format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{from}'");
    // The scaler may connect again between the two.
    until("the database is renamed", async || {
        server.batch_execute(&busy).await.unwrap();
        server
            .batch_execute(&format!("alter database {from} rename to {to}"))
            .await
            .is_ok()
    })
    .await;
}
