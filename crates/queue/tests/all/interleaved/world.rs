//! Where schedules run: a lane with a catalog beside it, a catalog elsewhere, and connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use queue::{Ask, Claimer};
use testkit::Database;
use tokio_postgres::Client;

use super::reference::Reference;
use super::session::Session;
use super::{LEASE, SESSIONS};
use crate::lane::Lane;

const CATALOG: &str = "
create schema catalog;
create table catalog.tables (name text primary key, version int not null default 0);
create table catalog.commits (job_id text not null, attempt_id text not null);
insert into catalog.tables (name) values ('db.t0'), ('db.t1'), ('db.t2');
";

/// Everything a schedule leaves behind.
const CLEAR: &str = "
truncate lane.jobs, lane.job_queue, lane.table_locks, catalog.commits;
update lane.lane_state set paused_at = null, paused_by = null;
";

pub(super) struct World {
    pub(super) lane: Arc<Lane>,
    pub(super) outside: Client,
    pub(super) sessions: Vec<Session>,
    /// Whether swaps run under a guard.
    pub(super) guarded: bool,
    _elsewhere: Database,
}

pub(super) fn claimer(lane: &Lane) -> Claimer {
    let ask = Ask {
        lease: LEASE,
        worker: "w".to_owned(),
        pools: vec!["default".to_owned()],
    };
    Claimer::new(lane.queue.clone(), ask)
}

/// One job in three is about a catalog in our database, the others about one elsewhere.
pub(super) fn inside(job: u32) -> bool {
    job.is_multiple_of(3)
}

impl World {
    pub(super) async fn new(lane: Lane, guarded: bool) -> Self {
        lane.run(CATALOG).await;
        let elsewhere = Database::empty().await;
        let outside = elsewhere.client().await;
        outside.batch_execute(CATALOG).await.unwrap();
        let mut world = Self {
            lane: Arc::new(lane),
            outside,
            sessions: Vec::new(),
            guarded,
            _elsewhere: elsewhere,
        };
        world.begin().await;
        world
    }

    /// New connections, empty tables.
    pub(super) async fn begin(&mut self) {
        for session in self.sessions.drain(..) {
            let end = "select pg_terminate_backend($1)";
            self.lane
                .client
                .execute(end, &[&session.pid])
                .await
                .unwrap();
        }
        self.lane.run(CLEAR).await;
        self.outside
            .batch_execute("truncate catalog.commits")
            .await
            .unwrap();
        for _ in 0..SESSIONS {
            let session = Session::start(&self.lane).await;
            self.sessions.push(session);
        }
    }

    pub(super) async fn version(&self, job: u32, key: &str) -> i32 {
        let client = if inside(job) {
            &self.lane.client
        } else {
            &self.outside
        };
        let sql = "select version from catalog.tables where name = $1";
        client.query_one(sql, &[&key]).await.unwrap().get(0)
    }

    /// A commit of nobody's job; not waiting for one that is open.
    pub(super) async fn stranger(&self, key: &str) {
        let sql = "update catalog.tables set version = version + 1 where name = (
            select name from catalog.tables where name = $1 for update skip locked)";
        for client in [&self.lane.client, &self.outside] {
            client.execute(sql, &[&key]).await.unwrap();
        }
    }

    pub(super) async fn waits(&self, pid: i32) -> bool {
        let sql = "select exists (select 1 from pg_locks where pid = $1 and not granted)";
        self.lane
            .client
            .query_one(sql, &[&pid])
            .await
            .unwrap()
            .get(0)
    }

    /// The seconds that are left of each attempt's lease.
    pub(super) async fn leases(&self) -> BTreeMap<String, f64> {
        let sql = "select attempt_id,
                extract(epoch from visible_at - clock_timestamp())::float8
            from lane.job_queue where attempt_id is not null";
        let rows = self.lane.client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Lets a lease or a delay run out, unless somebody has the row.
    pub(super) async fn expire(&self, job: u32) -> bool {
        let sql = "update lane.job_queue set visible_at = now() - interval '1 second'
             where job_id = (
                 select job_id from lane.job_queue where job_id::text = $1
                 for no key update skip locked)";
        let id = self.lane.id(job);
        self.lane
            .client
            .execute(sql, &[&id.as_str()])
            .await
            .unwrap()
            == 1
    }

    pub(super) async fn pause(&self, pause: bool) {
        let (queue, client) = (&self.lane.queue, &self.lane.client);
        if pause {
            queue.pause(client, "test", "schedule").await.unwrap();
        } else {
            queue.resume(client).await.unwrap();
        }
    }

    /// Ends a session's backend and waits until nothing is left of it.
    pub(super) async fn kill(&self, at: usize) {
        let pid = self.sessions[at].pid;
        let (client, end) = (&self.lane.client, "select pg_terminate_backend($1)");
        client.execute(end, &[&pid]).await.unwrap();
        testkit::until("the backend is gone", async || {
            let sql = "select exists (select 1 from pg_stat_activity where pid = $1)";
            !client
                .query_one(sql, &[&pid])
                .await
                .unwrap()
                .get::<_, bool>(0)
        })
        .await;
    }

    /// No queue row, lock or commit but those the reference knows of.
    pub(super) async fn agrees(&self, reference: &Reference, effects: i64) -> Result<(), String> {
        let sql = "select
            (select count(*) from lane.job_queue),
            (select count(*) from catalog.commits),
            (select coalesce(max(count), 0) from (
                select count(*) from catalog.commits group by job_id) as each),
            array(select table_key from lane.table_locks l
                where not exists (select 1 from lane.job_queue q where q.job_id = l.holder))";
        let row = self.lane.client.query_one(sql, &[]).await.unwrap();
        let (rows, commits, most): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let live = reference.jobs.values().filter(|job| job.live()).count() as i64;
        if rows != live {
            return Err(format!("I1: {rows} queue rows of {live} live jobs"));
        }
        if commits != effects || most > 1 {
            return Err(format!(
                "I10: {commits} commits, {most} of one job, {effects} expected"
            ));
        }
        let orphans: Vec<String> = row.get(3);
        match orphans.iter().find(|key| !reference.left.contains(*key)) {
            Some(key) => Err(format!("I3: the lock of {key} has no live holder")),
            None => Ok(()),
        }
    }
}
