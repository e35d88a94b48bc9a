//! What the API measures: its own requests, and what Postgres knows of the fleet, read when
//! somebody scrapes so that replicas never drift.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use maintenance::overview::{self, Horizon, Scores};
use pg::Pool;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use queue::Depth;
use runtime::{Error, chain};
use tracing::warn;

/// Ready jobs are counted up to here, as the scaler does.
const COUNT_MAX: i64 = 10_000;
/// For all numbers together; a scrape does not wait longer.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// What Postgres itself may spend on each.
const STATEMENT_TIMEOUT: &str = "set local statement_timeout = '2500ms'";

/// `snowpack_http_*`: requests by route template, never by path.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    total: IntCounterVec,
    seconds: HistogramVec,
}

impl Requests {
    pub(crate) fn register(registry: &Registry) -> Result<Self, Error> {
        let total = IntCounterVec::new(
            Opts::new("snowpack_http_requests_total", "Requests answered"),
            &["method", "route", "status"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "snowpack_http_request_duration_seconds",
                "From a request's head to its answer's",
            )
            .buckets(vec![
                0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
            ]),
            &["method", "route"],
        )?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self { total, seconds })
    }

    pub(crate) fn count(
        &self,
        method: &Method,
        route: &str,
        status: StatusCode,
        elapsed: Duration,
    ) {
        let method = known(method);
        self.total
            .with_label_values(&[method, route, status.as_str()])
            .inc();
        self.seconds
            .with_label_values(&[method, route])
            .observe(elapsed.as_secs_f64());
    }
}

/// Anybody may make up a method; only real ones become a label.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// What Postgres knows. Absent while it does not answer: a stale number is made up.
#[derive(Debug)]
pub(crate) struct Gauges {
    ready: IntGaugeVec,
    running: IntGaugeVec,
    scheduled: IntGaugeVec,
    oldest_ready: GaugeVec,
    fleet: Fleet,
}

/// Numbers without a label, so that leaving them out takes a collector of its own.
#[derive(Debug, Clone)]
struct Fleet(std::sync::Arc<Mutex<Option<Numbers>>>, [Desc; 6]);

#[derive(Debug, Clone, PartialEq)]
struct Numbers {
    depth: Depth,
    workers: i64,
    tables: i64,
    cache_age: Option<Duration>,
    horizon: Horizon,
    scores: Vec<Scores>,
}

const WORKERS: (&str, &str) = (
    "snowpack_workers_active",
    "Worker processes that hold a live lease",
);
const TABLES: (&str, &str) = ("snowpack_tables_discovered", "Tables in the table cache");
const CACHE_AGE: (&str, &str) = (
    "snowpack_table_cache_age_seconds",
    "Since the table cache was last like the catalog; absent before the first sync",
);
const HELD: (&str, &str) = (
    "snowpack_horizon_held_seconds",
    "Since the oldest open transaction began that keeps Postgres from clearing dead rows",
);
const HELD_TRANSACTIONS: (&str, &str) = (
    "snowpack_horizon_held_transactions",
    "Transactions begun since the oldest one that a session, a standby or a slot holds on to",
);
const SCORE: (&str, &str) = (
    "snowpack_health_score",
    "Newest health score of every table, 0 to 100",
);

