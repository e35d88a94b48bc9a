//! Cases 38 and 41: two jobs of one key never overlap in time, and whose the key is meanwhile.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use model::{EndReason, JobId};
use queue::{Ask, Claimed, Claimer, Cursor, End, HandBack, HandedBack, Lock, RenewState};
use tokio_postgres::Client;

use crate::lane::{LEASE, Lane};

const CLAIMERS: u32 = 32;
const JOBS: u32 = 240;
const KEYS: u32 = 4;
/// The shortest lease there is.
const SHORT: Duration = Duration::from_secs(2);

/// What somebody outside Postgres sees of each key: from when to when an attempt was at it.
#[derive(Default)]
struct Outside(Mutex<BTreeMap<String, Vec<Stay>>>);

#[derive(Debug)]
struct Stay {
    from: Instant,
    to: Instant,
    attempt: String,
}

impl Outside {
    /// An attempt trusts its lease no longer than that, so later it is not at its table any more.
    fn saw(&self, claimed: &Claimed, from: Instant, to: Instant) {
        let key = claimed.concurrency_key.clone().unwrap();
        let to = to.min(claimed.lease.trusted_until());
        let attempt = format!("{:?}", claimed.fence.ids());
        let mut seen = self.0.lock().unwrap();
        seen.entry(key)
            .or_default()
            .push(Stay { from, to, attempt });
    }

    /// Nobody came before the one before had gone; says how many came.
    fn one_at_a_time(self) -> usize {
        let mut count = 0;
        for (key, mut stays) in self.0.into_inner().unwrap() {
            stays.sort_by_key(|stay| stay.from);
            for pair in stays.windows(2) {
                let (before, after) = (&pair[0], &pair[1]);
                assert!(before.to <= after.from, "{key}: {before:?} and {after:?}");
                assert_ne!(before.attempt, after.attempt, "{key}");
            }
            count += stays.len();
        }
        count
    }
}

/// One process of the test: submits, claims and works until enough was done.
struct Process<'a> {
    lane: &'a Lane,
    client: Client,
    outside: &'a Outside,
    submitted: &'a AtomicU32,
    done: &'a AtomicU32,
    number: u32,
}

