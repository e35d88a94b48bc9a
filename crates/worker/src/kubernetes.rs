//! What the worker tells Kubernetes: how much its pod is worth, and what became of its jobs.
//!
//! All of it is told by the way. Outside a cluster, without a role, while the API server is away:
//! jobs run as ever.

use std::time::Duration;

use anyhow::Result;
use k8s::events::{self, Events, Note, Notes};
use k8s::stake::{self, Board};
use k8s::{Cluster, Metrics, Pod, PodArgs};
use model::JobId;
use prometheus::Registry;
use runner::{Ended, How};
use runtime::chain;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// At the end, for Events that are on their way.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

/// What the daemon tells. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) board: Board,
    events: Option<Events>,
}

impl Told {
    pub(crate) fn claimed(&self, job: &JobId) {
        self.say(false, "JobClaimed", "Claim", format!("claimed job {job}"));
    }

    pub(crate) fn ended(&self, ended: &Ended) {
        let job = &ended.job;
        let (warning, reason, text) = match ended.how {
            How::Completed => (false, "JobCompleted", format!("job {job} completed")),
            How::Cancelled => (false, "JobCancelled", format!("job {job} was cancelled")),
            How::HandedBack => (false, "JobHandedBack", format!("handed job {job} back")),
            How::Failed(why) => (true, "JobFailed", format!("job {job} failed: {why}")),
            How::Replaced => (true, "LeaseLost", format!("lost the lease of job {job}")),
        };
        self.say(warning, reason, "Run", text);
    }

    fn say(&self, warning: bool, reason: &'static str, action: &'static str, text: String) {
        if let Some(events) = &self.events {
            events.say(Note {
                warning,
                reason,
                action,
                text,
            });
        }
    }
}

/// Tells Kubernetes what the daemon says, until [`Glue::end`].
#[derive(Debug)]
pub(crate) struct Glue {
    pub(crate) told: Told,
    stop: CancellationToken,
    tasks: Option<JoinHandle<()>>,
}

impl Glue {
    /// Outside a cluster it does nothing.
    pub(crate) fn start(args: &PodArgs, registry: &Registry) -> Result<Self> {
        let stop = CancellationToken::new();
        let Some(pod) = args.pod() else {
            let (told, tasks) = (Told::default(), None);
            return Ok(Self { told, stop, tasks });
        };
        let metrics = Metrics::register(registry)?;
        let (events, notes) = Events::new(&metrics);
        let told = Told {
            board: Board::default(),
            events: Some(events),
        };
        let telling = Telling {
            namespace: args.pod_namespace.clone(),
            pod,
            board: told.board.clone(),
            metrics,
            stop: stop.clone(),
        };
        let tasks = Some(tokio::spawn(telling.run(notes)));
        Ok(Self { told, stop, tasks })
    }

    /// Lets what was said last get through, for a moment. The daemon and all it started is gone.
    pub(crate) async fn end(self) {
        drop(self.told);
        self.stop.cancel();
        if let Some(tasks) = self.tasks {
            // Whoever wants to know what became of a job asks Postgres.
            let _ = tokio::time::timeout(LAST_WORDS_WITHIN, tasks).await;
        }
    }
}

struct Telling {
    namespace: Option<String>,
    pod: Pod,
    board: Board,
    metrics: Metrics,
    stop: CancellationToken,
}

impl Telling {
    async fn run(self, notes: Notes) {
        let cluster = match Cluster::find(self.namespace.as_deref()).await {
            Ok(cluster) => cluster,
            Err(error) => {
                let why = chain(&error);
                warn!(why, "nothing is told to Kubernetes; going on without");
                return;
            }
        };
        let (pod, metrics, stop) = (self.pod.clone(), self.metrics.clone(), self.stop.clone());
        let sent = events::send(cluster.clone(), pod, crate::NAME, metrics, notes, stop);
        let kept = stake::keep(cluster, self.pod, self.board, self.metrics, self.stop);
        tokio::join!(sent, kept);
    }
}
