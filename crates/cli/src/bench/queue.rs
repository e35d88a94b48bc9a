//! `snowpack bench queue`: how many jobs in which nothing is left to do go through a worker, beside what
//! the queue's statements allow; how fast jobs are queued; how soon an idle worker and one that is
//! just started begin a job; what an idle one takes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use pg::Pool;
use serde_json::{Value, json};

use super::args::Queue;
use super::graphile::{self, Graphile};
use super::pages::Times;
use super::report::{Figure, Report, Target, Unit};
use super::server;
use super::worked::{self, Done, WORKER};
use super::{Place, at_home, lane, limit};
use crate::demo::steps::Steps;
use crate::out::Out;

/// What a worker has by default.
const SLOTS_DEFAULT: u32 = 2;
/// Fewer slots do fewer jobs in the same time.
const JOBS_PER_JOB_OF_FEW: u32 = 10;
const FEW_A_CALL: u32 = 100;
const MANY_A_CALL: u32 = 1_000;
/// Times a worker is started.
const STARTS: u32 = 5;
const CONNECTIONS_MAX: usize = lane::CONNECTIONS as usize + 1;
const LOOK_EVERY: Duration = Duration::from_millis(5);
const BEGINS_WITHIN: Duration = Duration::from_mins(1);
/// What decides how long a commit takes.
const SETTINGS: &str = "select current_setting('server_version'), current_setting('fsync'), \
                        current_setting('synchronous_commit')";

const MILLISECONDS: f64 = 1e3;
/// Of the limit.
const SHARE: f64 = 0.85;
const ENQUEUED: Target = Target::AtLeast(40_000.0);
const PICKED_UP_P50: Target = Target::Below(10.0);
const PICKED_UP_P99: Target = Target::Below(50.0);
/// Of the speed before.
const SPEED_AGAIN: f64 = 0.95;
const RECOVERED: Target = Target::Below(30.0);
const STARTED: Target = Target::Below(300.0);
const SECONDS_A_MINUTE: f64 = 60.0;

pub(super) async fn run(args: Queue, out: &Out) -> Result<()> {
    let begun = Instant::now();
    let steps = Steps::new(out);
    server::find(WORKER)?;
    let measured = at_home(&args.server, steps, async |url| {
        Box::pin(measure(&args, url, steps)).await
    })
    .await?;
    let absent: Vec<&str> = match (&measured.graphile, args.peers) {
        (None, true) => vec![graphile::NAME],
        _ => Vec::new(),
    };
    let report = Report {
        of: vec![("jobs", args.jobs), ("slots", args.slots)],
        note: measured.note(&absent),
        figures: measured.figures(),
        took: begun.elapsed(),
    };
    let mut document = report.document();
    let (rate, limit) = (measured.worked.per_second, measured.limit);
    document["jobs_per_second"] = rate.into();
    document["limit_jobs_per_second"] = limit.into();
    document["limit_driver"] = measured.driver.into();
    document["ratio_to_limit"] = (rate / limit).into();
    let peers = measured.graphile.iter().map(|peer| {
        json!({
            "name": graphile::NAME,
            "version": peer.version,
            "jobs_per_second": peer.per_second(),
            "ratio": rate / peer.per_second(),
        })
    });
    document["peers"] = peers.collect::<Vec<Value>>().into();
    document["peers_absent"] = absent.into();
    let postgres = &measured.postgres;
    document["postgres"] = json!({
        "version": postgres.version,
        "fsync": postgres.fsync,
        "synchronous_commit": postgres.synchronous_commit,
    });
    out.result(&document, || report.text())
}

/// All that was measured.
struct Measured {
    /// Jobs queued a second, few a call and many.
    enqueued: [f64; 2],
    limit: f64,
    /// Of the limit.
    driver: &'static str,
    postgres: Postgres,
    worked: Done,
    few_slots: Done,
    graphile: Option<Graphile>,
    /// After every connection was cut.
    recovered: Option<Duration>,
    slots: u32,
    picked_up: Times,
    started: Times,
    idle_bytes: f64,
    /// In a minute.
    idle_cpu_seconds: f64,
}

/// The server, and what it does for a commit.
struct Postgres {
    version: String,
    fsync: String,
    synchronous_commit: String,
}

