//! Cases 13 to 15, 18 and 31: leases that are kept and leases that run out.

use std::time::{Duration, Instant};

use queue::{End, RenewState};

use crate::lane::{LEASE, Lane};

#[track_caller]
fn renewed(state: &RenewState) -> (bool, queue::Lease) {
    match state {
        RenewState::Renewed {
            cancel_requested,
            lease,
        } => (*cancel_requested, *lease),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn m10_q13_an_expired_lease_is_claimed_again_without_a_sweeper() {
    for lane in Lane::both().await {
        lane.add_many(1).await;
        let first = lane.claim_only().await;
        assert!(lane.claim(1).await.is_empty(), "the lease holds");
        lane.expire_all().await;
        let second = lane.claim_only().await;
        assert_eq!(second.fence.job(), first.fence.job());
        assert_ne!(second.fence.attempt(), first.fence.attempt());
        assert_eq!(second.attempt_count, 2);
    }
}

#[tokio::test]
async fn m10_q31_a_worker_that_was_killed_is_succeeded_after_its_lease() {
    let lane = Lane::text().await;
    lane.add_many(1).await;
    let doomed = lane.database.client().await;
    let pid: i32 = doomed
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(
        lane.claimer("doomed")
            .claim(&doomed, 1)
            .await
            .unwrap()
            .len(),
        1
    );
    lane.client
        .execute("select pg_terminate_backend($1)", &[&pid])
        .await
        .unwrap();
    assert!(
        lane.claim(1).await.is_empty(),
        "a committed claim outlives its connection"
    );
    lane.expire_all().await;
    assert_eq!(lane.claim_only().await.attempt_count, 2);
}

#[tokio::test]
async fn m09_q14_a_renewal_is_accepted_until_somebody_else_has_the_job() {
    for lane in Lane::both().await {
        lane.add_many(1).await;
        let job = lane.id(1);
        let first = lane.claim_only().await.fence;
        lane.run("update lane.job_queue set visible_at = now() + interval '1 second'")
            .await;
        let answers = lane
            .queue
            .renew(&lane.client, &[first.ids()], LEASE)
            .await
            .unwrap();
        renewed(&answers[0].state);
        assert!(lane.row(&job).await.unwrap().seconds > 30.0);
        // Run out, but nobody took it: the attempt is still the current one.
        lane.expire_all().await;
        let answers = lane
            .queue
            .renew(&lane.client, &[first.ids()], LEASE)
            .await
            .unwrap();
        renewed(&answers[0].state);
        assert!(lane.claim(1).await.is_empty());
        lane.expire_all().await;
        let second = lane.claim_only().await.fence;
        let answers = lane
            .queue
            .renew(&lane.client, &[first.ids()], LEASE)
            .await
            .unwrap();
        assert_eq!(answers[0].state, RenewState::Lost);
        let row = lane.row(&job).await.unwrap();
        assert_eq!(row.attempt.as_deref(), Some(second.attempt().as_str()));
    }
}

#[tokio::test]
async fn m09_q15_one_statement_renews_all_leases_and_the_locks_behind_them() {
    for lane in Lane::both().await {
        let mut items: Vec<_> = (1..=4).map(|number| lane.item(number)).collect();
        for item in &mut items {
            item.concurrency_key = Some(format!("db.{}", item.job));
        }
        lane.add(&items).await;
        let fences: Vec<_> = lane.claim(4).await.into_iter().map(|c| c.fence).collect();
        // 1 is held by somebody this moment, 2 was taken over, 3 and 4 are to be renewed.
        let mut other = lane.database.client().await;
        let tx = other.transaction().await.unwrap();
        tx.execute(
            "select 1 from lane.job_queue where job_id::text like '%1' for update",
            &[],
        )
        .await
        .unwrap();
        lane.run("update lane.job_queue set attempt_id = 'other' where job_id::text like '%2'")
            .await;
        lane.run("update lane.table_locks set expires_at = now()")
            .await;
        let asked: Vec<_> = fences.iter().rev().map(queue::Fence::ids).collect();
        let mut answers = lane
            .queue
            .renew(&lane.client, &asked, LEASE * 2)
            .await
            .unwrap();
        answers.sort_by(|a, b| a.job.cmp(&b.job));
        let jobs: Vec<_> = answers.iter().map(|answer| answer.job.clone()).collect();
        assert_eq!(jobs, [1, 2, 3, 4].map(|number| lane.id(number)));
        assert_eq!(answers[0].state, RenewState::Busy);
        assert_eq!(answers[1].state, RenewState::Lost);
        for answer in &answers[2..] {
            assert!(!renewed(&answer.state).0, "not cancelled");
            assert!(lane.row(&answer.job).await.unwrap().seconds > 100.0);
        }
        let extended = "table_locks l join lane.job_queue q on q.job_id = l.holder
                        where l.expires_at >= q.visible_at and q.visible_at > now() + interval '100 s'";
        assert_eq!(
            lane.count(extended).await,
            2,
            "a lock ends no earlier than its holder's lease"
        );
        assert_eq!(lane.count("table_locks where expires_at <= now()").await, 2);
        tx.rollback().await.unwrap();
        let answers = lane
            .queue
            .renew(&lane.client, &[fences[0].ids()], LEASE)
            .await
            .unwrap();
        renewed(&answers[0].state);
    }
}

#[tokio::test]
async fn m09_a_claim_extends_the_lock_to_its_lease() {
    let lane = Lane::text().await;
    let mut item = lane.item(1);
    item.concurrency_key = Some("db.t".to_owned());
    lane.add(&[item]).await;
    lane.run("update lane.table_locks set expires_at = now()")
        .await;
    lane.claim_only().await;
    let covered = "table_locks l join lane.job_queue q on q.job_id = l.holder
                   where l.expires_at >= q.visible_at";
    assert_eq!(lane.count(covered).await, 1);
}

#[tokio::test]
async fn q15_a_renewal_waits_for_nobody_who_holds_the_lock_row() {
    let lane = Lane::text().await;
    let mut item = lane.item(1);
    item.concurrency_key = Some("db.t".to_owned());
    lane.add(&[item]).await;
    let fence = lane.claim_only().await.fence;
    let mut submitter = lane.database.client().await;
    let tx = submitter.transaction().await.unwrap();
    let asked = lane.queue.lock(&tx, "db.t", &lane.id(2)).await.unwrap();
    assert_eq!(asked, queue::Lock::Held { by: lane.id(1) });
    // The submitter sits on the lock row, until it is thrown out; the heartbeat must not sit
    // behind it.
    lane.run("set lock_timeout = '2s'").await;
    let answers = lane
        .queue
        .renew(&lane.client, &[fence.ids()], LEASE)
        .await
        .unwrap();
    renewed(&answers[0].state);
    assert!(lane.claim(1).await.is_empty());
}

#[tokio::test]
async fn q18_a_holder_stops_trusting_its_lease_before_the_database_gives_the_job_away() {
    let lane = Lane::text().await;
    lane.add_many(1).await;
    let before = Instant::now();
    let claimed = lane.claim_only().await;
    let trusted = claimed.lease.trusted_until();
    // The database counts from when the claim arrived, which is after it was sent.
    assert!(trusted < before + LEASE, "trusted beyond the lease");
    assert!(claimed.lease.trusted(before));
    // Heartbeats lost for less than the lease: nobody else gets the job, and it goes on.
    lane.run("update lane.job_queue set visible_at = now() + interval '5 seconds'")
        .await;
    assert!(lane.claim(1).await.is_empty());
    let sent = Instant::now();
    let answers = lane
        .queue
        .renew(
            &lane.client,
            &[claimed.fence.ids()],
            Duration::from_secs(30),
        )
        .await
        .unwrap();
    let (_, lease) = renewed(&answers[0].state);
    assert!(lease.trusted_until() < Instant::now() + Duration::from_secs(30));
    assert!(lease.trusted(sent));
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    lane.queue
        .finish(&tx, claimed.fence, &End::completed())
        .await
        .unwrap();
    tx.commit().await.unwrap();
}
