//! The API in a cluster: Jobs of CronJobs on request, and a Lease for the loops, by a real API
//! server with RBAC.

use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::{Database, Kubernetes, until};

use crate::server::{Answer, OPEN, Server};

/// What the API may do at most, and needs.
const RULES: [&str; 3] = [
    "cronjobs.batch=get",
    "jobs.batch=create,get,list",
    "leases.coordination.k8s.io=get,create,update",
];
const CRONJOB: &str = "
apiVersion: batch/v1
kind: CronJob
metadata: {name: plan}
spec:
  schedule: '0 0 1 1 *'
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers: [{name: orchestrator, image: 'localhost/none:1'}]
";
const LEASE: &str = "loops";
/// What is said where Kubernetes gives no Lease.
const REFUSED: &str = "Kubernetes refuses; going on without";

struct Place<'a> {
    kubernetes: &'a Kubernetes,
    namespace: String,
    kubeconfig: PathBuf,
    database: Database,
}

impl<'a> Place<'a> {
    async fn new(kubernetes: &'a Kubernetes, rules: &[&str]) -> Self {
        let namespace = kubernetes.namespace();
        let kubeconfig = kubernetes.account(&namespace, "api", rules).await;
        Self {
            kubernetes,
            namespace,
            kubeconfig,
            database: Database::new().await,
        }
    }

    async fn server(&self, more: &[(&str, &str)]) -> Server {
        let kubeconfig = self.kubeconfig.display().to_string();
        let own = [
            ("SNOWPACK_AUTH", "none"),
            ("KUBECONFIG", kubeconfig.as_str()),
            ("SNOWPACK_POD_NAMESPACE", self.namespace.as_str()),
        ];
        Server::with(self.database.url(), &[&own, more].concat()).await
    }

    async fn triggering(&self) -> Server {
        let both = [
            ("SNOWPACK_ORCHESTRATOR_CRONJOB", "plan"),
            ("SNOWPACK_HEALTH_SYNC_CRONJOB", "look"),
        ];
        self.server(&both).await
    }

    /// An API whose pod has this name and that wants the Lease.
    async fn leading(&self, pod: &str) -> Server {
        let own = [("SNOWPACK_LEASE_NAME", LEASE), ("SNOWPACK_POD_NAME", pod)];
        self.server(&own).await
    }

    fn job(&self, name: &str) -> Value {
        self.kubernetes
            .json(&["-n", &self.namespace, "get", "job", name])
    }

    fn holder(&self) -> String {
        self.kubernetes
            .value(&self.namespace, "lease/loops", "{.spec.holderIdentity}")
    }
}

async fn trigger(server: &Server, dry_run: bool) -> Answer {
    let asked = json!({ "dry_run": dry_run });
    server.send("POST", "/orchestrator/trigger", &asked).await
}

/// The name of the Job that was made.
#[track_caller]
fn made(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["kubernetes_job"].as_str().unwrap().to_owned()
}

async fn lease(server: &Server) -> Value {
    server.get("/loops").await.json()["lease"].clone()
}

/// Waits until an API says so of the Lease.
async fn turns(server: &Server, turn: &str) {
    until(&format!("the Lease is {turn}"), async || {
        lease(server).await["turn"] == turn
    })
    .await;
}