async fn measure(args: &Queue, url: &str, steps: Steps<'_>) -> Result<Measured> {
    let folder = tempfile::Builder::new()
        .prefix("snowpack-bench-")
        .tempdir()?;
    let place = Place {
        database_url: url,
        warehouse: folder
            .path()
            .to_str()
            .context("the temporary folder's name is not valid Unicode")?,
    };
    let pool = Pool::connect(url, CONNECTIONS_MAX, "snowpack-bench").await?;
    maintenance::migrate(&pool).await?;
    let bench = Bench {
        pool: &pool,
        place,
        folder: folder.path(),
        steps,
    };
    let few_a_call = bench.enqueue(args.jobs, FEW_A_CALL).await?;
    let (limit, driver) = bench.limit(args.jobs).await?;
    let many_a_call = bench.enqueue(args.jobs, MANY_A_CALL).await?;
    let worked = bench.work(args.jobs, args.slots).await?;
    let few_jobs = (args.jobs / JOBS_PER_JOB_OF_FEW).max(1);
    bench.enqueue(few_jobs, FEW_A_CALL).await?;
    let few_slots = bench.work(few_jobs, SLOTS_DEFAULT).await?;
    let graphile = if args.peers {
        bench.graphile(args.jobs).await?
    } else {
        None
    };
    bench.enqueue(args.jobs, MANY_A_CALL).await?;
    let recovered = bench.recovery(args.jobs, args.slots).await?;
    let started = bench.starts().await?;
    let idle = bench.idle(args).await?;
    Ok(Measured {
        enqueued: [few_a_call, many_a_call],
        limit,
        driver,
        postgres: bench.postgres().await?,
        worked,
        few_slots,
        graphile,
        recovered,
        slots: args.slots,
        picked_up: idle.picked_up,
        started,
        idle_bytes: idle.bytes,
        idle_cpu_seconds: idle.cpu_seconds,
    })
}

struct Bench<'a> {
    pool: &'a Pool,
    place: Place<'a>,
    folder: &'a Path,
    steps: Steps<'a>,
}

/// One worker that waits for work most of the time.
struct Idle {
    picked_up: Times,
    bytes: f64,
    cpu_seconds: f64,
}

