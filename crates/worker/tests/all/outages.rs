//! Cases 56 to 58 and 64 with real workers: Postgres goes and comes back, has no connection left,
//! is silent, is asked by two versions. Nobody helps; no job is lost, and none is done twice.

use std::collections::BTreeMap;

use maintenance::Submission;
use model::{Action, JobId, JobStatus};
use testkit::{Process, Server, Stop, until};
use tokio_postgres::{Client, NoTls};

use crate::lakehouse::{Lakehouse, readiness};

/// What a worker may say while Postgres is not there.
pub(crate) const MEANWHILE: [&str; 7] = [
    "the lease is short",
    "listen connection lost",
    "claim failed",
    "leases could not be renewed",
    "commit outcome unknown, looking",
    "deadpool.postgres",
    "lease_lost",
];
pub(crate) const LEASE: (&str, &str) = ("SNOWPACK_LEASE_SECONDS", "10");
/// More than there are jobs, so that there is always a slot to claim for.
pub(crate) const SLOTS: (&str, &str) = ("SNOWPACK_WORKER_SLOTS", "8");
/// Connections the server has for everybody.
const CONNECTIONS_MAX: usize = 40;
/// How often each worker is refused a connection before there are some again.
const REFUSALS: usize = 5;
/// Jobs of each round.
const JOBS: usize = 4;

/// A table and copies of it, each an entry of the catalog's own.
pub(crate) async fn tables(house: &Lakehouse, count: usize) -> Vec<String> {
    house.table("first").await;
    let client = house.catalog().client().await;
    let names: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
    let sql = "insert into iceberg_tables \
               (catalog_name, table_namespace, table_name, metadata_location) \
               select catalog_name, table_namespace, name, metadata_location \
               from iceberg_tables cross join unnest($1::text[]) as name \
               where table_name = 'first'";
    client.execute(sql, &[&names]).await.unwrap();
    names
}

/// Each job is completed with one result, and its table was swapped once.
pub(crate) async fn each_once(house: &Lakehouse, jobs: &[(String, JobId)]) {
    let client = house.catalog().client().await;
    let first = "select metadata_location from iceberg_tables where table_name = 'first'";
    let first: String = client.query_one(first, &[]).await.unwrap().get(0);
    for (table, job) in jobs {
        house.becomes(job, JobStatus::Completed).await;
        assert_eq!(house.leftovers(job).await, (1, 0), "{table}");
        let sql = "select metadata_location, previous_metadata_location \
                   from iceberg_tables where table_name = $1";
        let row = client.query_one(sql, &[table]).await.unwrap();
        assert_ne!(row.get::<_, String>(0), first, "{table} was not rewritten");
        let previous = row.get::<_, Option<String>>(1);
        assert_eq!(previous.as_ref(), Some(&first), "{table}: swapped once");
    }
}

pub(crate) async fn submit(house: &Lakehouse, tables: &[String]) -> Vec<(String, JobId)> {
    let mut jobs = Vec::new();
    for table in tables {
        jobs.push((table.clone(), house.submit(table).await));
    }
    jobs
}

/// Takes every connection of the server's, those of workers first, until each worker has noticed
/// again and again.
async fn use_up(server: &Server, workers: &[Process]) {
    let client = server.client().await;
    let noticed: Vec<usize> = workers.iter().map(claims_failed).collect();
    let mut taken: Vec<Client> = Vec::new();
    until(
        "every worker meets a server without connections",
        async || {
            let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                    where application_name like 'snowpack-worker%'";
            client.query_one(kill, &[]).await.unwrap();
            while let Ok((one, connection)) = tokio_postgres::connect(&server.url(), NoTls).await {
                tokio::spawn(connection);
                taken.push(one);
            }
            let now = workers.iter().map(claims_failed);
            now.zip(&noticed)
                .all(|(now, before)| now >= *before + REFUSALS)
        },
    )
    .await;
    assert!(taken.len() > CONNECTIONS_MAX / 2, "{}", taken.len());
    drop(taken);
    let left = "select count(*) from pg_stat_activity where backend_type = 'client backend'";
    until("there are connections again", async || {
        let left: i64 = client.query_one(left, &[]).await.unwrap().get(0);
        left < CONNECTIONS_MAX as i64 / 2
    })
    .await;
}

/// How often it was told that there is no connection for it.
fn claims_failed(worker: &Process) -> usize {
    let log = worker.log();
    let refused = log.lines().filter(|line| line.contains("too many clients"));
    refused.count()
}

