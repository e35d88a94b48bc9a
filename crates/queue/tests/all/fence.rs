//! Cases 6 to 9, 12 and 67: what the fence lets through and what it refuses.

use std::time::Duration;

use futures::future::join;
use model::{Advice, EndReason};
use queue::{Cursor, End, Error, Finished, HandBack, RenewState};

use crate::lane::{LEASE, Lane, counted, idle_max};

/// Finishes in a transaction of its own.
async fn finish(lane: &Lane, fence: queue::Fence, end: &End) -> Result<(), Error> {
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    let finished = lane.queue.finish(&tx, fence, end).await;
    tx.commit().await.unwrap();
    finished
}

#[tokio::test]
async fn m18_q06_finishing_ends_record_row_and_lock_in_one_commit() {
    for lane in Lane::both().await {
        let mut item = lane.item(1);
        item.concurrency_key = Some("db.t".to_owned());
        lane.add(&[item]).await;
        let job = lane.id(1);
        let fence = lane.claim_only().await.fence;
        let mut client = lane.database.client().await;
        let tx = client.transaction().await.unwrap();
        lane.queue
            .finish(&tx, fence, &End::completed())
            .await
            .unwrap();
        assert!(
            lane.row(&job).await.is_some(),
            "nothing shows before the commit"
        );
        assert_eq!(lane.record(&job).await.status, "running");
        assert!(lane.holder("db.t").await.is_some());
        tx.commit().await.unwrap();
        assert_eq!(lane.row(&job).await, None);
        let record = lane.record(&job).await;
        assert_eq!((record.status.as_str(), record.end_count), ("completed", 1));
        assert_eq!(lane.holder("db.t").await, None);
    }
}

#[tokio::test]
async fn m18_every_way_to_end_deletes_the_row_and_frees_the_lock() {
    let lane = Lane::text().await;
    let ends = [
        End::completed(),
        End::failed(EndReason::ActionFailed, "no such table"),
        End::failed(EndReason::Timeout, "no progress"),
        End::cancelled(),
    ];
    for (number, end) in (1..).zip(ends) {
        let mut item = lane.item(number);
        item.concurrency_key = Some("db.t".to_owned());
        lane.add(&[item]).await;
        let fence = lane.claim_only().await.fence;
        finish(&lane, fence, &end).await.unwrap();
        let record = lane.record(&lane.id(number)).await;
        assert_eq!(record.status, end.status.as_str());
        assert_eq!(record.reason.as_deref(), end.reason.map(EndReason::as_str));
        assert_eq!(record.error, end.error);
        assert_eq!(lane.count("job_queue").await, 0);
        assert_eq!(lane.count("table_locks").await, 0);
    }
}

#[tokio::test]
async fn q07_a_second_finish_of_the_same_attempt_is_refused_and_counts_nothing() {
    let lane = Lane::text().await;
    lane.add_many(1).await;
    let fence = lane.claim_only().await.fence;
    let lost_answer = fence.for_retry();
    finish(&lane, fence, &End::completed()).await.unwrap();
    let labels = [("lane", "lane"), ("status", "completed")];
    let counted_once = counted("snowpack_jobs_finished_total", &labels);
    let again = finish(
        &lane,
        lost_answer,
        &End::failed(EndReason::ActionFailed, "x"),
    )
    .await;
    assert!(matches!(again, Err(Error::Replaced)), "{again:?}");
    assert_eq!(again.unwrap_err().advice(), Advice::Stop);
    let record = lane.record(&lane.id(1)).await;
    assert_eq!((record.status.as_str(), record.end_count), ("completed", 1));
    assert!(counted("snowpack_jobs_finished_total", &labels) >= counted_once);
    assert!(
        counted(
            "snowpack_stale_writes_refused_total",
            &[("operation", "finish")]
        ) >= 1.0
    );
}

#[tokio::test]
async fn m11_q08_a_late_finish_of_an_old_attempt_changes_no_row() {
    for lane in Lane::both().await {
        let mut item = lane.item(1);
        item.concurrency_key = Some("db.t".to_owned());
        lane.add(&[item]).await;
        let job = lane.id(1);
        let stale = lane.claim_only().await.fence;
        lane.expire_all().await;
        let current = lane.claim_only().await.fence;
        let whole = "select q::text || b::text || l::text from lane.job_queue q
                     join lane.jobs b using (job_id) join lane.table_locks l on l.holder = q.job_id";
        let before: String = lane.client.query_one(whole, &[]).await.unwrap().get(0);
        let refused = finish(&lane, stale, &End::completed()).await;
        assert!(matches!(refused, Err(Error::Replaced)), "{refused:?}");
        let after: String = lane.client.query_one(whole, &[]).await.unwrap().get(0);
        assert_eq!(before, after);
        finish(&lane, current, &End::completed()).await.unwrap();
        assert_eq!(lane.record(&job).await.end_count, 1);
    }
}

