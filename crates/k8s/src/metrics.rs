//! What is asked of Kubernetes, and how it answers.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::Error;

/// `snowpack_kubernetes_*`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: IntCounterVec,
    dropped: IntCounter,
}

/// What a call is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Marks,
    Event,
    Lease,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Marks => "patch_pod",
            Self::Event => "create_event",
            Self::Lease => "lease",
        }
    }
}

impl Metrics {
    /// Makes and registers them; a registry takes them once.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let calls = IntCounterVec::new(
            Opts::new(
                "snowpack_kubernetes_calls_total",
                "Calls to the Kubernetes API server, by what they were for and how they ended",
            ),
            &["call", "result"],
        )?;
        registry.register(Box::new(calls.clone()))?;
        let dropped = IntCounter::new(
            "snowpack_kubernetes_events_dropped_total",
            "Kubernetes Events not sent: too many at once, or nobody takes them",
        )?;
        registry.register(Box::new(dropped.clone()))?;
        Ok(Self { calls, dropped })
    }

    pub(crate) fn called<T>(&self, kind: Kind, result: &Result<T, Error>) {
        let result = match result {
            Ok(_) => "ok",
            Err(error) => error.trouble().as_str(),
        };
        self.calls.with_label_values(&[kind.as_str(), result]).inc();
    }

    pub(crate) fn dropped(&self) {
        self.dropped.inc();
    }

    #[cfg(test)]
    pub(crate) fn dropped_count(&self) -> u64 {
        self.dropped.get()
    }
}
