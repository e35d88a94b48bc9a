//! A ledger without a queue: it remembers what was reserved, can pause before a swap, and can
//! break at it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use model::{Advice, TableName};
use planner::{
    Candidate, Due, Intent, IntentId, Ledger, LedgerError, OpenIntent, Orphans, Purge, Purged,
    Reason, Records, Report, Reserved, Swap, SwapError,
};
use tokio::sync::Semaphore;

use crate::deletions::{Death, Deletions, Step};
use crate::waiting::Waiting;

/// What goes wrong at the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// The process ends before the swap.
    Before,
    /// The process ends after the swap, before it hears so.
    After,
    /// The swap is made and the answer lost.
    LostAnswer,
    /// The swap is not made and the answer lost.
    LostRequest,
    /// Another attempt has the job.
    Replaced,
}

impl Break {
    /// What ends a swap, or the news of it.
    pub(crate) const ENDS: [Self; 4] = [
        Self::Before,
        Self::After,
        Self::LostAnswer,
        Self::LostRequest,
    ];
}

#[derive(Debug)]
pub(crate) struct TestLedger {
    pool: pg::Pool,
    pub(crate) reserved: Mutex<HashSet<String>>,
    pub(crate) landed: Mutex<Vec<String>>,
    pub(crate) reports: Mutex<Vec<Report>>,
    breaks: Mutex<Vec<Break>>,
    /// Commits that go well before the next break.
    well: Mutex<u32>,
    pauses: Mutex<u32>,
    arrived: Semaphore,
    go: Semaphore,
    pub(crate) swaps: Mutex<u32>,
    pub(crate) deletions: Deletions,
    pub(crate) waiting: Waiting,
}

impl TestLedger {
    pub(crate) fn new(pool: pg::Pool) -> Self {
        Self {
            pool,
            reserved: Mutex::default(),
            landed: Mutex::default(),
            reports: Mutex::default(),
            breaks: Mutex::default(),
            well: Mutex::default(),
            pauses: Mutex::default(),
            arrived: Semaphore::new(0),
            go: Semaphore::new(0),
            swaps: Mutex::default(),
            deletions: Deletions::default(),
            waiting: Waiting::default(),
        }
    }

    pub(crate) fn break_next(&self, how: Break) {
        self.breaks.lock().unwrap().push(how);
    }

    /// What was to break and was not reached does not.
    pub(crate) fn forget_breaks(&self) {
        self.breaks.lock().unwrap().clear();
    }

    /// So many commits go well before something breaks.
    pub(crate) fn let_through(&self, count: u32) {
        *self.well.lock().unwrap() = count;
    }

    fn next_break(&self) -> Option<Break> {
        let mut well = self.well.lock().unwrap();
        if *well > 0 {
            *well -= 1;
            return None;
        }
        self.breaks.lock().unwrap().pop()
    }

    /// The next `count` commits wait before their swap, or purged batches after their record,
    /// until they are let go.
    pub(crate) fn pause(&self, count: u32) {
        *self.pauses.lock().unwrap() = count;
    }

    pub(crate) async fn paused(&self) {
        let arrived = tokio::time::timeout(testkit::WAIT_MAX, self.arrived.acquire()).await;
        arrived
            .expect("the rewrite reaches its swap")
            .unwrap()
            .forget();
    }

    pub(crate) fn resume(&self) {
        self.go.add_permits(1);
    }

    /// The reserved files that have `part` in their path.
    pub(crate) fn reserved_paths(&self, part: &str) -> Vec<String> {
        let reserved = self.reserved.lock().unwrap();
        let with = reserved.iter().filter(|path| path.contains(part));
        with.cloned().collect()
    }

    /// How many reserved files have `part` in their name.
    pub(crate) fn reserved_with(&self, part: &str) -> usize {
        let reserved = self.reserved.lock().unwrap();
        let name = |path: &&String| {
            path.rsplit('/')
                .next()
                .is_some_and(|name| name.contains(part))
        };
        reserved.iter().filter(name).count()
    }

    async fn wait(&self) {
        let pause = {
            let mut pauses = self.pauses.lock().unwrap();
            let pause = *pauses > 0;
            *pauses = pauses.saturating_sub(1);
            pause
        };
        if pause {
            self.arrived.add_permits(1);
            self.go.acquire().await.unwrap().forget();
        }
    }
}

fn crash() -> SwapError {
    SwapError::Failed {
        advice: Advice::RetryLater,
        source: "the process ended here".into(),
    }
}

fn lost() -> SwapError {
    SwapError::Unknown("the answer was lost".into())
}