#[tokio::test]
async fn q57_workers_outlive_restarts_a_crash_and_a_server_without_connections() {
    let setting = format!("max_connections={CONNECTIONS_MAX}");
    let mut server = Server::start(&[&setting]).await;
    let house = Lakehouse::on(server.database().await);
    let tables = tables(&house, 4 * JOBS).await;
    let workers: Vec<Process> = (0..2).map(|_| house.worker(&[LEASE, SLOTS], &[])).collect();
    for worker in &workers {
        readiness(worker, 200).await;
    }
    let mut all = Vec::new();
    for (round, tables) in tables.chunks(JOBS).enumerate() {
        // The holder's connection does not survive a round any more than the workers' do.
        let hold = house.hold_catalog().await;
        let jobs = submit(&house, tables).await;
        hold.holds().await;
        match round {
            0 => server.stop(Stop::Fast).await,
            1 => server.stop(Stop::Immediate).await,
            2 => {
                let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                            where pid <> pg_backend_pid() and backend_type = 'client backend'";
                let client = house.database.client().await;
                client.query_one(kill, &[]).await.unwrap();
            }
            _ => {
                use_up(&server, &workers).await;
                hold.release().await;
            }
        }
        if round < 2 {
            server.start_again().await;
        }
        each_once(&house, &jobs).await;
        all.extend(jobs);
    }
    each_once(&house, &all).await;
    for worker in &workers {
        readiness(worker, 200).await;
        worker.signal("TERM");
        worker.ended_with(0, &MEANWHILE).await;
    }
}

#[tokio::test]
async fn q56_a_worker_that_hears_nothing_looks_by_itself() {
    let house = Lakehouse::new().await;
    let tables = tables(&house, 1).await;
    let worker = house.worker(&[], &[]);
    readiness(&worker, 200).await;
    let client = house.database.client().await;
    let sql = "alter function pg_catalog.pg_notify(text, text) rename to pg_notify_kept";
    client.batch_execute(sql).await.unwrap();
    let job = house.submit_unheard(&tables[0]).await;
    each_once(&house, &[(tables[0].clone(), job)]).await;
    worker.signal("TERM");
    worker.ended_with(0, &[]).await;
}

#[tokio::test]
async fn q58_jobs_that_hold_their_connections_keep_neither_heartbeat_nor_finish_waiting() {
    let house = Lakehouse::new().await;
    let tables = tables(&house, 3).await;
    let hold = house.hold_ledger().await;
    let own = [
        ("SNOWPACK_LEASE_SECONDS", "40"),
        ("SNOWPACK_WORKER_SLOTS", "3"),
        ("SNOWPACK_PG_CONNECTIONS_MAX", "1"),
    ];
    let worker = house.worker(&own, &[]);
    // Each job writes several groups at once, and needs no more than its one connection for that:
    // as many as groups would be more than the worker has.
    let groups = BTreeMap::from(
        [
            ("rewrite-all", "true"),
            ("max-file-group-input-files", "2"),
            ("max-concurrent-file-group-rewrites", "8"),
        ]
        .map(|(option, value)| (option.to_owned(), value.to_owned())),
    );
    let mut jobs = Vec::new();
    for table in &tables {
        let asked = |asked: &mut Submission| {
            let action = Action::RewriteDataFiles;
            asked.options.insert(action, groups.clone());
        };
        jobs.push((table.clone(), house.submit_with(table, asked).await));
    }
    let client = house.database.client().await;
    let count = async |sql: &str| -> i64 { client.query_one(sql, &[]).await.unwrap().get(0) };
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
                and application_name like 'snowpack-worker%'";
    until("each job holds a connection", async || {
        count(waiting).await == 3
    })
    .await;
    let renewed = "select count(*) from snowpack.job_queue \
                   where visible_at > claimed_at + interval '45 seconds'";
    until("all leases are renewed", async || count(renewed).await == 3).await;
    // One is to stop, and is ended, while the other two hold what they have.
    house.cancel(&jobs[0].1).await;
    house.becomes(&jobs[0].1, JobStatus::Cancelled).await;
    until("the other two still hold theirs", async || {
        count(waiting).await == 2
    })
    .await;
    hold.release().await;
    each_once(&house, &jobs[1..]).await;
    worker.signal("TERM");
    let announced = "dropped an engine that did not stop";
    worker.ended_with(0, &[announced]).await;
}

