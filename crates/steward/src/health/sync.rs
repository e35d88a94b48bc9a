//! One pass over the inventory: every table looked at once, the one that waited longest first.
//!
//! A table that fails is noted and the others go on. A pass that is cut short (deadline, signal,
//! nobody answers) leaves the rest for the next, which begins with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use catalog::Catalog;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use maintenance::health::{Stale, Stored};
use maintenance::loops;
use model::{Advice, TableName};
use pg::Pool;
use policy::Defaults;
use runner::Memory;
use runtime::Shutdown;
use serde::Serialize;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Assessor, Keep, facts_of};
use crate::Error;

/// The pass's name in `maintenance::loops`.
pub const LOOP: &str = "health_sync";

/// Tables asked for at once.
const PAGE: u32 = 200;
/// Looks at one table that fails for a passing reason.
const LOOKS_MAX: u32 = 4;
/// Before the second look, and so much longer before each next: the pool finds out which of its
/// connections are gone.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Tables in a row that nobody answered about, beyond those looked at side by side: then nobody
/// will about the others.
const UNANSWERED_MAX: usize = 10;
/// Failures told in the report; all are in the log and in `table_health`.
const FAILURES_TOLD_MAX: usize = 20;
/// For the note of a pass's end: the report must not wait for it.
const NOTE_WITHIN: Duration = Duration::from_secs(5);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// What looking at any table takes: its manifests, four at once, unpacked block by block.
const TABLE_BYTES: u64 = 48 << 20;
/// Bytes that one byte of metadata.json takes while it is read: the text, the document, the view.
const METADATA_FACTOR: u64 = 12;

/// How a pass goes about it.
#[derive(Debug, Clone)]
pub struct Syncing {
    /// Tables looked at side by side, as far as the memory allows.
    pub concurrency: usize,
    pub memory: Memory,
    /// One table's limit.
    pub table_timeout: Duration,
    /// After it no further table is begun.
    pub deadline: Option<Duration>,
    /// Who does it, for those who ask.
    pub holder: String,
}

/// Why a pass ended before it had seen every table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    Deadline,
    Stopped,
    /// The catalog or Postgres does not answer; why.
    Lost(String),
}

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Synced {
    /// Found to be different from the last look.
    pub changed: u64,
    pub unchanged: u64,
    pub failed: u64,
    /// Some of those that failed, and why.
    pub failures: Vec<(String, String)>,
    /// The most that were looked at side by side.
    pub at_once_most: usize,
    pub seconds: f64,
    pub cut: Option<Cut>,
}

impl Synced {
    pub fn assessed(&self) -> u64 {
        self.changed + self.unchanged
    }

    pub fn outcome(&self) -> loops::Outcome {
        if self.failed == 0 && self.cut.is_none() {
            loops::Outcome::Done
        } else if self.assessed() > 0 || matches!(self.cut, Some(Cut::Deadline | Cut::Stopped)) {
            loops::Outcome::Partial
        } else {
            loops::Outcome::Failed
        }
    }

    /// One line for people.
    pub fn told(&self) -> String {
        let cut = match &self.cut {
            None => String::new(),
            Some(Cut::Deadline) => "; cut short by the deadline".to_owned(),
            Some(Cut::Stopped) => "; stopped by a signal".to_owned(),
            Some(Cut::Lost(why)) => format!("; given up: {why}"),
        };
        format!(
            "{} assessed ({} changed), {} failed{cut}",
            self.assessed(),
            self.changed,
            self.failed
        )
    }
}

