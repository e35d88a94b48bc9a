//! `snowpack-api serve`: puts the parts together, answers until told to stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::body::Body;
use runtime::http::{Ask, Bounds};
use runtime::{Admin, Shutdown};
use steward::start;
use tower::ServiceExt;
use tracing::info;

use crate::args::Serve;
use crate::auth::{Guard, Rates};
use crate::kubernetes::Jobs;
use crate::lakehouse::Lakehouse;
use crate::metrics::{Gauges, Requests};
use crate::router::router;
use crate::state::Api;
use crate::trigger::Triggers;
use crate::{kubernetes, loops, passes, readiness};

const SETTING: &str = "SNOWPACK_API_ADDR";

/// Each loop holds one connection for its turn and works with another; requests want some too.
const CONNECTIONS_MIN: usize = 6;

fn bounds() -> Bounds {
    Bounds {
        connections_max: 512,
        // Behind a proxy all callers have its address.
        connections_max_per_address: 512,
        requests_max: 1,
        connection_within: Duration::from_mins(15),
        // Tokens are long, and proxies add headers of their own.
        head_bytes_max: 64 * 1024,
        headers_max: 100,
        stop_within: Duration::from_secs(15),
        ..Bounds::default()
    }
}

/// Answers until SIGTERM, then for a while those who have not heard of it.
pub(crate) async fn run(args: Serve) -> Result<()> {
    args.log.install()?;
    let shutdown = Shutdown::on_signals(args.linger())?;
    // All three may refuse; none needs the database.
    let guard = Guard::new(&args.auth, args.api_addr, &shutdown.stop)?;
    let tls = args.tls()?;
    let listener = runtime::http::bind(args.api_addr, SETTING).await?;
    let listener = listener.with_tls(tls.as_ref())?;
    if let Some(tls) = tls {
        tokio::spawn(tls.follow(shutdown.stop.clone()));
    }
    let opened = start::within(args.start.within(), &shutdown.drain, async || {
        start::database(&args.database, CONNECTIONS_MIN, crate::NAME).await
    });
    let Some(pool) = opened.await? else {
        return Ok(());
    };
    let registry = runtime::metrics::registry(crate::NAME)?;
    queue::metrics::register(&registry)?;
    let ready = readiness::question(pool.clone(), args.cache_age_max(), shutdown.drain.clone());
    let lakehouse = Arc::new(Lakehouse::new(&args, &pool)?);
    let holder = holder(args.kubernetes.pod.pod_name.as_deref());
    let lead = kubernetes::lead(&args.kubernetes, &holder, &registry, &shutdown.drain).await?;
    let (leader, keeper) = lead.unzip();
    let triggers = Triggers::new(&args, &pool, &lakehouse, &holder, &shutdown);
    let triggers = Arc::new(triggers);
    let api = Arc::new(Api {
        pool: pool.clone(),
        lakehouse: Arc::clone(&lakehouse),
        triggers: Arc::clone(&triggers),
        jobs: Jobs::new(&args.kubernetes),
        leader: leader.clone(),
        guard: Arc::new(guard),
        rates: Rates::new(args.rate_per_second()),
        proxies: args.proxies(),
        gauges: Gauges::register(&registry)?,
        requests: Requests::register(&registry)?,
        admin: Admin::new(registry, ready),
    });
    let repeated = loops::start(
        passes::all(&args, &pool, &lakehouse),
        &pool,
        &holder,
        leader.as_ref(),
        &shutdown.drain,
    );
    let router = router(&api);
    info!(address = %listener.local_addr()?, "api listens");
    let answer = move |ask: Ask| {
        let router = router.clone();
        async move {
            let answered = router.oneshot(ask.map(Body::new)).await;
            answered.unwrap_or_else(|never| match never {})
        }
    };
    runtime::http::serve_within(listener, bounds(), answer, shutdown.stop).await;
    repeated.wait().await;
    triggers.ended().await;
    if let Some(keeper) = keeper {
        keeper.ended().await;
    }
    Ok(())
}

/// This process and no other, by a name people recognise.
fn holder(pod: Option<&str>) -> String {
    let random = uuid::Uuid::new_v4().simple();
    format!("{}-{random}", pod.unwrap_or(crate::NAME))
}
