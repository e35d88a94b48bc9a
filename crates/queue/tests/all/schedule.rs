//! Case 66: whatever several workers do at once, in any order, the rows agree afterwards.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::join_all;
use model::EndReason;
use queue::{Cursor, End, Error, Fence, HandBack, Lock};
use tokio_postgres::{Client, NoTls};

use crate::lane::{LEASE, Lane};

const WORKERS: u32 = 8;
const STEPS: u32 = 120;
const KEYS: u32 = 12;

/// Enough randomness for a schedule (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as u32) % bound
    }
}

/// One process: it keeps fences it may have lost long ago, as a paused one does.
struct Worker<'a> {
    lane: &'a Lane,
    client: Client,
    claimer: queue::Claimer,
    fences: Vec<Fence>,
    dice: Dice,
    last_job: &'a AtomicU32,
    completed: u32,
    cursor: Cursor,
}

impl Worker<'_> {
    async fn step(&mut self) {
        match self.dice.below(12) {
            0..=2 => self.submit().await,
            3..=5 => self.claim().await,
            6 | 7 => self.finish().await,
            8 => self.hand_back().await,
            9 => self.renew().await,
            10 => self.cancel().await,
            _ => self.time_passes().await,
        }
    }

    async fn submit(&mut self) {
        let mut item = self
            .lane
            .item(self.last_job.fetch_add(1, Ordering::Relaxed) + 1);
        let key = format!("db.t{}", self.dice.below(KEYS));
        item.max_attempts = 1 + self.dice.below(4) as i32;
        item.priority = self.dice.below(7) as i16 - 3;
        let tx = self.client.transaction().await.unwrap();
        if self.lane.queue.lock(&tx, &key, &item.job).await.unwrap() == Lock::Taken {
            item.concurrency_key = Some(key);
            self.lane.records(&tx, std::slice::from_ref(&item)).await;
            self.lane.queue.enqueue(&tx, &[item]).await.unwrap();
            tx.commit().await.unwrap();
        } else {
            // Dropped, it would go on locking the key until the server hears of it.
            tx.rollback().await.unwrap();
        }
    }

    async fn claim(&mut self) {
        let claimed = self.claimer.claim(&self.client, 3).await.unwrap();
        self.fences
            .extend(claimed.into_iter().map(|claimed| claimed.fence));
    }

    /// Some fence, current or not.
    fn any_fence(&mut self) -> Option<Fence> {
        if self.fences.is_empty() {
            return None;
        }
        let at = self.dice.below(self.fences.len() as u32) as usize;
        Some(self.fences.swap_remove(at))
    }

    async fn finish(&mut self) {
        let Some(fence) = self.any_fence() else {
            return;
        };
        let end = match self.dice.below(4) {
            0 => End::failed(EndReason::ActionFailed, "broke"),
            _ => End::completed(),
        };
        let tx = self.client.transaction().await.unwrap();
        match self.lane.queue.finish(&tx, fence, &end).await {
            Ok(()) => self.completed += u32::from(end == End::completed()),
            Err(Error::Replaced) => {}
            Err(error) => panic!("{error:?}"),
        }
        tx.commit().await.unwrap();
    }

    async fn hand_back(&mut self) {
        let Some(fence) = self.any_fence() else {
            return;
        };
        let how = match self.dice.below(3) {
            0 => HandBack::shutdown(),
            1 => HandBack::failed(Duration::from_secs(30), "later"),
            _ => HandBack::timeout(Duration::ZERO, "hung"),
        };
        let tx = self.client.transaction().await.unwrap();
        match self.lane.queue.hand_back(&tx, fence, &how).await {
            Ok(_) | Err(Error::Replaced) => {}
            Err(error) => panic!("{error:?}"),
        }
        tx.commit().await.unwrap();
    }

    async fn renew(&mut self) {
        let ids: Vec<_> = self.fences.iter().map(Fence::ids).collect();
        let answers = self
            .lane
            .queue
            .renew(&self.client, &ids, LEASE)
            .await
            .unwrap();
        assert_eq!(answers.len(), ids.len(), "one answer for each");
    }

    async fn cancel(&mut self) {
        let last = self.last_job.load(Ordering::Relaxed);
        let job = self.lane.id(1 + self.dice.below(last + 1));
        let tx = self.client.transaction().await.unwrap();
        self.lane.queue.cancel(&tx, &job).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Some leases and delays run out; somebody may sweep.
    async fn time_passes(&mut self) {
        let passes = "update lane.job_queue set visible_at = now()
             where job_id = any (array(
                 select job_id from lane.job_queue where visible_at > now()
                 order by attempt_id limit 4 for update skip locked))";
        self.client.batch_execute(passes).await.unwrap();
        if self.dice.below(2) == 0 {
            let queue = &self.lane.queue;
            queue
                .sweep(&self.client, 10, &mut self.cursor)
                .await
                .unwrap();
        }
    }
}

/// A live record has a row and its key's lock; an ended one ended once and has neither.
async fn check(lane: &Lane, completed: u32) {
    let wrong = "
        select concat_ws(' ', b.job_id, b.status, b.end_count, to_jsonb(q), to_jsonb(l))
        from lane.jobs b
        left join lane.job_queue q using (job_id)
        left join lane.table_locks l on l.holder = b.job_id
        where case b.status
            when 'pending' then q.job_id is null or q.attempt_id is not null or l.holder is null
                or b.end_count <> 0 or l.table_key <> q.concurrency_key
            when 'running' then q.attempt_id is distinct from b.attempt_id or l.holder is null
                or b.end_count <> 0 or l.table_key <> q.concurrency_key
            else q.job_id is not null or l.holder is not null or b.end_count <> 1
        end";
    let rows = lane.client.query(wrong, &[]).await.unwrap();
    let wrong: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let done = lane.count("jobs where status = 'completed'").await;
    assert_eq!(
        done,
        i64::from(completed),
        "each accepted finish shows once"
    );
    assert_eq!(
        lane.count("job_queue").await,
        lane.count("table_locks").await
    );
}

/// Several workers at `url`, the lane's database, do anything in any order; what they leave is
/// looked at time and again.
pub(crate) async fn any_schedule(lane: &Lane, url: &str, seed: u64) {
    let last_job = AtomicU32::new(0);
    let mut workers = join_all((0..WORKERS).map(async |number| Worker {
        lane,
        client: connect(url).await,
        claimer: lane.claimer("w"),
        fences: Vec::new(),
        dice: Dice::new(seed.wrapping_add(u64::from(number) << 40)),
        last_job: &last_job,
        completed: 0,
        cursor: Cursor::default(),
    }))
    .await;
    for _ in 0..STEPS / 10 {
        join_all(workers.iter_mut().map(async |worker| {
            for _ in 0..10 {
                worker.step().await;
            }
        }))
        .await;
        // A lock left behind by a claim that met a submitter is swept.
        for _ in 0..2 {
            let mut cursor = Cursor::default();
            lane.queue
                .sweep(&lane.client, 10_000, &mut cursor)
                .await
                .unwrap();
        }
        check(lane, workers.iter().map(|worker| worker.completed).sum()).await;
    }
    let ended = lane.count("jobs where end_count = 1").await;
    assert!(
        ended > 20,
        "the schedule did something: {ended} of {last_job:?} ended"
    );
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn m11_m18_q66_rows_records_and_locks_agree_after_any_schedule() {
    let seed = testkit::seed();
    for lane in Lane::both().await {
        any_schedule(&lane, lane.database.url(), seed).await;
    }
}
