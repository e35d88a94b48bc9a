//! The actions of one attempt, in order, through the engine.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::{Duration, Instant};

use maintenance::{ActionResult, ActionRow, Job};
use model::{Action, Advice};
use planner::{Attempt, EngineError, Plan, Report, Task};
use queue::Fence;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::attempt::{Runner, Shutdown};
use crate::beat::{Beat, Watched, Why};
use crate::ledger::{ActionLedger, done};
use crate::memory::Permit;
use crate::steady::{steadily, unless_over};

/// How the work of an attempt ended, before that is written.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    /// The process is going away.
    HandBack,
    Stopped {
        why: Why,
        at: Option<At>,
    },
    Failed {
        at: Option<At>,
        advice: Advice,
        error: String,
    },
    /// The job was written by a newer version: it waits for a worker that can read it.
    Unreadable(String),
    Replaced,
}

/// The action at which it ended, and since when that ran.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) action: Action,
    pub(crate) started: Instant,
}

impl Outcome {
    pub(crate) fn of_load(error: &maintenance::Error) -> Self {
        match error {
            maintenance::Error::Unreadable { .. } => Self::Unreadable(error.to_string()),
            other => Self::of(None, other),
        }
    }

    /// Told to stop before there was a job to work on.
    pub(crate) fn of_stop(beat: &Beat) -> Self {
        beat.why()
            .map_or(Self::HandBack, |why| Self::Stopped { why, at: None })
    }

    fn of(at: Option<At>, error: &maintenance::Error) -> Self {
        match error.advice() {
            Advice::Stop => Self::Replaced,
            advice => Self::Failed {
                at,
                advice,
                error: chain(error),
            },
        }
    }
}

/// What one attempt works with.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) runner: &'a Runner,
    pub(crate) fence: &'a Fence,
    pub(crate) beat: &'a Beat,
    pub(crate) job: &'a Job,
    pub(crate) shutdown: &'a Shutdown,
    pub(crate) progress: Watched,
    /// Some attempt came before this one.
    pub(crate) retried: bool,
    /// Actions with a good result, of this attempt or an earlier one.
    pub(crate) finished: BTreeSet<Action>,
}

/// The actions that earlier attempts recorded as done.
pub(crate) fn finished(rows: &[ActionRow]) -> BTreeSet<Action> {
    let good = rows.iter().filter(|row| row.result.outcome.success());
    good.map(|row| row.result.action).collect()
}

