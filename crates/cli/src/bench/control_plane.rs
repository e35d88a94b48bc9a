//! `snowpack bench control-plane`: from an empty database to the report.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use maintenance::loops;
use pg::Pool;

use super::args::ControlPlane;
use super::caller::Caller;
use super::fleet::Fleet;
use super::pages::{self, Timed, Times};
use super::part::{self, Part, Took};
use super::report::{Figure, Report, Target, Unit};
use super::server::{self, Program, Server};
use super::{Place, at_home, reads, warehouse_in};
use crate::demo::steps::Steps;
use crate::out::Out;

/// Loops of the API that would work while it is measured, had they not had their turn just now.
const LOOPS: [&str; 3] = ["sweep", "table_cache_sync", "retention"];
/// Jobs that are read by their id.
const READ_JOBS: u32 = 500;
const API: &str = "snowpack-api";

const MEGABYTES: f64 = 1e6;
const PASS_BYTES: Target = Target::Below(300.0 * MEGABYTES);
const IDLE_BYTES: Target = Target::Below(40.0 * MEGABYTES);
const SWAP_SECONDS: Target = Target::Below(20.0);
const DECIDE_SECONDS: Target = Target::Below(30.0);
const HEALTH_SECONDS: Target = Target::Below(10.0);
const PAGE_MS: Target = Target::Below(20.0);
const READS: Target = Target::AtLeast(3_000.0);

pub(super) async fn run(args: ControlPlane, out: &Out) -> Result<()> {
    let begun = Instant::now();
    let steps = Steps::new(out);
    // Looked for first: nobody should wait for an API that is not there.
    server::find(API)?;
    let figures = at_home(&args.server, steps, async |url| {
        measure(&args, url, steps).await
    })
    .await?;
    let report = Report {
        of: vec![
            ("tables", args.tables),
            ("databases", args.databases),
            ("jobs of history", args.history),
        ],
        note: "targets are for 100,000 tables".to_owned(),
        figures,
        took: begun.elapsed(),
    };
    out.result(&report.document(), || report.text())
}

async fn measure(args: &ControlPlane, url: &str, steps: Steps<'_>) -> Result<Vec<Figure>> {
    let folder = tempfile::Builder::new()
        .prefix("snowpack-bench-")
        .tempdir()?;
    let warehouse = warehouse_in(folder.path())?;
    let step = steps.begin("making the tables");
    let pool = Pool::connect(url, reads::AT_ONCE, "snowpack-bench").await?;
    maintenance::migrate(&pool).await?;
    let place = Place {
        database_url: url,
        warehouse: &warehouse,
    };
    let fleet = Fleet::make(&pool, place, args).await?;
    step.done(&format!("{} tables made", args.tables))?;
    let bench = Bench {
        pool: &pool,
        fleet,
        place,
        folder: folder.path(),
        lasting: Duration::from_secs(args.seconds.into()),
        steps,
    };
    let mut figures = bench.cache().await?;
    figures.extend(bench.health().await?);
    let step = steps.count("making the history", args.history.into());
    bench.fleet.history(&step).await?;
    step.done(&format!("{} jobs made", args.history))?;
    figures.extend(bench.decisions().await?);
    figures.extend(bench.api().await?);
    Ok(figures)
}

struct Bench<'a> {
    pool: &'a Pool,
    fleet: Fleet<'a>,
    place: Place<'a>,
    folder: &'a Path,
    lasting: Duration,
    steps: Steps<'a>,
}

