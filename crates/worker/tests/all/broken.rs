//! A job broken at every step it has: the process killed, its connection lost, its wish refused
//! for a while or for good. The next worker ends it as if nothing had been.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use model::{Action, JobId, JobStatus};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use testkit::{S3, SmallTable, until};

use crate::files::Files;
use crate::lakehouse::{CATALOG, Lakehouse};
use crate::points::{ELSEWHERE, Fault, GIVEN_UP, POINTS, Point, Wires, nameless};

/// Cases worked on at once; most of their time is waiting.
const LANES: usize = 3;
/// Tables made at once: most of that is starting the oracle.
const TABLES: usize = 12;

type Case = (&'static Point, Fault);

impl Lakehouse {
    /// New tables of which an old snapshot alone holds a file, or how they look.
    async fn expirable(&self, op: &str, tables: &[String]) -> BTreeMap<String, SmallTable> {
        let names: Vec<String> = tables.iter().map(|table| format!("db.{table}")).collect();
        let asked = self.placed(json!({"op": op, "tables": names}));
        let run = move || testkit::oracle("expirable_tables", &asked);
        let seen = tokio::task::spawn_blocking(run).await.unwrap();
        let seen = seen.as_object().unwrap().iter();
        seen.map(|(name, table)| (name.clone(), SmallTable::of(table)))
            .collect()
    }

    /// Submits all that a table can need, in one job.
    async fn everything(&self, table: &str) -> JobId {
        let expiry = [("older_than", "4102444800000"), ("deletion-grace-ms", "0")];
        let rewrite = [("min-input-files", "2")];
        let texts = |options: &[(&str, &str)]| {
            let own = options.iter();
            own.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let (expiry, rewrite) = (texts(&expiry), texts(&rewrite));
        self.submit_with(table, |asked| {
            asked.actions = vec![
                Action::PurgePending,
                Action::RewriteDataFiles,
                Action::ExpireSnapshots,
            ];
            asked.options.insert(Action::ExpireSnapshots, expiry);
            asked.options.insert(Action::RewriteDataFiles, rewrite);
            asked.max_attempts = 9;
        })
        .await
    }

    /// A worker on these wires, until it has nothing to do or was killed where it is held.
    async fn work_on(&self, wires: &Wires, elsewhere: bool) {
        let settings = wires.settings(elsewhere);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let worker = self.worker(&settings, &["--exit-when-idle"]);
        until("the worker is held or ends", async || {
            wires.held() || !worker.running()
        })
        .await;
        if wires.held() {
            worker.signal("KILL");
        }
        worker.ended().await;
    }

    /// Works the job off, after whatever pause.
    async fn ends(&self, job: &JobId) -> JobStatus {
        until("the job has ended", async || {
            if self.status(job).await.terminal() {
                return true;
            }
            self.make_due(job).await;
            self.work_off(&[], &[]).await;
            self.status(job).await.terminal()
        })
        .await;
        self.status(job).await
    }

    /// Files that could not be deleted, and those of attempts that are over, are due at once, not
    /// after their pause or their grace; false without any.
    async fn purged_again(&self) -> bool {
        let sql = "update snowpack.pending_deletions set delete_after = now() \
                   where state = 'pending' and delete_after > now()";
        let client = self.database.client().await;
        // As every worker does from time to time.
        let swept = maintenance::ledger::sweep(&client, CATALOG, 1_000).await;
        swept.unwrap();
        client.execute(sql, &[]).await.unwrap() > 0
    }

    /// One job broken once, then worked off.
    async fn broken(&self, server: &S3, table: &str, before: &Files, (point, fault): Case) {
        let when = format!("{fault:?} at: {}", point.name);
        let elsewhere = self.catalog().url() != self.database.url();
        let job = self.everything(table).await;
        let (database, catalog) = (self.database.url(), self.catalog().url());
        let wires = Wires::new(database, catalog, server, Some((point, fault))).await;
        self.work_on(&wires, elsewhere).await;
        assert!(wires.met(), "{when}: never met: {:#?}", wires.seen());
        assert_eq!(wires.held(), fault.kills(), "{when}");
        drop(wires);
        self.nothing_is_lost(table, before, &when).await;

        let mut last = job.clone();
        if self.ends(&job).await != JobStatus::Completed {
            let why = self.job(&job).await;
            assert_eq!(fault, Fault::Denied, "{when}: {why:?}");
            self.nothing_is_lost(table, before, &when).await;
            last = self.everything(table).await;
            assert_eq!(self.ends(&last).await, JobStatus::Completed, "{when}");
        }
        if self.purged_again().await {
            last = self.everything(table).await;
            assert_eq!(self.ends(&last).await, JobStatus::Completed, "{when}");
        }
        self.nothing_is_lost(table, before, &when).await;
        self.only_the_current_is_left(table, before, &when).await;
        if fault.kills() {
            // Of an attempt that lived on, what it wrote in vain waits for the table's next job.
            assert_eq!(self.waiting_of_attempts().await, 0, "{when}");
        }
        let (_, left) = self.leftovers(&last).await;
        assert_eq!(left, 0, "{when}: rows of the queue and locks");
        let mut actions: Vec<String> = self.results(&last).await;
        actions.sort();
        let names: Vec<&str> = actions.iter().filter_map(|a| a.split(' ').next()).collect();
        let want = ["expire_snapshots", "purge_pending", "rewrite_data_files"];
        assert_eq!(names, want, "{when}: one good result each");
    }
}

/// Breaks jobs in a catalog that lies here or elsewhere until no case is left.
async fn lane(server: Arc<S3>, elsewhere: bool, cases: Arc<Mutex<Vec<Case>>>) {
    let house = Lakehouse::in_s3(&server, elsewhere).await;
    let mut before = BTreeMap::new();
    let mut fresh = Vec::new();
    let mut broken = BTreeMap::new();
    loop {
        let Some(case) = cases.lock().unwrap().pop() else {
            break;
        };
        if fresh.is_empty() {
            let count = TABLES.min(cases.lock().unwrap().len() / LANES + 1);
            let from = before.len();
            fresh = (from..from + count).map(|n| format!("t{n}")).collect();
            before.extend(house.expirable("create", &fresh).await);
        }
        let table = fresh.pop().unwrap();
        let files = house.files(&table).await;
        broken.insert(format!("db.{table}"), case);
        house.broken(&server, &table, &files, case).await;
    }
    let tables: Vec<String> = broken.keys().map(|name| name.replace("db.", "")).collect();
    for (name, after) in house.expirable("look", &tables).await {
        let (point, fault) = broken[&name];
        println!("{fault:?} at: {}", point.name);
        after.is_rewritten_once(&before[&name]);
    }
}

/// Every point with a kill before it and after it, and one other fault drawn for each; all of them
/// with `SNOWPACK_TEST_EVERY_FAULT` set.
fn cases(points: &'static [Point], random: &mut StdRng) -> Vec<Case> {
    let all = std::env::var("SNOWPACK_TEST_EVERY_FAULT").is_ok();
    let mut cases = Vec::new();
    for point in points {
        let (kills, others): (Vec<_>, Vec<_>) =
            point.faults().iter().partition(|fault| fault.kills());
        cases.extend(kills.into_iter().map(|fault| (point, fault)));
        let drawn = random.random_range(0..others.len());
        let others = others.into_iter().enumerate();
        let taken = others.filter(|(at, _)| all || *at == drawn);
        cases.extend(taken.map(|(_, fault)| (point, fault)));
    }
    cases.shuffle(random);
    cases
}

/// Breaks jobs at these points in all chosen ways.
async fn break_at(points: &'static [Point], elsewhere: bool) {
    let mut random = StdRng::seed_from_u64(testkit::seed());
    let cases = Arc::new(Mutex::new(cases(points, &mut random)));
    let server = Arc::new(S3::start().await);
    let lanes = (0..LANES).map(|_| lane(server.clone(), elsewhere, cases.clone()));
    futures::future::join_all(lanes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn m10_m11_a_job_broken_at_any_step_is_ended_once_by_the_next_worker() {
    break_at(POINTS, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn m10_m11_a_swap_broken_at_any_step_in_a_catalog_elsewhere_is_made_once() {
    break_at(ELSEWHERE, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn m10_m11_a_hand_back_broken_at_any_step_leaves_the_job_to_the_next_worker() {
    break_at(GIVEN_UP, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_of_a_job_is_a_named_point() {
    let server = Arc::new(S3::start().await);
    for elsewhere in [false, true] {
        let house = Lakehouse::in_s3(&server, elsewhere).await;
        house.expirable("create", &["t".to_owned()]).await;
        house.everything("t").await;
        let (database, catalog) = (house.database.url(), house.catalog().url());
        let wires = Wires::new(database, catalog, &server, None).await;
        house.work_on(&wires, elsewhere).await;
        let seen = wires.seen();
        let nameless = nameless(&seen);
        assert!(nameless.is_empty(), "{nameless:#?}");
    }
}
