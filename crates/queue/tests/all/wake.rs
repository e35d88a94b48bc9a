//! Cases 50 and 56, the channel: few notifications, none lost for good, none needed.

use queue::{Call, RenewState, Waker};

use crate::lane::{LEASE, Lane};

/// Said last, so that everything before it has been heard.
async fn calls_until_end(lane: &Lane, calls: &mut queue::Calls) -> usize {
    let end = lane.id(999);
    lane.queue.notify_cancel(&lane.client, &end).await.unwrap();
    let mut count = 0;
    loop {
        match calls.next().await {
            Call::Work => count += 1,
            Call::Cancel(job) if job == end => return count,
            Call::Cancel(_) => {}
        }
    }
}

#[tokio::test]
async fn q50_a_flood_of_jobs_sends_few_notifications() {
    let lane = Lane::text().await;
    let pool = lane.database.pool().await;
    let mut calls = lane.queue.calls(&pool).await.unwrap();
    let waker = Waker::start(lane.queue.clone(), pool);
    let items: Vec<_> = (1..=20_000).map(|number| lane.item(number)).collect();
    lane.add(&items).await;
    assert_eq!(
        calls_until_end(&lane, &mut calls).await,
        0,
        "a commit itself sends none"
    );
    for _ in &items {
        waker.wake();
    }
    waker.close().await;
    let count = calls_until_end(&lane, &mut calls).await;
    // The first and the last; a slow machine may fit a few debounced ones between.
    assert!((1..=20).contains(&count), "{count}");
}

#[tokio::test]
async fn the_first_wake_up_is_sent_at_once_and_the_last_always() {
    let lane = Lane::text().await;
    let pool = lane.database.pool().await;
    let mut calls = lane.queue.calls(&pool).await.unwrap();
    let waker = Waker::start(lane.queue.clone(), pool);
    waker.wake();
    // Comes without anything else being said.
    assert_eq!(calls.next().await, Call::Work);
    // Inside the pause after the first; still said, although nothing follows.
    waker.wake();
    assert_eq!(calls.next().await, Call::Work);
    waker.wake();
    waker.close().await;
    assert_eq!(calls_until_end(&lane, &mut calls).await, 1);
}

#[tokio::test]
async fn q56_a_lost_listen_connection_comes_back_and_asks_for_a_poll() {
    let lane = Lane::text().await;
    let pool = lane.database.pool().await;
    let mut calls = lane.queue.calls(&pool).await.unwrap();
    let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and query like 'listen %'";
    let killed: i64 = lane.client.query_one(kill, &[]).await.unwrap().get(0);
    assert_eq!(killed, 1);
    assert_eq!(
        calls.next().await,
        Call::Work,
        "what was missed meanwhile is polled for"
    );
    lane.queue
        .notify_cancel(&lane.client, &lane.id(7))
        .await
        .unwrap();
    assert_eq!(calls.next().await, Call::Cancel(lane.id(7)));
}

/// From now on nothing is notified in the lane's database, as when the server's queue is full.
async fn notify_fails(lane: &Lane) {
    lane.run("alter function pg_catalog.pg_notify(text, text) rename to pg_notify_kept")
        .await;
    lane.queue.notify(&lane.client).await.unwrap_err();
}

#[tokio::test]
async fn q56_a_wake_up_that_cannot_be_sent_fails_no_enqueue() {
    let lane = Lane::text().await;
    let waker = Waker::start(lane.queue.clone(), lane.database.pool().await);
    notify_fails(&lane).await;
    lane.add_many(3).await;
    waker.wake();
    waker.cancelled(&lane.id(1));
    waker.close().await;
    assert_eq!(lane.claim(9).await.len(), 3, "whoever looks finds them");
}

#[tokio::test]
async fn q56_a_payload_that_is_too_long_costs_a_cancel_nothing() {
    let lane = Lane::text().await;
    let job = model::JobId::new("x".repeat(9_000));
    lane.add(&[queue::Enqueue::new(job.clone())]).await;
    let claimed = lane.claim_only().await;
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    lane.queue.cancel(&tx, &job).await.unwrap();
    tx.commit().await.unwrap();
    lane.queue
        .notify_cancel(&lane.client, &job)
        .await
        .unwrap_err();
    let ids = [claimed.fence.ids()];
    let answers = lane.queue.renew(&lane.client, &ids, LEASE).await.unwrap();
    let RenewState::Renewed {
        cancel_requested, ..
    } = answers[0].state
    else {
        panic!("{answers:?}")
    };
    assert!(cancel_requested, "the heartbeat brings it");
}