/// The catalog's pool is smaller than the number of jobs that pass while one swap is held.
#[tokio::test]
async fn q58_a_swap_that_waits_for_a_stranger_is_in_no_other_tables_way() {
    let house = Lakehouse::elsewhere().await;
    let tables = tables(&house, 7).await;
    let worker = house.worker(&[("SNOWPACK_LEASE_SECONDS", "15")], &[]);
    let hold = house.hold_swap(&tables[0]).await;
    let stuck = submit(&house, &tables[..1]).await;
    hold.holds().await;
    worker.mentions("outcome unknown").await;
    each_once(&house, &submit(&house, &tables[1..]).await).await;
    assert!(!house.status(&stuck[0].1).await.terminal());
    hold.release().await;
    each_once(&house, &stuck).await;
    worker.signal("TERM");
    worker.ended_with(0, &["outcome unknown"]).await;
}

/// Of three jobs the first is handed out, the second ended, and the third does not come.
#[tokio::test]
async fn m35_q30_i12_what_a_claim_took_that_never_answered_is_handed_back_at_a_drain() {
    let house = Lakehouse::new().await;
    let names = ["a", "b", "c"].map(str::to_owned);
    let jobs = submit(&house, &names).await;
    let client = house.database.client().await;
    let [taken, spent, silent] = [0, 1, 2].map(|at: usize| jobs[at].1.as_str());
    let sql = format!(
        "update snowpack.job_queue set deadline_at = now() where job_id = '{spent}';
         create function public.silent() returns trigger language plpgsql as $$
         begin perform pg_sleep(3600); return new; end $$;
         create trigger silent before update on snowpack.jobs
         for each row when (new.job_id = '{silent}') execute function public.silent()"
    );
    client.batch_execute(&sql).await.unwrap();
    let worker = house.worker(&[("SNOWPACK_WORKER_SLOTS", "2")], &[]);
    worker.mentions("no answer within").await;
    let row = async |job: &str| {
        let sql = "select claimed_at is not null, attempt_count, hand_back_count \
                   from snowpack.job_queue where job_id = $1";
        let row = client.query_one(sql, &[&job]).await.unwrap();
        (
            row.get::<_, bool>(0),
            row.get::<_, i32>(1),
            row.get::<_, i32>(2),
        )
    };
    assert_eq!(row(taken).await, (true, 1, 0));
    worker.signal("TERM");
    worker.ended_with(0, &["claim failed"]).await;
    assert_eq!(
        row(taken).await,
        (false, 0, 1),
        "handed back, free of charge"
    );
    until("the server has given the claim up", async || {
        let sql = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' \
                   and datname = current_database()";
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    assert_eq!(row(silent).await, (false, 0, 0), "no attempt is lost");
}

#[tokio::test]
async fn q64_an_old_worker_leaves_a_job_of_a_newer_kind_to_the_newer_one() {
    let house = Lakehouse::new().await;
    let tables = tables(&house, 2).await;
    let newer = house.submit(&tables[0]).await;
    let client = house.database.client().await;
    let sql = "alter table snowpack.jobs drop constraint jobs_actions_check; \
               update snowpack.jobs set actions = '{defragment}'";
    client.batch_execute(sql).await.unwrap();
    let known = submit(&house, &tables[1..]).await;
    let worker = house.worker(&[], &[]);
    each_once(&house, &known).await;
    until("the old worker has given it back for free", async || {
        let sql = "select claimed_at is null and attempt_count = 0 and hand_back_count = 1 \
                   from snowpack.job_queue where job_id = $1";
        let row = client.query_one(sql, &[&newer.as_str()]).await.unwrap();
        row.get(0)
    })
    .await;
    // A newer one takes it, with the old one still there.
    let due = "update snowpack.job_queue set visible_at = now()";
    let queue = maintenance::queue();
    let lease = std::time::Duration::from_mins(1);
    client.batch_execute(due).await.unwrap();
    let claimed = queue.claim_one(&client, &newer, lease, "newer").await;
    let claimed = claimed.unwrap().expect("it waits for a newer worker");
    assert_eq!(claimed.attempt_count, 1);
    let mut client = house.database.client().await;
    let tx = client.transaction().await.unwrap();
    let end = queue::End::completed();
    queue.finish(&tx, claimed.fence, &end).await.unwrap();
    tx.commit().await.unwrap();
    let locations = "select count(distinct metadata_location) from iceberg_tables";
    let count: i64 = client.query_one(locations, &[]).await.unwrap().get(0);
    assert_eq!(count, 2, "the old one touched no table but its own");
    worker.signal("TERM");
    worker.ended_with(0, &[]).await;
}
