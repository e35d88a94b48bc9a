//! Case 55: real workers behind a PgBouncer in transaction pooling, with and without named
//! statements. tests/run leaves this module out where no PgBouncer can be had.

use model::JobStatus;
use testkit::Pooler;

use crate::lakehouse::{Lakehouse, readiness};
use crate::outages::{each_once, submit, tables};

const LEASE: (&str, &str) = ("SNOWPACK_LEASE_SECONDS", "15");

/// Nothing that belongs to a session may be in the way of whoever has the connection next.
const COMPLAINTS: [&str; 3] = ["prepared statement", "does not exist", "already exists"];

async fn workers_behind(prepared: bool) {
    let house = Lakehouse::new().await;
    let pooler = Pooler::start(&house.database, prepared).await;
    let tables = tables(&house, 8).await;
    let through = [
        LEASE,
        ("SNOWPACK_DATABASE_URL", pooler.url()),
        ("SNOWPACK_WORKER_SLOTS", "4"),
    ];
    let workers = [0, 1].map(|_| house.worker(&through, &[]));
    for worker in &workers {
        readiness(worker, 200).await;
    }
    let jobs = submit(&house, &tables[..6]).await;
    each_once(&house, &jobs).await;
    // Held in the middle, so that heartbeats and a cancel go the same way.
    let hold = house.hold_catalog().await;
    let job = house.submit(&tables[6]).await;
    hold.holds().await;
    house.cancel(&job).await;
    house.becomes(&job, JobStatus::Cancelled).await;
    hold.release().await;
    each_once(&house, &submit(&house, &tables[7..]).await).await;
    for worker in &workers {
        worker.signal("TERM");
        worker
            .ended_with(0, &["dropped an engine that did not stop"])
            .await;
        for complaint in COMPLAINTS {
            assert!(!worker.log().contains(complaint), "{}", worker.log());
        }
    }
    assert!(!pooler.log().contains("ERROR"), "{}", pooler.log());
}

/// Sessions whose last statement was a subscription, by what they call themselves.
async fn listeners(house: &Lakehouse) -> Vec<String> {
    let sql = "select application_name from pg_stat_activity \
               where datname = current_database() and query like 'listen %'";
    let client = house.database.client().await;
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Through the pooler, but for the calls: a cancel is there long before the next heartbeat.
#[tokio::test]
async fn q55_calls_are_heard_past_a_transaction_pooler() {
    let house = Lakehouse::new().await;
    let pooler = Pooler::start(&house.database, true).await;
    let tables = tables(&house, 1).await;
    let direct = format!("{}?application_name=direct", house.database.url());
    let through = [
        ("SNOWPACK_LEASE_SECONDS", "600"),
        ("SNOWPACK_DATABASE_URL", pooler.url()),
        ("SNOWPACK_LISTEN_URL", &direct),
    ];
    let worker = house.worker(&through, &[]);
    readiness(&worker, 200).await;
    let hold = house.hold_catalog().await;
    let job = house.submit(&tables[0]).await;
    hold.holds().await;
    house.cancel(&job).await;
    house.becomes(&job, JobStatus::Cancelled).await;
    hold.release().await;
    assert_eq!(listeners(&house).await, ["direct"]);
    worker.signal("TERM");
    worker
        .ended_with(0, &["dropped an engine that did not stop"])
        .await;
}

#[tokio::test]
async fn q55_a_worker_that_may_not_listen_looks_by_itself() {
    let house = Lakehouse::new().await;
    let pooler = Pooler::start(&house.database, true).await;
    let tables = tables(&house, 2).await;
    let through = [
        LEASE,
        ("SNOWPACK_DATABASE_URL", pooler.url()),
        ("SNOWPACK_LISTEN_URL", "off"),
    ];
    let worker = house.worker(&through, &[]);
    readiness(&worker, 200).await;
    each_once(&house, &submit(&house, &tables).await).await;
    assert_eq!(listeners(&house).await, [""; 0]);
    worker.signal("TERM");
    worker.ended_with(0, &[]).await;
}

#[tokio::test]
async fn q55_workers_behind_a_transaction_pooler_without_named_statements() {
    workers_behind(false).await;
}

#[tokio::test]
async fn q55_workers_behind_a_transaction_pooler_that_keeps_named_statements() {
    workers_behind(true).await;
}
