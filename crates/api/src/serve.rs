//! `snowpack-api serve`: puts the parts together, answers until told to stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::body::Body;
use pg::Pool;
use queue::Cursor;
use runtime::http::{Ask, Bounds};
use runtime::{Admin, Shutdown};
use tokio::sync::Mutex;
use tower::ServiceExt;
use tracing::info;

use crate::args::Serve;
use crate::auth::{Guard, Rates};
use crate::loops::{self, Loop, Passed};
use crate::metrics::{Gauges, Requests};
use crate::router::router;
use crate::state::Api;
use crate::{database, readiness};

const SETTING: &str = "SNOWPACK_API_ADDR";

/// Tokens are long, and proxies add headers of their own.
const BOUNDS: Bounds = Bounds {
    connections_max: 512,
    connection_within: Duration::from_mins(15),
    head_bytes_max: 64 * 1024,
    headers_max: 100,
    stop_within: Duration::from_secs(15),
};

/// Between two sweeps of the queue and the ledger.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Rows of each kind in one statement.
const SWEEP_MAX: i32 = 1_000;

/// Answers until SIGTERM, then for a while those who have not heard of it.
pub(crate) async fn run(args: Serve) -> Result<()> {
    args.log.install()?;
    let shutdown = Shutdown::on_signals(args.linger())?;
    // Both may refuse; neither needs the database.
    let guard = Guard::new(&args.auth, args.api_addr, &shutdown.stop)?;
    let listener = runtime::http::bind(args.api_addr, SETTING).await?;
    let pool = database::wait(&args.database, args.start_within(), &shutdown.drain).await?;
    let Some(pool) = pool else { return Ok(()) };
    let registry = runtime::metrics::registry(crate::NAME)?;
    queue::metrics::register(&registry)?;
    let ready = readiness::question(pool.clone(), args.cache_age_max(), shutdown.drain.clone());
    let api = Arc::new(Api {
        pool: pool.clone(),
        guard: Arc::new(guard),
        rates: Rates::new(args.rate_per_second()),
        proxies: args.proxies(),
        gauges: Gauges::register(&registry)?,
        requests: Requests::register(&registry)?,
        admin: Admin::new(registry, ready),
    });
    let holder = format!("{}-{}", crate::NAME, uuid::Uuid::new_v4().simple());
    let repeated = loops::start(loops(&args, &pool), &pool, &holder, &shutdown.drain);
    let router = router(&api);
    info!(address = %listener.local_addr()?, "api listens");
    let answer = move |ask: Ask| {
        let router = router.clone();
        async move {
            let answered = router.oneshot(ask.map(Body::new)).await;
            answered.unwrap_or_else(|never| match never {})
        }
    };
    runtime::http::serve_within(listener, BOUNDS, answer, shutdown.stop).await;
    repeated.wait().await;
    Ok(())
}

fn loops(args: &Serve, pool: &Pool) -> Vec<Loop> {
    let (sweep_pool, catalog) = (pool.clone(), args.catalog.catalog_name.clone());
    let cursor = Arc::new(Mutex::new(Cursor::default()));
    let sweep = Loop::new("sweep", SWEEP_EVERY, move || {
        let (pool, catalog, cursor) = (sweep_pool.clone(), catalog.clone(), Arc::clone(&cursor));
        async move { sweep(&pool, &catalog, &mut *cursor.lock().await).await }
    });
    vec![sweep]
}

/// What claims and workers do by the way, for a fleet that sleeps.
async fn sweep(pool: &Pool, catalog: &str, cursor: &mut Cursor) -> Result<Passed> {
    let client = pool.get().await?;
    let swept = maintenance::queue()
        .sweep(&**client, SWEEP_MAX, cursor)
        .await?;
    let files = maintenance::ledger::sweep(&**client, catalog, i64::from(SWEEP_MAX)).await?;
    Ok(Passed::done(format!(
        "jobs: {} reset, {} ended, {} due; orphans: {} locks, {} rows; files: {} to delete, {} \
         forgotten",
        swept.reset,
        swept.ended,
        swept.flipped,
        swept.locks,
        swept.rows,
        files.moved,
        files.forgotten
    )))
}