impl Work<'_> {
    /// Runs what is left to do, in canonical order.
    pub(crate) async fn run(&mut self) -> Outcome {
        for action in self.remaining() {
            if let Err(outcome) = self
                .action(At {
                    action,
                    started: Instant::now(),
                })
                .await
            {
                return outcome;
            }
            self.finished.insert(action);
        }
        self.purge_unasked().await;
        Outcome::Done
    }

    /// Actions without a good result.
    pub(crate) fn remaining(&self) -> Vec<Action> {
        let open = self
            .job
            .actions
            .iter()
            .filter(|action| !self.finished.contains(action));
        open.copied().collect()
    }

    async fn action(&self, at: At) -> Result<(), Outcome> {
        self.ask_for_cancel(at).await?;
        let (engine, table) = (&self.runner.engine, &self.job.table);
        let options = self
            .job
            .options
            .get(&at.action)
            .cloned()
            .unwrap_or_default();
        let task = Task::parse(at.action, &options).map_err(|bad| Outcome::Failed {
            at: Some(at),
            advice: Advice::GiveUp,
            error: bad.to_string(),
        })?;
        if self.retried
            && !self.job.dry_run
            && let Some(report) = self
                .unless_stopped(at, engine.committed(table, &task, &self.job.id))
                .await?
        {
            info!(job = %self.job.id, action = %at.action, "an earlier attempt committed it");
            let mut result = done(at.action, &report, at.started.elapsed());
            result.message = Some(format!("by an earlier attempt: {}", report.message()));
            return self.record(at, &result, &report).await;
        }
        self.check(at)?;
        if at.action == Action::PurgePending {
            self.sweep(at).await?;
        }
        let ledger = self.ledger(at);
        let planned = engine.plan(table, &task, &ledger, &self.progress);
        let plan = self.unless_stopped(at, planned).await?;
        self.store(at, &plan).await?;
        if self.job.dry_run {
            return Ok(());
        }
        // After an earlier attempt the engine is asked even so: it may have committed a part.
        if let Some(reason) = plan.nothing().filter(|_| !self.retried) {
            let report = Report::nothing(reason);
            let result = done(at.action, &report, at.started.elapsed());
            return self.record(at, &result, &report).await;
        }
        let permit = self.memory(at, &plan).await?;
        self.check(at)?;
        self.execute(at, &plan, &permit).await
    }

    /// The row knows of a cancel before the next beat does, and whose attempt is current.
    async fn ask_for_cancel(&self, at: At) -> Result<(), Outcome> {
        let asked = steadily(self.patience(), |_| async {
            let client = self.runner.client("look for a cancel").await?;
            let asked = maintenance::jobs::cancel_requested(&**client, self.fence).await?;
            client.give_back();
            Ok(asked)
        });
        let cancel = self.answered(at, asked).await?;
        if cancel {
            self.beat.state.stop(Why::Cancelled);
        }
        self.check(at)
    }

    /// Stops here when somebody said so.
    pub(crate) fn check(&self, at: At) -> Result<(), Outcome> {
        let trusted = self.beat.trusted();
        if let Some(why) = self.beat.why() {
            return Err(Outcome::Stopped { why, at: Some(at) });
        }
        if !trusted || self.leaving() {
            return Err(Outcome::HandBack);
        }
        Ok(())
    }

    fn leaving(&self) -> bool {
        self.shutdown.drain.is_cancelled() || self.shutdown.stop.is_cancelled()
    }

    /// Awaits a step that changes nothing, and drops it when the attempt is told to stop.
    pub(crate) async fn unless_stopped<T>(
        &self,
        at: At,
        step: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, Outcome> {
        tokio::select! {
            biased;
            done = caught(step) => {
                self.beat.moved();
                done.map_err(|error| self.broke(at, error))
            }
            () = self.told() => Err(self.broke(at, EngineError::Stopped)),
        }
    }

    /// Awaits a step against Postgres. Told to stop, the attempt waits as long for its answer as
    /// for an engine, and not for as long as a server is silent.
    pub(crate) async fn answered<T>(
        &self,
        at: At,
        step: impl Future<Output = Result<T, maintenance::Error>>,
    ) -> Result<T, Outcome> {
        let stops_within = self.runner.config.stops_within;
        match unless_over(step, self.told(), stops_within).await {
            Some(done) => done.map_err(|error| self.failed(at, &error)),
            None => Err(self.broke(at, EngineError::Stopped)),
        }
    }

    async fn told(&self) {
        told(self.beat, self.shutdown).await;
    }

    /// What an engine's error means for the attempt.
    fn broke(&self, at: At, error: EngineError) -> Outcome {
        if let Some(why) = self.beat.why() {
            return Outcome::Stopped { why, at: Some(at) };
        }
        match error {
            EngineError::Stopped if self.leaving() => Outcome::HandBack,
            // Told to stop at once, an engine may trip over what it was refused since.
            EngineError::Failed { .. } if self.shutdown.stop.is_cancelled() => Outcome::HandBack,
            EngineError::Failed {
                advice: Advice::Stop,
                ..
            } => Outcome::Replaced,
            EngineError::Stopped => Outcome::Failed {
                at: Some(at),
                advice: Advice::RetryLater,
                error: "the engine stopped without being told".to_owned(),
            },
            EngineError::Failed { advice, source } => Outcome::Failed {
                at: Some(at),
                advice,
                error: chain(&*source),
            },
        }
    }

    pub(crate) fn failed(&self, at: At, error: &maintenance::Error) -> Outcome {
        match self.beat.why() {
            Some(why) => Outcome::Stopped { why, at: Some(at) },
            None => Outcome::of(Some(at), error),
        }
    }

    /// A step against Postgres is tried for about as long as the lease lives without it.
    pub(crate) fn patience(&self) -> Instant {
        Instant::now() + self.runner.heart.lease()
    }

    async fn store(&self, at: At, plan: &Plan) -> Result<(), Outcome> {
        let doing = "store the plan";
        let plan = serde_json::to_value(plan).map_err(|error| Outcome::Failed {
            at: Some(at),
            advice: Advice::GiveUp,
            error: format!("{doing}: {error}"),
        })?;
        let plan = &plan;
        let stored = steadily(self.patience(), |_| async move {
            let database = |source| maintenance::Error::Database { doing, source };
            let mut client = self.runner.client(doing).await?;
            let tx = (**client).transaction().await.map_err(database)?;
            maintenance::jobs::store_plan(&tx, self.fence, at.action, plan).await?;
            tx.commit().await.map_err(database)?;
            client.give_back();
            Ok(())
        });
        self.answered(at, stored).await
    }

    pub(crate) async fn record(
        &self,
        at: At,
        result: &ActionResult,
        report: &Report,
    ) -> Result<(), Outcome> {
        self.write_result(at, result).await?;
        self.count(at, report);
        Ok(())
    }

    pub(crate) async fn write_result(&self, at: At, result: &ActionResult) -> Result<(), Outcome> {
        let doing = "record an action";
        let recorded = steadily(self.patience(), |_| async move {
            let database = |source| maintenance::Error::Database { doing, source };
            let mut client = self.runner.client(doing).await?;
            let tx = (**client).transaction().await.map_err(database)?;
            maintenance::actions::record(&tx, self.fence, result).await?;
            tx.commit().await.map_err(database)?;
            client.give_back();
            Ok(())
        });
        self.answered(at, recorded).await
    }

    fn count(&self, at: At, report: &Report) {
        let elapsed: Duration = at.started.elapsed();
        self.runner
            .metrics
            .action_ended(at.action, report.outcome(), elapsed, Some(report));
    }

    pub(crate) async fn memory(&self, at: At, plan: &Plan) -> Result<Permit, Outcome> {
        let _waiting = self.beat.wait();
        tokio::select! {
            biased;
            permit = self.runner.config.memory.take(plan.memory_bytes()) => Ok(permit),
            () = self.told() => Err(self.broke(at, EngineError::Stopped)),
            () = self.shutdown.drain.cancelled() => Err(Outcome::HandBack),
        }
    }

    pub(crate) fn ledger(&self, at: At) -> ActionLedger<'_> {
        ActionLedger {
            records: &self.runner.records,
            queue: &self.runner.queue,
            fence: self.fence,
            beat: self.beat,
            metrics: &self.runner.metrics,
            lease: self.runner.heart.lease(),
            action: at.action,
            started: at.started,
            recorded: AtomicBool::new(false),
            turn: Mutex::new(()),
        }
    }

    async fn execute(&self, at: At, plan: &Plan, permit: &Permit) -> Result<(), Outcome> {
        let ledger = self.ledger(at);
        let report = self.drive(at, plan, permit, &ledger).await?;
        if ledger.recorded() {
            self.count(at, &report);
            return Ok(());
        }
        self.record(at, &done(at.action, &report, at.started.elapsed()), &report)
            .await
    }

    /// Has the engine execute the plan, to its end or until it is told to stop.
    pub(crate) async fn drive(
        &self,
        at: At,
        plan: &Plan,
        permit: &Permit,
        ledger: &ActionLedger<'_>,
    ) -> Result<Report, Outcome> {
        let attempt = Attempt {
            job: self.fence.job(),
            attempt: self.fence.attempt(),
            ledger,
            progress: &self.progress,
            signals: self.beat.signals(),
            memory_bytes: permit.bytes(),
        };
        let execution = caught(self.runner.engine.execute(plan, &attempt));
        let told = async {
            self.told().await;
            self.beat.signals().cancel.cancel();
        };
        let stops_within = self.runner.config.stops_within;
        let executed = unless_over(execution, told, stops_within).await;
        let executed = executed.unwrap_or_else(|| {
            warn!(job = %self.job.id, action = %at.action, "dropped an engine that did not stop");
            Err(EngineError::Stopped)
        });
        executed.map_err(|error| self.broke(at, error))
    }
}

/// Completes when the attempt must stop at once.
pub(crate) async fn told(beat: &Beat, shutdown: &Shutdown) {
    tokio::select! {
        () = beat.signals().cancel.cancelled() => {}
        () = shutdown.stop.cancelled() => {}
    }
}

/// A panic of the engine is this attempt's failure and says why, at once and not when its lease
/// is over. What it had done by then the next attempt finds out.
async fn caught<T>(step: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    let mut step = pin!(step);
    poll_fn(|ctx| {
        let polled = catch_unwind(AssertUnwindSafe(|| step.as_mut().poll(ctx)));
        polled.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            let why = format!("the engine panicked: {}", said.unwrap_or("no reason"));
            Poll::Ready(Err(EngineError::failed(Advice::FindOut, why)))
        })
    })
    .await
}

/// An error with its causes, each said once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if said != last {
            text = format!("{text}: {said}");
        }
        last = said;
        cause = error.source();
    }
    text
}
