//! Case 57, a failover: workers that are told of both servers go on at the one that is promoted.

use testkit::{Process, Server, Stop, until};

use crate::lakehouse::{Lakehouse, readiness};
use crate::outages::{LEASE, MEANWHILE, SLOTS, each_once, submit, tables};

/// Jobs before, while and after the servers change.
const JOBS: usize = 3;

/// Both servers, of which the one that takes writes is meant.
fn both(house: &Lakehouse, standby: &Lakehouse) -> String {
    let (_, first) = house.database.url().split_once('@').unwrap();
    let (_, second) = standby.database.url().split_once('@').unwrap();
    let (first, name) = first.split_once('/').unwrap();
    let (second, _) = second.split_once('/').unwrap();
    format!("postgres://postgres@{first},{second}/{name}?target_session_attrs=read-write")
}

#[tokio::test]
async fn q57_workers_go_on_at_the_server_that_is_promoted() {
    let mut primary = Server::start(&[]).await;
    let house = Lakehouse::on(primary.database().await);
    let tables = tables(&house, 3 * JOBS).await;
    let standby = primary.standby().await;
    let promoted = house.at(house.database.on_standby(&standby));
    let own = both(&house, &promoted);
    let settings = [LEASE, SLOTS, ("SNOWPACK_DATABASE_URL", own.as_str())];
    let workers: Vec<Process> = (0..2).map(|_| house.worker(&settings, &[])).collect();
    for worker in &workers {
        readiness(worker, 200).await;
    }
    let mut all = submit(&house, &tables[..JOBS]).await;
    each_once(&house, &all).await;

    // Claimed, and on their way to the swap, when their server is gone for good.
    let hold = house.hold_catalog().await;
    let jobs = submit(&house, &tables[JOBS..2 * JOBS]).await;
    hold.holds().await;
    let client = house.database.client().await;
    until("the standby has everything", async || {
        let sql = "select coalesce(bool_and(replay_lsn = pg_current_wal_lsn()), false)
                   from pg_stat_replication";
        client.query_one(sql, &[]).await.unwrap().get(0)
    })
    .await;
    primary.stop(Stop::Immediate).await;
    standby.promote().await;
    each_once(&promoted, &jobs).await;
    all.extend(jobs);

    let jobs = submit(&promoted, &tables[2 * JOBS..]).await;
    all.extend(jobs);
    each_once(&promoted, &all).await;
    for worker in &workers {
        readiness(worker, 200).await;
        worker.signal("TERM");
        worker.ended_with(0, &MEANWHILE).await;
    }
}
