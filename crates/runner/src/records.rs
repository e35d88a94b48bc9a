//! What Postgres knows of a table, for whoever plans without a fence.

use async_trait::async_trait;
use maintenance::deletions;
use model::TableName;
use pg::{Client, Pool};
use planner::{Due, Intent, IntentId, LedgerError, OpenIntent, Reason, Records};

/// Reads over a pool, about tables of one catalog.
#[derive(Debug, Clone)]
pub struct PoolRecords {
    pool: Pool,
    catalog: String,
}

impl PoolRecords {
    pub fn new(pool: Pool, catalog: String) -> Self {
        Self { pool, catalog }
    }

    pub(crate) fn catalog(&self) -> &str {
        &self.catalog
    }

    pub(crate) async fn client(&self, doing: &'static str) -> Result<Client, maintenance::Error> {
        let client = self.pool.get().await;
        client.map_err(|source| maintenance::Error::Pool { doing, source })
    }

    pub(crate) async fn clock(&self) -> Result<i64, maintenance::Error> {
        let client = self.client("read the database's clock").await?;
        maintenance::settings::now_ms(&**client).await
    }

    pub(crate) async fn intents(
        &self,
        table_uuid: &str,
    ) -> Result<Vec<deletions::OpenIntent>, maintenance::Error> {
        let client = self.client("read open intents").await?;
        deletions::open_intents(&**client, table_uuid).await
    }

    pub(crate) async fn page(
        &self,
        table_uuid: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<deletions::Due>, maintenance::Error> {
        let client = self.client("read what is due").await?;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        deletions::due(&**client, (&self.catalog, table_uuid), after, limit).await
    }

    pub(crate) async fn names(&self, table: &TableName) -> Result<Vec<String>, maintenance::Error> {
        let client = self.client("read whose files are due").await?;
        deletions::listed_under(&**client, &self.catalog, table).await
    }

    pub(crate) async fn known(
        &self,
        table_uuid: &str,
        paths: &[String],
    ) -> Result<Vec<String>, maintenance::Error> {
        let client = self.client("look for files in the ledgers").await?;
        deletions::accounted(&**client, table_uuid, paths).await
    }
}

#[async_trait]
impl Records for PoolRecords {
    async fn now_ms(&self) -> Result<i64, LedgerError> {
        self.clock()
            .await
            .map_err(|error| failed("read the database's clock", error))
    }

    async fn open_intents(&self, table_uuid: &str) -> Result<Vec<OpenIntent>, LedgerError> {
        let intents = self.intents(table_uuid).await;
        open_intents(intents.map_err(|error| failed("read open intents", error))?)
    }

    async fn due(
        &self,
        table_uuid: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Due>, LedgerError> {
        let page = self.page(table_uuid, after, limit).await;
        due(page.map_err(|error| failed("read what is due", error))?)
    }

    async fn listed_under(&self, table: &TableName) -> Result<Vec<String>, LedgerError> {
        let names = self.names(table).await;
        names.map_err(|error| failed("read whose files are due", error))
    }

    async fn accounted(
        &self,
        table_uuid: &str,
        paths: &[String],
    ) -> Result<Vec<String>, LedgerError> {
        let known = self.known(table_uuid, paths).await;
        known.map_err(|error| failed("look for files in the ledgers", error))
    }
}

pub(crate) fn failed(
    doing: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> LedgerError {
    LedgerError::Failed {
        doing,
        source: source.into(),
    }
}

/// Intents as a plan reads them. One that a newer version wrote fails rather than be guessed at.
pub(crate) fn open_intents(
    rows: Vec<deletions::OpenIntent>,
) -> Result<Vec<OpenIntent>, LedgerError> {
    let open = |row: deletions::OpenIntent| {
        let ids = serde_json::from_value(row.intent.ids);
        Ok(OpenIntent {
            id: IntentId(row.id),
            job: row.job,
            attempt: row.attempt,
            intent: Intent {
                table_uuid: row.intent.table_uuid,
                planned_location: row.intent.planned_location,
                ids: ids.map_err(|error| failed("read an intent's snapshots", error))?,
                grace_ms: row.intent.grace_ms,
            },
            attempt_over: row.attempt_over,
            old: row.old,
        })
    };
    rows.into_iter().map(open).collect()
}

/// Due files as a plan reads them.
pub(crate) fn due(rows: Vec<deletions::Due>) -> Result<Vec<Due>, LedgerError> {
    let reason = |name: &str| {
        [Reason::Attempt, Reason::Expired, Reason::Orphan]
            .into_iter()
            .find(|reason| reason.as_str() == name)
            .ok_or_else(|| failed("read what is due", format!("unknown reason `{name}`")))
    };
    let due = |row: deletions::Due| {
        Ok(Due {
            reason: reason(&row.reason)?,
            path: row.path,
            size_bytes: row.size_bytes.and_then(|size| u64::try_from(size).ok()),
            modified_ms: row.modified_ms,
        })
    };
    rows.into_iter().map(due).collect()
}
