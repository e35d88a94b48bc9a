//! Cases 23 to 25, 29, 30 and 68: what becomes of an attempt that did not succeed.

use std::time::Duration;

use model::{EndReason, JobId, JobStatus};
use queue::{End, Fence, HandBack, HandedBack};

use crate::lane::{Lane, Record, counted};

async fn hand_back(lane: &Lane, fence: Fence, how: &HandBack) -> HandedBack {
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    let answer = lane.queue.hand_back(&tx, fence, how).await.unwrap();
    tx.commit().await.unwrap();
    answer
}

/// One job with a lock, that may be claimed `max_attempts` times.
async fn add(lane: &Lane, number: u32, max_attempts: i32) -> JobId {
    let mut item = lane.item(number);
    item.concurrency_key = Some(format!("db.t{number}"));
    item.max_attempts = max_attempts;
    lane.add(&[item]).await;
    lane.id(number)
}

#[tokio::test]
async fn q23_a_failed_attempt_waits_for_its_backoff() {
    for lane in Lane::both().await {
        let job = add(&lane, 1, 5).await;
        let before = lane.row(&job).await.unwrap();
        let fence = lane.claim_only().await.fence;
        let after = Duration::from_mins(5);
        let answer = hand_back(&lane, fence, &HandBack::failed(after, "storage is down")).await;
        assert_eq!(answer, HandedBack::Waiting);
        let row = lane.row(&job).await.unwrap();
        assert_eq!((row.attempt_count, row.hand_back_count), (1, 0));
        assert!(row.scheduled && row.attempt.is_none() && row.claimed_by.is_none());
        assert!(row.seconds > 200.0 && row.seconds <= 300.0, "{row:?}");
        assert_ne!(
            row.sort_key, before.sort_key,
            "a backoff moves the job back"
        );
        assert_eq!(lane.record(&job).await.status, "pending");
        assert_eq!(
            lane.holder("db.t1").await.as_deref(),
            Some(job.as_str()),
            "the lock is kept"
        );
        assert!(lane.claim(1).await.is_empty(), "not visible before");
        lane.delays_pass().await;
        assert_eq!(lane.claim_only().await.attempt_count, 2);
    }
}

#[tokio::test]
async fn m17_q24_a_job_that_kills_its_worker_is_exhausted_after_its_attempts() {
    for lane in Lane::both().await {
        let job = add(&lane, 1, 3).await;
        let labels = [("lane", "lane"), ("reason", "exhausted")];
        let before = counted("snowpack_jobs_ended_total", &labels);
        for count in 1..=3 {
            assert_eq!(lane.claim_only().await.attempt_count, count);
            lane.expire_all().await;
        }
        assert!(lane.claim(1).await.is_empty());
        let record = lane.record(&job).await;
        assert_eq!(
            (record.status.as_str(), record.reason.as_deref()),
            ("failed", Some("exhausted"))
        );
        assert_eq!(
            record.error.as_deref(),
            Some("attempt 3 of 3 did not end: its lease ran out")
        );
        assert_eq!(lane.row(&job).await, None);
        assert_eq!(lane.holder("db.t1").await, None, "the lock is free");
        assert!(counted("snowpack_jobs_ended_total", &labels) >= before + 1.0);
    }
}

#[tokio::test]
async fn m17_q25_failing_the_last_attempt_and_losing_it_end_alike() {
    let lane = Lane::text().await;
    let failed = add(&lane, 1, 1).await;
    let fence = lane.claim_only().await.fence;
    let answer = hand_back(
        &lane,
        fence,
        &HandBack::failed(Duration::from_secs(9), "broke"),
    )
    .await;
    assert_eq!(
        answer,
        HandedBack::Ended(JobStatus::Failed, EndReason::Exhausted)
    );
    let lost = add(&lane, 2, 1).await;
    lane.claim_only().await;
    lane.expire_all().await;
    assert!(lane.claim(1).await.is_empty());
    let alike = |record: Record| {
        (
            record.status,
            record.reason,
            record.begin_count,
            record.end_count,
        )
    };
    assert_eq!(lane.record(&failed).await.error.as_deref(), Some("broke"));
    assert_eq!(
        alike(lane.record(&failed).await),
        alike(lane.record(&lost).await)
    );
    assert_eq!(lane.count("job_queue").await, 0);
    assert_eq!(lane.count("table_locks").await, 0);
}

