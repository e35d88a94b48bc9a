//! Claiming: due rows get a fresh attempt and a lease, those that may not run again are ended.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::{AttemptId, EndReason, JobId};
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row};

use crate::sql::{one, rows};
use crate::{Cursor, Error, Fence, Lease, Queue, metrics};

/// Expired and due rows are looked after this often by each worker.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// One tick in this time is a sweep, so that orphans go without a sweeper alive too.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// Rows of each kind that one tick handles; a full batch is repeated at once.
const TICK_BATCH: i32 = 1_000;
/// Repeats before the claim goes first; the next claim goes on with the tick.
const TICKS_MAX: u32 = 5;
/// Picks in one claim that ended no row: more than one when a scan from the floor came back short.
const PICKS_MAX: u32 = 8;
/// Rows ended instead of handed out in one claim before it answers with what it has.
const ENDED_MAX: usize = 1_000;
/// While answers come back full, the index is still read from its start this often: a row put
/// before the floor without a wake-up is not passed over for longer.
const FULL_SCAN_EVERY: Duration = Duration::from_secs(5);

/// What a worker claims.
#[derive(Debug, Clone)]
pub struct Ask {
    /// 2 to 600 s.
    pub lease: Duration,
    /// For people to read (`claimed_by`); no decision looks at it.
    pub worker: String,
    /// Served in this order.
    pub pools: Vec<String>,
}

/// One claimed job.
#[derive(Debug)]
pub struct Claimed {
    pub fence: Fence,
    /// This claim included.
    pub attempt_count: i32,
    pub max_attempts: i32,
    /// Hand-backs so far that cost no attempt.
    pub hand_back_count: i32,
    pub pool: String,
    pub priority: i16,
    pub concurrency_key: Option<String>,
    /// What is left until the job's own deadline.
    pub deadline_in: Option<Duration>,
    /// Since it was queued.
    pub age: Duration,
    pub lease: Lease,
}

/// Claims for one worker; remembers where the last scan began and when it last looked after
/// expired rows.
#[derive(Debug)]
pub struct Claimer {
    queue: Queue,
    ask: Ask,
    /// Per pool: the smallest sort key of the last full answer.
    floors: Vec<Option<Timestamp>>,
    scanned_from_start: Option<Instant>,
    ticked: Option<Instant>,
    swept: Option<Instant>,
    cursor: Cursor,
    /// Handed out by picks of a claim that has not answered.
    taken: Vec<Claimed>,
}

struct Picked {
    claimed: Vec<Claimed>,
    /// Rows taken, ended ones included.
    count: usize,
    /// Where the next scan may begin if this one was full: pool and sort key.
    floor: Option<(usize, Timestamp)>,
}

impl Claimer {
    pub fn new(queue: Queue, ask: Ask) -> Self {
        let floors = vec![None; ask.pools.len()];
        Self {
            queue,
            ask,
            floors,
            scanned_from_start: None,
            ticked: None,
            swept: None,
            cursor: Cursor::default(),
            taken: Vec::new(),
        }
    }

    /// Somebody announced work, which may lie before the floor: the next scan is a full one.
    pub fn woken(&mut self) {
        self.floors.fill(None);
    }

    /// Takes up to `count` due jobs, the most urgent first. Fewer than `count` means that a scan of
    /// everything found no more: the worker may call itself idle if it got none.
    ///
    /// What was taken before a failure is answered, and what a dropped call took is answered by
    /// the next: nobody else can have those jobs until their leases are over.
    pub async fn claim<C: GenericClient + Sync>(
        &mut self,
        client: &C,
        count: u32,
    ) -> Result<Vec<Claimed>, Error> {
        let count = count as usize;
        let now = Instant::now();
        self.taken.retain(|claimed| claimed.lease.trusted(now));
        if let Err(error) = self.fill(client, count).await {
            if self.taken.is_empty() {
                return Err(error);
            }
            tracing::warn!(lane = self.queue.lane(), %error, "claim ended early");
        }
        let rest = self.taken.split_off(count.min(self.taken.len()));
        let claimed = std::mem::replace(&mut self.taken, rest);
        metrics::claimed(self.queue.lane(), claimed.len());
        Ok(claimed)
    }

    /// What a dropped call took and no later one answered: for whoever claims no more, to hand back.
    pub fn give_up(&mut self) -> Vec<Claimed> {
        let now = Instant::now();
        self.taken.retain(|claimed| claimed.lease.trusted(now));
        metrics::claimed(self.queue.lane(), self.taken.len());
        std::mem::take(&mut self.taken)
    }

    async fn fill<C: GenericClient + Sync>(
        &mut self,
        client: &C,
        count: usize,
    ) -> Result<(), Error> {
        self.tick(client).await?;
        let now = Instant::now();
        if self
            .scanned_from_start
            .is_none_or(|at| now - at >= FULL_SCAN_EVERY)
        {
            self.floors.fill(None);
        }
        let (mut picks, mut ended) = (0, 0);
        while self.taken.len() < count && picks < PICKS_MAX && ended < ENDED_MAX {
            let want = count - self.taken.len();
            let from_start = self.floors.iter().all(Option::is_none);
            let picked = self.pick(client, want).await?;
            if from_start {
                self.scanned_from_start = Some(now);
            }
            let full = picked.count >= want;
            self.floors.fill(None);
            if let Some((pool, key)) = picked.floor.filter(|_| full) {
                self.floors[pool] = Some(key);
            }
            let spent = picked.count - picked.claimed.len();
            self.taken.extend(picked.claimed);
            if !full && from_start {
                break;
            }
            ended += spent;
            picks += u32::from(spent == 0);
        }
        Ok(())
    }

