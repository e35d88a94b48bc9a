//! The engine itself: `planner::Engine` over one catalog.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use async_trait::async_trait;
use catalog::Catalog;
use metadata::{Fields, LiveFiles, live_files};
use model::{JobId, TableName};
use planner::{Attempt, Engine, EngineError, Plan, Records, Report, Task, rewrite as planned};

use crate::commit::summary::committed_by;
use crate::{Error, expire, purge, rewrite};

/// Plans and executes actions on the tables of one catalog, in this process.
#[derive(Debug, Clone)]
pub struct NativeEngine {
    catalog: Arc<dyn Catalog>,
    cores: usize,
}

impl NativeEngine {
    /// Uses every core of the machine.
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self { catalog, cores }
    }

    async fn load(&self, table: &TableName) -> Result<catalog::Table, Error> {
        let loaded = self.catalog.load(table).await;
        let loaded = loaded.map_err(|source| Error::Catalog {
            doing: "load the table",
            source,
        })?;
        if loaded.metadata.uuid().is_empty() {
            // An old format v1 document; the next commit of a writer of today gives it one.
            return Err(Error::Refused(format!(
                "{} has no table-uuid ({}): a table dropped and made again under its name could \
                 not be told from it; give it one first",
                table, loaded.metadata_location
            )));
        }
        Ok(loaded)
    }

    async fn plan_rewrite(
        &self,
        name: &TableName,
        options: &planned::Options,
    ) -> Result<planned::Plan, EngineError> {
        let table = self.load(name).await?;
        // A filter looks at bounds; without one the metric maps stay unread.
        let fields = if options.filter.is_some() {
            Fields::ALL
        } else {
            Fields::PLAN
        };
        let live = match table.metadata.current_snapshot() {
            None => LiveFiles::default(),
            Some(current) => {
                live_files(&table.storage, &table.metadata, current.snapshot_id, fields)
                    .await
                    .map_err(|source| Error::Metadata {
                        doing: "list the table's files",
                        source,
                    })?
            }
        };
        planned::plan(&table.metadata, &name.key(), &live, options)
            .map_err(|refused| EngineError::failed(refused.advice(), refused))
    }
}

#[async_trait]
impl Engine for NativeEngine {
    async fn plan(
        &self,
        table: &TableName,
        task: &Task,
        records: &dyn Records,
    ) -> Result<Plan, EngineError> {
        match task {
            Task::ExpireSnapshots(options) => {
                let table = self.load(table).await?;
                let planned = expire::plan(&table, options, records).await;
                planned.map(Plan::ExpireSnapshots)
            }
            Task::PurgePending(_) => purge::plan(&*self.catalog, table, records)
                .await
                .map(Plan::PurgePending)
                .map_err(EngineError::from),
            Task::RewriteDataFiles(options) => self
                .plan_rewrite(table, options)
                .await
                .map(Plan::RewriteDataFiles),
        }
    }

    async fn committed(
        &self,
        table: &TableName,
        task: &Task,
        job: &JobId,
    ) -> Result<Option<Report>, EngineError> {
        match task {
            // The result is recorded with the last step of each: whatever is not, is not done.
            Task::ExpireSnapshots(_) | Task::PurgePending(_) => Ok(None),
            Task::RewriteDataFiles(_) => {
                let table = self.load(table).await?;
                let (report, completed) = committed_by(&table.metadata, job);
                Ok(report.filter(|_| completed))
            }
        }
    }

    async fn execute(&self, plan: &Plan, attempt: &Attempt<'_>) -> Result<Report, EngineError> {
        match plan {
            Plan::ExpireSnapshots(plan) => {
                Box::pin(expire::execute(&*self.catalog, plan, attempt)).await
            }
            Plan::PurgePending(plan) => {
                let executed = purge::execute(&*self.catalog, plan, attempt);
                Ok(Box::pin(executed).await?)
            }
            Plan::RewriteDataFiles(plan) => {
                let executed = rewrite::execute(&*self.catalog, self.cores, plan, attempt);
                Ok(Box::pin(executed).await?)
            }
        }
    }
}