#[tokio::test]
async fn m09_m11_q09_every_operation_of_a_stale_attempt_is_refused() {
    for lane in Lane::both().await {
        lane.add_many(1).await;
        let job = lane.id(1);
        let stale = lane.claim_only().await.fence;
        lane.expire_all().await;
        let current = lane.claim_only().await.fence;
        let before = lane.row(&job).await.unwrap();
        let renewals = lane
            .queue
            .renew(&lane.client, &[stale.ids()], LEASE * 9)
            .await
            .unwrap();
        assert_eq!(renewals[0].state, RenewState::Lost);
        let mut client = lane.database.client().await;
        let refused = lane.queue.guard(&mut client, &stale, LEASE).await.map(drop);
        assert!(matches!(refused, Err(Error::Replaced)), "{refused:?}");
        let tx = client.transaction().await.unwrap();
        let refused = lane.queue.hold(&tx, &stale).await;
        assert!(matches!(refused, Err(Error::Replaced)), "{refused:?}");
        for how in [
            HandBack::shutdown(),
            HandBack::failed(Duration::from_secs(5), "x"),
        ] {
            let refused = lane.queue.hand_back(&tx, stale.for_retry(), &how).await;
            assert!(matches!(refused, Err(Error::Replaced)), "{refused:?}");
        }
        let refused = lane.queue.finish(&tx, stale, &End::cancelled()).await;
        assert!(matches!(refused, Err(Error::Replaced)), "{refused:?}");
        tx.commit().await.unwrap();
        let after = lane.row(&job).await.unwrap();
        assert_eq!(
            (after.attempt, after.sort_key),
            (before.attempt, before.sort_key)
        );
        assert!(
            after.seconds <= LEASE.as_secs_f64(),
            "the stale renewal did not extend it"
        );
        assert_eq!(lane.record(&job).await.end_count, 0);
        finish(&lane, current, &End::completed()).await.unwrap();
    }
}

#[tokio::test]
async fn m11_a_batch_takes_effect_item_by_item() {
    for lane in Lane::both().await {
        lane.add_many(3).await;
        let mut fences: Vec<_> = lane.claim(3).await.into_iter().map(|c| c.fence).collect();
        lane.run("update lane.job_queue set visible_at = now() where job_id::text like '%2'")
            .await;
        let taken_over = lane.claim_only().await;
        let end = End::completed();
        let batch = fences
            .drain(..)
            .rev()
            .map(|fence| (fence, end.clone()))
            .collect();
        let mut client = lane.database.client().await;
        let tx = client.transaction().await.unwrap();
        let answers = lane.queue.finish_all(&tx, batch).await.unwrap();
        tx.commit().await.unwrap();
        let want = [
            (3, Finished::Done),
            (2, Finished::Replaced),
            (1, Finished::Done),
        ];
        assert_eq!(
            answers,
            want.map(|(number, finished)| (lane.id(number), finished))
        );
        assert_eq!(lane.count("job_queue").await, 1);
        assert_eq!(lane.record(taken_over.fence.job()).await.status, "running");
    }
}