/// Looks at every table of the inventory. Fails only when it could not begin; whatever happens
/// later is in the report.
pub async fn sync(
    pool: &Pool,
    catalog: Arc<dyn Catalog>,
    defaults: &Defaults,
    syncing: &Syncing,
    shutdown: &Shutdown,
) -> Result<Synced, Error> {
    let begun = Instant::now();
    let since = {
        let client = pool.get().await?;
        loops::started(&**client, LOOP, &syncing.holder).await?;
        maintenance::health::now(&**client).await?
    };
    info!(
        event = "health_sync_started",
        concurrency = syncing.concurrency,
        deadline_seconds = syncing.deadline.map(|deadline| deadline.as_secs()),
        "health sync started"
    );
    let pass = Pass {
        pool,
        assessor: Assessor::new(catalog, Some(pool.clone()), defaults.clone()),
        syncing,
        shutdown,
        ends_at: syncing.deadline.map(|deadline| begun + deadline),
        since,
    };
    let mut synced = pass.run().await;
    synced.seconds = begun.elapsed().as_secs_f64();
    let outcome = synced.outcome();
    info!(
        event = "health_sync_finished",
        outcome = outcome.as_str(),
        assessed = synced.assessed(),
        changed = synced.changed,
        failed = synced.failed,
        seconds = synced.seconds,
        "health sync finished: {}",
        synced.told()
    );
    // A connection whose query was given up stays busy with it.
    let why = match tokio::time::timeout(NOTE_WITHIN, note(pool, outcome, &synced.told())).await {
        Ok(Ok(())) => return Ok(synced),
        Ok(Err(error)) => runtime::chain(&error),
        Err(_) => format!("Postgres did not answer within {} s", NOTE_WITHIN.as_secs()),
    };
    warn!(why, "the pass's end was not noted");
    Ok(synced)
}

async fn note(pool: &Pool, outcome: loops::Outcome, told: &str) -> Result<(), Error> {
    let client = pool.get().await?;
    Ok(loops::ended(&**client, LOOP, outcome, told).await?)
}

struct Pass<'a> {
    pool: &'a Pool,
    assessor: Assessor,
    syncing: &'a Syncing,
    shutdown: &'a Shutdown,
    ends_at: Option<Instant>,
    since: Timestamp,
}

/// How one look went.
enum Looked {
    Fine(Stored),
    Failed {
        table: String,
        error: Error,
    },
    /// It was not begun, for the pass is cut short or nobody could.
    Left(Option<Cut>),
}

