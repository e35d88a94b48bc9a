//! Case 55: every operation of the queue through a PgBouncer in transaction pooling, with and without
//! named statements. tests/run leaves this module out where no PgBouncer can be had.

use queue::IdType;
use testkit::{Database, Pooler};
use tokio_postgres::NoTls;

use crate::lane::{LEASE, Lane};
use crate::schedule::any_schedule;

async fn every_operation_behind(prepared: bool) {
    let lane = Lane::on(Database::empty().await, IdType::Text).await;
    let pooler = Pooler::start(&lane.database, prepared).await;
    let (mut client, connection) = tokio_postgres::connect(pooler.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    // What the schedule below does not do.
    lane.add_many(2).await;
    let (queue, job) = (&lane.queue, lane.id(1));
    queue.pause(&client, "ann", "upgrade").await.unwrap();
    assert!(queue.paused(&client).await.unwrap().is_some());
    queue.resume(&client).await.unwrap();
    assert_eq!(queue.depth(&client, &[], 10).await.unwrap().ready, 2);
    let claimed = queue.claim_one(&client, &job, LEASE, "w").await.unwrap();
    let fence = claimed.unwrap().fence;
    assert_eq!(queue.workers(&client).await.unwrap(), 1);
    let guard = queue.guard(&mut client, &fence, LEASE).await.unwrap();
    guard.commit().await.unwrap();
    let tx = client.transaction().await.unwrap();
    let limits = "select current_setting('lock_timeout'), \
                  current_setting('idle_in_transaction_session_timeout')";
    let row = tx.query_typed(limits, &[]).await.unwrap().remove(0);
    let left: (String, String) = (row.get(0), row.get(1));
    assert_eq!(left, ("0".to_owned(), "0".to_owned()), "left to the next");
    tx.rollback().await.unwrap();
    queue.notify(&client).await.unwrap();
    lane.run("truncate lane.job_queue, lane.jobs, lane.table_locks")
        .await;
    any_schedule(&lane, pooler.url(), testkit::seed()).await;
    assert!(!pooler.log().contains("ERROR"), "{}", pooler.log());
}

#[tokio::test]
async fn q55_every_operation_works_behind_a_transaction_pooler_without_named_statements() {
    every_operation_behind(false).await;
}

#[tokio::test]
async fn q55_every_operation_works_behind_a_transaction_pooler_that_keeps_named_statements() {
    every_operation_behind(true).await;
}
