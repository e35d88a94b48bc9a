//! What can go wrong with Kubernetes, and what to do about it.

use std::fmt;

use model::Advice;

use crate::Trouble;

/// One request, as a role would have to allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `get`, `create`, ..
    pub verb: &'static str,
    /// With its API group, as in `cronjobs.batch`.
    pub resource: &'static str,
    /// Empty for lists.
    pub name: String,
    pub namespace: String,
}

impl Call {
    pub(crate) fn new(
        verb: &'static str,
        resource: &'static str,
        name: &str,
        namespace: &str,
    ) -> Self {
        Self {
            verb,
            resource,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verb,
            resource,
            name,
            namespace,
        } = self;
        write!(f, "{verb} {resource} {namespace}/{name}")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a kubeconfig nor a service account.
    #[error("no Kubernetes API server is known: {0}")]
    NoCluster(String),
    #[error("{call}: {said}")]
    Refused {
        call: Call,
        trouble: Trouble,
        said: String,
    },
    /// `concurrencyPolicy: Forbid`, and one runs.
    #[error("CronJob {cronjob} forbids a second Job beside {job}, which has not ended")]
    Active { cronjob: String, job: String },
    #[error("CronJob {cronjob} cannot be used: {why}")]
    BadCronJob { cronjob: String, why: &'static str },
    /// None or several where one is needed.
    #[error(
        "{} CronJobs in namespace {namespace} have the label {label}{}; name the one that is meant",
        found.len(), listed(found)
    )]
    NotOne {
        namespace: String,
        label: String,
        found: Vec<String>,
    },
}

fn listed(found: &[String]) -> String {
    if found.is_empty() {
        return String::new();
    }
    format!(": {}", found.join(", "))
}

impl Error {
    /// What kind of trouble it is.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::NoCluster(_) => Trouble::Unreachable,
            Self::Refused { trouble, .. } => *trouble,
            Self::Active { .. } => Trouble::Conflict,
            Self::BadCronJob { .. } => Trouble::Invalid,
            Self::NotOne { .. } => Trouble::Missing,
        }
    }

    /// What the caller should do.
    pub fn advice(&self) -> Advice {
        match self.trouble() {
            Trouble::Unreachable | Trouble::Timeout | Trouble::Throttled | Trouble::Conflict => {
                Advice::RetryLater
            }
            Trouble::Unauthorized | Trouble::Forbidden | Trouble::Missing | Trouble::Invalid => {
                Advice::GiveUp
            }
        }
    }
}