    async fn pick<C: GenericClient + Sync>(
        &self,
        client: &C,
        want: usize,
    ) -> Result<Picked, Error> {
        let count = i32::try_from(want).unwrap_or(i32::MAX);
        let lease = self.ask.lease.as_secs_f64();
        let sent = Instant::now();
        let taken = rows(
            client,
            "claim jobs",
            &self.queue.sql().claim,
            &[
                (&count, Type::INT4),
                (&lease, Type::FLOAT8),
                (&self.ask.worker, Type::TEXT),
                (&self.ask.pools, Type::TEXT_ARRAY),
                (&self.floors, Type::TIMESTAMPTZ_ARRAY),
            ],
        )
        .await?;
        metrics::claim_took(self.queue.lane(), sent.elapsed());
        let mut order: Vec<(usize, Timestamp, &Row)> = taken
            .iter()
            .map(|row| (self.place(row), row.get("sort_key"), row))
            .collect();
        order.sort_by_key(|(pool, key, row)| (*pool, *key, row.get::<_, &str>("job_id")));
        // Earlier pools came back short, so only the last one can be full.
        let last = order.last().map_or(0, |(pool, ..)| *pool);
        let floor = order
            .iter()
            .find(|(pool, ..)| *pool == last)
            .map(|(pool, key, _)| (*pool, *key));
        let lease = Lease::granted(sent, self.ask.lease);
        let mut claimed = Vec::with_capacity(taken.len());
        for (_, _, row) in &order {
            claimed.extend(self.queue.read_claim(row, lease)?);
        }
        Ok(Picked {
            claimed,
            count: taken.len(),
            floor,
        })
    }

    /// Which of the pools asked for the row is in.
    fn place(&self, row: &Row) -> usize {
        let pool: &str = row.get("pool");
        self.ask
            .pools
            .iter()
            .position(|name| name == pool)
            .unwrap_or(0)
    }

    /// Ends, resets and flips what time has passed by, at most once a second. The first tick and
    /// one a minute look for orphans as well.
    async fn tick<C: GenericClient + Sync>(&mut self, client: &C) -> Result<(), Error> {
        let now = Instant::now();
        if self.ticked.is_some_and(|at| now - at < TICK_EVERY) {
            return Ok(());
        }
        if self.swept.is_none_or(|at| now - at >= SWEEP_EVERY) {
            self.swept = Some(now);
            let cursor = &mut self.cursor;
            let swept = self.queue.sweep(client, TICK_BATCH, cursor).await?;
            if swept.reset > 0 || swept.flipped > 0 {
                self.floors.fill(None);
            }
        }
        for _ in 0..TICKS_MAX {
            let row = one(
                client,
                "tick",
                &self.queue.sql().tick,
                &[(&TICK_BATCH, Type::INT4)],
            )
            .await?;
            let ticked = metrics::Ticked::read(&row);
            let flipped: i32 = row.get("flipped");
            ticked.count(self.queue.lane());
            if ticked.reset > 0 || flipped > 0 {
                self.floors.fill(None);
            }
            if ticked.ended() + ticked.reset < TICK_BATCH && flipped < TICK_BATCH {
                self.ticked = Some(now);
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Queue {
    /// Claims one named job if it is due and free, in the transaction that submitted it or alone.
    pub async fn claim_one<C: GenericClient + Sync>(
        &self,
        client: &C,
        job: &JobId,
        lease: Duration,
        worker: &str,
    ) -> Result<Option<Claimed>, Error> {
        let sent = Instant::now();
        let taken = rows(
            client,
            "claim a job",
            &self.sql().claim_one,
            &[
                (&job.as_str(), Type::TEXT),
                (&lease.as_secs_f64(), Type::FLOAT8),
                (&worker, Type::TEXT),
            ],
        )
        .await?;
        let Some(row) = taken.first() else {
            return Ok(None);
        };
        let claimed = self.read_claim(row, Lease::granted(sent, lease))?;
        metrics::claimed(self.lane(), usize::from(claimed.is_some()));
        Ok(claimed)
    }

    /// `None` for a row that was ended instead of handed out.
    fn read_claim(&self, row: &Row, lease: Lease) -> Result<Option<Claimed>, Error> {
        let job = JobId::new(row.get::<_, String>("job_id"));
        if let Some(reason) = row.get::<_, Option<String>>("ended") {
            let reason = EndReason::parse(&reason).ok_or(Error::UnknownAnswer(reason))?;
            metrics::ended(self.lane(), reason.as_str(), 1);
            tracing::info!(lane = self.lane(), %job, %reason, "ended instead of claimed");
            return Ok(None);
        }
        let seconds = |name| {
            row.get::<_, Option<f64>>(name)
                .map(|s| Duration::from_secs_f64(s.max(0.0)))
        };
        Ok(Some(Claimed {
            fence: Fence::new(job, AttemptId::new(row.get::<_, String>("attempt_id"))),
            attempt_count: row.get("attempt_count"),
            max_attempts: row.get("max_attempts"),
            hand_back_count: row.get("hand_back_count"),
            pool: row.get("pool"),
            priority: row.get("priority"),
            concurrency_key: row.get("concurrency_key"),
            deadline_in: seconds("deadline_seconds"),
            age: seconds("age_seconds").unwrap_or_default(),
            lease,
        }))
    }
}
