//! Passes that callers ask for: the table cache's sync, an orchestrator run, a health sync.
//!
//! Each runs in this process, one of its kind at a time, whether or not its caller waits; told to
//! stop, it ends at its next safe point, as its CronJob would.

use std::sync::Arc;
use std::time::Duration;

use pg::Pool;
use policy::{Budget, Defaults};
use runtime::{Shutdown, chain};
use steward::health::SyncArgs;
use steward::inventory::{Allow, Synced};
use steward::orchestrate::{self, Settings};
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info_span, warn};

use crate::args::Serve;
use crate::lakehouse::Lakehouse;
use crate::problem::{Kind, Problem};
use crate::{loops, passes};

/// Tables looked at side by side for callers; each may hold some manifests.
const LOOKS_MAX: usize = 4;

/// What asked-for passes go by, and those that run.
#[derive(Debug)]
pub(crate) struct Triggers {
    pool: Pool,
    lakehouse: Arc<Lakehouse>,
    pub(crate) defaults: Defaults,
    budget: Budget,
    pub(crate) cache_age_max: Duration,
    allow: Allow,
    health: SyncArgs,
    holder: String,
    shutdown: Shutdown,
    running: TaskTracker,
    orchestrator: Arc<Mutex<()>>,
    health_sync: Arc<Mutex<()>>,
    pub(crate) looks: Semaphore,
}

impl Triggers {
    pub(crate) fn new(
        args: &Serve,
        pool: &Pool,
        lakehouse: &Arc<Lakehouse>,
        holder: &str,
        shutdown: &Shutdown,
    ) -> Self {
        Self {
            pool: pool.clone(),
            lakehouse: Arc::clone(lakehouse),
            defaults: args.policy.defaults(),
            budget: args.budget.budget(),
            cache_age_max: args.cache_age_max(),
            allow: Allow::new(&args.tables),
            health: args.health.clone(),
            holder: holder.to_owned(),
            shutdown: shutdown.clone(),
            running: TaskTracker::new(),
            orchestrator: Arc::default(),
            health_sync: Arc::default(),
            looks: Semaphore::new(LOOKS_MAX),
        }
    }

    /// Once the process takes no more requests: waits for what still runs.
    pub(crate) async fn ended(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Starts an orchestrator run on behalf of `by`; refused while one of this process runs.
    pub(crate) fn orchestrate(self: &Arc<Self>, by: String, dry_run: bool) -> Result<(), Problem> {
        let only = Arc::clone(&self.orchestrator).try_lock_owned();
        let only = only.map_err(|_| running("an orchestrator run"))?;
        let this = Arc::clone(self);
        let run = async move {
            let _only = only;
            let settings = Settings {
                defaults: this.defaults.clone(),
                budget: this.budget,
                dry_run,
                wait: None,
                cache_age_max: this.cache_age_max,
                triggered_by: by,
            };
            let run = orchestrate::once(&this.pool, &settings, &this.shutdown.drain).await;
            if let Err(error) = run {
                warn!(why = chain(&error), "a run was not recorded");
            }
        };
        self.running
            .spawn(run.instrument(info_span!("trigger", name = "orchestrator")));
        Ok(())
    }

    /// Starts a health sync; refused while one of this process runs, or without a catalog.
    pub(crate) async fn sync_health(self: &Arc<Self>) -> Result<(), Problem> {
        let only = Arc::clone(&self.health_sync).try_lock_owned();
        let only = only.map_err(|_| running("a health sync"))?;
        let catalog = self.lakehouse.catalog().await?;
        let this = Arc::clone(self);
        let run = async move {
            let _only = only;
            let syncing = this.health.syncing(this.holder.clone());
            let (pool, defaults) = (&this.pool, &this.defaults);
            let synced =
                steward::health::sync(pool, catalog, defaults, &syncing, &this.shutdown).await;
            if let Err(error) = synced {
                warn!(why = chain(&error), "a health sync did not begin");
            }
        };
        self.running
            .spawn(run.instrument(info_span!("trigger", name = "health_sync")));
        Ok(())
    }

    /// Starts a sync of the table cache, in the loop's stead, and says how to hear of its end.
    pub(crate) fn sync_tables(self: &Arc<Self>, force: bool) -> oneshot::Receiver<Sync> {
        let (told, hear) = oneshot::channel();
        let this = Arc::clone(self);
        let run = async move {
            let synced = tokio::select! {
                synced = this.sync_now(force) => synced,
                // A sync that is cut off is one that was killed, and each may be.
                () = this.shutdown.drain.cancelled() => return,
            };
            // Nobody may be waiting any more.
            let _ = told.send(synced);
        };
        self.running
            .spawn(run.instrument(info_span!("trigger", name = passes::CACHE_SYNC)));
        hear
    }

    async fn sync_now(&self, force: bool) -> Sync {
        let catalog = self.lakehouse.catalog().await?;
        let mut synced = None;
        let pass = async {
            let all = steward::inventory::sync(&self.pool, &*catalog, &self.allow, force).await?;
            let passed = passes::passed(&all);
            synced = Some(all);
            Ok(passed)
        };
        let mine = loops::now(passes::CACHE_SYNC, &self.pool, &self.holder, pass).await;
        match (mine, synced) {
            (Ok(_), Some(synced)) => Ok(synced),
            (Ok(_), None) => Err(running("a sync of the table cache")),
            (Err(error), _) => Err(Problem::unavailable("Postgres", chain(error.as_ref()))),
        }
    }
}

/// How an asked-for sync of the table cache went.
pub(crate) type Sync = Result<Synced, Problem>;

fn running(what: &str) -> Problem {
    Problem::new(Kind::AlreadyRunning, format!("{what} is under way already"))
}
