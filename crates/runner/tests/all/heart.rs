//! The heartbeat: from its own thread, and the attempt's own judge when Postgres is gone.

use std::sync::mpsc;
use std::time::Duration;

use model::JobStatus;
use runner::How;
use tokio_postgres::NoTls;

use crate::engine::Step;
use crate::rig::{REWRITE, Rig, Setup};

/// Short enough to be met by a test.
const SHORT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn q18_an_attempt_cut_off_from_postgres_stops_before_its_lease_ends() {
    let mut rig = Rig::with(
        Setup {
            // So long that a busy machine tells the engine in time.
            lease: Duration::from_secs(8),
            ..Setup::default()
        },
        &[Step::Hang],
    )
    .await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    let name = rig.database.name();
    let connections = async |allowed: bool| {
        // Not from inside: a database cannot close itself.
        let (server, _) = rig.database.url().rsplit_once('/').unwrap();
        let admin = format!("{server}/postgres");
        let (admin, connection) = tokio_postgres::connect(&admin, NoTls).await.unwrap();
        tokio::spawn(connection);
        let sql = format!("alter database {name} with allow_connections {allowed}");
        admin.batch_execute(&sql).await.unwrap();
    };
    connections(false).await;
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
               where datname = current_database() and application_name = 'heart'";
    rig.client.execute(sql, &[]).await.unwrap();

    assert_eq!(running.await.unwrap().how, How::Replaced);
    let left = *rig.engine.lease_left_at_stop.lock().unwrap();
    assert_eq!(
        left,
        Some(true),
        "it stopped while the database still held its lease"
    );
    assert_eq!(
        rig.job(&job).await.status,
        JobStatus::Running,
        "nothing was written"
    );
    connections(true).await;
    rig.expire(&job).await;
    assert_eq!(rig.attempt(&job).await, How::Completed);
}

#[tokio::test(flavor = "current_thread")]
async fn q20_a_blocked_runtime_does_not_lose_the_lease() {
    let setup = Setup {
        lease: SHORT,
        ..Setup::default()
    };
    let mut rig = Rig::with(setup, &[Step::BlockThenCommit]).await;
    let (unblock, blocked) = mpsc::channel();
    *rig.engine.unblock.lock().unwrap() = Some(blocked);
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    // Another thread looks on while the test's own runtime stands still for more than a lease.
    let (database, id) = (rig.database.clone(), job.clone());
    let onlooker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = database.client().await;
            let sql = "select visible_at > claimed_at + interval '6 seconds' \
                       from snowpack.job_queue where job_id = $1";
            testkit::until("the lease was renewed for two leases", async || {
                client.query_one(sql, &[&id.as_str()]).await.unwrap().get(0)
            })
            .await;
        });
        unblock.send(()).unwrap();
    });
    assert_eq!(rig.run(claimed).await, How::Completed);
    onlooker.join().unwrap();
    assert_eq!(rig.commits(&job).await, 1);
}

#[tokio::test]
async fn q18_q57_a_heartbeat_survives_the_loss_of_every_connection() {
    let mut rig = Rig::with(
        Setup {
            lease: SHORT,
            ..Setup::default()
        },
        &[Step::HoldThenCommit],
    )
    .await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
               where datname = current_database() and pid <> pg_backend_pid()";
    rig.client.execute(sql, &[]).await.unwrap();
    let sql = "select count(*) from snowpack.job_queue \
               where visible_at > claimed_at + interval '6 seconds'";
    testkit::until("leases are renewed again", async || {
        rig.count(sql).await == 1
    })
    .await;
    rig.engine.go_on.notify_one();
    assert_eq!(running.await.unwrap().how, How::Completed);
    assert_eq!(rig.commits(&job).await, 1);
}

#[tokio::test]
async fn a_heartbeat_that_panicked_starts_again() {
    let lease = Duration::from_secs(6);
    let setup = Setup {
        lease,
        ..Setup::default()
    };
    let mut rig = Rig::with(setup, &[Step::HoldThenCommit]).await;
    let (job, claimed) = rig.submit_and_claim(&[REWRITE]).await;
    let running = rig.start(claimed);
    rig.engine.reached().await;
    // An answer that no version gives.
    let sql = "create table beats (beat int); \
               alter function snowpack.renew_v1 rename to renew_v1_kept; \
               create function snowpack.renew_v1(text[], text[], interval) \
               returns table (job_id text, attempt_id text, state text, \
                              cancel_requested boolean, seconds float8) \
               language sql as 'insert into beats values (1); \
                                select null, null, null, null::boolean, null::float8'";
    rig.client.batch_execute(sql).await.unwrap();
    rig.heart.nudge();
    testkit::until("the heart met it", async || {
        rig.count("select count(*) from beats").await > 0
    })
    .await;
    let sql = "drop function snowpack.renew_v1; \
               alter function snowpack.renew_v1_kept rename to renew_v1";
    rig.client.batch_execute(sql).await.unwrap();
    let sql = "select count(*) from snowpack.job_queue \
               where visible_at > claimed_at + interval '6 seconds'";
    testkit::until("the lease is renewed", async || rig.count(sql).await == 1).await;
    rig.engine.go_on.notify_one();
    assert_eq!(running.await.unwrap().how, How::Completed);
    assert_eq!(rig.commits(&job).await, 1);
}