impl Bench<'_> {
    async fn part(&self, part: Part, what: &str) -> Result<Took> {
        let step = self.steps.begin(what);
        let took = part::measure(part, None, self.place, self.folder).await?;
        step.done(&format!("{what}: {}", took.did))?;
        Ok(took)
    }

    async fn cache(&self) -> Result<Vec<Figure>> {
        let fill = self.part(Part::CacheSync, "cache, first fill").await?;
        let copy = self.fleet.copy("snowpack.table_cache_entries").await?;
        let again = self.part(Part::CacheSync, "cache, nothing changed").await?;
        self.fleet.commit_some().await?;
        let some = self.part(Part::CacheSync, "cache, 1 % changed").await?;
        let mut figures = Vec::new();
        for (what, took) in [
            ("cache, first fill", fill),
            ("cache, nothing changed", again),
            ("cache, 1 % changed", some),
        ] {
            let [mut seconds, bytes] = pass(what, &took);
            seconds = seconds.target(SWAP_SECONDS).peer("COPY of its rows", copy);
            figures.extend([seconds, bytes.target(PASS_BYTES)]);
        }
        Ok(figures)
    }

    async fn health(&self) -> Result<Vec<Figure>> {
        self.fleet.healths().await?;
        let tables = self.fleet.looked_at();
        let what = format!("health of {tables} tables, first look");
        let first = self.part(Part::HealthSync, &what).await?;
        let [first_seconds, first_bytes] = pass(&what, &first);
        let what = format!("health of {tables} tables, unchanged");
        let again = self.part(Part::HealthSync, &what).await?;
        let [seconds, bytes] = pass(&what, &again);
        let seconds = seconds
            .target(HEALTH_SECONDS)
            .peer("first look", first.seconds);
        self.fleet.checked().await?;
        Ok(vec![first_seconds, first_bytes, seconds, bytes])
    }

    async fn decisions(&self) -> Result<Vec<Figure>> {
        let took = self.part(Part::Decisions, "decisions, dry run").await?;
        let copy = self.fleet.copy("snowpack.orchestrator_decisions").await?;
        let [seconds, bytes] = pass("decisions, dry run", &took);
        let seconds = seconds
            .target(DECIDE_SECONDS)
            .peer("COPY of their rows", copy);
        Ok(vec![seconds, bytes.target(PASS_BYTES)])
    }

    async fn api(&self) -> Result<Vec<Figure>> {
        let client = self.pool.get().await?;
        for name in LOOPS {
            loops::started(&**client, name, "bench").await?;
            loops::ended(&**client, name, loops::Outcome::Done, "").await?;
        }
        drop(client);
        let api = Server::start(api(self.place), self.folder).await?;
        let mut caller = Caller::connect(api.address).await?;
        caller.get("/readyz").await?;
        let idle = api.usage()?;
        let idle = Figure::new("API, idle", idle.resident_bytes as f64, Unit::Bytes);
        let mut figures = vec![idle.target(IDLE_BYTES)];
        figures.extend(self.pages(&mut caller).await?);
        figures.extend(self.reads(&mut caller, &api).await?);
        let busy = api.usage()?.peak_bytes as f64;
        figures.push(Figure::new("API, at most", busy, Unit::Bytes));
        api.stop()?;
        Ok(figures)
    }

    async fn pages(&self, caller: &mut Caller) -> Result<Vec<Figure>> {
        let step = self.steps.begin("asking for pages");
        let table = self.fleet.table(7)?.key();
        let database = self.fleet.table(7)?.database();
        let mut figures = Vec::new();
        for path in [
            "/tables".to_owned(),
            format!("/tables?database={database}"),
            "/tables?maintenance_enabled=unset".to_owned(),
            "/tables?health_below=60".to_owned(),
            "/jobs".to_owned(),
            "/jobs?status=completed".to_owned(),
            "/jobs?status=failed".to_owned(),
            "/jobs?status=cancelled".to_owned(),
            "/jobs?status=pending".to_owned(),
            "/jobs?status=running".to_owned(),
            format!("/jobs?database={database}"),
            format!("/jobs?table={table}"),
            "/jobs/history".to_owned(),
            "/jobs/history?status=failed".to_owned(),
            format!("/jobs/history?table={table}"),
        ] {
            step.note(format!("asking for pages of {path}"));
            let timed = pages::time(caller, &path, self.lasting).await?;
            figures.extend(page(&path, &timed));
        }
        step.done(&format!("{} listings asked for pages", figures.len() / 2))?;
        Ok(figures)
    }

    async fn reads(&self, caller: &mut Caller, api: &Server) -> Result<Vec<Figure>> {
        let step = self.steps.begin("reading jobs by their id");
        let page = caller.document(&format!("/jobs?limit={READ_JOBS}")).await?;
        let jobs = page["jobs"].as_array().context("a page holds jobs")?;
        let ids = jobs.iter().filter_map(|job| job["job_id"].as_str());
        let paths: Vec<String> = ids.map(|id| format!("/jobs/{id}")).collect();
        let warm_up = self.lasting / 5;
        reads::of_api(api, &paths, warm_up).await?;
        let rate = reads::of_api(api, &paths, self.lasting).await?;
        let select = reads::of_postgres(self.pool, self.lasting).await?;
        step.done("jobs read by their id")?;
        let new = |what: &str, value| Figure::new(what, value, Unit::PerSecond);
        Ok(vec![
            new("API, reads a second", rate.per_second)
                .peer("`select 1` over the pool", select)
                .did("GET /jobs/{id}, two statements, 8 connections; bench and Postgres on the same cores"),
            new("API, reads a second of its CPU", rate.per_cpu_second).target(READS),
        ])
    }
}

fn api(place: Place<'_>) -> Program {
    let own = [
        ("SNOWPACK_AUTH", "none"),
        ("SNOWPACK_API_ADDR", "127.0.0.1:0"),
        ("SNOWPACK_API_LINGER_SECONDS", "0"),
        // The limit is not what is measured, and neither is the sync of the cache.
        ("SNOWPACK_RATE_PER_SECOND", "100000"),
        ("SNOWPACK_CACHE_SYNC_SECONDS", "86400"),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Program {
        name: API,
        arguments: &["serve"],
        environment: place.settings().into_iter().chain(own).collect(),
        listens: "api listens",
    }
}

fn pass(what: &str, took: &Took) -> [Figure; 2] {
    let cpu = format!("{} ({:.1} s on the CPU)", took.did, took.cpu_seconds);
    [
        Figure::new(what, took.seconds, Unit::Seconds).did(cpu),
        Figure::new(
            format!("{what}: memory"),
            took.peak_bytes as f64,
            Unit::Bytes,
        ),
    ]
}

fn page(path: &str, timed: &Timed) -> [Figure; 2] {
    let Timed { depth, pages, peer } = timed;
    let did = format!("{} pages of 100, to row {depth}", pages.requests());
    let new = |percent: usize| {
        let ms = |times: &Times| times.percentile(percent).as_secs_f64() * 1e3;
        let what = format!("GET {path}: p{percent}");
        Figure::new(what, ms(pages), Unit::Milliseconds).peer(pages::PEER, ms(peer))
    };
    [new(50), new(99).target(PAGE_MS).did(did)]
}
