//! A worker in a pod: what Kubernetes is told, by a real API server, and that nothing depends on it.

use std::path::PathBuf;

use model::JobStatus;
use testkit::{Kubernetes, Process, until};

use crate::lakehouse::{Lakehouse, readiness};

/// What a worker may do at most, and needs.
const RULES: [&str; 2] = ["pods=get,patch", "events.events.k8s.io=create,patch"];
const POD: &str = "worker-0";
const MARKS: &str = "{.metadata.annotations.controller\\.kubernetes\\.io/pod-deletion-cost} \
                     {.metadata.annotations.cluster-autoscaler\\.kubernetes\\.io/safe-to-evict}";
const IDLE: &str = "-1 true";
/// What a worker says of a refusal.
const REFUSED: &str = "Kubernetes refuses; going on without";

/// A pod that stands for the worker's, and who the worker is to the API server.
struct Place<'a> {
    kubernetes: &'a Kubernetes,
    namespace: String,
    uid: String,
    kubeconfig: PathBuf,
}

impl<'a> Place<'a> {
    async fn new(kubernetes: &'a Kubernetes, rules: &[&str]) -> Self {
        let namespace = kubernetes.namespace();
        let uid = kubernetes.pod(&namespace, POD);
        let kubeconfig = kubernetes.account(&namespace, "worker", rules).await;
        Self {
            kubernetes,
            namespace,
            uid,
            kubeconfig,
        }
    }

    fn worker(&self, house: &Lakehouse, arguments: &[&str]) -> Process {
        let kubeconfig = self.kubeconfig.display().to_string();
        let variables = [
            ("KUBECONFIG", kubeconfig.as_str()),
            ("SNOWPACK_POD_NAME", POD),
            ("SNOWPACK_POD_NAMESPACE", &self.namespace),
            ("SNOWPACK_POD_UID", &self.uid),
        ];
        house.worker(&variables, arguments)
    }

    fn marks(&self) -> String {
        self.kubernetes
            .value(&self.namespace, &format!("pod/{POD}"), MARKS)
    }

    async fn marked_idle(&self) {
        until("the pod is marked idle", async || self.marks() == IDLE).await;
    }

    async fn marked_busy(&self) {
        until("the pod is marked busy", async || busy(&self.marks())).await;
    }

    /// What `kubectl describe pod` would show, as in `Normal JobClaimed`, sorted.
    fn events(&self) -> Vec<String> {
        let field = format!("--field-selector=involvedObject.uid={}", self.uid);
        let list = ["-n", &self.namespace, "get", "events", &field];
        let found = self.kubernetes.json(&list);
        let events = found["items"].as_array().unwrap().iter();
        let words = |event: &serde_json::Value| {
            ["type", "reason"].map(|field| event[field].as_str().unwrap().to_owned())
        };
        let mut events: Vec<String> = events.map(|event| words(event).join(" ")).collect();
        events.sort();
        events
    }
}

fn busy(marks: &str) -> bool {
    let (cost, safe) = marks.split_once(' ').unwrap();
    safe == "false" && 64 <= cost.parse::<i32>().unwrap()
}

fn count(worker: &Process, text: &str) -> usize {
    let log = worker.log();
    log.lines().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn m35_a_pod_is_dear_while_its_worker_is_busy_and_until_it_has_drained() {
    let place = Place::new(Kubernetes::shared().await, &RULES).await;
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let worker = place.worker(&house, &[]);
    place.marked_idle().await;
    let hold = house.hold_swap("events").await;
    let job = house.submit("events").await;
    hold.holds().await;
    place.marked_busy().await;
    worker.signal("TERM");
    readiness(&worker, 503).await;
    assert!(busy(&place.marks()), "{}", place.marks());
    hold.release().await;
    worker.ended_with(0, &[]).await;
    assert_eq!(house.status(&job).await, JobStatus::Completed);
    house.rewritten_once("events", &before).await;
    assert_eq!(
        place.events(),
        ["Normal JobClaimed", "Normal JobCompleted"],
        "said before the worker ended"
    );
}

#[tokio::test]
async fn a_pod_is_marked_idle_again_after_its_job_and_a_failed_one_is_a_warning() {
    let place = Place::new(Kubernetes::shared().await, &RULES).await;
    let house = Lakehouse::new().await;
    house.table("events").await;
    let worker = place.worker(&house, &[]);
    place.marked_idle().await;
    let hold = house.hold_catalog().await;
    let job = house.submit("gone").await;
    hold.holds().await;
    place.marked_busy().await;
    hold.release().await;
    house.becomes(&job, JobStatus::Failed).await;
    place.marked_idle().await;
    worker.signal("TERM");
    worker.ended_with(0, &["job_failed"]).await;
    assert_eq!(place.events(), ["Normal JobClaimed", "Warning JobFailed"]);
}

#[tokio::test]
async fn without_any_right_a_worker_says_so_once_and_works() {
    let place = Place::new(Kubernetes::shared().await, &[]).await;
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let jobs = [house.submit("events").await, house.submit("events2").await];
    let worker = place.worker(&house, &[]);
    house.becomes(&jobs[0], JobStatus::Completed).await;
    house.becomes(&jobs[1], JobStatus::Failed).await;
    worker.mentions("events.events.k8s.io").await;
    worker.signal("TERM");
    worker.ended_with(0, &[REFUSED, "job_failed"]).await;
    assert_eq!(count(&worker, REFUSED), 2, "{}", worker.log());
    assert_eq!(place.marks(), " ");
    assert!(place.events().is_empty());
    house.rewritten_once("events", &before).await;
}

#[tokio::test]
async fn a_worker_that_finds_no_cluster_works() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let job = house.submit("events").await;
    let variables = [
        ("KUBECONFIG", "/nowhere/kubeconfig"),
        ("SNOWPACK_POD_NAME", POD),
    ];
    let worker = house.worker(&variables, &["--exit-when-idle"]);
    worker.mentions("nothing is told to Kubernetes").await;
    worker
        .ended_with(0, &["nothing is told to Kubernetes"])
        .await;
    assert_eq!(house.status(&job).await, JobStatus::Completed);
    house.rewritten_once("events", &before).await;
}

#[tokio::test]
async fn a_worker_goes_on_while_the_api_server_is_away_and_marks_its_pod_once_it_is_back() {
    let kubernetes = Kubernetes::start().await;
    let place = Place::new(&kubernetes, &RULES).await;
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let worker = place.worker(&house, &[]);
    place.marked_idle().await;
    let hold = house.hold_swap("events").await;
    let first = house.submit("events").await;
    hold.holds().await;
    place.marked_busy().await;
    kubernetes.kill_server();
    hold.release().await;
    house.becomes(&first, JobStatus::Completed).await;
    house.rewritten_once("events", &before).await;
    worker.mentions(REFUSED).await;
    let second = house.submit("gone").await;
    house.becomes(&second, JobStatus::Failed).await;
    kubernetes.start_server();
    assert!(kubernetes.answers().await);
    place.marked_idle().await;
    worker.logged("Kubernetes answers again").await;
    worker.signal("TERM");
    worker.ended_with(0, &[REFUSED, "job_failed"]).await;
}
