//! `snowpack trigger`: has Kubernetes run a CronJob of ours now, as a Job.

use std::io::Write;

use anyhow::{Result, bail};
use clap::ValueEnum;
use k8s::Cluster;
use k8s::cronjob::{self, Look, Outcome, Variable};
use serde_json::json;

use crate::out::Out;
use crate::submit::submitter;

pub(crate) const EXAMPLES: &str = "\
Examples:
  snowpack trigger orchestrator                        decide about every table now
  snowpack trigger orchestrator --dry-run --wait       decide, record why, and submit nothing
  snowpack trigger health-sync --namespace lakehouse --wait
  snowpack trigger orchestrator --cronjob nightly-orchestrator

It makes a Job of the CronJob's template, as `kubectl create job --from=cronjob/NAME` does, and
prints the Job's name. Where the CronJob says `concurrencyPolicy: Forbid` and a Job of it runs, it
refuses. The cluster is that of the kubeconfig (KUBECONFIG, else ~/.kube/config), else that of the
pod it runs in. You need: cronjobs list and get, jobs list, create and get.

Exit codes: 0 the Job was made (with --wait: and completed), 1 it was not (or failed), 2 bad usage.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is to run
    #[arg(value_enum)]
    what: What,
    /// Only for the orchestrator: decide and record why, and submit nothing
    #[arg(long)]
    dry_run: bool,
    /// Namespace of the CronJob [default: the kubeconfig's, or the pod's own]
    #[arg(long, short, value_name = "NAME", value_parser = k8s::name)]
    namespace: Option<String>,
    /// The CronJob [default: the only one labelled app.kubernetes.io/component=orchestrator, or
    /// =health-sync]
    #[arg(long, value_name = "NAME", value_parser = k8s::name)]
    cronjob: Option<String>,
    /// Wait until the Job has ended
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// One orchestrator run
    Orchestrator,
    /// One look at the health of every table
    HealthSync,
}

impl What {
    /// As the chart labels it.
    fn component(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::HealthSync => "health-sync",
        }
    }
}

pub(crate) async fn run(args: Args, out: &Out) -> Result<()> {
    let variables = match args.what {
        What::Orchestrator => variables(args.dry_run),
        What::HealthSync if args.dry_run => {
            let said = "--dry-run is for the orchestrator: a health sync changes no table";
            bail!(runtime::Error::Usage(said.to_owned()));
        }
        What::HealthSync => Vec::new(),
    };
    let cluster = Cluster::find(args.namespace.as_deref()).await?;
    let cronjob = match args.cronjob {
        Some(name) => name,
        None => cronjob::find(&cluster, args.what.component()).await?,
    };
    let job = cronjob::create(&cluster, &cronjob, &variables).await?;
    let namespace = cluster.namespace();
    let mut document = json!({ "job": job, "cronjob": cronjob, "namespace": namespace });
    if !args.wait {
        return out.result(&document, || format!("{job}\n"));
    }
    complain(&format!("job {namespace}/{job} was made"));
    let tell = |look: &Look| complain(&format!("job {namespace}/{job}: {}", words(look)));
    let outcome = cronjob::ended(&cluster, &job, tell).await?;
    document["complete"] = json!(outcome == Outcome::Complete);
    out.result(&document, || format!("{job}\n"))?;
    match outcome {
        Outcome::Complete => Ok(()),
        Outcome::Failed(why) => bail!(
            "job {namespace}/{job} failed: {why}; see `kubectl -n {namespace} logs job/{job}`"
        ),
    }
}

/// Who asks, and for what.
fn variables(dry_run: bool) -> Vec<Variable> {
    let variable = |name, value| Variable { name, value };
    vec![
        variable("SNOWPACK_TRIGGERED_BY", submitter()),
        variable("SNOWPACK_DRY_RUN", dry_run.to_string()),
    ]
}

fn words(look: &Look) -> String {
    match &look.outcome {
        Some(Outcome::Complete) => "complete".to_owned(),
        Some(Outcome::Failed(_)) => "failed".to_owned(),
        None if 0 < look.ready => "its pod runs".to_owned(),
        None if 0 < look.active => "its pod starts".to_owned(),
        None => "waits for a pod".to_owned(),
    }
}

/// Progress, beside the result.
fn complain(line: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
