//! `snowpack bench scaler`: what one scaler answers, for how much processor time and memory, and
//! what Postgres notices of it. The peer asks Postgres itself, with the query of KEDA's
//! `postgresql` trigger, for every request, over connections that stay open.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use futures::StreamExt;
use keda::{GetMetricsRequest, IsActiveResponse, ScaledObjectRef, Streaming};
use maintenance::Submission;
use model::{Action, TableName};
use pg::Pool;
use tokio::net::TcpStream;

use super::args::Scaler;
use super::at_home;
use super::caller::Caller;
use super::load::{self, Asker};
use super::pages::Times;
use super::report::{Figure, Report, Target, Unit};
use super::server::{self, Program, Server};
use crate::demo::steps::Steps;
use crate::out::Out;

const SCALER: &str = "snowpack-scaler";
/// Callers at once.
const CALLERS: usize = 8;
/// Jobs that are due.
const JOBS: u32 = 200;
/// Times a job is submitted while a caller waits to be told.
const PUSHES: u32 = 10;
/// Whose jobs nobody else's count sees.
const PUSHED_POOL: &str = "pushed";
const PUSH_WITHIN: Duration = Duration::from_mins(1);

const WARM_UP: Duration = Duration::from_secs(3);

const MEGABYTES: f64 = 1e6;
const RESIDENT: Target = Target::Below(15.0 * MEGABYTES);
const RATE: Target = Target::AtLeast(1_000.0);
const P99_MS: Target = Target::Below(5.0);
/// One a second; what watches it adds one.
const QUERIES: Target = Target::Below(1.5);

pub(super) async fn run(args: Scaler, out: &Out) -> Result<()> {
    let begun = Instant::now();
    let steps = Steps::new(out);
    server::find(SCALER)?;
    let figures = at_home(&args.server, steps, async |url| {
        let bench = Bench {
            url,
            rate: args.rate,
            lasting: Duration::from_secs(args.seconds.into()),
            steps,
        };
        bench.measure().await
    })
    .await?;
    let report = Report {
        of: vec![("jobs due", JOBS), ("requests a second", args.rate)],
        note: "8 connections; targets are for 1,000 requests a second; bench, scaler and Postgres \
               on the same cores"
            .to_owned(),
        figures,
        took: begun.elapsed(),
    };
    out.result(&report.document(), || report.text())
}

struct Bench<'a> {
    url: &'a str,
    rate: u32,
    lasting: Duration,
    steps: Steps<'a>,
}

/// How somebody asks, at a pace and as fast as it goes.
struct Asked {
    paced: Times,
    per_second: f64,
    /// Per second of the scaler's processor time; the peer has none.
    per_cpu_second: Option<f64>,
    /// Transactions that Postgres counted in a second of the pace.
    queries: f64,
}

