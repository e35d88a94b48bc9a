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

#[tokio::test]
async fn q55_workers_behind_a_transaction_pooler_without_named_statements() {
    workers_behind(false).await;
}

#[tokio::test]
async fn q55_workers_behind_a_transaction_pooler_that_keeps_named_statements() {
    workers_behind(true).await;
}
