//! Cases 19 and 36 on a server of the test's own: what a failover that loses the last commits, and
//! what a crash, leave of claims, ends and a pause.

use queue::{Claimed, End, Error, IdType, RenewState};
use testkit::{Server, Stop, until};
use tokio_postgres::Client;

use crate::lane::{LEASE, Lane};

/// The standby has everything.
async fn caught_up(primary: &Client) {
    until("the standby has caught up", async || {
        let sql = "select coalesce(bool_and(replay_lsn = pg_current_wal_lsn()), false)
                   from pg_stat_replication";
        primary.query_one(sql, &[]).await.unwrap().get(0)
    })
    .await;
}

/// From now on it gets nothing more, and whoever commits does not notice.
async fn cut_off(standby: &Server, primary: &Client) {
    let client = standby.client().await;
    client
        .batch_execute("alter system set primary_conninfo = ''")
        .await
        .unwrap();
    client
        .batch_execute("select pg_reload_conf()")
        .await
        .unwrap();
    until("nobody follows the primary", async || {
        let sql = "select count(*) = 0 from pg_stat_replication";
        primary.query_one(sql, &[]).await.unwrap().get(0)
    })
    .await;
}

async fn claim(lane: &Lane, number: u32) -> Claimed {
    let job = lane.id(number);
    let claimed = lane.queue.claim_one(&lane.client, &job, LEASE, "w").await;
    let claimed = claimed.unwrap();
    claimed.unwrap_or_else(|| panic!("{job} could not be claimed"))
}

async fn finish(lane: &Lane, claimed: &Claimed) -> Result<(), Error> {
    lane.complete(claimed.fence.for_retry()).await
}

/// A lane on a server, with a standby that is about to be cut off.
async fn with_standby() -> (Server, Server, Lane) {
    let primary = Server::start(&[]).await;
    let lane = Lane::on(primary.empty_database().await, IdType::Text).await;
    let items: Vec<_> = (1..=3)
        .map(|number| {
            let mut item = lane.item(number);
            item.concurrency_key = Some(format!("db.t{number}"));
            item
        })
        .collect();
    lane.add(&items).await;
    let standby = primary.standby().await;
    (primary, standby, lane)
}

#[tokio::test]
async fn q19_what_a_failover_forgets_is_done_again_and_no_old_right_survives_it() {
    let (mut primary, standby, mut lane) = with_standby().await;
    // 1 is waiting, 2 and 3 run, when the standby hears the last of it.
    let second = claim(&lane, 2).await;
    let third = claim(&lane, 3).await;
    caught_up(&lane.client).await;
    cut_off(&standby, &lane.client).await;
    // Each of these is committed and answered, and lost.
    let lost_claim = claim(&lane, 1).await;
    finish(&lane, &second).await.unwrap();
    lane.run("update lane.job_queue set visible_at = now() where job_id = 'job-000003'")
        .await;
    let lost_takeover = claim(&lane, 3).await;
    finish(&lane, &third).await.unwrap_err();

    primary.stop(Stop::Immediate).await;
    standby.promote().await;
    lane.database = lane.database.on_standby(&standby);
    lane.client = lane.database.client().await;

    // A lost claim: the job waits, and whoever claimed it may not end it.
    let row = lane.row(&lane.id(1)).await.unwrap();
    assert_eq!((row.attempt, row.attempt_count), (None, 0));
    let error = finish(&lane, &lost_claim).await.unwrap_err();
    assert!(matches!(error, Error::Replaced), "{error}");
    let asked = [lost_claim.fence.ids(), lost_takeover.fence.ids()];
    for answer in lane.queue.renew(&lane.client, &asked, LEASE).await.unwrap() {
        assert_eq!(answer.state, RenewState::Lost, "{}", answer.job);
    }
    let again = claim(&lane, 1).await;
    assert_ne!(again.fence.attempt(), lost_claim.fence.attempt());
    finish(&lane, &lost_claim).await.unwrap_err();
    finish(&lane, &again).await.unwrap();

    // A lost end: the job runs, its lease runs out, and it is done again.
    assert_eq!(lane.record(&lane.id(2)).await.status, "running");
    assert_eq!(
        lane.holder("db.t2").await.as_deref(),
        Some(lane.id(2).as_str())
    );
    lane.expire_all().await;
    let again = claim(&lane, 2).await;
    assert_eq!(again.attempt_count, 2);
    finish(&lane, &second).await.unwrap_err();
    finish(&lane, &again).await.unwrap();

    // A lost takeover: the attempt before it is the current one, as the server says.
    finish(&lane, &lost_takeover).await.unwrap_err();
    finish(&lane, &third).await.unwrap();
    for number in 1..=3 {
        let record = lane.record(&lane.id(number)).await;
        assert_eq!((record.status.as_str(), record.end_count), ("completed", 1));
    }
    assert_eq!(lane.count("job_queue").await, 0);
    assert_eq!(lane.count("table_locks").await, 0);
}

#[tokio::test]
async fn q36_a_pause_outlasts_a_crash_of_postgres() {
    let mut server = Server::start(&[]).await;
    let mut lane = Lane::on(server.empty_database().await, IdType::Text).await;
    lane.add_many(3).await;
    let running = lane.claim_only().await;
    lane.queue
        .pause(&lane.client, "ann", "upgrade")
        .await
        .unwrap();
    server.stop(Stop::Immediate).await;
    server.start_again().await;
    lane.client = lane.database.client().await;
    let paused = lane.queue.paused(&lane.client).await.unwrap().unwrap();
    assert_eq!((&*paused.by, &*paused.reason), ("ann", "upgrade"));
    assert!(lane.claim(5).await.is_empty());
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    let end = End::completed();
    lane.queue.finish(&tx, running.fence, &end).await.unwrap();
    tx.commit().await.unwrap();
    lane.queue.resume(&lane.client).await.unwrap();
    assert_eq!(lane.claim(5).await.len(), 2);
}
