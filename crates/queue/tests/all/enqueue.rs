//! Cases 45 and 48: jobs that are not there yet, and jobs that are not due yet.

use std::time::Duration;

use queue::Cursor;

use crate::lane::Lane;

#[tokio::test]
async fn q45_a_job_exists_with_its_transaction() {
    for lane in Lane::both().await {
        let mut item = lane.item(1);
        item.concurrency_key = Some("db.t".to_owned());
        let mut client = lane.database.client().await;
        let tx = client.transaction().await.unwrap();
        lane.add_in(&tx, std::slice::from_ref(&item)).await;
        assert!(lane.claim(1).await.is_empty(), "not before the commit");
        tx.rollback().await.unwrap();
        for table in ["jobs", "job_queue", "table_locks"] {
            assert_eq!(lane.count(table).await, 0, "{table}");
        }
        let tx = client.transaction().await.unwrap();
        lane.add_in(&tx, &[item]).await;
        tx.commit().await.unwrap();
        assert_eq!(lane.claim(1).await.len(), 1);
    }
}

#[tokio::test]
async fn q48_a_delayed_job_is_claimed_when_due_and_not_before() {
    for lane in Lane::both().await {
        let mut item = lane.item(1);
        item.run_after = Some(Duration::from_mins(10));
        lane.add(&[item]).await;
        let row = lane.row(&lane.id(1)).await.unwrap();
        assert!(row.scheduled && row.seconds > 500.0, "{row:?}");
        assert!(lane.claim(1).await.is_empty());
        lane.run("update lane.job_queue set visible_at = now() + interval '1 hour'")
            .await;
        assert!(lane.claim(1).await.is_empty());
        lane.delays_pass().await;
        assert_eq!(lane.claim(1).await.len(), 1);
    }
}

#[tokio::test]
async fn q48_many_jobs_due_at_once_are_released_in_bounded_steps() {
    let lane = Lane::text().await;
    lane.run(
        "insert into lane.jobs (job_id) select lpad(n::text, 6, '0') from generate_series(1, 4000) n;
         insert into lane.job_queue (job_id, visible_at, scheduled, pool)
         select lpad(n::text, 6, '0'), now(), true, 'pool' || n % 3 from generate_series(1, 4000) n;",
    )
    .await;
    let mut flipped = Vec::new();
    loop {
        let swept = lane
            .queue
            .sweep(&lane.client, 1_000, &mut Cursor::default())
            .await
            .unwrap();
        if swept.flipped == 0 {
            break;
        }
        flipped.push(swept.flipped);
    }
    assert_eq!(
        flipped,
        [1_000, 1_000, 1_000, 1_000],
        "no statement takes more than its batch"
    );
    // A worker repeats a full step at once, so that all of them are claimable in one poll.
    lane.run("update lane.job_queue set scheduled = true").await;
    let mut worker = lane.claimer_of("w", &["pool0", "pool1", "pool2"]);
    assert_eq!(
        worker.claim(&lane.client, 4_000).await.unwrap().len(),
        4_000
    );
}

#[tokio::test]
async fn impossible_jobs_are_refused_by_the_table() {
    let lane = Lane::text().await;
    for (change, constraint) in [
        ("priority = 4", "job_queue_priority_check"),
        ("max_attempts = 0", "job_queue_attempts_check"),
        ("pool = ''", "job_queue_pool_check"),
        ("enqueued_at = '-infinity'", "job_queue_times_check"),
        ("visible_at = 'infinity'", "job_queue_times_check"),
        ("sort_key = 'infinity'", "job_queue_times_check"),
        ("deadline_at = 'infinity'", "job_queue_times_check"),
        ("attempt_id = 'x'", "job_queue_claim_check"),
        ("job_id = 'nobody'", "job_queue_job_id_fkey"),
    ] {
        lane.run("delete from lane.job_queue; delete from lane.jobs")
            .await;
        lane.add_many(1).await;
        let update = format!("update lane.job_queue set {change}");
        let error = lane.client.batch_execute(&update).await.unwrap_err();
        assert_eq!(
            error.as_db_error().unwrap().constraint(),
            Some(constraint),
            "{change}"
        );
    }
}