impl Bench<'_> {
    async fn postgres(&self) -> Result<Postgres> {
        let row = self
            .pool
            .get()
            .await?
            .query_typed_one(SETTINGS, &[])
            .await?;
        Ok(Postgres {
            version: row.get(0),
            fsync: row.get(1),
            synchronous_commit: row.get(2),
        })
    }

    async fn enqueue(&self, jobs: u32, per_call: u32) -> Result<f64> {
        let step = self.steps.begin(format!("queueing {per_call} a call"));
        let rate = lane::enqueue(self.pool, jobs, per_call).await?;
        lane::settle(self.pool).await?;
        let said = format!("queued, {per_call} a call: {rate:.0} jobs a second");
        step.done(&said)?;
        Ok(rate)
    }

    /// Jobs a second, and what drove the statements.
    async fn limit(&self, jobs: u32) -> Result<(f64, &'static str)> {
        let step = self
            .steps
            .begin("claiming and finishing by the statements alone");
        let url = self.place.database_url;
        let driver = limit::drive(self.pool, url, jobs, self.folder).await?;
        let rate = lane::worked(self.pool, jobs).await?;
        step.done(&format!("limit, by {driver}: {rate:.0} jobs a second"))?;
        Ok((rate, driver))
    }

    async fn work(&self, jobs: u32, slots: u32) -> Result<Done> {
        let step = self.steps.begin(format!("working on {slots} slots"));
        let done = worked::measure(self.pool, self.place, (jobs, slots), self.folder).await?;
        let rate = done.per_second;
        step.done(&format!("{slots} slots: {rate:.0} jobs a second"))?;
        Ok(done)
    }

    async fn recovery(&self, jobs: u32, slots: u32) -> Result<Option<Duration>> {
        let step = self.steps.begin("cutting a worker's connections");
        let asked = (jobs, slots);
        let took = worked::recovery(self.pool, self.place, asked, SPEED_AGAIN, self.folder).await?;
        step.done(&match took {
            Some(took) => format!("as fast again {} ms after the cut", took.as_millis()),
            None => "too few jobs to tell when it is as fast again".to_owned(),
        })?;
        Ok(took)
    }

    async fn graphile(&self, jobs: u32) -> Result<Option<Graphile>> {
        let step = self.steps.begin("asking graphile-worker");
        let found = graphile::measure(jobs, self.place.database_url, self.folder).await?;
        step.done(&match &found {
            Some(peer) => format!("graphile-worker: {:.0} jobs a second", peer.per_second()),
            None => "graphile-worker is not there".to_owned(),
        })?;
        Ok(found)
    }

    /// From the start of a worker's process to the claim of the job that waits.
    async fn starts(&self) -> Result<Times> {
        let step = self.steps.begin("starting workers");
        let mut took = Vec::new();
        for _ in 0..STARTS {
            let job = lane::one(self.pool).await?;
            let begun = self.now().await?;
            let worker = worked::start(self.place, SLOTS_DEFAULT, self.folder).await?;
            took.push(self.begun(&job, begun).await?);
            worker.stop()?;
        }
        step.done(&format!("{STARTS} workers started"))?;
        Ok(took.into_iter().collect())
    }

    /// From the commit of a job to its claim by a worker that has nothing else to do.
    async fn idle(&self, args: &Queue) -> Result<Idle> {
        let worker = worked::start(self.place, SLOTS_DEFAULT, self.folder).await?;
        let step = self.steps.begin("queueing one job after the other");
        let mut took = Vec::new();
        for _ in 0..args.pick_ups {
            let job = lane::one(self.pool).await?;
            let committed = self.now().await?;
            maintenance::queue()
                .notify(&**self.pool.get().await?)
                .await?;
            took.push(self.begun(&job, committed).await?);
        }
        step.done(&format!("{} jobs picked up", args.pick_ups))?;
        let step = self.steps.begin("leaving a worker idle");
        let before = worker.usage()?;
        let seconds = f64::from(args.seconds);
        tokio::time::sleep(Duration::from_secs(args.seconds.into())).await;
        let after = worker.usage()?;
        // A tick is the least that is counted.
        let cpu_seconds = (after.cpu_seconds - before.cpu_seconds).max(0.01);
        worker.stop()?;
        step.done("a worker was idle")?;
        Ok(Idle {
            picked_up: took.into_iter().collect(),
            bytes: after.resident_bytes as f64,
            cpu_seconds: cpu_seconds * SECONDS_A_MINUTE / seconds,
        })
    }

    async fn now(&self) -> Result<Timestamp> {
        let client = self.pool.get().await?;
        let row = client.query_typed_one("select clock_timestamp()", &[]);
        Ok(row.await?.get(0))
    }

    /// How long after `since` the job was claimed. Waits until it has ended.
    async fn begun(&self, job: &str, since: Timestamp) -> Result<Duration> {
        let sql = "select started_at, status from snowpack.jobs \
                   where job_id = $1 and completed_at is not null";
        let asked = Instant::now();
        loop {
            let client = self.pool.get().await?;
            let ended = client.query_opt(sql, &[&job]).await?;
            drop(client);
            if let Some(row) = ended {
                let (started, status): (Timestamp, String) = (row.get(0), row.get(1));
                ensure!(status == "completed", "job {job} is {status}");
                // Begun within the same moment: Postgres answers after the fact.
                return Ok(started.duration_since(since).try_into().unwrap_or_default());
            }
            ensure!(
                asked.elapsed() < BEGINS_WITHIN,
                "no worker ended job {job} within {BEGINS_WITHIN:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Measured {
    fn note(&self, absent: &[&str]) -> String {
        let (driver, connections) = (self.driver, lane::CONNECTIONS);
        let Postgres {
            version,
            fsync,
            synchronous_commit,
        } = &self.postgres;
        let mut note = format!(
            "the limit is claim and finish of batches by {driver} on {connections} connections; \
             worker and Postgres share this machine; Postgres {version}, fsync {fsync}, \
             synchronous_commit {synchronous_commit}"
        );
        if !absent.is_empty() {
            note = format!("{note}; not there: {}", absent.join(", "));
        }
        note
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (a_call, rate) in [FEW_A_CALL, MANY_A_CALL].into_iter().zip(self.enqueued) {
            let what = format!("queued, {a_call} a call");
            figures.push(Figure::new(what, rate, Unit::PerSecond).target(ENQUEUED));
        }
        let limit = Target::AtLeast(SHARE * self.limit);
        for (slots, done) in [(self.slots, &self.worked), (SLOTS_DEFAULT, &self.few_slots)] {
            let what = format!("claimed and finished, {slots} slots");
            let cpu = done.cpu_seconds;
            let did = format!("{} jobs, {cpu:.1} s on the worker's CPU", done.jobs);
            let figure = Figure::new(what, done.per_second, Unit::PerSecond);
            figures.push(figure.target(limit).peer("limit", self.limit).did(did));
        }
        if let Some(peer) = &self.graphile {
            let what = format!("claimed and finished, {} slots, beside a peer", self.slots);
            let figure = Figure::new(what, self.worked.per_second, Unit::PerSecond);
            let did = format!(
                "{} {}, no record, lock or fence",
                graphile::NAME,
                peer.version
            );
            figures.push(figure.peer(graphile::NAME, peer.per_second()).did(did));
        }
        if let Some(took) = self.recovered {
            let what = "every connection cut, to 95 % of the speed";
            let figure = Figure::new(what, took.as_secs_f64(), Unit::Seconds);
            figures.push(figure.target(RECOVERED));
        }
        let bytes = self.worked.peak_bytes as f64;
        let what = format!("memory, {} slots", self.slots);
        figures.push(Figure::new(what, bytes, Unit::Bytes));
        let ms = |times: &Times, percent| times.percentile(percent).as_secs_f64() * MILLISECONDS;
        let new = |what: &str, value| Figure::new(what, value, Unit::Milliseconds);
        let picked = &self.picked_up;
        figures.extend([
            new("idle worker, commit to claim: p50", ms(picked, 50)).target(PICKED_UP_P50),
            new("idle worker, commit to claim: p99", ms(picked, 99))
                .target(PICKED_UP_P99)
                .did(format!("{} jobs, one after the other", picked.requests())),
            new("worker, start to claim: p50", ms(&self.started, 50)),
            new("worker, start to claim: slowest", ms(&self.started, 100)).target(STARTED),
            Figure::new("idle worker, memory", self.idle_bytes, Unit::Bytes),
            Figure::new(
                "idle worker, CPU in a minute",
                self.idle_cpu_seconds,
                Unit::Seconds,
            ),
        ]);
        figures
    }
}
