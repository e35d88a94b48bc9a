//! A scripted engine. Its table is `lake`, one row for each commit: in the test's database, or
//! behind a connection that knows nothing of our transaction.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use model::{Advice, JobId, TableName};
use planner::{
    Attempt, Engine, EngineError, Fate, Plan, Progress, Purged, Records, Report, Reserved, Swap,
    SwapError, Task, purge,
};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// Of [`Step::TellThenCommit`].
const UNITS: u64 = 100_000;

/// What one call of `execute` does. Without a script it is [`Step::Commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Reserves a file and commits it.
    Commit,
    Fail(Advice),
    Panic,
    /// Waits until it is told to stop.
    Hang,
    /// As `Hang`, and calls itself alive all the time.
    Busy,
    /// Tells of every one of a hundred thousand units, then commits.
    TellThenCommit,
    /// Never ends, whatever it is told.
    Deaf,
    /// Waits until the test lets it go on, then commits.
    HoldThenCommit,
    CommitThenHang,
    /// Commits, and waits until the test lets it go on.
    CommitThenHold,
    /// Commits and says that it does not know.
    CommitThenFail(Advice),
    /// Holds inside the swap until the test lets it go on, then swaps.
    HoldInSwap,
    /// Somebody else committed first.
    Conflict,
    /// Blocks its thread until the test lets it go on, then commits.
    BlockThenCommit,
}

/// Where the table's commits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lies {
    /// In the database of the queue: swapped within the guard's transaction.
    Here,
    /// Elsewhere: what is swapped stays swapped.
    Elsewhere,
}

#[derive(Debug)]
pub(crate) struct Fake {
    pool: pg::Pool,
    lies: Lies,
    script: Mutex<VecDeque<Step>>,
    pub(crate) executed: AtomicUsize,
    /// Bytes of the plans it makes; without any there is nothing to do.
    pub(crate) memory_bytes: Mutex<Option<u64>>,
    /// One permit for each execution that has reached its step.
    pub(crate) reached: Semaphore,
    pub(crate) go_on: Notify,
    /// What the next purge does instead of deleting.
    pub(crate) purge: Mutex<Option<Step>>,
    pub(crate) unblock: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
    cancel: Mutex<Option<CancellationToken>>,
    /// When told to stop: had the lease time left in the database?
    pub(crate) lease_left_at_stop: Mutex<Option<bool>>,
}

impl Fake {
    pub(crate) fn new(pool: pg::Pool, lies: Lies) -> Self {
        Self {
            pool,
            lies,
            script: Mutex::default(),
            executed: AtomicUsize::new(0),
            memory_bytes: Mutex::new(Some(1)),
            reached: Semaphore::new(0),
            go_on: Notify::new(),
            purge: Mutex::default(),
            unblock: Mutex::default(),
            cancel: Mutex::default(),
            lease_left_at_stop: Mutex::default(),
        }
    }

    pub(crate) fn script(&self, steps: &[Step]) {
        *self.script.lock().unwrap() = steps.iter().copied().collect();
    }

    pub(crate) fn executed(&self) -> usize {
        self.executed.load(Ordering::SeqCst)
    }

    /// As engines would that hold on to what the pool gives them.
    pub(crate) async fn take_every_connection(&self) -> Vec<pg::Client> {
        let all = (0..self.pool.connections_max()).map(|_| self.pool.get());
        futures::future::try_join_all(all).await.unwrap()
    }

    /// The last execution was told to stop at once.
    pub(crate) fn told_to_stop(&self) -> bool {
        self.cancel
            .lock()
            .unwrap()
            .as_ref()
            .is_some_and(CancellationToken::is_cancelled)
    }

    /// Waits for the next execution to reach its step.
    pub(crate) async fn reached(&self) {
        let reached = tokio::time::timeout(testkit::WAIT_MAX, self.reached.acquire()).await;
        reached
            .expect("the execution reaches its step")
            .unwrap()
            .forget();
    }

    async fn commit(&self, attempt: &Attempt<'_>) -> Result<Report, EngineError> {
        self.commit_as(attempt, Step::Commit).await
    }

