//! Storage that is busy, slow, cut off, forbidden, silent, gone or full: what a job makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{EndReason, JobId, JobStatus};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use testkit::{Fate, Process, Proxy, S3, SmallTable};

use crate::lakehouse::{Lakehouse, WORKER};

/// Tries of one request, as `storage` has them.
const TRIES_MAX: usize = 7;
/// What a worker says of a job that failed.
const FAILED: &[&str] = &["job_failed"];

/// A table in S3, a job for it, and a worker whose way there is bad.
struct Storm {
    house: Lakehouse,
    before: SmallTable,
    job: JobId,
    proxy: Proxy,
}

impl Storm {
    async fn new(max_attempts: i32, judge: impl FnMut(&str) -> Fate + Send + 'static) -> Self {
        let server = Arc::new(S3::start().await);
        let house = Lakehouse::in_s3(&server, false).await;
        let before = house.table("events").await;
        let job = house
            .submit_with("events", |asked| asked.max_attempts = max_attempts)
            .await;
        let proxy = Proxy::start(server.address(), judge).await;
        Self {
            house,
            before,
            job,
            proxy,
        }
    }

    /// Runs a worker through the storm until nothing is due, and returns what it said.
    async fn weather(&self, more: &[(&str, &str)], announced: &[&str]) -> String {
        let endpoint = self.proxy.endpoint();
        let way = [("SNOWPACK_S3_ENDPOINT", endpoint.as_str())];
        let worker = self
            .house
            .worker(&[&way, more].concat(), &["--exit-when-idle"]);
        worker.ended_with(0, announced).await;
        worker.log()
    }

    /// Why the attempt failed, as its result row has it.
    async fn error(&self) -> String {
        let client = self.house.database.client().await;
        let rows = maintenance::actions::list(&client, &self.job).await;
        let last = rows.unwrap().pop().unwrap();
        last.result.error.unwrap()
    }

    /// Nothing has changed, and whatever was written is known to the ledger.
    async fn nothing_happened(&self) {
        assert_eq!(self.house.look("events").await, self.before);
        self.nothing_leaked().await;
    }

    async fn nothing_leaked(&self) {
        let (files, known) = (self.house.files("events").await, self.house.known().await);
        let mut stray = files.there.difference(&files.reachable);
        let stray = stray.find(|path| !known.contains(*path));
        assert_eq!(stray, None, "nobody knows of it");
        let missing = files.reachable.difference(&files.there).next();
        assert_eq!(missing, None, "reachable and gone");
    }

    /// The storm is over: the job that waits completes, or another one when it failed.
    async fn calm(&self) {
        let house = &self.house;
        let mut job = self.job.clone();
        if house.status(&job).await.terminal() {
            job = house.submit("events").await;
        }
        house.make_due(&job).await;
        house.work_off(&[], &[]).await;
        assert_eq!(house.status(&job).await, JobStatus::Completed);
        house.rewritten_once("events", &self.before).await;
        self.nothing_leaked().await;
    }

    /// How often each request was made.
    fn tries(&self) -> BTreeMap<String, usize> {
        let mut tries = BTreeMap::new();
        for request in self.proxy.seen() {
            *tries.entry(request).or_default() += 1;
        }
        tries
    }
}

/// The entries of a worker's log which say that it tries again.
fn pauses(log: &str) -> Vec<serde_json::Value> {
    let entries = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let again = |entry: &serde_json::Value| {
        entry["target"] == "storage::retry" && entry["message"] == "trying again"
    };
    entries.filter(again).collect()
}

