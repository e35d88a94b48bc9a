//! Case 21: the heartbeats of many workers at once, and what an hour of them leaves behind.

use futures::future::join_all;
use model::{AttemptId, JobId};
use queue::{IdType, RenewState};
use testkit::Server;

use crate::lane::{LEASE, Lane};

const LEASES: usize = 5_000;
const WORKERS: usize = 50;
/// Of one worker.
const SHARE: usize = LEASES / WORKERS;
/// What an hour is played through with: every lease is renewed in it as often as any other.
const LEASES_OF_AN_HOUR: usize = 5 * SHARE;
/// A worker renews every quarter of a lease.
const RENEWALS_PER_MINUTE: u32 = 4;
const MINUTES: u32 = 60;

/// Many running jobs, each with its lock, and their attempts.
async fn running(lane: &Lane, count: usize) -> Vec<(JobId, AttemptId)> {
    lane.run(&format!(
        "alter table lane.job_queue set (autovacuum_enabled = false);
         insert into lane.jobs (job_id, status)
         select 'job-' || n, 'running' from generate_series(1, {count}) n;
         insert into lane.table_locks (table_key, holder, expires_at)
         select 'db.t' || n, 'job-' || n, now() from generate_series(1, {count}) n;
         insert into lane.job_queue
             (job_id, visible_at, concurrency_key, claimed_at, claimed_by, attempt_id)
         select 'job-' || n, now() + interval '1 minute', 'db.t' || n, now(),
                'worker-' || n % {WORKERS}, gen_random_uuid()::text
         from generate_series(1, {count}) n;"
    ))
    .await;
    let sql = "select job_id, attempt_id from lane.job_queue order by claimed_by, attempt_id";
    let rows = lane.client.query(sql, &[]).await.unwrap();
    rows.iter()
        .map(|row| {
            let (job, attempt): (String, String) = (row.get(0), row.get(1));
            (JobId::new(job), AttemptId::new(attempt))
        })
        .collect()
}

#[tokio::test]
async fn q21_five_thousand_leases_renewed_by_fifty_workers_at_once_neither_deadlock_nor_wait() {
    let lane = Lane::text().await;
    let attempts = running(&lane, LEASES).await;
    lane.run("update lane.job_queue set visible_at = now() + interval '1 second'")
        .await;
    let clients = join_all((0..WORKERS).map(|_| lane.database.client())).await;
    let renewals = clients.iter().enumerate().map(async |(worker, client)| {
        client
            .batch_execute("set lock_timeout = '1s'")
            .await
            .unwrap();
        // Each lease is in the lists of two workers, in opposite orders: waits would be deadlocks.
        let own = attempts.iter().skip(worker * SHARE).take(SHARE);
        let next = (worker + 1) % WORKERS;
        let others = attempts.iter().skip(next * SHARE).take(SHARE);
        let mut mine: Vec<_> = own.chain(others).cloned().collect();
        if worker % 2 == 1 {
            mine.reverse();
        }
        for _ in 0..4 {
            let answers = lane.queue.renew(client, &mine, LEASE).await.unwrap();
            assert_eq!(answers.len(), mine.len());
            for answer in answers {
                assert_ne!(answer.state, RenewState::Lost, "{}", answer.job);
            }
        }
    });
    join_all(renewals).await;
    let extended = "job_queue q join lane.table_locks l on l.holder = q.job_id
                    where q.visible_at > now() + interval '30 seconds'
                        and l.expires_at > now() + interval '30 seconds'";
    assert_eq!(lane.count(extended).await, LEASES as i64);
}

#[tokio::test]
async fn q21_an_hour_of_renewals_leaves_the_ready_index_below_four_times_its_size() {
    // Pages of an index are used again when no transaction of the whole server's may look at them.
    let server = Server::start(&["autovacuum=off"]).await;
    let lane = Lane::on(server.empty_database().await, IdType::Text).await;
    let attempts = running(&lane, LEASES_OF_AN_HOUR).await;
    let size = async || -> i64 {
        let sql = "select pg_relation_size('lane.idx_job_queue_ready')";
        lane.client.query_one(sql, &[]).await.unwrap().get(0)
    };
    // What a minute leaves is above the lane's own threshold, so the launcher, which looks every
    // minute, has it vacuumed each time. The test does it in its place, to be sure of the moment.
    let sql = "select sum(case option_name
                   when 'autovacuum_vacuum_threshold' then option_value::float8
                   when 'autovacuum_vacuum_scale_factor' then option_value::float8 * $1
               end)
               from pg_class, pg_options_to_table(reloptions)
               where oid = 'lane.job_queue'::regclass";
    let leases = LEASES_OF_AN_HOUR as f64;
    let threshold: f64 = lane.client.query_one(sql, &[&leases]).await.unwrap().get(0);
    assert!(
        leases * f64::from(RENEWALS_PER_MINUTE) > threshold,
        "{threshold}"
    );
    let mut sizes = Vec::new();
    for _ in 0..MINUTES {
        for _ in 0..RENEWALS_PER_MINUTE {
            for share in attempts.chunks(SHARE) {
                let answers = lane.queue.renew(&lane.client, share, LEASE).await;
                assert_eq!(answers.unwrap().len(), SHARE);
            }
        }
        sizes.push(size().await);
        lane.run("vacuum lane.job_queue").await;
    }
    println!("bytes at the end of each minute: {sizes:?}");
    // Of the first minute: every lease, and what its renewals left.
    let (first, largest) = (sizes[0], sizes.iter().max());
    assert!(largest < Some(&(4 * first)), "{sizes:?}");
    let (begin, end) = sizes.split_at(sizes.len() / 2);
    assert!(
        end.iter().max() <= begin.iter().max(),
        "it grows: {sizes:?}"
    );
}