impl Process<'_> {
    async fn live(mut self) {
        let mut turn = self.number;
        while self.done.load(Ordering::SeqCst) < JOBS {
            turn += 1;
            self.submit(turn % KEYS).await;
            // One in eight stands still for longer than its lease, one in eight dies at work.
            let stands = turn.is_multiple_of(8);
            let ask = Ask {
                lease: if stands { SHORT } else { LEASE },
                worker: self.number.to_string(),
                pools: vec!["default".to_owned()],
            };
            let mut worker = Claimer::new(self.lane.queue.clone(), ask);
            let mut claimed = worker.claim(&self.client, 1).await.unwrap();
            if let Some(claimed) = claimed.pop() {
                self.work(claimed, stands, turn % 8 == 4).await;
            }
        }
    }

    async fn submit(&mut self, key: u32) {
        let mut item = self
            .lane
            .item(self.submitted.fetch_add(1, Ordering::SeqCst));
        let key = format!("db.t{key}");
        item.concurrency_key = Some(key.clone());
        let tx = self.client.transaction().await.unwrap();
        if self.lane.queue.lock(&tx, &key, &item.job).await.unwrap() == Lock::Taken {
            self.lane.records(&tx, std::slice::from_ref(&item)).await;
            self.lane.queue.enqueue(&tx, &[item]).await.unwrap();
            tx.commit().await.unwrap();
        }
    }

    async fn work(&mut self, claimed: Claimed, stands: bool, dies: bool) {
        let from = Instant::now();
        self.client.query("select 1", &[]).await.unwrap();
        if stands {
            testkit::until("the lease is not trusted any more", async || {
                !claimed.lease.trusted(Instant::now())
            })
            .await;
        }
        self.outside.saw(&claimed, from, Instant::now());
        if dies {
            let sql = "update lane.job_queue set visible_at = now() where attempt_id = $1";
            let attempt = claimed.fence.attempt().as_str();
            self.client.execute(sql, &[&attempt]).await.unwrap();
            return;
        }
        let tx = self.client.transaction().await.unwrap();
        let end = End::completed();
        match self.lane.queue.finish(&tx, claimed.fence, &end).await {
            Ok(()) => {
                tx.commit().await.unwrap();
                self.done.fetch_add(1, Ordering::SeqCst);
            }
            Err(queue::Error::Replaced) => assert!(stands, "replaced within its lease"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn q38_jobs_of_one_key_never_overlap_in_time_whatever_becomes_of_their_workers() {
    let lane = Lane::text().await;
    lane.run("alter table lane.job_queue alter column max_attempts set default 1000")
        .await;
    let outside = Outside::default();
    let (submitted, done) = (AtomicU32::new(1), AtomicU32::new(0));
    let clients = join_all((0..CLAIMERS).map(|_| lane.database.client())).await;
    let processes = clients.into_iter().zip(0..).map(|(client, number)| {
        Process {
            lane: &lane,
            client,
            outside: &outside,
            submitted: &submitted,
            done: &done,
            number,
        }
        .live()
    });
    join_all(processes).await;
    let ended = lane.count("jobs where end_count = 1 and status = 'completed'");
    assert!(ended.await >= i64::from(JOBS));
    assert_eq!(lane.count("jobs where end_count > 1").await, 0);
    let taken_over = lane.count("jobs where begin_count > 1 and end_count = 1");
    assert!(taken_over.await > 0, "none was taken over");
    let attempts = outside.one_at_a_time();
    assert!(attempts > JOBS as usize, "{attempts}");
}

/// Asks for the key in a transaction that is rolled back.
async fn free(lane: &Lane) -> bool {
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    let asked = lane.queue.lock(&tx, "db.t", &lane.id(999)).await.unwrap();
    // Waited for: a sweep passes over a lock that somebody is at.
    tx.rollback().await.unwrap();
    asked == Lock::Taken
}

async fn hand_back(lane: &Lane, claimed: Claimed, how: &HandBack) {
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    let back = lane.queue.hand_back(&tx, claimed.fence, how).await;
    assert_eq!(back.unwrap(), HandedBack::Waiting);
    tx.commit().await.unwrap();
}

/// A job with a key, through everything that does not end it.
async fn kept(lane: &Lane, number: u32) -> (JobId, Claimed) {
    let mut item = lane.item(number);
    item.concurrency_key = Some("db.t".to_owned());
    lane.add(&[item]).await;
    let still = async |phase: &str| assert!(!free(lane).await, "{phase}");
    still("submitted").await;
    let stale = lane.claim_only().await.fence;
    still("claimed").await;
    lane.expire_all().await;
    still("lease run out").await;
    let claimed = lane.claim_only().await;
    still("claimed again").await;
    lane.complete(stale).await.unwrap_err();
    still("a stale attempt ended").await;
    hand_back(lane, claimed, &HandBack::shutdown()).await;
    still("handed back").await;
    let claimed = lane.claim_only().await;
    let later = HandBack::failed(Duration::from_mins(5), "later");
    hand_back(lane, claimed, &later).await;
    still("waits for its backoff").await;
    lane.delays_pass().await;
    let claimed = lane.claim_only().await;
    lane.run("update lane.table_locks set expires_at = now()")
        .await;
    let ids = [claimed.fence.ids()];
    let renewed = lane.queue.renew(&lane.client, &ids, LEASE);
    assert!(matches!(
        renewed.await.unwrap()[0].state,
        RenewState::Renewed { .. }
    ));
    let covered = "table_locks l join lane.job_queue q on q.job_id = l.holder
                   where l.expires_at >= q.visible_at";
    assert_eq!(lane.count(covered).await, 1, "renewed with the lease");
    (lane.id(number), claimed)
}

#[tokio::test]
async fn q41_a_lock_is_kept_until_its_job_ends_and_released_by_every_end() {
    let lane = Lane::text().await;
    let ends = [
        End::completed(),
        End::failed(EndReason::ActionFailed, "broke"),
        End::cancelled(),
    ];
    for (end, number) in ends.iter().zip(1..) {
        let (_, claimed) = kept(&lane, number).await;
        let mut client = lane.database.client().await;
        let tx = client.transaction().await.unwrap();
        lane.queue.finish(&tx, claimed.fence, end).await.unwrap();
        tx.commit().await.unwrap();
        assert!(free(&lane).await, "{end:?}");
    }
    for (why, number) in ["exhausted", "deadline", "cancelled"].iter().zip(11..) {
        let (job, _) = kept(&lane, number).await;
        let spent = match *why {
            "exhausted" => "max_attempts = attempt_count",
            "deadline" => "deadline_at = now()",
            _ => "cancel_requested_at = now()",
        };
        lane.run(&format!("update lane.job_queue set {spent}"))
            .await;
        lane.expire_all().await;
        assert!(!free(&lane).await, "{why}, but not ended yet");
        let cursor = &mut Cursor::default();
        lane.queue.sweep(&lane.client, 10, cursor).await.unwrap();
        assert_eq!(lane.record(&job).await.reason.as_deref(), Some(*why));
        assert!(free(&lane).await, "{why}");
    }
    assert_eq!(lane.count("table_locks").await, 0);
}
