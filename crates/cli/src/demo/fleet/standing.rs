//! How healthy the tables are, as the control plane knows it.

use std::collections::BTreeMap;

use anyhow::Result;
use maintenance::health::{self, Latest};
use pg::Pool;
use serde_json::{Value, json};
use steward::health::Payload;

/// A table with this many points of 100 is healthy.
pub(crate) const HEALTHY_MIN: f64 = 90.0;

/// One table's newest assessment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Standing {
    /// `None`: never measured.
    pub(crate) measured: Option<Measured>,
    /// Why the last look failed.
    pub(crate) error: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    pub(crate) score: f64,
    pub(crate) needs_maintenance: bool,
    pub(crate) data_files: u64,
    pub(crate) delete_files: u64,
    pub(crate) snapshots: u64,
}

/// Every table's standing, by its name.
pub(crate) type Standings = BTreeMap<String, Standing>;

impl Standing {
    fn from(latest: Latest) -> Self {
        let payload = latest.payload.and_then(Payload::read);
        let measured = payload.map(|payload| Measured {
            score: payload.assessment.score,
            needs_maintenance: payload.needs_maintenance,
            data_files: payload.facts.file_stats.total_data_files,
            delete_files: payload.facts.file_stats.total_delete_files,
            snapshots: payload.facts.snapshot_count,
        });
        Self {
            measured,
            error: latest.error,
        }
    }

    pub(crate) fn score(&self) -> Option<f64> {
        self.measured.as_ref().map(|measured| measured.score)
    }

    /// Nothing is worth doing, and little is lost.
    pub(crate) fn healthy(&self) -> bool {
        self.error.is_none()
            && self.measured.as_ref().is_some_and(|measured| {
                !measured.needs_maintenance && HEALTHY_MIN <= measured.score
            })
    }

    pub(crate) fn document(&self) -> Value {
        let measured = self.measured.as_ref();
        json!({
            "score": measured.map(|measured| measured.score),
            "needs_maintenance": measured.map(|measured| measured.needs_maintenance),
            "data_files": measured.map(|measured| measured.data_files),
            "delete_files": measured.map(|measured| measured.delete_files),
            "snapshots": measured.map(|measured| measured.snapshots),
            "error": self.error,
        })
    }
}

/// What is stored of every table of the cache.
pub(crate) async fn all(pool: &Pool) -> Result<Standings> {
    let client = pool.get().await?;
    let found = health::worst(&**client, None, health::PAGE_MAX).await?;
    let standings = found.into_iter();
    Ok(standings
        .map(|(table, latest)| (table, Standing::from(latest)))
        .collect())
}
