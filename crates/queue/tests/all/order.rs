//! Cases 32, 33 and 49: what runs first, and what finding it costs.

use std::time::Duration;

use model::JobId;
use queue::HandBack;

use crate::lane::{CLAIM, Lane};

fn jobs(claimed: &[queue::Claimed]) -> Vec<JobId> {
    claimed
        .iter()
        .map(|claimed| claimed.fence.job().clone())
        .collect()
}

#[tokio::test]
async fn q32_jobs_run_by_ready_time_then_id_and_a_retried_one_keeps_its_age() {
    for lane in Lane::both().await {
        // 3, 1 and 2 in one instant, 4 and 5 later; 5 before 4.
        lane.add(&[lane.item(3), lane.item(1), lane.item(2)]).await;
        lane.add(&[lane.item(5)]).await;
        lane.add(&[lane.item(4)]).await;
        let first = lane.claim_only().await;
        assert_eq!(first.fence.job(), &lane.id(1));
        let mut client = lane.database.client().await;
        let tx = client.transaction().await.unwrap();
        lane.queue
            .hand_back(&tx, first.fence, &HandBack::shutdown())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        // A lost lease keeps the place as well.
        let first = lane.claim_only().await;
        assert_eq!(first.fence.job(), &lane.id(1));
        lane.expire_all().await;
        let all = lane.claim(9).await;
        assert_eq!(jobs(&all), [1, 2, 3, 5, 4].map(|number| lane.id(number)));
    }
}

#[tokio::test]
async fn q32_only_a_backoff_moves_a_job_behind_others() {
    let lane = Lane::text().await;
    lane.add_many(1).await;
    lane.add(&[lane.item(2)]).await;
    let first = lane.claim_only().await;
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    let how = HandBack::failed(Duration::from_secs(5), "later");
    lane.queue.hand_back(&tx, first.fence, &how).await.unwrap();
    tx.commit().await.unwrap();
    lane.delays_pass().await;
    assert_eq!(jobs(&lane.claim(9).await), [lane.id(2), lane.id(1)]);
}

#[tokio::test]
async fn q33_the_more_urgent_job_runs_first_until_the_other_is_ten_minutes_older() {
    let lane = Lane::text().await;
    let mut items: Vec<_> = (1..=5).map(|number| lane.item(number)).collect();
    for (item, priority) in items.iter_mut().zip([3, 0, -3, 1, -1]) {
        item.priority = priority;
    }
    lane.add(&items).await;
    // 6 is ten minutes and a second older than 5: one class is worth ten minutes.
    lane.add(&[lane.item(6)]).await;
    lane.run(
        "update lane.job_queue set sort_key = sort_key - interval '10 minutes 1 second'
         where job_id like '%6'",
    )
    .await;
    assert_eq!(
        jobs(&lane.claim(9).await),
        [3, 6, 5, 2, 4, 1].map(|number| lane.id(number))
    );
}

/// 200,000 waiting rows with all priorities; statistics as the caller leaves them.
async fn flood(lane: &Lane) {
    lane.run(
        "alter table lane.job_queue set (autovacuum_enabled = false);
         alter table lane.job_queue drop constraint job_queue_job_id_fkey;
         insert into lane.job_queue (job_id, visible_at, priority, sort_key)
         select lpad(n::text, 8, '0'), now() - interval '1 hour', n % 7 - 3,
                now() - interval '1 hour' + (n % 7 - 3) * interval '10 minutes'
                    + n * interval '1 millisecond'
         from generate_series(1, 200000) n;",
    )
    .await;
}