#[tokio::test]
async fn m10_q12_rescue_and_finish_at_once_have_one_winner() {
    let lane = Lane::text().await;
    let sweeper = lane.database.client().await;
    for number in 1..=60 {
        lane.add(&[lane.item(number)]).await;
        let job = lane.id(number);
        let fence = lane
            .queue
            .claim_one(&lane.client, &job, LEASE, "w")
            .await
            .unwrap()
            .unwrap()
            .fence;
        lane.expire_all().await;
        let end = End::completed();
        let mut cursor = Cursor::default();
        let (finished, swept) = join(
            finish(&lane, fence, &end),
            lane.queue.sweep(&sweeper, 100, &mut cursor),
        )
        .await;
        let swept = swept.unwrap();
        let record = lane.record(&job).await;
        if finished.is_ok() {
            assert_eq!(
                (swept.reset, record.status.as_str()),
                (0, "completed"),
                "{number}"
            );
            assert_eq!(lane.row(&job).await, None);
        } else {
            assert!(matches!(finished, Err(Error::Replaced)), "{finished:?}");
            assert_eq!(
                (swept.reset, record.status.as_str()),
                (1, "pending"),
                "{number}"
            );
            assert!(lane.row(&job).await.is_some());
            lane.client
                .execute("delete from lane.job_queue", &[])
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn q67_renewals_pass_a_guard_and_takeovers_do_not() {
    for lane in Lane::both().await {
        lane.add_many(1).await;
        let job = lane.id(1);
        let fence = lane.claim_only().await.fence;
        let mut own = lane.database.client().await;
        let guard = lane.queue.guard(&mut own, &fence, LEASE).await.unwrap();
        let renewals = lane
            .queue
            .renew(&lane.client, &[fence.ids()], LEASE)
            .await
            .unwrap();
        assert!(
            matches!(renewals[0].state, RenewState::Renewed { .. }),
            "{renewals:?}"
        );
        lane.expire_all().await;
        assert!(
            lane.claim(1).await.is_empty(),
            "the claim and its tick pass over the row"
        );
        let swept = lane
            .queue
            .sweep(&lane.client, 10, &mut Cursor::default())
            .await
            .unwrap();
        assert_eq!((swept.reset, swept.ended), (0, 0));
        assert!(
            lane.queue
                .claim_one(&lane.client, &job, LEASE, "w")
                .await
                .unwrap()
                .is_none()
        );
        let other = lane.database.client().await;
        other
            .batch_execute("set lock_timeout = '20ms'")
            .await
            .unwrap();
        for careless in [
            "attempt_id = 'mine'",
            "attempt_id = null, claimed_at = null, claimed_by = null",
        ] {
            let update = format!("update lane.job_queue set {careless}");
            let error = other.batch_execute(&update).await.unwrap_err();
            assert_eq!(
                error.code().unwrap().code(),
                "55P03",
                "waits for the guard: {careless}"
            );
            assert_eq!(pg::advice(&error), Advice::RetryLater);
        }
        guard.commit().await.unwrap();
        assert_eq!(lane.claim_only().await.attempt_count, 2);
    }
}

#[tokio::test]
async fn q67_a_guard_whose_connection_is_lost_has_an_unknown_outcome() {
    let lane = Lane::text().await;
    lane.add_many(1).await;
    let fence = lane.claim_only().await.fence;
    let mut own = lane.database.client().await;
    let pid: i32 = own
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let guard = lane.queue.guard(&mut own, &fence, LEASE).await.unwrap();
    lane.client
        .execute("select pg_terminate_backend($1)", &[&pid])
        .await
        .unwrap();
    let ended = guard.commit().await;
    assert!(matches!(ended, Err(Error::Unknown { .. })), "{ended:?}");
    assert_eq!(ended.unwrap_err().advice(), Advice::FindOut);
    // The row is free again: the job goes on.
    lane.expire_all().await;
    testkit::until("the next attempt claims it", async || {
        lane.claim(1).await.len() == 1
    })
    .await;
}

#[tokio::test]
async fn q67_a_worker_frozen_inside_its_guard_holds_nobody_up() {
    let lane = Lane::text().await;
    lane.add_many(1).await;
    let fence = lane.claim_only().await.fence;
    let mut own = lane.database.client().await;
    let lease = Duration::from_secs(3);
    let guard = lane.queue.guard(&mut own, &fence, lease).await.unwrap();
    let limits = "select current_setting('idle_in_transaction_session_timeout'),
                         current_setting('lock_timeout')";
    let row = guard.transaction().query_one(limits, &[]).await.unwrap();
    assert_eq!(
        (row.get::<_, &str>(0), row.get::<_, &str>(1)),
        ("1500ms", "500ms")
    );
    // Silent from here on, as a stopped process is.
    lane.expire_all().await;
    testkit::until("another attempt claims it", async || {
        lane.claim(1).await.len() == 1
    })
    .await;
    let ended = guard.commit().await;
    assert!(matches!(ended, Err(Error::Unknown { .. })), "{ended:?}");
}

#[tokio::test]
async fn q67_a_held_row_makes_a_write_elsewhere_a_fenced_one() {
    let lane = Lane::text().await;
    lane.add_many(1).await;
    let stale = lane.claim_only().await.fence;
    lane.expire_all().await;
    // A takeover that is not committed yet: `exists (..)` would still see the old attempt.
    let mut taker = lane.database.client().await;
    let takeover = taker.transaction().await.unwrap();
    assert_eq!(
        lane.claimer("new").claim(&takeover, 1).await.unwrap().len(),
        1
    );
    let mut own = lane.database.client().await;
    let tx = own.transaction().await.unwrap();
    let pid: i32 = tx
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let waiting = async {
        testkit::until("the hold waits for the takeover", async || {
            let sql = "select 1 from pg_locks where pid = $1 and not granted";
            lane.client.query_opt(sql, &[&pid]).await.unwrap().is_some()
        })
        .await;
        takeover.commit().await.unwrap();
    };
    let (held, ()) = join(lane.queue.hold(&tx, &stale), waiting).await;
    assert!(matches!(held, Err(Error::Replaced)), "{held:?}");
}

#[tokio::test]
async fn q67_a_write_behind_the_held_row_does_not_wait_for_ever() {
    let lane = Lane::text().await;
    lane.add_many(1).await;
    let fence = lane.claim_only().await.fence;
    let mut client = lane.database.client().await;
    let limit = async |tx: &tokio_postgres::Transaction<'_>| -> String {
        let sql = "select current_setting('lock_timeout')";
        tx.query_one(sql, &[]).await.unwrap().get(0)
    };
    let tx = client.transaction().await.unwrap();
    lane.queue.hold(&tx, &fence).await.unwrap();
    assert_eq!(limit(&tx).await, "10s");
    tx.commit().await.unwrap();
    let guard = lane.queue.guard(&mut client, &fence, LEASE / 2).await;
    let guard = guard.unwrap();
    let guarded = limit(guard.transaction()).await;
    assert!(guarded != "0" && guarded != "10s", "{guarded}");
    guard.rollback().await.unwrap();
    client
        .batch_execute("set lock_timeout = '500ms'")
        .await
        .unwrap();
    let tx = client.transaction().await.unwrap();
    lane.queue.hold(&tx, &fence).await.unwrap();
    assert_eq!(limit(&tx).await, "500ms", "the server's own limit stands");
}

#[tokio::test]
async fn q67_whoever_holds_the_row_is_thrown_out_when_silent() {
    let lane = Lane::text().await;
    lane.add_many(2).await;
    let fence = lane.claim_only().await.fence;
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    lane.queue.hold(&tx, &fence).await.unwrap();
    assert_eq!(idle_max(&tx).await, "10s");
    tx.commit().await.unwrap();

    let guard = lane.queue.guard(&mut client, &fence, LEASE).await.unwrap();
    let guarded = idle_max(guard.transaction()).await;
    assert!(guarded != "0" && guarded != "10s", "{guarded}");
    lane.queue.hold(guard.transaction(), &fence).await.unwrap();
    assert_eq!(
        idle_max(guard.transaction()).await,
        guarded,
        "the guard's limit stands"
    );
    guard.rollback().await.unwrap();

    let tx = client.transaction().await.unwrap();
    lane.queue
        .finish(&tx, fence, &End::completed())
        .await
        .unwrap();
    assert_eq!(idle_max(&tx).await, "10s");
    tx.commit().await.unwrap();

    let fence = lane.claim_only().await.fence;
    let tx = client.transaction().await.unwrap();
    lane.queue
        .hand_back(&tx, fence, &HandBack::shutdown())
        .await
        .unwrap();
    assert_eq!(idle_max(&tx).await, "10s");
}

#[tokio::test]
async fn an_end_waits_for_the_renewal_of_its_own_worker() {
    let lane = Lane::text().await;
    lane.add_many(2).await;
    let (mut heart, mut slot) = (lane.database.client().await, lane.database.client().await);
    for handed_back in [false, true] {
        let fence = lane.claim_only().await.fence;
        let renewal = heart.transaction().await.unwrap();
        let ids = [fence.ids()];
        lane.queue.renew(&renewal, &ids, LEASE).await.unwrap();
        let tx = slot.transaction().await.unwrap();
        let pid = tx.query_one("select pg_backend_pid()", &[]).await.unwrap();
        let end = async {
            if handed_back {
                let how = HandBack::failed(Duration::from_mins(1), "later");
                lane.queue.hand_back(&tx, fence, &how).await.map(drop)
            } else {
                lane.queue.finish(&tx, fence, &End::completed()).await
            }
        };
        let renewed = async {
            testkit::until("the end waits for the renewal", async || {
                let sql = "select 1 from pg_locks where pid = $1 and not granted";
                let waits = lane.client.query_opt(sql, &[&pid.get::<_, i32>(0)]).await;
                waits.unwrap().is_some()
            })
            .await;
            renewal.commit().await.unwrap();
        };
        // Passing over a row that somebody holds would read as replaced.
        let (ended, ()) = join(end, renewed).await;
        ended.unwrap();
        tx.commit().await.unwrap();
    }
    let left = "job_queue where scheduled and attempt_id is null";
    assert_eq!(
        (lane.count("job_queue").await, lane.count(left).await),
        (1, 1)
    );
}