    async fn commit_as(&self, attempt: &Attempt<'_>, step: Step) -> Result<Report, EngineError> {
        let path = format!("lake/{}/{}", attempt.job, attempt.attempt);
        let files = [Reserved {
            path: path.clone(),
            kind: "data",
        }];
        let reserved = attempt.ledger.reserve("uuid", &files).await;
        reserved.map_err(|error| EngineError::failed(Advice::RetryLater, error))?;
        let report = report();
        let swap = Insert {
            fake: self,
            job: attempt.job,
            step,
        };
        match attempt.ledger.commit(&swap, &[path], Some(&report)).await {
            Ok(()) => Ok(report),
            Err(error) => {
                let advice = match &error {
                    SwapError::Replaced => Advice::Stop,
                    SwapError::Unknown(_) => Advice::FindOut,
                    SwapError::Conflict(_) => Advice::PlanAgain,
                    SwapError::Failed { advice, .. } => *advice,
                };
                Err(EngineError::failed(advice, error))
            }
        }
    }

    /// What is due of the table `uuid`.
    async fn purge_plan(table: &TableName, records: &dyn Records) -> Result<Plan, EngineError> {
        let lost = |error| EngineError::failed(Advice::RetryLater, error);
        let mut plan = purge::Plan::of(table.key(), "uuid".to_owned(), 0);
        plan.count(&records.due("uuid", None, purge::PAGE).await.map_err(lost)?);
        Ok(Plan::PurgePending(plan))
    }

    /// Calls everything deleted that is due.
    async fn purge(&self, attempt: &Attempt<'_>) -> Result<Report, EngineError> {
        let step = self.purge.lock().unwrap().take();
        match step {
            Some(Step::Fail(advice)) => {
                return Err(EngineError::failed(advice, "scripted failure"));
            }
            Some(Step::Hang) => {
                self.reached.add_permits(1);
                self.told(attempt).await;
                return Err(EngineError::Stopped);
            }
            _ => {}
        }
        let lost = |error| EngineError::failed(Advice::RetryLater, error);
        let due = attempt
            .ledger
            .due("uuid", None, purge::PAGE)
            .await
            .map_err(lost)?;
        let deleted = |due: planner::Due| Purged {
            path: due.path,
            fate: Fate::Deleted,
        };
        let fates: Vec<Purged> = due.into_iter().map(deleted).collect();
        attempt.ledger.purged("uuid", &fates).await.map_err(lost)?;
        Ok(Report {
            purge: Some(attempt.ledger.purged_so_far().await.map_err(lost)?),
            ..Report::default()
        })
    }

    async fn told(&self, attempt: &Attempt<'_>) {
        tokio::select! {
            () = attempt.signals.cancel.cancelled() => {}
            () = attempt.signals.drain.cancelled() => {}
        }
        let client = self.pool.get().await.unwrap();
        let sql = "select visible_at > now() from snowpack.job_queue where job_id = $1";
        let row = client
            .query_opt(sql, &[&attempt.job.as_str()])
            .await
            .unwrap();
        *self.lease_left_at_stop.lock().unwrap() = row.map(|row| row.get(0));
    }

