//! A runner with everything around it, and the steps every test takes.

use std::sync::Arc;
use std::time::Duration;

use maintenance::{ActionRow, Job, Submission, Submitted};
use model::{Action, ActionOutcome, JobId};
use planner::Progress;
use policy::retry::Backoff;
use queue::Claimed;
use runner::{Config, Ended, Heart, How, Memory, Metrics, Runner, Shutdown};
use testkit::Database;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::engine::{Fake, Lies, Step};

/// Long enough that no test meets its end unless it wants to.
pub(crate) const LEASE: Duration = Duration::from_mins(1);

/// What the engine does as it is told, and what it never plans.
pub(crate) const REWRITE: Action = Action::RewriteDataFiles;
pub(crate) const REFUSED: Action = Action::RemoveOrphanFiles;

#[derive(Debug)]
pub(crate) struct Quiet;

impl Progress for Quiet {
    fn total(&self, _: u64) {}
    fn advance(&self, _: u64) {}
    fn alive(&self) {}
}

pub(crate) struct Rig {
    pub(crate) database: Database,
    pub(crate) client: Client,
    pub(crate) engine: Arc<Fake>,
    pub(crate) heart: Arc<Heart>,
    pub(crate) runner: Arc<Runner>,
    pub(crate) registry: prometheus::Registry,
    pub(crate) shutdown: Shutdown,
    pub(crate) lease: Duration,
}

pub(crate) struct Setup {
    pub(crate) lies: Lies,
    pub(crate) lease: Duration,
    pub(crate) config: Config,
    /// Settings of the database, for every connection of the attempt's.
    pub(crate) settings: &'static [&'static str],
}

impl Default for Setup {
    fn default() -> Self {
        let backoff = Backoff {
            base: Duration::from_hours(1),
            cap: Duration::from_hours(2),
        };
        let memory = Memory::new(64 << 20);
        Self {
            lies: Lies::Here,
            lease: LEASE,
            config: Config {
                backoff,
                ..Config::new(memory, "lakehouse")
            },
            settings: &[],
        }
    }
}

impl Rig {
    pub(crate) async fn new(script: &[Step]) -> Self {
        Self::with(Setup::default(), script).await
    }

    pub(crate) async fn with(setup: Setup, script: &[Step]) -> Self {
        let database = Database::new().await;
        let client = database.client().await;
        client
            .batch_execute("create table lake (job_id text not null)")
            .await
            .unwrap();
        for setting in setup.settings {
            let sql = format!("alter database {} set {setting}", database.name());
            client.batch_execute(&sql).await.unwrap();
        }
        let pool = database.pool().await;
        let engine = Arc::new(Fake::new(pool.clone(), setup.lies));
        engine.script(script);
        let beats = pg::Pool::connect(database.url(), 1, "heart").await.unwrap();
        let queue = maintenance::queue();
        let heart = Arc::new(Heart::start(&beats, &queue, setup.lease).unwrap());
        let registry = prometheus::Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let runner = Runner::new(
            pool,
            Arc::clone(&engine) as Arc<dyn planner::Engine>,
            Arc::clone(&heart),
            metrics,
            setup.config,
        );
        Self {
            database,
            client,
            engine,
            heart,
            runner: Arc::new(runner),
            registry,
            shutdown: Shutdown::default(),
            lease: setup.lease,
        }
    }

    pub(crate) async fn submit(&mut self, asked: &Submission) -> JobId {
        let tx = self.client.transaction().await.unwrap();
        let submitted = maintenance::submit(&tx, asked).await.unwrap();
        tx.commit().await.unwrap();
        match submitted {
            Submitted::New(job) => job,
            Submitted::Existing(job) => panic!("{job} was there already"),
        }
    }

    /// As versions queued it that left planning to a worker.
    pub(crate) async fn queued_dry_run(&mut self, actions: &[Action]) -> JobId {
        let job = self.submit(&submission(actions)).await;
        let sql = "update snowpack.jobs set dry_run = true where job_id = $1";
        assert_eq!(self.client.execute(sql, &[&job.as_str()]).await.unwrap(), 1);
        job
    }

    pub(crate) async fn try_claim(&self, job: &JobId) -> Option<Claimed> {
        let queue = maintenance::queue();
        queue
            .claim_one(&self.client, job, self.lease, "test")
            .await
            .unwrap()
    }

    pub(crate) async fn claim(&self, job: &JobId) -> Claimed {
        self.try_claim(job)
            .await
            .unwrap_or_else(|| panic!("{job} could not be claimed"))
    }

    pub(crate) async fn submit_and_claim(&mut self, actions: &[Action]) -> (JobId, Claimed) {
        let job = self.submit(&submission(actions)).await;
        let claimed = self.claim(&job).await;
        (job, claimed)
    }

    /// Starts an attempt; it runs beside the test.
    pub(crate) fn start(&self, claimed: Claimed) -> JoinHandle<Ended> {
        let (runner, shutdown) = (Arc::clone(&self.runner), self.shutdown.clone());
        tokio::spawn(async move { runner.run(claimed, &shutdown, Arc::new(Quiet)).await })
    }

    pub(crate) async fn run(&self, claimed: Claimed) -> How {
        self.start(claimed).await.unwrap().how
    }

    /// Claims and runs.
    pub(crate) async fn attempt(&self, job: &JobId) -> How {
        let claimed = self.claim(job).await;
        self.run(claimed).await
    }

    pub(crate) async fn job(&self, job: &JobId) -> Job {
        maintenance::get(&self.client, job).await.unwrap().unwrap()
    }

    pub(crate) async fn rows(&self, job: &JobId) -> Vec<ActionRow> {
        maintenance::actions::list(&self.client, job).await.unwrap()
    }

    pub(crate) async fn outcomes(&self, job: &JobId) -> Vec<(Action, ActionOutcome)> {
        let rows = self.rows(job).await;
        rows.iter()
            .map(|row| (row.result.action, row.result.outcome))
            .collect()
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub(crate) async fn commits(&self, job: &JobId) -> i64 {
        let sql = "select count(*) from lake where job_id = $1";
        self.client
            .query_one(sql, &[&job.as_str()])
            .await
            .unwrap()
            .get(0)
    }

    /// As if the worker had died a lease ago; false when the job has ended.
    pub(crate) async fn expire(&self, job: &JobId) -> bool {
        let sql = "update snowpack.job_queue set visible_at = now() - interval '1 second' \
                   where job_id = $1 and claimed_at is not null";
        self.client.execute(sql, &[&job.as_str()]).await.unwrap() == 1
    }

    /// The backoff is over.
    pub(crate) async fn make_due(&self, job: &JobId) {
        let sql = "update snowpack.job_queue set visible_at = now(), scheduled = false \
                   where job_id = $1 and claimed_at is null";
        assert_eq!(self.client.execute(sql, &[&job.as_str()]).await.unwrap(), 1);
    }

    pub(crate) async fn cancel(&mut self, job: &JobId) {
        let tx = self.client.transaction().await.unwrap();
        maintenance::cancel(&tx, job).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) async fn assert_nothing_is_live(&self) {
        assert_eq!(
            self.count("select count(*) from snowpack.job_queue").await,
            0,
            "queue rows"
        );
        assert_eq!(
            self.count("select count(*) from snowpack.table_locks")
                .await,
            0,
            "locks"
        );
    }
}

pub(crate) fn submission(actions: &[Action]) -> Submission {
    Submission::new("db.t".parse().unwrap(), actions.to_vec(), "test")
}
