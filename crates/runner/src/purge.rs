//! Files that are due go with any job of their table that did its work well.
//!
//! Nobody asked for it, so nothing of it changes how the job ends. It writes a result row only when
//! there was something to do.

use std::time::Instant;

use maintenance::{ActionResult, ledger};
use model::{Action, ActionOutcome};
use planner::{Task, purge};
use tracing::{debug, warn};

use crate::actions::{At, Outcome, Work};
use crate::ledger::done;
use crate::steady::steadily;

/// Files one purge sweeps at most; the rest is swept by workers from time to time.
const SWEEP_MAX: i64 = 1_000;

impl Work<'_> {
    /// Purges when the job did not ask for it itself. What goes wrong is logged and counted, and
    /// left for the table's next job.
    pub(crate) async fn purge_unasked(&self) {
        if self.job.dry_run || self.job.actions.contains(&Action::PurgePending) {
            return;
        }
        let at = At {
            action: Action::PurgePending,
            started: Instant::now(),
        };
        let mut due = false;
        match self.purge(at, &mut due).await {
            Ok(()) => {}
            Err(Outcome::Failed { error, .. }) => {
                warn!(job = %self.job.id, table = %self.job.table, error, "files that are due were not purged");
                self.runner.metrics.action_ended(
                    at.action,
                    ActionOutcome::Failed,
                    at.started.elapsed(),
                    None,
                );
                if due {
                    self.record_failed(at, error).await;
                }
            }
            Err(stopped) => {
                debug!(job = %self.job.id, ?stopped, "left what is due to another job");
            }
        }
    }

    /// Sets `due` as soon as it is known that there is something to do.
    async fn purge(&self, at: At, due: &mut bool) -> Result<(), Outcome> {
        self.check(at)?;
        self.sweep(at).await?;
        let task = Task::PurgePending(purge::Options::default());
        let ledger = self.ledger(at);
        let planned = self
            .runner
            .engine
            .plan(&self.job.table, &task, &ledger, &self.progress);
        let plan = self.unless_stopped(at, planned).await?;
        if plan.nothing().is_some() {
            return Ok(());
        }
        *due = true;
        let permit = self.memory(at, &plan).await?;
        self.check(at)?;
        let report = self.drive(at, &plan, &permit, &ledger).await?;
        if report.skipped.is_some() || ledger.recorded() {
            return Ok(());
        }
        let result = done(at.action, &report, at.started.elapsed());
        self.record(at, &result, &report).await
    }

    /// Moves what attempts left behind to the list, so that nothing of it waits for a worker.
    pub(crate) async fn sweep(&self, at: At) -> Result<(), Outcome> {
        if self.job.dry_run {
            return Ok(());
        }
        let catalog = &self.runner.config.catalog;
        let swept = steadily(self.patience(), |_| async {
            let client = self.runner.client("sweep the ledger").await?;
            ledger::sweep(&**client, catalog, SWEEP_MAX).await
        });
        self.answered(at, swept).await.map(drop)
    }

    async fn record_failed(&self, at: At, error: String) {
        let result = ActionResult {
            action: at.action,
            outcome: ActionOutcome::Failed,
            error: Some(error),
            message: None,
            elapsed: at.started.elapsed(),
            result: None,
        };
        if let Err(lost) = self.write_result(at, &result).await {
            debug!(job = %self.job.id, ?lost, "the purge's failure was not recorded");
        }
    }
}
