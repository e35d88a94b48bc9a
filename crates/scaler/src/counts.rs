//! One read a second of a lane and pool, shared by whoever asks.
//!
//! Callers that come while a read runs wait for it; within [`FRESH_FOR`] of its end they get
//! its answer, failures included, so that a thousand callers do not press a server that is
//! coming back. The read is a task of its own: a caller that hangs up neither stops it nor
//! makes room for another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use queue::Depth;
use tracing::{info, warn};

use crate::database::Database;

/// An answer is given again for so long.
pub(crate) const FRESH_FOR: Duration = Duration::from_secs(1);
/// Pools remembered at once; each costs at most one read a second.
const ENTRIES_MAX: usize = 64;
/// A pool nobody asked about for so long makes room for another.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);

/// What is counted: the maintenance lane, and one pool of it or all.
pub(crate) type Pool = Option<String>;

/// Why there is no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoCount {
    /// Postgres did not say.
    Unreachable(String),
    /// Too many different pools were asked about within a minute.
    TooManyPools,
}

pub(crate) type Answer = Result<Depth, NoCount>;

#[derive(Debug)]
pub(crate) struct Counts {
    database: Arc<Database>,
    entries: Mutex<BTreeMap<Pool, Entry>>,
}

#[derive(Debug)]
struct Entry {
    asked: Instant,
    last: Last,
}

/// The newest answer and when it came. Locked while it is being read.
type Last = Arc<tokio::sync::Mutex<Option<(Instant, Answer)>>>;

impl Counts {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database: Arc::new(database),
            entries: Mutex::default(),
        }
    }

    /// The depth of `pool`, at most [`FRESH_FOR`] old.
    pub(crate) async fn get(&self, pool: &Pool) -> Answer {
        let mut last = self.entry(pool)?.lock_owned().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return answer.clone();
        }
        let (database, pool) = (Arc::clone(&self.database), pool.clone());
        let read = tokio::spawn(async move {
            let answer = database
                .depth(pool.as_deref())
                .await
                .map_err(NoCount::Unreachable);
            report(last.as_ref().map(|(_, answer)| answer), &answer);
            *last = Some((Instant::now(), answer.clone()));
            answer
        });
        read.await
            .unwrap_or_else(|error| Err(NoCount::Unreachable(error.to_string())))
    }

    fn entry(&self, pool: &Pool) -> Result<Last, NoCount> {
        // A map of timestamps and pointers is never half written.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if pool.is_some() && !entries.contains_key(pool) && entries.len() >= ENTRIES_MAX {
            entries.retain(|_, entry| entry.asked + FORGOTTEN_AFTER > now);
            if entries.len() >= ENTRIES_MAX {
                return Err(NoCount::TooManyPools);
            }
        }
        let new = || Entry {
            asked: now,
            last: Last::default(),
        };
        let entry = entries.entry(pool.clone()).or_insert_with(new);
        entry.asked = now;
        Ok(Arc::clone(&entry.last))
    }
}

/// Says when the count is lost and when it is back, not at every read between.
fn report(before: Option<&Answer>, now: &Answer) {
    match (before, now) {
        (None | Some(Ok(_)), Err(NoCount::Unreachable(why))) => warn!(why, "cannot count jobs"),
        (Some(Err(_)), Ok(_)) => info!("counting jobs again"),
        _ => {}
    }
}