#[tokio::test]
async fn q29_an_error_that_will_not_pass_fails_the_job_at_once() {
    let lane = Lane::text().await;
    let job = add(&lane, 1, 5).await;
    let fence = lane.claim_only().await.fence;
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    let end = End::failed(EndReason::ActionFailed, "unknown option");
    lane.queue.finish(&tx, fence, &end).await.unwrap();
    tx.commit().await.unwrap();
    let record = lane.record(&job).await;
    assert_eq!((record.status.as_str(), record.begin_count), ("failed", 1));
    assert_eq!(record.reason.as_deref(), Some("action_failed"));
    assert!(lane.claim(1).await.is_empty());
}

#[tokio::test]
async fn q30_a_worker_that_stops_gives_its_job_back_free_of_charge() {
    for lane in Lane::both().await {
        let job = add(&lane, 1, 1).await;
        let before = lane.row(&job).await.unwrap();
        let fence = lane.claim_only().await.fence;
        assert_eq!(
            hand_back(&lane, fence, &HandBack::shutdown()).await,
            HandedBack::Waiting
        );
        let row = lane.row(&job).await.unwrap();
        assert_eq!((row.attempt_count, row.hand_back_count), (0, 1));
        assert!(!row.scheduled && row.seconds <= 0.0, "due at once: {row:?}");
        assert_eq!(row.sort_key, before.sort_key, "its place is kept");
        // Another pod, in the middle of its own tick's second, finds it too.
        assert_eq!(lane.claim_only().await.attempt_count, 1);
    }
}

#[tokio::test]
async fn q68_hand_backs_without_a_cost_stop_at_their_cap() {
    let lane = Lane::text().await;
    let job = add(&lane, 1, 2).await;
    for count in 1..=20 {
        let fence = lane.claim_only().await.fence;
        assert_eq!(
            hand_back(&lane, fence, &HandBack::shutdown()).await,
            HandedBack::Waiting
        );
        assert_eq!(lane.row(&job).await.unwrap().hand_back_count, count);
    }
    for attempt in 1..=2 {
        let claimed = lane.claim_only().await;
        assert_eq!(claimed.attempt_count, attempt, "from here on they count");
        let answer = hand_back(&lane, claimed.fence, &HandBack::shutdown()).await;
        let ended = HandedBack::Ended(JobStatus::Failed, EndReason::Exhausted);
        assert_eq!(
            answer,
            if attempt == 2 {
                ended
            } else {
                HandedBack::Waiting
            }
        );
    }
}

#[tokio::test]
async fn q68_an_attempt_the_watchdog_stopped_counts_and_the_last_one_ends_timeout() {
    let lane = Lane::text().await;
    let job = add(&lane, 1, 2).await;
    let how = HandBack::timeout(Duration::ZERO, "no progress for 900 s");
    let fence = lane.claim_only().await.fence;
    assert_eq!(hand_back(&lane, fence, &how).await, HandedBack::Waiting);
    assert_eq!(lane.row(&job).await.unwrap().attempt_count, 1);
    let fence = lane.claim_only().await.fence;
    let answer = hand_back(&lane, fence, &how).await;
    assert_eq!(
        answer,
        HandedBack::Ended(JobStatus::Failed, EndReason::Timeout)
    );
    let record = lane.record(&job).await;
    assert_eq!(record.reason.as_deref(), Some("timeout"));
    assert_eq!(record.error.as_deref(), Some("no progress for 900 s"));
    assert_eq!(lane.holder("db.t1").await, None);
}

#[tokio::test]
async fn a_job_past_its_deadline_ends_instead_of_running() {
    for lane in Lane::both().await {
        let items: Vec<_> = (1..=3)
            .map(|number| {
                let mut item = lane.item(number);
                item.deadline = (number < 3).then_some(Duration::from_mins(10));
                item
            })
            .collect();
        lane.add(&items).await;
        let first = lane.claim_only().await;
        assert!(first.deadline_in.unwrap() <= Duration::from_mins(10));
        lane.run("update lane.job_queue set deadline_at = now() where deadline_at is not null")
            .await;
        // 1 loses its lease, 2 never ran: both are over, and neither keeps 3 waiting.
        lane.expire_all().await;
        let claimed = lane.claim_only().await;
        assert_eq!(claimed.fence.job(), &lane.id(3));
        for number in [1, 2] {
            let record = lane.record(&lane.id(number)).await;
            assert_eq!(record.reason.as_deref(), Some("deadline"), "{number}");
        }
        assert_eq!(lane.count("job_queue").await, 1);
    }
}
