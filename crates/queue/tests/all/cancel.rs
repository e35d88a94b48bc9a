//! Cases 52 and 53: cancel, alone and against everything else.

use std::time::Duration;

use futures::future::join;
use model::{EndReason, JobId, JobStatus};
use queue::{Call, Cancel, End, Error, HandBack, HandedBack, RenewState};

use crate::lane::{LEASE, Lane};

async fn cancel(lane: &Lane, job: &JobId) -> Cancel {
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    let answer = lane.queue.cancel(&tx, job).await.unwrap();
    tx.commit().await.unwrap();
    answer
}

async fn add(lane: &Lane, number: u32) -> JobId {
    let mut item = lane.item(number);
    item.concurrency_key = Some("db.t".to_owned());
    lane.add(&[item]).await;
    lane.id(number)
}

#[tokio::test]
async fn m15_q52_cancelling_a_waiting_job_ends_it_at_once_and_frees_its_lock() {
    for lane in Lane::both().await {
        let job = add(&lane, 1).await;
        assert_eq!(cancel(&lane, &job).await, Cancel::AtOnce);
        assert_eq!(lane.row(&job).await, None);
        assert_eq!(lane.holder("db.t").await, None);
        let record = lane.record(&job).await;
        let got = (
            record.status.as_str(),
            record.reason.as_deref(),
            record.end_count,
        );
        assert_eq!(got, ("cancelled", Some("cancelled"), 1));
        assert_eq!(cancel(&lane, &job).await, Cancel::NotLive);
        assert_eq!(cancel(&lane, &lane.id(99)).await, Cancel::NotLive);
        assert!(lane.claim(1).await.is_empty());
    }
}

#[tokio::test]
async fn m16_q52_cancelling_a_running_job_reaches_its_worker_and_ends_it_cancelled() {
    for lane in Lane::both().await {
        let job = add(&lane, 1).await;
        let fence = lane.claim_only().await.fence;
        let pool = lane.database.pool().await;
        let mut calls = lane.queue.calls(&pool).await.unwrap();
        assert_eq!(cancel(&lane, &job).await, Cancel::Requested);
        let waker = queue::Waker::start(lane.queue.clone(), pool.clone());
        waker.cancelled(&job);
        assert_eq!(calls.next().await, Call::Cancel(job.clone()));
        waker.close().await;
        // And without the call: the next heartbeat brings it.
        let answers = lane
            .queue
            .renew(&lane.client, &[fence.ids()], LEASE)
            .await
            .unwrap();
        let state = &answers[0].state;
        assert!(
            matches!(
                state,
                RenewState::Renewed {
                    cancel_requested: true,
                    ..
                }
            ),
            "{state:?}"
        );
        let mut client = lane.database.client().await;
        let tx = client.transaction().await.unwrap();
        let answer = lane
            .queue
            .hand_back(&tx, fence, &HandBack::shutdown())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(
            answer,
            HandedBack::Ended(JobStatus::Cancelled, EndReason::Cancelled)
        );
        assert_eq!(lane.record(&job).await.status, "cancelled");
        assert_eq!(lane.holder("db.t").await, None);
    }
}

#[tokio::test]
async fn q52_a_worker_that_finishes_before_it_hears_of_the_cancel_wins() {
    let lane = Lane::text().await;
    let job = add(&lane, 1).await;
    let fence = lane.claim_only().await.fence;
    assert_eq!(cancel(&lane, &job).await, Cancel::Requested);
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    lane.queue
        .finish(&tx, fence, &End::completed())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(lane.record(&job).await.status, "completed");
}