#[tokio::test]
async fn q33_a_claim_walks_its_index_whatever_the_statistics_say() {
    let lane = Lane::text().await;
    flood(&lane).await;
    for statistics in [
        "analyze lane.job_queue",
        "update pg_class set reltuples = -1, relpages = 0 where relname = 'job_queue'",
        "update pg_class set reltuples = 10, relpages = 1 where relname = 'job_queue'",
    ] {
        lane.run(statistics).await;
        let text = lane.plans(CLAIM).await;
        let pick = text
            .split("Query Text:")
            .find(|plan| plan.contains("idx_job_queue_claim"));
        let pick = pick.unwrap_or_else(|| panic!("{statistics}: the index is not used\n{text}"));
        assert!(!pick.contains("Sort"), "{statistics}: {pick}");
        assert!(
            !text.contains("Seq Scan on job_queue"),
            "{statistics}: {text}"
        );
        let cost = lane.warm_buffers(CLAIM).await;
        assert!(cost < 500, "{statistics}: {cost} buffers");
    }
    let claimed = lane.claim(1).await;
    let sql = "select count(*) from lane.job_queue q, lane.job_queue c
               where c.job_id = $1 and q.claimed_at is null and q.sort_key < c.sort_key";
    let job = claimed[0].fence.job().as_str();
    let earlier: i64 = lane.client.query_one(sql, &[&job]).await.unwrap().get(0);
    assert_eq!(earlier, 0, "nothing more urgent was passed over");
}

#[tokio::test]
async fn q49_scheduled_rows_cost_a_claim_nothing() {
    let lane = Lane::text().await;
    lane.run("alter table lane.job_queue set (autovacuum_enabled = false)")
        .await;
    lane.add_many(200).await;
    let tick = "select * from lane.tick_v1(1000)";
    let without = lane.warm_buffers(CLAIM).await;
    lane.run(
        "alter table lane.job_queue drop constraint job_queue_job_id_fkey;
         insert into lane.job_queue (job_id, visible_at, scheduled, pool)
         select 's' || n, now() + interval '1 day', true, 'default'
         from generate_series(1, 200000) n;",
    )
    .await;
    let with = lane.warm_buffers(CLAIM).await;
    // Ten rows, five indexes that hold every row, each a level or two deeper.
    assert!(
        with <= without + 100,
        "{without} buffers without, {with} with 200,000 scheduled"
    );
    let ticking = lane.warm_buffers(tick).await;
    assert!(ticking < 100, "a tick with nothing due: {ticking} buffers");
    lane.run("delete from lane.job_queue where not scheduled")
        .await;
    lane.run("vacuum lane.job_queue").await;
    let idle = lane.warm_buffers(CLAIM).await;
    assert!(idle < 50, "nothing ready: {idle} buffers");
}

#[tokio::test]
async fn a_held_snapshot_does_not_slow_a_claim_that_starts_at_its_floor() {
    let lane = Lane::text().await;
    flood(&lane).await;
    let mut holder = lane.database.client().await;
    let held = holder
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let held = held.start().await.unwrap();
    held.query_one("select count(*) from lane.job_queue", &[])
        .await
        .unwrap();
    let mut worker = lane.claimer("w");
    for _ in 0..20 {
        let claimed = worker.claim(&lane.client, 500).await.unwrap();
        assert_eq!(claimed.len(), 500);
    }
    let floor: String = lane
        .client
        .query_one(
            "select min(sort_key)::text from lane.job_queue where claimed_at is null",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    let from_floor = format!(
        "select * from lane.claim_v1(10, '60 s', 'w', '{{default}}', array['{floor}'::timestamptz])"
    );
    let with = lane.warm_buffers(&from_floor).await;
    let without = lane.warm_buffers(CLAIM).await;
    assert!(
        with < 500 && with * 4 < without,
        "{with} buffers from the floor, {without} without"
    );
}

#[tokio::test]
async fn a_job_put_before_the_floor_is_found_after_a_wake_up_and_before_a_worker_is_idle() {
    let lane = Lane::text().await;
    lane.add_many(20).await;
    let mut worker = lane.claimer("w");
    assert_eq!(worker.claim(&lane.client, 5).await.unwrap().len(), 5);
    let mut urgent = lane.item(21);
    urgent.priority = -3;
    lane.add(&[urgent]).await;
    worker.woken();
    let claimed = worker.claim(&lane.client, 5).await.unwrap();
    assert_eq!(claimed[0].fence.job(), &lane.id(21));
    let mut urgent = lane.item(22);
    urgent.priority = -3;
    lane.add(&[urgent]).await;
    // No wake-up; but a short answer only ever comes from a scan of everything.
    let rest = worker.claim(&lane.client, 50).await.unwrap();
    assert_eq!(rest.len(), 12);
    assert!(jobs(&rest).contains(&lane.id(22)));
}
