//! The sweep: everything a tick does, and orphans.

use futures::future::join_all;
use queue::{Cursor, Swept};

use crate::lane::Lane;

#[tokio::test]
async fn m10_a_sweep_resets_what_waits_and_ends_what_may_not_run_again() {
    for lane in Lane::both().await {
        let mut items: Vec<_> = (1..=4).map(|number| lane.item(number)).collect();
        items[1].max_attempts = 1;
        items[3].run_after = Some(std::time::Duration::from_mins(1));
        lane.add(&items).await;
        assert_eq!(lane.claim(9).await.len(), 3);
        lane.expire_all().await;
        lane.delays_pass().await;
        let mut client = lane.database.client().await;
        let tx = client.transaction().await.unwrap();
        let asked = lane.queue.cancel(&tx, &lane.id(3)).await.unwrap();
        assert_eq!(asked, queue::Cancel::Requested);
        tx.commit().await.unwrap();
        let swept = lane
            .queue
            .sweep(&lane.client, 100, &mut Cursor::default())
            .await
            .unwrap();
        let want = Swept {
            ended: 2,
            reset: 1,
            flipped: 1,
            ..Swept::default()
        };
        assert_eq!(swept, want);
        let statuses = [1, 2, 3, 4].map(|number| lane.id(number));
        let want = ["pending", "failed", "cancelled", "pending"];
        for (job, want) in statuses.iter().zip(want) {
            assert_eq!(lane.record(job).await.status, want, "{job}");
        }
        let again = lane
            .queue
            .sweep(&lane.client, 100, &mut Cursor::default())
            .await
            .unwrap();
        assert_eq!(again, Swept::default());
    }
}

#[tokio::test]
async fn a_sweep_clears_orphans_behind_its_cursor_and_nothing_else() {
    for lane in Lane::both().await {
        let mut items: Vec<_> = (1..=9).map(|number| lane.item(number)).collect();
        for item in &mut items {
            item.concurrency_key = Some(format!("db.{}", item.job));
        }
        lane.add(&items).await;
        // 5 ended in psql; the row of 8 was deleted there.
        lane.run("update lane.jobs set status = 'completed' where job_id::text like '%5'")
            .await;
        lane.run("delete from lane.job_queue where job_id::text like '%8'")
            .await;
        let mut cursor = Cursor::default();
        let mut total = Swept::default();
        for _ in 0..5 {
            let swept = lane
                .queue
                .sweep(&lane.client, 3, &mut cursor)
                .await
                .unwrap();
            total.rows += swept.rows;
            total.locks += swept.locks;
        }
        // The lock of 5 lost its row in the first round and is found in the same or the next.
        assert_eq!(
            total,
            Swept {
                rows: 1,
                locks: 2,
                ..Swept::default()
            }
        );
        assert_eq!(lane.count("job_queue").await, 7);
        assert_eq!(lane.count("table_locks").await, 7);
    }
}

#[tokio::test]
async fn many_sweeps_at_once_reset_each_job_once() {
    let lane = Lane::text().await;
    lane.add_many(200).await;
    assert_eq!(lane.claim(200).await.len(), 200);
    lane.expire_all().await;
    let swept = join_all((0..8).map(async |_| {
        let client = lane.database.client().await;
        lane.queue
            .sweep(&client, 150, &mut Cursor::default())
            .await
            .unwrap()
            .reset
    }))
    .await;
    assert_eq!(swept.iter().sum::<i32>(), 200, "{swept:?}");
    assert_eq!(lane.count("jobs where status = 'pending'").await, 200);
}

#[tokio::test]
async fn a_worker_clears_orphans_with_no_sweeper_alive() {
    let lane = Lane::text().await;
    let mut items = [lane.item(1), lane.item(2)];
    for item in &mut items {
        item.concurrency_key = Some(format!("db.{}", item.job));
    }
    lane.add(&items).await;
    lane.run("update lane.jobs set status = 'completed' where job_id like '%1'")
        .await;
    let claimed = lane.claim(9).await;
    assert_eq!(claimed.len(), 1, "an ended job is not run");
    assert_eq!(claimed[0].fence.job(), &lane.id(2));
    assert_eq!(lane.count("table_locks").await, 1);
}
