//! One read a second of a lane and its pools, shared by whoever asks.
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
use crate::pool::Pools;

/// An answer is given again for so long.
pub(crate) const FRESH_FOR: Duration = Duration::from_secs(1);
/// Sets of pools remembered at once; each costs at most one read a second.
const ENTRIES_MAX: usize = 64;
/// One nobody asked about for so long makes room for another.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);

/// Why there is no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoCount {
    /// Postgres did not say.
    Unreachable(String),
    /// Too many different sets of pools were asked about within a minute.
    TooManyPools,
}

pub(crate) type Answer = Result<Depth, NoCount>;

#[derive(Debug)]
pub(crate) struct Counts {
    database: Arc<Database>,
    entries: Mutex<BTreeMap<Pools, Entry>>,
}

#[derive(Debug)]
struct Entry {
    asked: Instant,
    last: Last,
}

/// The newest answer. Locked while it is being read.
type Last = Arc<tokio::sync::Mutex<Option<Read>>>;

#[derive(Debug)]
struct Read {
    began: Instant,
    ended: Instant,
    answer: Answer,
}

impl Counts {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self {
            database,
            entries: Mutex::default(),
        }
    }

    /// The depth of `pools`, at most [`FRESH_FOR`] old.
    pub(crate) async fn get(&self, pools: &Pools) -> Answer {
        self.since(pools, None).await
    }

    /// As [`Counts::get`], and read after `heard`: it holds what that call was about. Costs one
    /// more read for each `heard`, whoever asks.
    pub(crate) async fn since(&self, pools: &Pools, heard: Option<Instant>) -> Answer {
        let mut last = self.entry(pools)?.lock_owned().await;
        if let Some(read) = &*last
            && read.ended.elapsed() < FRESH_FOR
            && heard.is_none_or(|heard| heard <= read.began)
        {
            return read.answer.clone();
        }
        let (database, pools) = (Arc::clone(&self.database), pools.clone());
        let read = tokio::spawn(async move {
            let began = Instant::now();
            let answer = database
                .depth(&pools.names())
                .await
                .map_err(NoCount::Unreachable);
            report(last.as_ref().map(|read| &read.answer), &answer);
            *last = Some(Read {
                began,
                ended: Instant::now(),
                answer: answer.clone(),
            });
            answer
        });
        read.await
            .unwrap_or_else(|error| Err(NoCount::Unreachable(error.to_string())))
    }

    fn entry(&self, pools: &Pools) -> Result<Last, NoCount> {
        // A map of timestamps and pointers is never half written.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if !pools.are_all() && !entries.contains_key(pools) && entries.len() >= ENTRIES_MAX {
            entries.retain(|_, entry| entry.asked + FORGOTTEN_AFTER > now);
            if entries.len() >= ENTRIES_MAX {
                return Err(NoCount::TooManyPools);
            }
        }
        let new = || Entry {
            asked: now,
            last: Last::default(),
        };
        let entry = entries.entry(pools.clone()).or_insert_with(new);
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
