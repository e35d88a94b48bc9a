//! What repeats by itself, on one replica at a time: the one whose turn it is works, the others
//! look again later. A pass that fails is said and tried again; nothing here ends the process.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::FutureExt;
use maintenance::loops::{self, Outcome};
use pg::Pool;
use runtime::chain;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::kubernetes::Leader;
use crate::request::panicked;

/// Between two looks whose turn it is: often enough that a pass is hardly late when the replica
/// that did the last one is gone.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(15);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(500);

/// Who looks whose turn it is holds the loop's lock for a moment: asked for so often, a lock that is
/// still held is that of a pass.
const TURNS_MAX: u32 = 10;
const TURN_EVERY: Duration = Duration::from_millis(50);

/// What a pass did, for people.
pub(crate) struct Passed {
    pub(crate) outcome: Outcome,
    pub(crate) detail: String,
}

type Pass = Pin<Box<dyn Future<Output = Result<Passed>> + Send>>;

/// One loop: how often, and what.
#[derive(Clone)]
pub(crate) struct Loop {
    pub(crate) name: &'static str,
    pub(crate) every: Duration,
    pub(crate) pass: Arc<dyn Fn() -> Pass + Send + Sync>,
}

impl Loop {
    pub(crate) fn new<P, F>(name: &'static str, every: Duration, pass: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Passed>> + Send + 'static,
    {
        Self {
            name,
            every,
            pass: Arc::new(move || Box::pin(caught(pass()))),
        }
    }
}

/// A pass that panics is one that failed: its loop goes on.
async fn caught(pass: impl Future<Output = Result<Passed>>) -> Result<Passed> {
    let passed = AssertUnwindSafe(pass).catch_unwind().await;
    passed.unwrap_or_else(|panic| Err(anyhow!(panicked(&*panic))))
}

/// Starts them all. Each ends at once when told to stop: a pass that is cut off is one that was
/// killed, and each of them may be.
pub(crate) fn start(
    all: Vec<Loop>,
    pool: &Pool,
    holder: &str,
    leader: Option<&Leader>,
    stop: &CancellationToken,
) -> TaskTracker {
    let tracker = TaskTracker::new();
    for one in all {
        let span = info_span!("loop", name = one.name);
        let (holder, leader) = (holder.to_owned(), leader.cloned());
        let repeated = repeat(one, pool.clone(), holder, leader, stop.clone());
        tracker.spawn(repeated.instrument(span));
    }
    tracker.close();
    tracker
}

async fn repeat(
    one: Loop,
    pool: Pool,
    holder: String,
    leader: Option<Leader>,
    stop: CancellationToken,
) {
    let look_every = (one.every / 4).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
    let mut failing: Option<String> = None;
    loop {
        let looked = async {
            if leader.as_ref().is_some_and(|leader| !leader.looks()) {
                return Ok(false);
            }
            turn(&one, &pool, &holder).await
        };
        let turned = tokio::select! {
            turned = looked => turned,
            () = stop.cancelled() => return,
        };
        match turned {
            Ok(true) if failing.take().is_some() => info!("the loop works again"),
            Ok(_) => {}
            Err(error) => {
                let why = chain(error.as_ref());
                // The same words again and again say nothing new.
                if failing.as_ref() == Some(&why) {
                    debug!(why, "a pass failed again");
                } else {
                    warn!(why, "a pass failed; it is tried again");
                    failing = Some(why);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(look_every) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Does one pass if it is this process's turn; says whether it was.
async fn turn(one: &Loop, pool: &Pool, holder: &str) -> Result<bool> {
    // The lock lives as long as this transaction; the pass has connections of its own.
    let mut own = pool.get().await?;
    let tx = own.transaction().await?;
    if !loops::turn(&tx, one.name, one.every).await? {
        return Ok(false);
    }
    let passed = noted(one.name, pool, holder, (one.pass)()).await?;
    tx.commit().await?;
    passed?;
    Ok(true)
}

/// Does a pass of the loop `name` out of its turn, unless one is under way; says whether it did.
pub(crate) async fn now(
    name: &str,
    pool: &Pool,
    holder: &str,
    pass: impl Future<Output = Result<Passed>>,
) -> Result<bool> {
    let mut own = pool.get().await?;
    for _ in 0..TURNS_MAX {
        let tx = own.transaction().await?;
        if loops::turn(&tx, name, Duration::ZERO).await? {
            let passed = noted(name, pool, holder, pass).await?;
            tx.commit().await?;
            passed?;
            return Ok(true);
        }
        drop(tx);
        tokio::time::sleep(TURN_EVERY).await;
    }
    Ok(false)
}

/// Does a pass and notes its begin and its end.
async fn noted(
    name: &str,
    pool: &Pool,
    holder: &str,
    pass: impl Future<Output = Result<Passed>>,
) -> Result<Result<Passed>> {
    loops::started(&**pool.get().await?, name, holder).await?;
    let passed = pass.await;
    let (outcome, detail) = match &passed {
        Ok(passed) => (passed.outcome, passed.detail.clone()),
        Err(error) => (Outcome::Failed, chain(error.as_ref())),
    };
    loops::ended(&**pool.get().await?, name, outcome, &detail).await?;
    debug!(outcome = outcome.as_str(), detail, "passed");
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_pass_that_panics_is_one_that_failed_and_the_loop_goes_on() {
        let database = testkit::Database::new().await;
        let pool = Pool::connect(database.url(), 4, "test").await.unwrap();
        let passes = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&passes);
        let odd = Loop::new("odd", Duration::from_millis(1), move || {
            let before = count.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(before > 1, "once more");
                Ok(Passed {
                    outcome: Outcome::Done,
                    detail: "well".to_owned(),
                })
            }
        });
        let error = turn(&odd, &pool, "me").await.unwrap_err();
        assert_eq!(error.to_string(), "panic: once more");
        let seen = async || loops::list(&**pool.get().await.unwrap()).await.unwrap();
        assert_eq!(seen().await[0].outcome.as_deref(), Some("failed"));
        let stop = CancellationToken::new();
        let repeated = start(vec![odd], &pool, "me", None, &stop);
        testkit::until("a pass goes well", async || {
            seen().await[0].outcome.as_deref() == Some("done")
        })
        .await;
        assert!(passes.load(Ordering::Relaxed) > 2);
        stop.cancel();
        repeated.wait().await;
    }
}
