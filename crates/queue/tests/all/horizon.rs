//! Case 61: somebody's old transaction keeps dead rows from being cleared away while the queue is
//! busy. `SNOWPACK_TEST_HORIZON_SECONDS` holds it for longer than the two minutes of every run.

use std::time::Duration;

use futures::future::join_all;
use queue::{Claimer, End, IdType};
use testkit::Server;
use tokio_postgres::{Client, IsolationLevel};

use crate::lane::{CLAIM, Lane};

const HELD_SECONDS: u64 = 120;
const BEFORE_SECONDS: u64 = 5;
/// 200 jobs a second: so many more, and as many done, every tenth of a second.
const STEP: Duration = Duration::from_millis(100);
const STEPS_PER_SECOND: u64 = 10;
const JOBS_PER_STEP: u32 = 20;
const WORKERS: u32 = 2;
/// What waits all the time, so that a claim's answer is a full one.
const BACKLOG: u32 = 1_000;

struct Fleet {
    lane: Lane,
    workers: Vec<(Claimer, Client)>,
    added: u32,
    done: u64,
}

/// What the jobs of some time cost on average.
#[derive(Debug)]
struct Cost {
    /// Buffers of the queue's table and its indexes, for everything done to one job.
    buffers_per_job: f64,
    /// Of one claim of ten, from where workers begin and from the index's start.
    claim: i64,
    claim_from_start: i64,
}

impl Fleet {
    async fn new(lane: Lane) -> Self {
        let mut workers = Vec::new();
        for number in 0..WORKERS {
            let client = lane.database.client().await;
            workers.push((lane.claimer(&number.to_string()), client));
        }
        let mut fleet = Self {
            lane,
            workers,
            added: 0,
            done: 0,
        };
        fleet.add(BACKLOG).await;
        fleet
    }

    async fn add(&mut self, count: u32) {
        let numbers = self.added + 1..=self.added + count;
        let items: Vec<_> = numbers.map(|number| self.lane.item(number)).collect();
        self.added += count;
        self.lane.add(&items).await;
    }

    /// Adds jobs and ends as many for so long, and says what that cost.
    async fn work(&mut self, seconds: u64) -> Cost {
        let (touched, done) = (self.touched().await, self.done);
        let mut steps = tokio::time::interval(STEP);
        for _ in 0..seconds * STEPS_PER_SECOND {
            steps.tick().await;
            self.add(JOBS_PER_STEP).await;
            let share = JOBS_PER_STEP / WORKERS;
            let queue = &self.lane.queue;
            let ended = join_all(self.workers.iter_mut().map(async |(worker, client)| {
                let claimed = worker.claim(client, share).await.unwrap();
                assert_eq!(claimed.len(), share as usize, "jobs wait all the time");
                let ended = claimed.into_iter().map(|c| (c.fence, End::completed()));
                let tx = client.transaction().await.unwrap();
                let answers = queue.finish_all(&tx, ended.collect()).await.unwrap();
                tx.commit().await.unwrap();
                answers.len() as u64
            }));
            self.done += ended.await.iter().sum::<u64>();
        }
        let jobs = (self.done - done) as f64;
        Cost {
            buffers_per_job: (self.touched().await - touched) as f64 / jobs,
            claim: self.lane.rolled_back(&self.claim_at_floor().await).await,
            claim_from_start: self.lane.rolled_back(CLAIM).await,
        }
    }

    /// Buffers touched so far. The counts of a session are there a second after it rests.
    async fn touched(&self) -> i64 {
        let sql = "select (heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::bigint
                   from pg_statio_user_tables where relname = 'job_queue'";
        let flush = "select pg_stat_force_next_flush()";
        for (_, client) in &self.workers {
            client.batch_execute(flush).await.unwrap();
        }
        self.lane.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// A claim from the first job that waits, as a worker makes it whose last answer was full.
    async fn claim_at_floor(&self) -> String {
        let sql = "select min(sort_key)::text from lane.job_queue where claimed_at is null";
        let floor: String = self.lane.client.query_one(sql, &[]).await.unwrap().get(0);
        let to = format!("'{{default}}', array['{floor}'::timestamptz])");
        CLAIM.replace("'{default}')", &to)
    }
}

impl Lane {
    /// Buffers of a claim that is not kept.
    async fn rolled_back(&self, claim: &str) -> i64 {
        let mut cost = 0;
        // The second time the session knows the catalogs.
        for _ in 0..2 {
            self.run("begin").await;
            cost = self.buffers(claim).await;
            self.run("rollback").await;
        }
        cost
    }
}

#[tokio::test]
async fn q61_an_old_transaction_does_not_slow_the_queue_which_recovers_by_itself() {
    let seconds = std::env::var("SNOWPACK_TEST_HORIZON_SECONDS")
        .map_or(HELD_SECONDS, |text| text.parse().unwrap());
    // The launcher looks every second instead of every minute; the rest is the lane's own.
    let server = Server::start(&["autovacuum_naptime=1s"]).await;
    let lane = Lane::on(server.empty_database().await, IdType::Text).await;
    let mut holder = lane.database.client().await;
    let mut fleet = Fleet::new(lane).await;
    let before = fleet.work(BEFORE_SECONDS).await;
    let held = holder
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()
        .await
        .unwrap();
    held.query_one("select count(*) from lane.job_queue", &[])
        .await
        .unwrap();
    fleet.work(seconds - seconds / 6).await;
    let meanwhile = fleet.work(seconds / 6).await;
    println!("before {before:?}, held for {seconds} s {meanwhile:?}");
    assert!(
        meanwhile.claim < 500 && meanwhile.claim < 10 * before.claim,
        "{before:?}, then {meanwhile:?}"
    );
    assert!(
        meanwhile.buffers_per_job < 10.0 * before.buffers_per_job,
        "{before:?}, then {meanwhile:?}"
    );
    let left: i64 = held
        .query_one("select count(*) from lane.job_queue", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, i64::from(BACKLOG), "it sees what it saw first");
    held.rollback().await.unwrap();
    testkit::until(
        "a claim costs what it did, with nobody's help",
        async || fleet.lane.rolled_back(CLAIM).await <= 2 * before.claim_from_start,
    )
    .await;
    let after = fleet.work(BEFORE_SECONDS).await;
    assert!(after.buffers_per_job < 2.0 * before.buffers_per_job);
    assert_eq!(fleet.lane.count("jobs where end_count > 1").await, 0);
}