impl Gauges {
    pub(crate) fn register(registry: &Registry) -> Result<Self, Error> {
        let count = |name: &str, help: &str| -> Result<IntGaugeVec, Error> {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["lane"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let oldest_ready = GaugeVec::new(
            Opts::new(
                "snowpack_queue_oldest_ready_seconds",
                "How long the oldest due job waits",
            ),
            &["lane"],
        )?;
        registry.register(Box::new(oldest_ready.clone()))?;
        let desc = |(name, help): (&str, &str)| {
            Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())
        };
        let descs = [
            desc(WORKERS)?,
            desc(TABLES)?,
            desc(CACHE_AGE)?,
            desc(HELD)?,
            desc(HELD_TRANSACTIONS)?,
            desc(SCORE)?,
        ];
        let fleet = Fleet(std::sync::Arc::default(), descs);
        registry.register(Box::new(fleet.clone()))?;
        Ok(Self {
            ready: count(
                "snowpack_queue_ready",
                "Jobs due now, expired leases included",
            )?,
            running: count("snowpack_queue_running", "Jobs under a live lease")?,
            scheduled: count("snowpack_queue_scheduled", "Jobs not due yet")?,
            oldest_ready,
            fleet,
        })
    }

    /// Reads everything anew, or shows nothing.
    pub(crate) async fn read(&self, pool: &Pool) {
        let numbers = match tokio::time::timeout(READ_WITHIN, numbers(pool)).await {
            Ok(Ok(numbers)) => Some(numbers),
            Ok(Err(error)) => {
                let why = chain(error.as_ref());
                warn!(why, "metrics of Postgres are left out");
                None
            }
            Err(_) => {
                let why = format!("no answer within {READ_WITHIN:?}");
                warn!(why, "metrics of Postgres are left out");
                None
            }
        };
        self.set(numbers);
    }

    fn set(&self, numbers: Option<Numbers>) {
        for gauge in [&self.ready, &self.running, &self.scheduled] {
            gauge.reset();
        }
        self.oldest_ready.reset();
        if let Some(Numbers { depth, .. }) = &numbers {
            let lane = &[maintenance::SCHEMA];
            self.ready.with_label_values(lane).set(depth.ready);
            self.running.with_label_values(lane).set(depth.running);
            self.scheduled.with_label_values(lane).set(depth.scheduled);
            self.oldest_ready
                .with_label_values(lane)
                .set(depth.oldest_ready_seconds);
        }
        // Numbers are swapped whole.
        *self.fleet.0.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
    }
}

async fn numbers(pool: &Pool) -> anyhow::Result<Numbers> {
    let mut client = pool.get().await?;
    let tx = client.transaction().await?;
    tx.batch_execute(STATEMENT_TIMEOUT).await?;
    let queue = maintenance::queue();
    let numbers = Numbers {
        depth: queue.depth(&*tx, &[], COUNT_MAX).await?,
        workers: queue.workers(&*tx).await?,
        tables: overview::tables(&*tx).await?,
        cache_age: overview::cache_age(&*tx).await?,
        horizon: overview::horizon(&*tx).await?,
        scores: overview::scores(&*tx).await?,
    };
    tx.commit().await?;
    Ok(numbers)
}

impl Collector for Fleet {
    fn desc(&self) -> Vec<&Desc> {
        self.1.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let numbers = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(numbers) = numbers else {
            return Vec::new();
        };
        let whole = |(name, help): (&str, &str), value: i64| {
            let gauge = IntGauge::new(name, help).ok()?;
            gauge.set(value);
            gauge.collect().pop()
        };
        let time = |(name, help): (&str, &str), value: Duration| {
            let gauge = Gauge::new(name, help).ok()?;
            gauge.set(value.as_secs_f64());
            gauge.collect().pop()
        };
        let age = numbers.cache_age.and_then(|age| time(CACHE_AGE, age));
        [
            whole(WORKERS, numbers.workers),
            whole(TABLES, numbers.tables),
            age,
            time(HELD, numbers.horizon.held),
            whole(HELD_TRANSACTIONS, numbers.horizon.transactions),
            Some(distribution(&numbers.scores)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A histogram as it is in the database now, not one that counts up.
fn distribution(scores: &[Scores]) -> MetricFamily {
    let mut histogram = Histogram::default();
    let (mut tables, mut buckets) = (0, Vec::new());
    for up_to in (10..=100).step_by(10) {
        let step = scores.iter().find(|step| step.up_to == up_to);
        tables += step.map_or(0, |step| step.tables.unsigned_abs());
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(f64::from(up_to));
        bucket.set_cumulative_count(tables);
        buckets.push(bucket);
    }
    histogram.set_bucket(buckets);
    histogram.set_sample_count(tables);
    histogram.set_sample_sum(scores.iter().map(|step| step.sum).sum());
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    let mut family = MetricFamily::default();
    family.set_name(SCORE.0.to_owned());
    family.set_help(SCORE.1.to_owned());
    family.set_field_type(MetricType::HISTOGRAM);
    family.set_metric(vec![metric]);
    family
}