#[tokio::test]
async fn m28_a_trigger_makes_a_job_of_the_cronjob_that_says_who_asked_and_for_what() {
    let place = Place::new(Kubernetes::shared().await, &RULES).await;
    place.kubernetes.apply(&place.namespace, CRONJOB);
    let server = place.triggering().await;
    let answer = trigger(&server, true).await;
    assert_eq!(answer.header("location"), "/orchestrator/runs?limit=1");
    let name = made(&answer);
    let job = place.job(&name);
    assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "plan");
    let want = json!([
        { "name": "SNOWPACK_TRIGGERED_BY", "value": "api:anonymous" },
        { "name": "SNOWPACK_DRY_RUN", "value": "true" },
    ]);
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"], want);

    let second = trigger(&server, false)
        .await
        .problem(409, "already_running");
    assert!(
        second["detail"].as_str().unwrap().contains(&name),
        "{second}"
    );
    let namespace = &place.namespace;
    place
        .kubernetes
        .end_job(namespace, &name, "Succeeded")
        .await;
    until("another one is let in", async || {
        trigger(&server, false).await.status == 202
    })
    .await;
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_gets_the_job() {
    let place = Place::new(Kubernetes::shared().await, &RULES).await;
    place.kubernetes.apply(&place.namespace, CRONJOB);
    let server = place.triggering().await;
    let asked = (0..6).map(|_| trigger(&server, false));
    let mut codes: Vec<u16> = futures::future::join_all(asked)
        .await
        .iter()
        .map(|answer| answer.status)
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, [202, 409, 409, 409, 409, 409]);
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn a_trigger_that_kubernetes_refuses_names_what_is_missing() {
    let kubernetes = Kubernetes::shared().await;
    let place = Place::new(kubernetes, &["cronjobs.batch=get"]).await;
    kubernetes.apply(&place.namespace, CRONJOB);
    let server = place.triggering().await;
    let missing = server.call("POST", "/health-sync/trigger").await;
    let missing = missing.problem(502, "kubernetes");
    let namespace = &place.namespace;
    assert_eq!(
        missing["detail"],
        format!(
            "there is no CronJob look in namespace {namespace}, which \
             SNOWPACK_HEALTH_SYNC_CRONJOB names"
        )
    );
    let list = trigger(&server, false).await.problem(502, "kubernetes");
    let detail = |verb: &str| {
        format!(
            "the API's service account may not {verb} jobs.batch in namespace {namespace}: its \
             Role lacks that"
        )
    };
    assert_eq!(list["detail"], detail("list"));
    kubernetes
        .allow(namespace, "api", &["jobs.batch=list"])
        .await;
    let create = trigger(&server, false).await.problem(502, "kubernetes");
    assert_eq!(create["detail"], detail("create"));
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn one_replica_has_the_lease_and_gives_it_to_the_other_when_it_is_told_to_stop() {
    let place = Place::new(Kubernetes::shared().await, &RULES).await;
    let one = place.leading("api-0").await;
    turns(&one, "mine").await;
    let holder = place.holder();
    assert!(holder.starts_with("api-0-"), "{holder}");
    let two = place.leading("api-1").await;
    turns(&two, "theirs").await;
    let told = lease(&two).await;
    assert_eq!(
        (&told["name"], &told["holder"]),
        (&json!(LEASE), &json!(holder))
    );
    one.stop(&[OPEN]).await;
    turns(&two, "mine").await;
    assert!(place.holder().starts_with("api-1-"));
    two.stop(&[OPEN]).await;
    assert_eq!(place.holder(), "");
}

#[tokio::test]
async fn without_the_right_to_a_lease_every_replica_looks_and_says_so_once() {
    let place = Place::new(Kubernetes::shared().await, &[]).await;
    let server = place.leading("api-0").await;
    server.process.mentions(REFUSED).await;
    turns(&server, "unknown").await;
    until("a loop had its turn", async || {
        let loops = server.get("/loops").await.json();
        let passes = loops["loops"].as_array().unwrap().clone();
        passes.iter().any(|pass| pass["outcome"] == "done")
    })
    .await;
    server.stop(&[OPEN, REFUSED]).await;
}

#[tokio::test]
async fn with_the_api_server_away_a_trigger_says_so_and_works_again_once_it_is_back() {
    let kubernetes = Kubernetes::start().await;
    let place = Place::new(&kubernetes, &RULES).await;
    kubernetes.apply(&place.namespace, CRONJOB);
    let more = [
        ("SNOWPACK_LEASE_NAME", LEASE),
        ("SNOWPACK_ORCHESTRATOR_CRONJOB", "plan"),
    ];
    let server = place.server(&more).await;
    turns(&server, "mine").await;
    kubernetes.kill_server();
    let problem = trigger(&server, false).await.problem(503, "unavailable");
    assert_eq!(
        problem["detail"],
        "the Kubernetes API server does not answer"
    );
    turns(&server, "unknown").await;
    kubernetes.start_server();
    assert!(kubernetes.answers().await);
    turns(&server, "mine").await;
    made(&trigger(&server, false).await);
    server.stop(&[OPEN, REFUSED, "request failed"]).await;
}