/// Log lines of what is waited for, and why.
const TELLING: (&str, &str) = ("SNOWPACK_LOG", "info,storage=debug");

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_that_passes_costs_no_attempt() {
    let mut random = StdRng::seed_from_u64(testkit::seed());
    let mut struck: BTreeMap<String, u32> = BTreeMap::new();
    let storm = Storm::new(1, move |request| {
        let strikes = struck.entry(request.to_owned()).or_default();
        if *strikes == 3 || random.random_bool(0.4) {
            return Fate::Forward;
        }
        *strikes += 1;
        match random.random_range(0..8) {
            0 => Fate::Refuse(503, "SlowDown"),
            1 => Fate::Later("0"),
            2 => Fate::Refuse(500, "InternalError"),
            3 => Fate::Refuse(429, "TooManyRequests"),
            4 => Fate::Drop,
            5 => Fate::Lose,
            6 => Fate::Cut(random.random_range(0..200)),
            _ => Fate::Trickle(random.random_range(64..512)),
        }
    })
    .await;
    storm.weather(&[], &[]).await;
    let house = &storm.house;
    assert_eq!(house.status(&storm.job).await, JobStatus::Completed);
    house.rewritten_once("events", &storm.before).await;
    storm.nothing_leaked().await;
    assert!(storm.tries().values().any(|tries| *tries > 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_that_stays_is_left_after_bounded_tries_and_the_job_waits_for_its_end() {
    let storm = Storm::new(5, |request| {
        if request.starts_with("PUT") {
            Fate::Refuse(503, "SlowDown")
        } else {
            Fate::Forward
        }
    })
    .await;
    let log = storm.weather(&[TELLING], &[]).await;
    let job = storm.house.job(&storm.job).await;
    assert_eq!(job.status, JobStatus::Pending);
    assert_eq!(job.queue.unwrap().attempt_count, 1);
    let tries = storm.tries();
    let (object, most) = tries.iter().max_by_key(|(_, tries)| **tries).unwrap();
    assert_eq!(*most, TRIES_MAX, "{tries:?}");
    let error = storm.error().await;
    let key = object.trim_start_matches("PUT /").to_owned();
    assert!(
        error.contains(&format!("s3://{key}")) && error.contains("503 SlowDown"),
        "{error}"
    );
    // Seconds between the tries of that object: as many as tries but one, and no two alike.
    let own = pauses(&log).into_iter().filter(|entry| {
        let location = entry["location"].as_str().unwrap();
        location.ends_with(&key)
    });
    let mut own: Vec<String> = own.map(|entry| entry["pause"].to_string()).collect();
    assert_eq!(own.len(), TRIES_MAX - 1, "{own:?}");
    own.sort();
    own.dedup();
    assert_eq!(own.len(), TRIES_MAX - 1, "{own:?}");
    storm.nothing_happened().await;
    storm.calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_when_to_come_again_is_heard() {
    let mut left = 2;
    let storm = Storm::new(1, move |request| {
        if left == 0 || !request.contains(".parquet") {
            return Fate::Forward;
        }
        left -= 1;
        Fate::Later("1")
    })
    .await;
    let log = storm.weather(&[TELLING], &[]).await;
    let asked: Vec<String> = pauses(&log)
        .iter()
        .map(|entry| entry["again"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(asked, ["After(1s)", "After(1s)"]);
    let house = &storm.house;
    assert_eq!(house.status(&storm.job).await, JobStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn permission_lost_midway_fails_the_job_and_names_the_object() {
    for part in ["PUT", "GET"] {
        let storm = Storm::new(5, move |request| {
            if request.starts_with(part) && request.contains(".parquet") {
                Fate::Refuse(403, "AccessDenied")
            } else {
                Fate::Forward
            }
        })
        .await;
        storm.weather(&[], FAILED).await;
        let job = storm.house.job(&storm.job).await;
        let ended = (job.status, job.reason);
        let want = (JobStatus::Failed, Some(EndReason::ActionFailed));
        assert_eq!(ended, want, "{part}");
        let error = job.error.unwrap();
        for word in ["s3://", ".parquet", S3::BUCKET, "403 AccessDenied"] {
            assert!(error.contains(word), "{part}: {error}");
        }
        assert!(storm.tries().values().all(|tries| *tries < TRIES_MAX));
        storm.nothing_happened().await;
        storm.calm().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn q68_an_answer_that_never_comes_ends_by_the_watchdog_as_timeout() {
    let storm = Storm::new(1, |request| {
        if request.starts_with("PUT") && request.contains(".parquet") {
            Fate::Hold
        } else {
            Fate::Forward
        }
    })
    .await;
    let short = ("SNOWPACK_STALL_SECONDS", "2");
    storm.weather(&[short], FAILED).await;
    let job = storm.house.job(&storm.job).await;
    let ended = (job.status, job.reason);
    assert_eq!(ended, (JobStatus::Failed, Some(EndReason::Timeout)));
    assert_eq!(
        storm.error().await,
        "rewrite_data_files: no progress for 2 s"
    );
    assert!(storm.proxy.held() > 0);
    storm.nothing_happened().await;
    storm.calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_named_and_waited_for() {
    let storm = Storm::new(5, |_| Fate::Forward).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    storm
        .house
        .work_off(&[("SNOWPACK_S3_ENDPOINT", &endpoint)], &[])
        .await;
    let job = storm.house.job(&storm.job).await;
    assert_eq!(job.status, JobStatus::Pending);
    let error = storm.error().await;
    assert!(
        error.contains(&endpoint) && error.contains("s3://"),
        "{error}"
    );
    storm.nothing_happened().await;
    storm.calm().await;
}

/// A file system of the test's own lies where the worker writes, and nobody but the worker sees
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_leaves_the_table_and_is_waited_for() {
    let house = Lakehouse::new().await;
    let room = house.warehouse().replace("file://", "") + "/room";
    std::fs::create_dir_all(&room).unwrap();
    let before = house
        .table_with("events", json!({"write.data.path": room}))
        .await;
    let job = house.submit("events").await;
    let settings = house.settings();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let full = format!(
        "mount -t tmpfs -o size=4k none '{room}' && head -c 4096 /dev/zero > '{room}/filler' \
         && exec '{WORKER}' \"$@\""
    );
    let inside = ["--mount", "--map-root-user", "sh", "-c", &full, "worker"];
    let arguments = [&inside[..], &["--exit-when-idle"]].concat();
    let worker = Process::start("unshare", &settings, &arguments);
    worker.ended_with(0, &[]).await;
    assert_eq!(house.status(&job).await, JobStatus::Pending);
    let client = house.database.client().await;
    let rows = maintenance::actions::list(&client, &job).await.unwrap();
    let error = rows[0].result.error.clone().unwrap();
    assert!(
        error.contains(&room) && error.contains("No space left on device"),
        "{error}"
    );
    assert_eq!(house.look("events").await, before);

    house.make_due(&job).await;
    house.work_off(&[], &[]).await;
    assert_eq!(house.status(&job).await, JobStatus::Completed);
    house.rewritten_once("events", &before).await;
}