    async fn busy(attempt: &Attempt<'_>) {
        while !attempt.signals.cancel.is_cancelled() {
            attempt.progress.alive();
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn report() -> Report {
    Report {
        files_in: 4,
        files_out: 1,
        bytes_in: 400,
        bytes_out: 90,
        rows_in: 10,
        rows_out: 10,
        snapshot_id: Some(7),
        commit_attempts: 1,
        ..Report::default()
    }
}

struct Insert<'a> {
    fake: &'a Fake,
    job: &'a JobId,
    step: Step,
}

#[async_trait]
impl Swap for Insert<'_> {
    async fn swap(&self, within: Option<&pg::Transaction<'_>>) -> Result<(), SwapError> {
        match self.step {
            Step::Conflict => return Err(SwapError::Conflict("scripted conflict".to_owned())),
            Step::HoldInSwap => {
                self.fake.reached.add_permits(1);
                self.fake.go_on.notified().await;
            }
            _ => {}
        }
        let sql = "insert into lake (job_id) values ($1)";
        let inserted = match self.fake.lies {
            Lies::Here => within.unwrap().execute(sql, &[&self.job.as_str()]).await,
            Lies::Elsewhere => {
                let client = self.fake.pool.get().await.unwrap();
                client.execute(sql, &[&self.job.as_str()]).await
            }
        };
        inserted
            .map(drop)
            .map_err(|source| SwapError::Unknown(Box::new(source)))
    }
}

#[async_trait]
impl Engine for Fake {
    async fn plan(
        &self,
        table: &TableName,
        task: &Task,
        records: &dyn Records,
        _: &dyn Progress,
    ) -> Result<Plan, EngineError> {
        if let Task::PurgePending(_) = task {
            return Self::purge_plan(table, records).await;
        }
        if let Task::RemoveOrphanFiles(_) = task {
            let why = "remove_orphan_files is refused here";
            return Err(EngineError::failed(Advice::GiveUp, why));
        }
        let memory_bytes = *self.memory_bytes.lock().unwrap();
        let group = serde_json::json!({
            "places": [], "moves": false, "equality_deletes": [], "partition_path": "", "inputs": [],
            "output_files": 1, "output_bytes": 1, "reason": "scripted",
        });
        let plan = serde_json::json!({
            "action": "rewrite_data_files",
            "table": table.key(), "table_uuid": "uuid", "snapshot_id": 1, "sequence_number": 1,
            "schema_id": 0, "output_spec_id": 0, "target_file_size_bytes": 1,
            "min_file_size_bytes": 0, "max_file_size_bytes": 2,
            "groups": if memory_bytes.is_some() { vec![group] } else { vec![] },
            "skipped": [], "groups_per_commit": null, "failed_commits_max": 0,
            "concurrent_groups_max": null, "use_starting_sequence_number": true,
            "remove_dangling_deletes": false, "memory_bytes": memory_bytes.unwrap_or(0),
            "rules": "scripted",
        });
        Ok(serde_json::from_value(plan).unwrap())
    }

    async fn committed(
        &self,
        _: &TableName,
        task: &Task,
        job: &JobId,
    ) -> Result<Option<Report>, EngineError> {
        if let Task::PurgePending(_) | Task::RemoveOrphanFiles(_) = task {
            return Ok(None);
        }
        let client = self.pool.get().await.unwrap();
        let sql = "select 1 from lake where job_id = $1";
        let found = client.query_opt(sql, &[&job.as_str()]).await;
        let found = found.map_err(|error| EngineError::failed(Advice::RetryLater, error))?;
        Ok(found.map(|_| report()))
    }

    async fn execute(&self, plan: &Plan, attempt: &Attempt<'_>) -> Result<Report, EngineError> {
        if let Plan::PurgePending(_) = plan {
            return self.purge(attempt).await;
        }
        self.executed.fetch_add(1, Ordering::SeqCst);
        *self.cancel.lock().unwrap() = Some(attempt.signals.cancel.clone());
        let step = self
            .script
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Step::Commit);
        self.reached.add_permits(1);
        match step {
            Step::Commit | Step::Conflict | Step::HoldInSwap => self.commit_as(attempt, step).await,
            Step::Fail(advice) => Err(EngineError::failed(advice, "scripted failure")),
            Step::Panic => panic!("scripted panic"),
            Step::Hang => {
                self.told(attempt).await;
                Err(EngineError::Stopped)
            }
            Step::Busy => {
                Self::busy(attempt).await;
                Err(EngineError::Stopped)
            }
            Step::TellThenCommit => {
                attempt.progress.total(UNITS);
                (0..UNITS).for_each(|_| attempt.progress.advance(1));
                self.commit(attempt).await
            }
            Step::Deaf => std::future::pending().await,
            Step::HoldThenCommit => {
                self.go_on.notified().await;
                self.commit(attempt).await
            }
            Step::CommitThenHang => {
                self.commit(attempt).await?;
                self.reached.add_permits(1);
                self.told(attempt).await;
                Err(EngineError::Stopped)
            }
            Step::CommitThenHold => {
                let report = self.commit(attempt).await?;
                self.reached.add_permits(1);
                self.go_on.notified().await;
                Ok(report)
            }
            Step::CommitThenFail(advice) => {
                self.commit(attempt).await?;
                Err(EngineError::failed(advice, "scripted failure"))
            }
            Step::BlockThenCommit => {
                let unblock = self.unblock.lock().unwrap().take().unwrap();
                unblock.recv().unwrap();
                self.commit(attempt).await
            }
        }
    }
}
