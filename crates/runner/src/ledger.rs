//! The ledger of one action: what an engine may ask of the job it works for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use maintenance::{ActionResult, deletions};
use model::{Action, Advice, TableName};
use planner::{
    Candidate, Due, Intent, IntentId, Ledger, LedgerError, OpenIntent, Orphans, Purge, Purged,
    Reason, Records, Report, Reserved, Swap, SwapError,
};
use queue::{Fence, Queue};
use tokio::sync::Mutex;

use crate::beat::Beat;
use crate::metrics::Metrics;
use crate::records::{self, PoolRecords, failed};
use crate::steady::{Advised, steadily};
use crate::writes::Write;

/// An outside call may take this part of a lease, and the whole guard this one: both end before
/// anybody else can have the job.
const SWAP_PART: u32 = 3;
const GUARD_PART: u32 = 2;

/// Answers for one action of one attempt.
#[derive(Debug)]
pub(crate) struct ActionLedger<'a> {
    pub(crate) records: &'a PoolRecords,
    pub(crate) queue: &'a Queue,
    pub(crate) fence: &'a Fence,
    pub(crate) beat: &'a Beat,
    pub(crate) metrics: &'a Metrics,
    pub(crate) lease: Duration,
    pub(crate) action: Action,
    pub(crate) started: Instant,
    /// The result row was written with a commit.
    pub(crate) recorded: AtomicBool,
    /// Held while something is written: one connection for each attempt, however many groups it
    /// writes at once, leaves the pool some for claims and ends.
    pub(crate) turn: Mutex<()>,
}

/// How far a commit came before it failed: before the swap nothing can have happened, so that is
/// tried again.
enum Broke {
    /// The lease is not trusted any more.
    Distrusted,
    Before(maintenance::Error),
    Swap(SwapError),
    /// The swap was made and its transaction may or may not have been.
    After(Box<dyn std::error::Error + Send + Sync>),
}

impl Advised for Broke {
    fn advice(&self) -> Advice {
        match self {
            Self::Before(error) => error.advice(),
            Self::Distrusted | Self::Swap(_) | Self::After(_) => Advice::GiveUp,
        }
    }
}

impl fmt::Display for Broke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Distrusted => f.write_str("the lease is not trusted"),
            Self::Before(error) => error.fmt(f),
            Self::Swap(error) => error.fmt(f),
            Self::After(error) => error.fmt(f),
        }
    }
}

impl ActionLedger<'_> {
    /// A step against Postgres is tried for about as long as the lease lives without it.
    pub(crate) fn patience(&self) -> Instant {
        Instant::now() + self.lease
    }

    pub(crate) fn recorded(&self) -> bool {
        self.recorded.load(Ordering::Relaxed)
    }

    /// Everything is written before the swap, so that only the commit can fail after it.
    async fn guarded(
        &self,
        client: &mut tokio_postgres::Client,
        swap: &dyn Swap,
        landed: &[String],
        result: Option<&ActionResult>,
    ) -> Result<(), Broke> {
        let before = |error: queue::Error| Broke::Before(error.into());
        let guard = self
            .queue
            .guard(client, self.fence, self.lease)
            .await
            .map_err(before)?;
        let tx = guard.transaction();
        maintenance::ledger::mark(tx, self.fence, landed)
            .await
            .map_err(Broke::Before)?;
        if let Some(result) = result {
            maintenance::actions::record(tx, self.fence, result)
                .await
                .map_err(Broke::Before)?;
        }
        match tokio::time::timeout(self.lease / SWAP_PART, swap.swap(Some(tx))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Broke::Swap(error)),
            Err(late) => return Err(Broke::After(Box::new(late))),
        }
        guard
            .commit()
            .await
            .map_err(|error| Broke::After(Box::new(error)))
    }

    async fn commit_once(
        &self,
        swap: &dyn Swap,
        landed: &[String],
        result: Option<&ActionResult>,
    ) -> Result<(), Broke> {
        let _turn = self.turn.lock().await;
        if !self.beat.trusted() {
            return Err(Broke::Distrusted);
        }
        let doing = "get a connection for the guard";
        let mut client = self.records.client(doing).await.map_err(Broke::Before)?;
        let guarded = self.guarded(&mut client, swap, landed, result);
        let outcome = tokio::time::timeout(self.lease / GUARD_PART, guarded)
            .await
            .unwrap_or_else(|late| Err(Broke::After(Box::new(late))));
        match &outcome {
            Ok(()) => client.give_back(),
            // What did not answer must not serve anybody else.
            Err(Broke::After(_)) => client.close(),
            Err(_) => {}
        }
        outcome
    }

    fn swap_error(&self, broke: Broke) -> SwapError {
        match broke {
            Broke::Distrusted => SwapError::Replaced,
            Broke::Before(error) if error.advice() == Advice::Stop => SwapError::Replaced,
            Broke::Before(error) => {
                let advice = match error.advice() {
                    // Nothing was swapped yet, so there is nothing to find out.
                    Advice::FindOut => Advice::RetryLater,
                    other => other,
                };
                SwapError::Failed {
                    advice,
                    source: Box::new(error),
                }
            }
            Broke::Swap(error) => {
                if matches!(error, SwapError::Conflict(_)) {
                    self.metrics.conflict(self.action);
                }
                error
            }
            Broke::After(source) => SwapError::Unknown(source),
        }
    }
}

