//! The ledger of one action: what an engine may ask of the job it works for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use maintenance::ActionResult;
use model::{Action, Advice};
use pg::{Client, Pool};
use planner::{
    Candidate, Due, Intent, IntentId, Ledger, LedgerError, OpenIntent, Purged, Records, Report,
    Reserved, Swap, SwapError,
};
use queue::{Fence, Queue};

use crate::beat::Beat;
use crate::metrics::Metrics;
use crate::steady::{Advised, steadily};

/// An outside call may take this part of a lease, and the whole guard this one: both end before
/// anybody else can have the job.
const SWAP_PART: u32 = 3;
const GUARD_PART: u32 = 2;

/// Answers for one action of one attempt.
#[derive(Debug)]
pub(crate) struct ActionLedger<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) queue: &'a Queue,
    pub(crate) fence: &'a Fence,
    pub(crate) beat: &'a Beat,
    pub(crate) metrics: &'a Metrics,
    pub(crate) lease: Duration,
    pub(crate) action: Action,
    pub(crate) started: Instant,
    /// The result row was written with a commit.
    pub(crate) recorded: AtomicBool,
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
    pub(crate) fn recorded(&self) -> bool {
        self.recorded.load(Ordering::Relaxed)
    }

    async fn client(&self, doing: &'static str) -> Result<Client, maintenance::Error> {
        self.pool
            .get()
            .await
            .map_err(|source| maintenance::Error::Pool { doing, source })
    }

    async fn reserve_once(
        &self,
        table_uuid: &str,
        files: &[(&str, &str)],
    ) -> Result<(), maintenance::Error> {
        let doing = "reserve files";
        let mut client = self.client(doing).await?;
        let database = |source| maintenance::Error::Database { doing, source };
        let tx = (**client).transaction().await.map_err(database)?;
        maintenance::ledger::reserve(&tx, self.fence, table_uuid, files).await?;
        tx.commit().await.map_err(database)
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
        if !self.beat.trusted() {
            return Err(Broke::Distrusted);
        }
        let doing = "get a connection for the guard";
        let mut client = self.client(doing).await.map_err(Broke::Before)?;
        let guarded = self.guarded(&mut client, swap, landed, result);
        let outcome = tokio::time::timeout(self.lease / GUARD_PART, guarded)
            .await
            .unwrap_or_else(|late| Err(Broke::After(Box::new(late))));
        if let Err(Broke::After(_)) = &outcome {
            close(client);
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
        if !self.beat.trusted() {
            return Err(LedgerError::Replaced);
        }
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|file| (file.path.as_str(), file.kind))
            .collect();
        let until = Instant::now() + self.lease;
        let reserved = steadily(until, |_| self.reserve_once(table_uuid, &files)).await;
        self.beat.moved();
        reserved.map_err(|error| match error.advice() {
            Advice::Stop => LedgerError::Replaced,
            _ => LedgerError::Failed {
                doing: "reserve files",
                source: Box::new(error),
            },
        })
    }

    async fn commit(
        &self,
        swap: &dyn Swap,
        landed: &[String],
        report: Option<&Report>,
    ) -> Result<(), SwapError> {
        let result = report.map(|report| done(self.action, report, self.started.elapsed()));
        let until = Instant::now() + self.lease;
        let committed = steadily(until, |_| self.commit_once(swap, landed, result.as_ref())).await;
        self.beat.moved();
        committed.map_err(|broke| self.swap_error(broke))?;
        if result.is_some() {
            self.recorded.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn intend(&self, _: &Intent) -> Result<IntentId, LedgerError> {
        Err(not_built("store an intent"))
    }

    async fn list(&self, _: &str, _: &[Candidate], _: i64) -> Result<(), LedgerError> {
        Err(not_built("list files for deletion"))
    }

    async fn settle(&self, _: IntentId, _: &[i64], _: Option<&Report>) -> Result<(), LedgerError> {
        Err(not_built("settle an intent"))
    }

    async fn purged(&self, _: &str, _: &[Purged]) -> Result<(), LedgerError> {
        Err(not_built("record what was purged"))
    }
}

fn not_built(doing: &'static str) -> LedgerError {
    LedgerError::Failed {
        doing,
        source: "not built".into(),
    }
}

#[async_trait]
impl Records for ActionLedger<'_> {
    async fn now_ms(&self) -> Result<i64, LedgerError> {
        let until = Instant::now() + self.lease;
        let doing = "read the database's clock";
        let now = steadily(until, |_| async {
            maintenance::settings::now_ms(&**self.client(doing).await?).await
        });
        now.await.map_err(|error| LedgerError::Failed {
            doing,
            source: Box::new(error),
        })
    }

    async fn open_intents(&self, _: &str) -> Result<Vec<OpenIntent>, LedgerError> {
        Ok(Vec::new())
    }

    async fn due(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<Due>, LedgerError> {
        Ok(Vec::new())
    }
}

/// A connection that did not answer must not serve anybody else.
fn close(client: Client) {
    drop(Client::take(client));
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