impl Pass<'_> {
    async fn run(&self) -> Synced {
        let mut synced = Synced::default();
        let mut unanswered = 0;
        let mut told_at = Instant::now();
        let at_once = AtOnce::default();
        let looks = self
            .tables()
            .map_ok(|stale| self.one(stale, &at_once))
            .try_buffer_unordered(self.syncing.concurrency);
        let mut looks = std::pin::pin!(looks);
        loop {
            let looked = tokio::select! {
                looked = looks.next() => looked,
                () = self.shutdown.stop.cancelled() => {
                    synced.cut = Some(Cut::Stopped);
                    break;
                }
            };
            let Some(looked) = looked else { break };
            match looked {
                Ok(Looked::Left(cut)) => synced.cut = synced.cut.or(cut),
                Ok(Looked::Fine(stored)) => {
                    unanswered = 0;
                    match stored {
                        Stored::New(_) => synced.changed += 1,
                        Stored::Unchanged => synced.unchanged += 1,
                    }
                }
                Ok(Looked::Failed { table, error }) => {
                    let lost = error.advice() == Advice::RetryLater;
                    let why = runtime::chain(&error);
                    unanswered = if lost { unanswered + 1 } else { 0 };
                    synced.failed += 1;
                    if synced.failures.len() < FAILURES_TOLD_MAX {
                        synced.failures.push((table, why.clone()));
                    }
                    if unanswered >= UNANSWERED_MAX + self.syncing.concurrency {
                        synced.cut = Some(Cut::Lost(why));
                        break;
                    }
                }
                Err(error) => {
                    let why = format!("list the tables to assess: {}", runtime::chain(&error));
                    synced.cut = Some(Cut::Lost(why));
                    break;
                }
            }
            if PROGRESS_EVERY <= told_at.elapsed() {
                told_at = Instant::now();
                let (assessed, failed) = (synced.assessed(), synced.failed);
                info!(assessed, failed, "health sync goes on");
            }
        }
        synced.at_once_most = at_once.most.load(Ordering::Relaxed);
        synced
    }

    /// The tables nobody looked at since the pass began, in pages.
    fn tables(&self) -> impl Stream<Item = Result<Stale, Error>> {
        let pages = stream::try_unfold(Some(None::<Stale>), async move |after| {
            let Some(after) = after else {
                return Ok::<_, Error>(None);
            };
            // Of a pass that is cut short one page more tells whether anything was left.
            let goes_on = self.cut().is_none();
            let page = self.page(after.as_ref()).await?;
            let full = page.len() == PAGE as usize;
            let next = (full && goes_on).then(|| page.last().cloned());
            Ok(Some((stream::iter(page).map(Ok), next)))
        });
        pages.try_flatten()
    }

    /// Tried twice: of a Postgres that fails over, one connection is lost.
    async fn page(&self, after: Option<&Stale>) -> Result<Vec<Stale>, Error> {
        let ask = async || -> Result<Vec<Stale>, Error> {
            let client = self.pool.get().await?;
            Ok(maintenance::health::stalest(&**client, self.since, after, PAGE).await?)
        };
        match ask().await {
            Err(error) if error.advice() == Advice::RetryLater => ask().await,
            answer => answer,
        }
    }

    /// Why no further table is begun.
    fn cut(&self) -> Option<Cut> {
        if self.shutdown.drain.is_cancelled() {
            return Some(Cut::Stopped);
        }
        let late = self
            .ends_at
            .is_some_and(|ends_at| ends_at <= Instant::now());
        late.then_some(Cut::Deadline)
    }

    async fn one(&self, stale: Stale, at_once: &AtOnce) -> Result<Looked, Error> {
        if let Some(cut) = self.cut() {
            return Ok(Looked::Left(Some(cut)));
        }
        let table = match stale.table {
            Ok(table) => table,
            Err(why) => {
                warn!(why, "the inventory holds a name that is none");
                return Ok(Looked::Left(None));
            }
        };
        let _at_once = at_once.enter();
        let mut looks = 0;
        let error = loop {
            looks += 1;
            match self.within_its_time(&table).await {
                Ok(stored) => return Ok(Looked::Fine(stored)),
                Err(error) => {
                    let again = error.advice() == Advice::RetryLater
                        && !matches!(error, Error::Late(_))
                        && looks < LOOKS_MAX;
                    if !again {
                        break error;
                    }
                    tokio::time::sleep(LOOK_PAUSE * looks).await;
                }
            }
        };
        warn!(%table, why = runtime::chain(&error), "not assessed");
        self.assessor.failed(&table, &error).await;
        Ok(Looked::Failed {
            table: table.key(),
            error,
        })
    }

    async fn within_its_time(&self, table: &TableName) -> Result<Stored, Error> {
        let latest = maintenance::health::latest(&**self.pool.get().await?, table).await?;
        let known = latest.and_then(facts_of);
        let metadata = known.as_ref().map_or(0, |known| known.metadata_bytes);
        let bytes = TABLE_BYTES.saturating_add(metadata.saturating_mul(METADATA_FACTOR));
        // Waiting for memory is no fault of the table's.
        let _memory = self.syncing.memory.take(bytes).await;
        let look = self.assessor.look(table, known.as_ref(), Keep::IfNew);
        let limit = self.syncing.table_timeout;
        match tokio::time::timeout(limit, look).await {
            Ok(assessed) => Ok(assessed?.stored.unwrap_or(Stored::Unchanged)),
            Err(_) => Err(Error::Late(limit.as_secs())),
        }
    }
}

/// How many looks run side by side.
#[derive(Debug, Default)]
struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl AtOnce {
    fn enter(&self) -> Entered<'_> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Entered(self)
    }
}

struct Entered<'a>(&'a AtOnce);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}