#[async_trait]
impl Ledger for ActionLedger<'_> {
    async fn reserve(&self, table_uuid: &str, files: &[Reserved]) -> Result<(), LedgerError> {
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|file| (file.path.as_str(), file.kind))
            .collect();
        let files = files.as_slice();
        let reserved = self.write(Write::Reserve { table_uuid, files }).await;
        reserved.map(drop)
    }

    async fn commit(
        &self,
        swap: &dyn Swap,
        landed: &[String],
        report: Option<&Report>,
    ) -> Result<(), SwapError> {
        let result = report.map(|report| done(self.action, report, self.started.elapsed()));
        let committed = steadily(self.patience(), |_| {
            self.commit_once(swap, landed, result.as_ref())
        })
        .await;
        self.beat.moved();
        committed.map_err(|broke| self.swap_error(broke))?;
        if result.is_some() {
            self.recorded.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn intend(&self, intent: &Intent) -> Result<IntentId, LedgerError> {
        self.store_intent(intent).await
    }

    async fn list(
        &self,
        table_uuid: &str,
        files: &[Candidate],
        why: (Reason, i64),
    ) -> Result<(), LedgerError> {
        self.list_files(table_uuid, files, why).await
    }

    async fn settle(
        &self,
        intent: IntentId,
        open: &[i64],
        report: Option<&Report>,
    ) -> Result<(), LedgerError> {
        let result = report.map(|report| done(self.action, report, self.started.elapsed()));
        let result = result.as_ref();
        self.write(Write::Settle {
            intent,
            open,
            result,
        })
        .await?;
        if result.is_some() {
            self.recorded.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn purged(&self, table_uuid: &str, files: &[Purged]) -> Result<(), LedgerError> {
        self.record_purged(table_uuid, files).await
    }

    async fn orphans_so_far(&self, table_uuid: &str) -> Result<Orphans, LedgerError> {
        let doing = "count what was listed";
        let counted = steadily(self.patience(), |_| async {
            let client = self.records.client(doing).await?;
            deletions::orphans_by(&**client, table_uuid, self.fence.job()).await
        });
        let (files, bytes) = counted.await.map_err(|error| failed(doing, error))?;
        Ok(Orphans {
            files,
            bytes,
            left: 0,
        })
    }

    async fn purged_so_far(&self) -> Result<Purge, LedgerError> {
        let doing = "count what was purged";
        let counted = steadily(self.patience(), |_| async {
            let client = self.records.client(doing).await?;
            deletions::purged_by(&**client, self.fence.job()).await
        });
        let by_job = counted.await.map_err(|error| failed(doing, error))?;
        Ok(Purge {
            deleted: by_job.deleted,
            bytes: by_job.bytes,
            kept: by_job.kept,
            failed: by_job.failed,
        })
    }
}

#[async_trait]
impl Records for ActionLedger<'_> {
    async fn now_ms(&self) -> Result<i64, LedgerError> {
        let now = steadily(self.patience(), |_| self.records.clock()).await;
        now.map_err(|error| failed("read the database's clock", error))
    }

    async fn open_intents(&self, table_uuid: &str) -> Result<Vec<OpenIntent>, LedgerError> {
        let intents = steadily(self.patience(), |_| self.records.intents(table_uuid)).await;
        records::open_intents(intents.map_err(|error| failed("read open intents", error))?)
    }

    async fn due(
        &self,
        table_uuid: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Due>, LedgerError> {
        let page = steadily(self.patience(), |_| {
            self.records.page(table_uuid, after, limit)
        });
        records::due(
            page.await
                .map_err(|error| failed("read what is due", error))?,
        )
    }

    async fn listed_under(&self, table: &TableName) -> Result<Vec<String>, LedgerError> {
        let names = steadily(self.patience(), |_| self.records.names(table)).await;
        names.map_err(|error| failed("read whose files are due", error))
    }

    async fn accounted(
        &self,
        table_uuid: &str,
        paths: &[String],
    ) -> Result<Vec<String>, LedgerError> {
        let known = steadily(self.patience(), |_| self.records.known(table_uuid, paths));
        known
            .await
            .map_err(|error| failed("look for files in the ledgers", error))
    }
}

/// The result of an action from its engine's report.
pub(crate) fn done(action: Action, report: &Report, elapsed: Duration) -> ActionResult {
    ActionResult {
        action,
        outcome: report.outcome(),
        error: None,
        message: Some(report.message()),
        elapsed,
        // A report is numbers and texts: it always has a JSON form.
        result: serde_json::to_value(report).ok(),
    }
}