fn database(source: impl std::error::Error + Send + Sync + 'static) -> SwapError {
    SwapError::Failed {
        advice: Advice::RetryLater,
        source: Box::new(source),
    }
}

#[async_trait]
impl Ledger for TestLedger {
    async fn reserve(&self, _table_uuid: &str, files: &[Reserved]) -> Result<(), LedgerError> {
        for file in files {
            let path = file.path.trim_start_matches("file://");
            assert!(
                !Path::new(path).exists(),
                "{path} was written before it was reserved"
            );
            assert!(
                self.reserved.lock().unwrap().insert(file.path.clone()),
                "{path} was reserved twice"
            );
        }
        Ok(())
    }

    async fn commit(
        &self,
        swap: &dyn Swap,
        landed: &[String],
        report: Option<&Report>,
    ) -> Result<(), SwapError> {
        self.wait().await;
        self.deletions
            .at(Death::Before(Step::Swap))
            .map_err(database)?;
        *self.swaps.lock().unwrap() += 1;
        let broken = self.next_break();
        match broken {
            Some(Break::Before) => return Err(crash()),
            Some(Break::LostRequest) => return Err(lost()),
            Some(Break::Replaced) => return Err(SwapError::Replaced),
            Some(Break::After | Break::LostAnswer) | None => {}
        }
        let mut client = self.pool.get().await.map_err(database)?;
        let tx = client.transaction().await.map_err(database)?;
        swap.swap(Some(&tx)).await?;
        tx.commit().await.map_err(database)?;
        for path in landed {
            assert!(
                self.reserved.lock().unwrap().contains(path),
                "{path} landed unreserved"
            );
        }
        self.landed.lock().unwrap().extend(landed.iter().cloned());
        self.deletions
            .at(Death::After(Step::Swap))
            .map_err(database)?;
        self.reports.lock().unwrap().extend(report.cloned());
        match broken {
            Some(Break::After) => Err(crash()),
            Some(Break::LostAnswer) => Err(lost()),
            _ => Ok(()),
        }
    }

    async fn intend(&self, intent: &Intent) -> Result<IntentId, LedgerError> {
        self.deletions.intend(intent)
    }

    async fn list(
        &self,
        table_uuid: &str,
        files: &[Candidate],
        (reason, grace): (Reason, i64),
    ) -> Result<(), LedgerError> {
        if reason == Reason::Orphan {
            for file in files {
                let why = (reason, file.modified_ms);
                self.waiting.add_written(table_uuid, &file.path, why);
            }
        }
        self.deletions.list(files, grace)
    }

    async fn orphans_so_far(&self, table_uuid: &str) -> Result<Orphans, LedgerError> {
        Ok(self.waiting.orphans(table_uuid))
    }

    async fn settle(
        &self,
        intent: IntentId,
        open: &[i64],
        report: Option<&Report>,
    ) -> Result<(), LedgerError> {
        self.deletions.settle(intent, open)?;
        self.reports.lock().unwrap().extend(report.cloned());
        Ok(())
    }

    async fn purged(&self, table_uuid: &str, files: &[Purged]) -> Result<(), LedgerError> {
        self.waiting.purged(table_uuid, files);
        self.wait().await;
        Ok(())
    }

    async fn purged_so_far(&self) -> Result<Purge, LedgerError> {
        Ok(self.waiting.purged_so_far())
    }
}

#[async_trait]
impl Records for TestLedger {
    async fn open_intents(&self, table_uuid: &str) -> Result<Vec<OpenIntent>, LedgerError> {
        Ok(self.deletions.open(table_uuid))
    }

    async fn due(
        &self,
        table_uuid: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Due>, LedgerError> {
        Ok(self.waiting.due(table_uuid, after, limit))
    }

    async fn listed_under(&self, _: &TableName) -> Result<Vec<String>, LedgerError> {
        Ok(self.waiting.tables())
    }

    async fn accounted(&self, _: &str, paths: &[String]) -> Result<Vec<String>, LedgerError> {
        let listed = self.deletions.listed();
        let (reserved, landed) = (self.reserved.lock().unwrap(), self.landed.lock().unwrap());
        let known = |path: &&String| {
            listed.contains(path) || (reserved.contains(*path) && !landed.contains(path))
        };
        Ok(paths.iter().filter(known).cloned().collect())
    }

    async fn now_ms(&self) -> Result<i64, LedgerError> {
        let client = self.pool.get().await.expect("a connection");
        let sql = "select (extract(epoch from clock_timestamp()) * 1000)::bigint";
        Ok(client.query_one(sql, &[]).await.expect("the time").get(0))
    }
}
