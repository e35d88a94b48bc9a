//! Assesses tables: load, measure, judge, store.
//!
//! One look is [`Assessor::assess`], whoever asks for it; [`sync()`] looks at every table of the
//! inventory. A table whose metadata file is the one last measured costs one load and no manifest.

mod args;
mod sync;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use catalog::{Catalog, Table};
use maintenance::health::{Latest, Stored};
use metadata::{MANIFESTS_READ_MAX, Measuring};
use model::health::{Facts, Thresholds};
use model::{Action, TableName};
use pg::Pool;
use policy::{Assessment, Defaults, Effective, Source};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::OnceCell;
use tracing::warn;

use crate::Error;

pub use args::SyncArgs;
pub use sync::{Cut, LOOP, Synced, Syncing, sync};

const DAY_MS: f64 = 86_400_000.0;

/// What is stored of a look and shown to programs: facts, and what follows from them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Payload {
    #[serde(flatten)]
    pub facts: Facts,
    pub needs_maintenance: bool,
    pub recommended_actions: Vec<Action>,
    pub assessment: Assessment,
}

impl Payload {
    /// What a stored document holds; `None` when an incompatible version wrote it.
    pub fn read(stored: Value) -> Option<Self> {
        serde_json::from_value(stored).ok()
    }
}

/// How one table was found to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessed {
    pub facts: Facts,
    pub assessment: Assessment,
    /// What it was judged by.
    pub effective: Effective,
    /// `None`: there was no database to store it in.
    pub stored: Option<Stored>,
}

impl Assessed {
    /// As it is stored and shown.
    pub fn payload(&self) -> Payload {
        Payload {
            facts: self.facts.clone(),
            needs_maintenance: self.assessment.needs_maintenance,
            recommended_actions: actions(&self.assessment),
            assessment: self.assessment.clone(),
        }
    }
}

fn actions(assessment: &Assessment) -> Vec<Action> {
    let recommended = assessment.recommended.iter();
    recommended.map(|recommended| recommended.action).collect()
}

/// Whether an assessment that found nothing new becomes a row of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    IfNew,
    Always,
}

/// Looks at tables. Remembers the properties of their namespaces, so keep it no longer than a pass.
#[derive(Debug)]
pub struct Assessor {
    catalog: Arc<dyn Catalog>,
    pool: Option<Pool>,
    defaults: Defaults,
    databases: Mutex<HashMap<Vec<String>, Arc<OnceCell<Properties>>>>,
}

type Properties = BTreeMap<String, String>;

impl Assessor {
    /// Without a pool it looks, and stores nothing.
    pub fn new(catalog: Arc<dyn Catalog>, pool: Option<Pool>, defaults: Defaults) -> Self {
        Self {
            catalog,
            pool,
            defaults,
            databases: Mutex::default(),
        }
    }

    /// Looks at one table and stores what was found, or why it could not be.
    pub async fn assess(&self, table: &TableName, keep: Keep) -> Result<Assessed, Error> {
        let known = match &self.pool {
            Some(pool) => maintenance::health::latest(&**pool.get().await?, table).await?,
            None => None,
        };
        let known = known.and_then(facts_of);
        let looked = self.look(table, known.as_ref(), keep).await;
        if let Err(error) = &looked {
            self.failed(table, error).await;
        }
        looked
    }

    /// Notes a look that failed, for those who look at the table's health later.
    async fn failed(&self, table: &TableName, error: &Error) {
        use catalog::Error::{NoSuchNamespace, NoSuchTable};
        let why = runtime::chain(error);
        // Anybody may ask about a table that never was.
        let unknown = matches!(error, Error::Catalog(NoSuchTable(_) | NoSuchNamespace(_)));
        let Some(pool) = self.pool.as_ref().filter(|_| !unknown) else {
            return;
        };
        let noted = async {
            let client = pool.get().await?;
            maintenance::health::failed(&**client, table, &why).await?;
            Ok::<_, Error>(())
        };
        if let Err(error) = noted.await {
            warn!(%table, why = runtime::chain(&error), "its failure was not noted");
        }
    }

    /// As [`Self::assess`], by who has read what is `known` already.
    async fn look(
        &self,
        table: &TableName,
        known: Option<&Facts>,
        keep: Keep,
    ) -> Result<Assessed, Error> {
        let loaded = self.catalog.load(table).await?;
        let effective = self.effective(&loaded).await?;
        let measuring = Measuring {
            thresholds: thresholds(&effective),
            now_ms: self.now_ms(&loaded).await?,
            max_snapshot_age_ms: snapshot_age_ms(&effective),
            manifests_max: MANIFESTS_READ_MAX,
        };
        let facts = metadata::measure(
            &loaded.storage,
            &loaded.metadata,
            &loaded.metadata_location,
            &measuring,
            known,
        )
        .await?;
        let mut assessed = Assessed {
            assessment: policy::assess(&facts, &effective),
            facts,
            effective,
            stored: None,
        };
        if let Some(pool) = &self.pool {
            assessed.stored = Some(store(pool, table, &assessed, keep).await?);
        }
        Ok(assessed)
    }

    async fn effective(&self, table: &Table) -> Result<Effective, Error> {
        let namespace = table.name.namespace();
        let cell = {
            let mut databases = self.databases.lock().expect("nobody panics holding it");
            let there = databases.entry(namespace.to_vec()).or_default();
            Arc::clone(there)
        };
        let database = cell
            .get_or_try_init(|| self.catalog.namespace_properties(namespace))
            .await?;
        let own = table.metadata.properties();
        Ok(policy::effective(&self.defaults, database, own))
    }

    /// The database's clock, else the catalog's. Without either nothing is younger than the table.
    async fn now_ms(&self, table: &Table) -> Result<i64, Error> {
        if let Some(pool) = &self.pool {
            return Ok(maintenance::settings::now_ms(&**pool.get().await?).await?);
        }
        let now = self.catalog.clock_ms().await?;
        Ok(now.unwrap_or_else(|| table.metadata.last_updated_ms()))
    }
}

async fn store(
    pool: &Pool,
    table: &TableName,
    assessed: &Assessed,
    keep: Keep,
) -> Result<Stored, Error> {
    let payload = serde_json::to_value(assessed.payload()).expect("text keys, finite numbers");
    let found = maintenance::health::Assessed {
        table,
        facts: &assessed.facts,
        score: assessed.assessment.score,
        needs_maintenance: assessed.assessment.needs_maintenance,
        recommended: &actions(&assessed.assessment),
        payload: &payload,
    };
    let always = keep == Keep::Always;
    Ok(maintenance::health::store(&**pool.get().await?, &found, always).await?)
}

/// The facts of the newest look that succeeded.
fn facts_of(latest: Latest) -> Option<Facts> {
    Payload::read(latest.payload?).map(|payload| payload.facts)
}

/// What a rewrite by this policy would choose files by.
fn thresholds(effective: &Effective) -> Thresholds {
    Thresholds {
        target_file_size_bytes: effective.target_file_size_bytes.value,
        min_input_files: effective.min_input_files.value,
        delete_file_threshold: effective.rewrite_data_delete_file_threshold.value,
        delete_ratio_threshold: effective.rewrite_data_delete_ratio_threshold.value,
    }
}

/// `None` where an expiry reads the table's own property by itself.
fn snapshot_age_ms(effective: &Effective) -> Option<i64> {
    let age = &effective.max_snapshot_age_days;
    (age.source != Source::Iceberg).then_some((age.value * DAY_MS) as i64)
}
