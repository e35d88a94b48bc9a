//! What the API asks of Kubernetes, where it is told to: Jobs of CronJobs in place of passes of its
//! own, and a Lease that says which replica looks at the loops.

use std::time::Duration;

use anyhow::Result;
use k8s::cronjob::{self, Variable};
use k8s::lease::{self, HELD_FOR, Lease, Turn};
use k8s::{Cluster, Metrics, Trouble};
use prometheus::Registry;
use runtime::chain;
use tokio::sync::{Mutex, OnceCell, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::problem::{Kind, Problem};

/// At the end, for giving the Lease back; without that it runs out by itself.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// What Kubernetes does for the API
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Kubernetes")]
pub(crate) struct KubernetesArgs {
    #[command(flatten)]
    pub(crate) pod: k8s::PodArgs,
    /// CronJob of the orchestrator, of which a trigger makes a Job [default: this process runs it]
    #[arg(
        long,
        env = "SNOWPACK_ORCHESTRATOR_CRONJOB",
        value_name = "NAME",
        value_parser = k8s::name
    )]
    orchestrator_cronjob: Option<String>,
    /// CronJob of the health sync, likewise
    #[arg(
        long,
        env = "SNOWPACK_HEALTH_SYNC_CRONJOB",
        value_name = "NAME",
        value_parser = k8s::name
    )]
    health_sync_cronjob: Option<String>,
    /// Lease of the loops: only the replica that holds it looks at them [default: all look, and
    /// Postgres decides]
    #[arg(long, env = "SNOWPACK_LEASE_NAME", value_name = "NAME", value_parser = k8s::name)]
    lease_name: Option<String>,
}

/// Makes Jobs on request.
#[derive(Debug)]
pub(crate) struct Jobs {
    namespace: Option<String>,
    cluster: OnceCell<Cluster>,
    pub(crate) orchestrator: Option<CronJob>,
    pub(crate) health_sync: Option<CronJob>,
}

/// A CronJob that a setting names.
#[derive(Debug)]
pub(crate) struct CronJob {
    name: String,
    setting: &'static str,
    /// Two requests of this process at once do not both find that none runs.
    only: Mutex<()>,
}

impl CronJob {
    fn named(name: Option<&String>, setting: &'static str) -> Option<Self> {
        Some(Self {
            name: name?.clone(),
            setting,
            only: Mutex::default(),
        })
    }
}

impl Jobs {
    pub(crate) fn new(args: &KubernetesArgs) -> Self {
        let (orchestrator, health_sync) = (&args.orchestrator_cronjob, &args.health_sync_cronjob);
        Self {
            namespace: args.pod.pod_namespace.clone(),
            cluster: OnceCell::new(),
            orchestrator: CronJob::named(orchestrator.as_ref(), "SNOWPACK_ORCHESTRATOR_CRONJOB"),
            health_sync: CronJob::named(health_sync.as_ref(), "SNOWPACK_HEALTH_SYNC_CRONJOB"),
        }
    }

    /// Makes a Job of the CronJob's template, and says its name.
    pub(crate) async fn make(
        &self,
        cronjob: &CronJob,
        variables: &[Variable],
    ) -> Result<String, Problem> {
        let _only = cronjob.only.lock().await;
        let made = async {
            let find = || Cluster::find(self.namespace.as_deref());
            let cluster = self.cluster.get_or_try_init(find).await?;
            cronjob::create(cluster, &cronjob.name, variables).await
        };
        made.await.map_err(|error| problem(cronjob, &error))
    }
}

/// What the caller is told: it may do what it asked for, so whatever is refused here is ours.
fn problem(cronjob: &CronJob, error: &k8s::Error) -> Problem {
    let CronJob { name, setting, .. } = cronjob;
    let k8s::Error::Refused { call, .. } = error else {
        return match error {
            k8s::Error::Active { .. } => Problem::new(Kind::AlreadyRunning, error.to_string()),
            k8s::Error::NoCluster(_) => {
                Problem::unavailable("the Kubernetes API server", chain(error))
            }
            _ => Problem::new(Kind::Kubernetes, error.to_string()),
        };
    };
    let (verb, resource, namespace) = (call.verb, call.resource, &call.namespace);
    match error.trouble() {
        Trouble::Unreachable | Trouble::Timeout | Trouble::Throttled => {
            Problem::unavailable("the Kubernetes API server", chain(error))
        }
        Trouble::Forbidden => {
            let detail = format!(
                "the API's service account may not {verb} {resource} in namespace {namespace}: \
                 its Role lacks that"
            );
            Problem::new(Kind::Kubernetes, detail).because(chain(error))
        }
        Trouble::Missing if verb == "get" => {
            let detail = format!(
                "there is no CronJob {name} in namespace {namespace}, which {setting} names"
            );
            Problem::new(Kind::Kubernetes, detail)
        }
        _ => Problem::new(Kind::Kubernetes, error.to_string()),
    }
}

/// Who looks at the loops. Whose turn it is, Postgres decides: a wrong or lost Lease costs time.
#[derive(Debug, Clone)]
pub(crate) struct Leader {
    pub(crate) name: String,
    turn: watch::Receiver<Turn>,
}

impl Leader {
    pub(crate) fn turn(&self) -> Turn {
        self.turn.borrow().clone()
    }

    /// Without a word from Kubernetes every replica looks.
    pub(crate) fn looks(&self) -> bool {
        !matches!(*self.turn.borrow(), Turn::Theirs(_))
    }
}

/// The task that keeps the Lease.
#[derive(Debug)]
pub(crate) struct Keeper(JoinHandle<()>);

impl Keeper {
    /// Once told to stop: gives the Lease back.
    pub(crate) async fn ended(self) {
        let _ = tokio::time::timeout(RELEASE_WITHIN, self.0).await;
    }
}

/// Wants the Lease for `holder` from now on, if a setting names one.
pub(crate) async fn lead(
    args: &KubernetesArgs,
    holder: &str,
    registry: &Registry,
    stop: &CancellationToken,
) -> Result<Option<(Leader, Keeper)>> {
    let Some(name) = args.lease_name.clone() else {
        return Ok(None);
    };
    let metrics = Metrics::register(registry)?;
    let (tell, turn) = watch::channel(Turn::Unknown);
    let kept = match Cluster::find(args.pod.pod_namespace.as_deref()).await {
        Ok(cluster) => {
            let lease = Lease::new(cluster, &name, holder, HELD_FOR);
            tokio::spawn(lease::keep(lease, metrics, tell, stop.clone()))
        }
        Err(error) => {
            let why = chain(&error);
            warn!(
                why,
                lease = name,
                "no Lease: every replica looks at the loops"
            );
            tokio::spawn(async {})
        }
    };
    Ok(Some((Leader { name, turn }, Keeper(kept))))
}
