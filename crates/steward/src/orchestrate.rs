//! One run: candidates, policy, submission, and the record of it all.
//!
//! The run's row is opened first and closed in every outcome; a run that was killed is closed by
//! the next. What is decided about a table is recorded in the transaction that submits its job, so
//! a crash leaves neither without the other. Two runs at once share the work: a job is submitted
//! under the table's lock, and only if no other job came since the table was read. No catalog is
//! asked. Start at [`once`].

mod pass;
mod submit;
mod summary;

use std::time::Duration;

use maintenance::candidates;
use maintenance::runs::{self, Close, Run, RunId};
use model::Advice;
use pg::Pool;
use policy::{Budget, Defaults};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Error;

pub use summary::summary;

/// Who jobs of a run are submitted by.
pub const SUBMITTER: &str = "orchestrator";

/// A run that gave no sign of life for so long is dead. It gives one with every page of tables and
/// every few submissions, none of which takes as long as a statement may.
pub const ABANDONED_AFTER: Duration = Duration::from_mins(5);

/// How often a run that waits looks at its jobs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tries to close a run whose database was lost, with growing pauses between them.
const CLOSE_TRIES_MAX: u32 = 6;
const CLOSE_PAUSE: Duration = Duration::from_millis(200);

/// What a run goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub defaults: Defaults,
    pub budget: Budget,
    /// Decide and record, submit nothing.
    pub dry_run: bool,
    /// Wait for the jobs, so long at most.
    pub wait: Option<Duration>,
    /// A table cache that is older is not believed.
    pub cache_age_max: Duration,
    pub triggered_by: String,
}

/// Looks at every table of the cache once and submits what is due. The answer is the run's row,
/// whatever became of it; an error means that not even that could be written.
pub async fn once(
    pool: &Pool,
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Run, Error> {
    let work = open(pool, settings, stop).await?;
    info!(run = %work.id, dry_run = settings.dry_run, "run started");
    let how = match work.all().await {
        Ok(note) => Close {
            error: None,
            note,
            payload: json!({}),
        },
        Err(error) => Close {
            error: Some(runtime::chain(&error)),
            note: None,
            payload: json!({}),
        },
    };
    let run = close(pool, work.id, &how).await?;
    info!(
        run = %run.id,
        status = run.status.as_str(),
        tables = run.counts.tables_assessed,
        jobs = run.counts.jobs_submitted,
        error = run.error,
        "run ended"
    );
    Ok(run)
}

/// A run in progress.
struct Work<'a> {
    pool: &'a Pool,
    settings: &'a Settings,
    stop: &'a CancellationToken,
    id: RunId,
    /// The database's clock when it began: one moment for all decisions.
    now_ms: i64,
}

async fn open<'a>(
    pool: &'a Pool,
    settings: &'a Settings,
    stop: &'a CancellationToken,
) -> Result<Work<'a>, Error> {
    let client = pool.get().await?;
    let abandoned = runs::abandon_stale(&**client, ABANDONED_AFTER).await?;
    if !abandoned.is_empty() {
        warn!(runs = ?abandoned, "closed runs that were left open");
    }
    runs::settle(&**client).await?;
    let payload = json!({
        "defaults": settings.defaults,
        "budget": settings.budget,
        "wait_seconds": settings.wait.map(|wait| wait.as_secs()),
    });
    let (id, now_ms) = runs::open(
        &**client,
        settings.dry_run,
        &settings.triggered_by,
        &payload,
    )
    .await?;
    Ok(Work {
        pool,
        settings,
        stop,
        id,
        now_ms,
    })
}

/// Closes the run on a fresh connection, again when that is lost too.
async fn close(pool: &Pool, id: RunId, how: &Close) -> Result<Run, Error> {
    let mut pause = CLOSE_PAUSE;
    for tried in 1_u32.. {
        match try_close(pool, id, how).await {
            Err(error) if error.advice() == Advice::RetryLater && tried < CLOSE_TRIES_MAX => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            closed => return closed,
        }
    }
    unreachable!("the loop returns at its bound")
}

async fn try_close(pool: &Pool, id: RunId, how: &Close) -> Result<Run, Error> {
    let client = pool.get().await?;
    match runs::close(&**client, id, how).await {
        // Another run took this one for dead, or the answer to the last try was lost.
        Ok(()) | Err(maintenance::Error::RunClosed(_)) => {}
        Err(error) => return Err(error.into()),
    }
    runs::settle(&**client).await?;
    let run = runs::get(&**client, id).await?;
    Ok(run.ok_or(maintenance::Error::RunClosed(id))?)
}

impl Work<'_> {
    /// What cut the run short, if anything did.
    async fn all(&self) -> Result<Option<String>, Error> {
        self.cache_is_fresh().await?;
        let wishes = self.decide_all().await?;
        let drained = self.submit_all(wishes).await?;
        let live = self.wait().await?;
        Ok(drained.or(live))
    }

    /// A cache that nobody keeps says nothing about who opted out since.
    async fn cache_is_fresh(&self) -> Result<(), Error> {
        let age = candidates::age(&**self.pool.get().await?).await?;
        let max = self.settings.cache_age_max;
        match age {
            None => Err(Error::NeverSynced),
            Some(age) if max < age => Err(Error::Stale {
                age_seconds: age.as_secs(),
                max_seconds: max.as_secs(),
            }),
            Some(_) => Ok(()),
        }
    }

    /// A sign of life; ends the run when it was told to stop, or taken for dead.
    async fn beat(&self, client: &pg::Client) -> Result<(), Error> {
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        Ok(runs::seen(&***client, self.id).await?)
    }

    async fn wait(&self) -> Result<Option<String>, Error> {
        let Some(within) = self.settings.wait.filter(|_| !self.settings.dry_run) else {
            return Ok(None);
        };
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let live = {
                let client = self.pool.get().await?;
                runs::seen(&**client, self.id).await?;
                runs::live_jobs(&**client, self.id).await?
            };
            let why = if live == 0 {
                return Ok(None);
            } else if self.stop.is_cancelled() {
                "told to stop".to_owned()
            } else if deadline <= tokio::time::Instant::now() {
                format!("waited {} s", within.as_secs())
            } else {
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = tokio::time::sleep_until(deadline) => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                continue;
            };
            return Ok(Some(format!("{why}: {live} of its jobs had not ended")));
        }
    }
}
