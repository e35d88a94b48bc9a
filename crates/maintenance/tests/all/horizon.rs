//! Case 61: who keeps dead rows from being cleared is seen, whatever holds them.

use testkit::{Server, until};
use tokio_postgres::Client;

/// More than anybody else's transactions are apart.
const TRANSACTIONS: i64 = 200;

async fn held(client: &Client) -> i64 {
    let horizon = maintenance::overview::horizon(client).await;
    horizon.unwrap().transactions
}

/// Time passes, as far as the horizon knows it.
async fn pass(client: &Client) {
    for _ in 0..=TRANSACTIONS {
        let next = "select txid_current()";
        client.batch_execute(next).await.unwrap();
    }
}

async fn seen(client: &Client, what: &str) {
    pass(client).await;
    until(&format!("{what} is seen"), async || {
        TRANSACTIONS <= held(client).await
    })
    .await;
}

async fn over(client: &Client, what: &str) {
    until(&format!("{what} is over"), async || {
        held(client).await < TRANSACTIONS
    })
    .await;
}

#[tokio::test]
async fn q61_prepared_transactions_standbys_and_slots_that_hold_the_horizon_are_seen() {
    let settings = [
        "max_prepared_transactions=2",
        "hot_standby_feedback=on",
        "wal_receiver_status_interval=1s",
    ];
    let server = Server::start(&settings).await;
    let database = server.database().await;
    let client = database.client().await;
    over(&client, "whatever made the database").await;

    let prepare = "begin; select txid_current(); prepare transaction 'forgotten'";
    client.batch_execute(prepare).await.unwrap();
    seen(&client, "a prepared transaction").await;
    let rollback = "rollback prepared 'forgotten'";
    client.batch_execute(rollback).await.unwrap();
    over(&client, "a prepared transaction").await;

    let standby = server.standby().await;
    let reader = database.on_standby(&standby).client().await;
    let read = "begin isolation level repeatable read; select count(*) from snowpack.jobs";
    reader.batch_execute(read).await.unwrap();
    seen(&client, "a standby's query").await;
    reader.batch_execute("rollback").await.unwrap();
    over(&client, "a standby's query").await;

    // What a standby tells a slot stays when the standby is gone.
    let slot = "select pg_create_physical_replication_slot('left')";
    client.batch_execute(slot).await.unwrap();
    let client_of_standby = standby.client().await;
    for set in [
        "alter system set primary_slot_name = 'left'",
        "select pg_reload_conf()",
    ] {
        client_of_standby.batch_execute(set).await.unwrap();
    }
    until("the standby reads by its slot", async || {
        let sql = "select coalesce(bool_and(xmin is not null), false) from pg_replication_slots";
        client.query_one(sql, &[]).await.unwrap().get(0)
    })
    .await;
    drop((reader, client_of_standby, standby));
    seen(&client, "the slot of a standby that is gone").await;
    let drops = "select pg_drop_replication_slot('left')";
    until("the slot is free", async || {
        client.batch_execute(drops).await.is_ok()
    })
    .await;
    over(&client, "the slot").await;
}