#[tokio::test]
async fn m16_a_cancelled_job_is_renewed_for_two_more_leases_at_most() {
    let lane = Lane::text().await;
    let job = add(&lane, 1).await;
    let fence = lane.claim_only().await.fence;
    cancel(&lane, &job).await;
    lane.run("update lane.job_queue set cancel_requested_at = now() - interval '110 seconds'")
        .await;
    lane.queue
        .renew(&lane.client, &[fence.ids()], LEASE)
        .await
        .unwrap();
    let left = lane.row(&job).await.unwrap().seconds;
    assert!(left <= 60.0, "the lease that runs is not cut: {left}");
    lane.run("update lane.job_queue set visible_at = now() + interval '1 second'")
        .await;
    lane.queue
        .renew(&lane.client, &[fence.ids()], LEASE)
        .await
        .unwrap();
    let left = lane.row(&job).await.unwrap().seconds;
    assert!(
        left <= 10.0,
        "to two leases after the request, not further: {left}"
    );
    lane.run("update lane.job_queue set cancel_requested_at = now() - interval '1 hour'")
        .await;
    lane.expire_all().await;
    let answers = lane
        .queue
        .renew(&lane.client, &[fence.ids()], LEASE)
        .await
        .unwrap();
    let RenewState::Renewed { lease, .. } = answers[0].state else {
        panic!("{answers:?}")
    };
    assert!(
        !lease.trusted(std::time::Instant::now()),
        "nothing is left to trust"
    );
    assert!(
        lane.claim(1).await.is_empty(),
        "whoever meets the row next ends it"
    );
    assert_eq!(lane.record(&job).await.status, "cancelled");
    assert_eq!(lane.holder("db.t").await, None);
}

#[tokio::test]
async fn q52_a_cancel_does_not_wait_for_the_worker_s_guard() {
    let lane = Lane::text().await;
    let job = add(&lane, 1).await;
    let fence = lane.claim_only().await.fence;
    let mut own = lane.database.client().await;
    let guard = lane.queue.guard(&mut own, &fence, LEASE).await.unwrap();
    assert_eq!(cancel(&lane, &job).await, Cancel::Requested);
    guard.commit().await.unwrap();
}

/// After any race: a live record has a row that agrees, an ended one has none.
async fn check(lane: &Lane, job: &JobId, round: u32) {
    let record = lane.record(job).await;
    let row = lane.row(job).await;
    match record.status.as_str() {
        "pending" => assert_eq!(row.unwrap().attempt, None, "{round}"),
        "running" => assert_eq!(row.unwrap().attempt, record.attempt, "{round}"),
        _ => {
            assert_eq!(row, None, "{round}");
            assert_eq!(record.end_count, 1, "{round}");
            assert_eq!(lane.holder("db.t").await, None, "{round}");
        }
    }
}

#[tokio::test]
async fn q53_cancel_raced_with_claim_finish_and_hand_back_has_a_legal_outcome() {
    let lane = Lane::text().await;
    let other = lane.database.client().await;
    for round in 1..=20 {
        let job = add(&lane, round).await;
        let mut worker = lane.claimer("w");
        let (cancelled, claimed) = join(cancel(&lane, &job), worker.claim(&other, 1)).await;
        check(&lane, &job, round).await;
        let Some(claimed) = claimed.unwrap().pop() else {
            assert_eq!(cancelled, Cancel::AtOnce, "{round}");
            continue;
        };
        assert_eq!(cancelled, Cancel::Requested, "{round}");
        let mut own = lane.database.client().await;
        let tx = own.transaction().await.unwrap();
        let ended = lane
            .queue
            .hand_back(&tx, claimed.fence, &HandBack::shutdown())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert!(
            matches!(ended, HandedBack::Ended(JobStatus::Cancelled, _)),
            "{round}: {ended:?}"
        );
        check(&lane, &job, round).await;
    }
    for round in 101..=140 {
        let job = add(&lane, round).await;
        let fence = lane.claim_only().await.fence;
        let mut own = lane.database.client().await;
        let write = async {
            let tx = own.transaction().await.unwrap();
            let ended = if round % 2 == 0 {
                lane.queue
                    .finish(&tx, fence, &End::completed())
                    .await
                    .map(|()| None)
            } else {
                let how = HandBack::failed(Duration::ZERO, "again");
                lane.queue.hand_back(&tx, fence, &how).await.map(Some)
            };
            tx.commit().await.unwrap();
            ended
        };
        let (cancelled, ended) = join(cancel(&lane, &job), write).await;
        check(&lane, &job, round).await;
        assert!(
            !matches!(ended, Err(Error::Replaced)),
            "{round}: nobody else had the job"
        );
        let status = lane.record(&job).await.status;
        match (cancelled, ended.unwrap()) {
            (_, None) => assert_eq!(status, "completed", "{round}"),
            (Cancel::AtOnce, Some(HandedBack::Waiting))
            | (Cancel::Requested, Some(HandedBack::Ended(JobStatus::Cancelled, _))) => {
                assert_eq!(status, "cancelled", "{round}");
            }
            other => panic!("{round}: {other:?}"),
        }
    }
}