impl Bench<'_> {
    async fn measure(&self) -> Result<Vec<Figure>> {
        let folder = tempfile::Builder::new()
            .prefix("snowpack-bench-")
            .tempdir()?;
        let step = self.steps.begin("making the jobs");
        self.jobs().await?;
        step.done(&format!("{JOBS} jobs made"))?;
        let scaler = Server::start(program(self.url), folder.path()).await?;
        let grpc = scaler.address_of("scaler answers gRPC")?;
        Caller::connect(scaler.address)
            .await?
            .get("/readyz")
            .await?;
        let idle = scaler.usage()?.resident_bytes as f64;
        let path = "/v1/lanes/snowpack/ready?pool=default";
        let mut askers = Vec::new();
        for _ in 0..CALLERS {
            let caller = Caller::connect(scaler.address).await?;
            askers.push(Asker::Json(caller, path.to_owned()));
        }
        let json = self
            .ask("asking over HTTP", &mut askers, Some(&scaler))
            .await?;
        askers.clear();
        for _ in 0..CALLERS {
            askers.push(Asker::Grpc(client(grpc).await?, request()));
        }
        let metrics = self
            .ask("asking over gRPC", &mut askers, Some(&scaler))
            .await?;
        drop(askers);
        let pushed = self.pushes(grpc).await?;
        let busy = scaler.usage()?.peak_bytes as f64;
        scaler.stop()?;
        let peer = self.peer().await?;
        let mut figures = vec![
            Figure::new("scaler, idle", idle, Unit::Bytes).target(RESIDENT),
            Figure::new("scaler, at most", busy, Unit::Bytes).target(RESIDENT),
        ];
        figures.extend(self.figures("JSON", &json, &peer));
        figures.extend(self.figures("gRPC", &metrics, &peer));
        let push = |percent, what: &str| {
            let ms = milliseconds(pushed.percentile(percent));
            Figure::new(what, ms, Unit::Milliseconds)
        };
        figures.push(push(50, "push, from the commit to `active`: p50"));
        let slowest = push(100, "push, from the commit to `active`: slowest");
        figures.push(slowest.did(format!("{PUSHES} jobs, each submitted to an idle pool")));
        Ok(figures)
    }

    /// A lane with some work.
    async fn jobs(&self) -> Result<()> {
        let pool = Pool::connect(self.url, 1, "snowpack-bench").await?;
        maintenance::migrate(&pool).await?;
        for number in 0..JOBS {
            submit(&pool, &format!("due_{number}"), "default").await?;
        }
        Ok(())
    }

    async fn ask(
        &self,
        doing: &str,
        askers: &mut Vec<Asker>,
        scaler: Option<&Server>,
    ) -> Result<Asked> {
        let step = self.steps.begin(doing);
        let observer = Pool::connect(self.url, 1, "snowpack-bench").await?;
        // Every connection has asked, and what was done before is counted: Postgres counts a
        // connection's transactions once a second.
        load::paced(askers, self.rate, WARM_UP).await?;
        let before = transactions(&observer).await?;
        let paced = load::paced(askers, self.rate, self.lasting).await?;
        let after = transactions(&observer).await?;
        let cpu = |scaler: &Server| Ok::<_, anyhow::Error>(scaler.usage()?.cpu_seconds);
        let cpu_before = scaler.map(cpu).transpose()?;
        let (answered, took) = load::flat_out(askers, self.lasting).await?;
        let cpu_after = scaler.map(cpu).transpose()?;
        // A tick is the least that is counted.
        let cpu_seconds = cpu_after
            .zip(cpu_before)
            .map(|(after, before)| (after - before).max(0.01));
        step.done(&format!("{doing}: {answered} answers"))?;
        Ok(Asked {
            paced,
            per_second: answered as f64 / took.as_secs_f64(),
            per_cpu_second: cpu_seconds.map(|seconds| answered as f64 / seconds),
            queries: (after - before) as f64 / self.lasting.as_secs_f64(),
        })
    }

    /// How long it takes from the commit of a job to the word that there is one.
    async fn pushes(&self, grpc: std::net::SocketAddr) -> Result<Times> {
        let step = self.steps.begin("waiting to be told");
        let pool = Pool::connect(self.url, 1, "snowpack-bench").await?;
        let mut keda = client(grpc).await?;
        let mut told = keda.stream_is_active(trigger(PUSHED_POOL)).await?;
        let mut took = Vec::new();
        for number in 0..PUSHES {
            turns(&mut told, false).await?;
            let table = format!("pushed_{number}");
            let job = submit(&pool, &table, PUSHED_POOL).await?;
            let committed = Instant::now();
            turns(&mut told, true).await?;
            took.push(committed.elapsed());
            let mut connection = pool.get().await?;
            let tx = (**connection).transaction().await?;
            maintenance::cancel(&tx, &job).await?;
            tx.commit().await?;
        }
        step.done(&format!("told {PUSHES} times"))?;
        Ok(took.into_iter().collect())
    }

    /// Postgres itself, asked with the query of KEDA's own trigger.
    async fn peer(&self) -> Result<Asked> {
        let pool = Pool::connect(self.url, CALLERS, "snowpack-bench").await?;
        let query = maintenance::queue().keda_query().to_owned();
        let mut askers = Vec::new();
        for _ in 0..CALLERS {
            askers.push(Asker::Postgres(pool.get().await?, query.clone()));
        }
        self.ask("asking Postgres itself", &mut askers, None).await
    }

    fn figures(&self, how: &str, asked: &Asked, peer: &Asked) -> Vec<Figure> {
        const PEER: &str = "keda.sql";
        let new = |what: &str, value, unit| Figure::new(format!("{how}, {what}"), value, unit);
        let at = format!(
            "{} requests, {} a second",
            asked.paced.requests(),
            self.rate
        );
        let ms = |percent: usize| {
            let value = milliseconds(asked.paced.percentile(percent));
            let figure = new(&format!("p{percent}"), value, Unit::Milliseconds);
            figure.peer(PEER, milliseconds(peer.paced.percentile(percent)))
        };
        let mut figures = vec![
            ms(50),
            ms(99).target(P99_MS).did(at),
            new("queries behind it", asked.queries, Unit::PerSecond)
                .target(QUERIES)
                .peer(PEER, peer.queries),
            new("requests, flat out", asked.per_second, Unit::PerSecond)
                .peer(PEER, peer.per_second),
        ];
        let of_cpu = asked.per_cpu_second.map(|rate| {
            new("requests for a second of its CPU", rate, Unit::PerSecond).target(RATE)
        });
        figures.extend(of_cpu);
        figures
    }
}

