//! The worker daemon: claims jobs, keeps their leases, runs their actions, and gives back what
//! it cannot finish.
//!
//! Wiring only. [`args`] says what can be set, [`start`] what must be there, [`daemon`] when the
//! queue is looked at, [`kubernetes`] what its pod says of it; how one attempt runs is the
//! `runner`'s, what it does to a table `lake`'s.

mod args;
mod daemon;
mod kubernetes;
mod metrics;
mod name;
mod progress;
mod start;
mod sweep;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use mimalloc::MiMalloc;
use queue::{Ask, Claimer};
use runner::{Config, Heart, Memory, Runner};
use runtime::{Admin, Ready, Shutdown};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::args::Args;
use crate::daemon::{Daemon, Until};
use crate::kubernetes::{Glue, Told};
use crate::metrics::Metrics;
use crate::start::Parts;

/// Every slot builds large buffers at once; the system's allocator keeps them as fragments.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const NAME: &str = "snowpack-worker";

/// With a shorter lease, a short pause of Postgres costs jobs their attempt.
const LEASE_SHORT: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    runtime::give_freed_memory_back();
    match runtime::arguments::<Args>() {
        Ok(args) => runtime::run(NAME, Box::pin(work(args))),
        Err(code) => code,
    }
}

/// Works until told to stop, idle or done.
async fn work(args: Args) -> Result<()> {
    args.log.install()?;
    let shutdown = Shutdown::on_signals(args.grace())?;
    let registry = runtime::metrics::registry(NAME)?;
    let metrics = Metrics::register(&registry)?;
    queue::metrics::register(&registry)?;
    let runner_metrics = runner::Metrics::register(&registry)?;
    let glue = Glue::start(&args.pod, &registry)?;
    let started = Started::default();
    let admin = Admin::new(registry, started.ready(shutdown.drain.clone()));
    let admin_stop = CancellationToken::new();
    let (_, admin_task) = admin.start(&args.admin, admin_stop.clone()).await?;
    if args.lease() < LEASE_SHORT {
        warn!(
            lease_seconds = args.lease().as_secs(),
            "the lease is short: a pause costs attempts"
        );
    }
    if let Some(parts) = start::open(&args, &shutdown.drain).await? {
        started.set(&parts.pool);
        let told = glue.told.clone();
        let daemon = daemon(&args, parts, &shutdown, metrics, runner_metrics, told)?;
        daemon.run().await?;
    }
    glue.end().await;
    info!("ended");
    admin_stop.cancel();
    admin_task.await?;
    Ok(())
}

fn daemon(
    args: &Args,
    parts: Parts,
    shutdown: &Shutdown,
    metrics: Metrics,
    runner_metrics: runner::Metrics,
    told: Told,
) -> Result<Daemon> {
    let queue = maintenance::queue();
    let heart = Arc::new(Heart::start(&parts.pool, &queue, args.lease())?);
    let memory_bytes = args.memory_bytes();
    let config = Config {
        stall: args.stall(),
        ..Config::new(Memory::new(memory_bytes), parts.catalog.name())
    };
    let (pool, catalog) = (parts.pool.clone(), parts.catalog.name().to_owned());
    tokio::spawn(sweep::sweep(pool, catalog, shutdown.drain.clone()));
    let engine = Arc::new(lake::NativeEngine::new(parts.catalog));
    let runner = Runner::new(
        parts.pool.clone(),
        engine,
        Arc::clone(&heart),
        runner_metrics,
        config,
    );
    let worker = name::worker_id(args.worker_name.as_deref());
    metrics.slots.set(i64::try_from(args.slots())?);
    info!(worker, slots = args.slots(), pools = ?args.worker_pools, memory_bytes, "started");
    let ask = Ask {
        lease: args.lease(),
        worker,
        pools: args.worker_pools.clone(),
    };
    Ok(Daemon {
        calls: parts.calls,
        claimer: Claimer::new(queue, ask),
        pool: parts.pool,
        runner: Arc::new(runner),
        heart,
        shutdown: shutdown.clone(),
        metrics,
        told,
        slots: args.slots(),
        until: Until {
            idle: args.exit_when_idle,
            jobs: args.max_jobs,
        },
    })
}

/// Set once everything is there; until then, and while draining, the worker is not ready.
#[derive(Clone, Default)]
struct Started(Arc<std::sync::OnceLock<pg::Pool>>);

impl Started {
    fn set(&self, pool: &pg::Pool) {
        // Set once, by `work`.
        let _ = self.0.set(pool.clone());
    }

    /// Ready: not draining, and Postgres answers.
    fn ready(&self, drain: CancellationToken) -> Ready {
        let started = self.clone();
        Arc::new(move || {
            let (started, drain) = (started.clone(), drain.clone());
            async move {
                if drain.is_cancelled() {
                    return Err("draining".to_owned());
                }
                let pool = started.0.get().ok_or("starting")?;
                let client = pool.get().await.map_err(|error| runtime::chain(&error))?;
                client
                    .simple_query("")
                    .await
                    .map_err(|error| runtime::chain(&error))?;
                Ok(())
            }
            .boxed()
        })
    }
}
