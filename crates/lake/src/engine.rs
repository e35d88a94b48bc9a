//! The engine itself: `planner::Engine` over one catalog.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use async_trait::async_trait;
use catalog::Catalog;
use model::{JobId, TableName};
use planner::{Attempt, Engine, EngineError, Plan, Progress, Records, Report, Task};

use crate::commit::summary::committed_by;
use crate::{dangling, expire, manifests, orphans, position_deletes, purge, rewrite};

/// Plans and executes actions on the tables of one catalog, in this process.
#[derive(Debug, Clone)]
pub struct NativeEngine {
    catalog: Arc<dyn Catalog>,
    cores: usize,
    /// Where rows that are sorted go when there is no room for them.
    spill: PathBuf,
}

impl NativeEngine {
    /// Uses every core of the machine, and its folder for temporary files.
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self {
            catalog,
            cores: available_parallelism().map_or(1, NonZeroUsize::get),
            spill: std::env::temp_dir(),
        }
    }

    /// Uses `folder` for temporary files.
    #[must_use]
    pub fn spilling_to(self, folder: impl Into<PathBuf>) -> Self {
        let spill = folder.into();
        Self { spill, ..self }
    }
}

#[async_trait]
impl Engine for NativeEngine {
    async fn plan(
        &self,
        table: &TableName,
        task: &Task,
        records: &dyn Records,
        progress: &dyn Progress,
    ) -> Result<Plan, EngineError> {
        Ok(survey::plan(&*self.catalog, table, task, (records, progress)).await?)
    }

    async fn committed(
        &self,
        table: &TableName,
        task: &Task,
        job: &JobId,
    ) -> Result<Option<Report>, EngineError> {
        match task {
            // The result is recorded with the last step of each: whatever is not, is not done.
            Task::ExpireSnapshots(_) | Task::RemoveOrphanFiles(_) | Task::PurgePending(_) => {
                Ok(None)
            }
            Task::RewritePositionDeleteFiles(_)
            | Task::RewriteDataFiles(_)
            | Task::RemoveDanglingDeletes(_)
            | Task::RewriteManifests(_) => {
                let table = survey::load(&*self.catalog, table).await?;
                let (report, completed) = committed_by(&table.metadata, job, task.action());
                Ok(report.filter(|_| completed))
            }
        }
    }

    async fn execute(&self, plan: &Plan, attempt: &Attempt<'_>) -> Result<Report, EngineError> {
        match plan {
            Plan::ExpireSnapshots(plan) => {
                Box::pin(expire::execute(&*self.catalog, plan, attempt)).await
            }
            Plan::RemoveOrphanFiles(plan) => {
                let executed = orphans::execute(&*self.catalog, plan, attempt);
                Ok(Box::pin(executed).await?)
            }
            Plan::PurgePending(plan) => {
                let executed = purge::execute(&*self.catalog, plan, attempt);
                Ok(Box::pin(executed).await?)
            }
            Plan::RewriteDataFiles(plan) => {
                let means = (self.cores, self.spill.as_path());
                let executed = rewrite::execute(&*self.catalog, means, plan, attempt);
                Ok(Box::pin(executed).await?)
            }
            Plan::RewritePositionDeleteFiles(plan) => {
                let executed = position_deletes::execute(&*self.catalog, plan, attempt);
                Ok(Box::pin(executed).await?)
            }
            Plan::RemoveDanglingDeletes(plan) => {
                let executed = dangling::execute(&*self.catalog, plan, attempt);
                Ok(Box::pin(executed).await?)
            }
            Plan::RewriteManifests(plan) => {
                let executed = manifests::execute(&*self.catalog, self.cores, plan, attempt);
                Ok(Box::pin(executed).await?)
            }
        }
    }
}