fn program(url: &str) -> Program {
    let own = [
        ("SNOWPACK_DATABASE_URL", url),
        ("SNOWPACK_SCALER_ADDR", "127.0.0.1:0"),
        ("SNOWPACK_SCALER_GRPC_ADDR", "127.0.0.1:0"),
    ];
    Program {
        name: SCALER,
        arguments: &[],
        environment: own
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        listens: "scaler listens",
    }
}

async fn client(grpc: std::net::SocketAddr) -> Result<keda::Client> {
    let stream = TcpStream::connect(grpc).await?;
    stream.set_nodelay(true)?;
    Ok(keda::Client::on(stream, format!("http://{grpc}").parse()?).await?)
}

fn trigger(pool: &str) -> ScaledObjectRef {
    ScaledObjectRef {
        name: "worker".to_owned(),
        namespace: "bench".to_owned(),
        scaler_metadata: [("pool".to_owned(), pool.to_owned())].into(),
    }
}

fn request() -> GetMetricsRequest {
    GetMetricsRequest {
        scaled_object_ref: Some(trigger("default")),
        metric_name: "snowpack-demand".to_owned(),
    }
}

/// Waits for `want`, past what is said again.
async fn turns(told: &mut Streaming<IsActiveResponse>, want: bool) -> Result<()> {
    let turned = async {
        while let Some(word) = told.next().await {
            if word?.result == want {
                return Ok(());
            }
        }
        Err(anyhow!("the stream of activity ended"))
    };
    let turned = tokio::time::timeout(PUSH_WITHIN, turned).await;
    turned
        .with_context(|| format!("the scaler did not say active={want} within {PUSH_WITHIN:?}"))?
}

/// As a program that comes and goes would, the call behind the commit included.
async fn submit(pool: &Pool, table: &str, of: &str) -> Result<model::JobId> {
    let table = TableName::new(["bench"], table)?;
    let mut submission = Submission::new(table, vec![Action::RewriteDataFiles], "bench");
    of.clone_into(&mut submission.pool);
    let mut client = pool.get().await?;
    let tx = (**client).transaction().await?;
    let job = maintenance::submit(&tx, &submission).await?.job().clone();
    tx.commit().await?;
    maintenance::queue().notify(&**client).await?;
    Ok(job)
}

/// Those of the scratch database so far, as Postgres counts them.
async fn transactions(observer: &Pool) -> Result<i64> {
    let client = observer.get().await?;
    let sql = "select xact_commit from pg_stat_database where datname = current_database()";
    let row = client.query_typed_one(sql, &[]).await?;
    let count = row.get(0);
    ensure!(
        0 < count,
        "Postgres counts no transactions: is track_counts off?"
    );
    Ok(count)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
