//! Case 62 and what section 7 of the design promises at a million waiting jobs: a claim and the
//! counts read a few hundred buffers, whatever the statistics say and whoever holds a snapshot.

use tokio_postgres::IsolationLevel;

use crate::lane::{CLAIM, Lane};

/// What a hot statement stays below.
const BUFFERS_MAX: i64 = 500;

/// 1,000,000 waiting, 100,000 delayed, 10,000 claimed by 500 workers; statistics of an empty table.
async fn million() -> Lane {
    let lane = Lane::text().await;
    lane.run(
        "alter table lane.job_queue set (autovacuum_enabled = false);
         alter table lane.job_queue drop constraint job_queue_job_id_fkey;
         analyze lane.job_queue;
         insert into lane.job_queue
             (job_id, visible_at, sort_key, priority, scheduled, claimed_at, claimed_by, attempt_id,
              attempt_count)
         select 'j' || lpad(n::text, 7, '0'),
                now() + case when kind = 'waiting' then interval '-1 hour'
                    else interval '1 hour' end + n * interval '1 millisecond',
                now() - interval '1 hour' + (n % 7 - 3) * interval '10 minutes'
                    + n * interval '1 millisecond',
                n % 7 - 3, kind = 'delayed',
                case when kind = 'claimed' then now() end,
                case when kind = 'claimed' then 'worker-' || n % 500 end,
                case when kind = 'claimed' then 'attempt-' || n end,
                case when kind = 'claimed' then 1 else 0 end
         from (
             select n, case when n <= 1000000 then 'waiting' when n <= 1100000 then 'delayed'
                            else 'claimed' end as kind
             from generate_series(1, 1110000) as n
         ) as rows",
    )
    .await;
    lane
}

/// The statement that counts, for these pools and this cap.
fn counts(lane: &Lane, pools: &str) -> String {
    let all = queue::statements("lane", lane.id_type());
    let (_, text) = all.iter().find(|(name, _)| *name == "depth").unwrap();
    text.replace("$1", pools).replace("$2", "1000")
}

/// Each hot statement below its limit, and none by reading the table from end to end.
async fn all_are_cheap(lane: &Lane, when: &str) {
    let depth = |pool: &str| format!("select * from lane.depth_v1({pool}, 1000)");
    // Who is busy is counted from every live lease, with no cap.
    let with_busy = BUFFERS_MAX * 2;
    let calls = [
        ("claim", CLAIM.to_owned(), BUFFERS_MAX),
        ("depth", depth("null"), BUFFERS_MAX),
        ("depth of a pool", depth("'default'"), BUFFERS_MAX),
        ("counts", counts(lane, "'{}'::text[]"), with_busy),
        (
            "counts of a pool",
            counts(lane, "'{default}'::text[]"),
            with_busy,
        ),
        ("keda", lane.queue.keda_query().to_owned(), with_busy),
    ];
    for (what, call, most) in calls {
        lane.run("begin").await;
        let buffers = lane.warm_buffers(&call).await;
        lane.run("rollback").await;
        println!("{when}: {what} reads {buffers} buffers");
        assert!(buffers < most, "{when}: {what}: {buffers} buffers");
        let plans = lane.plans(&format!("begin; {call}; rollback")).await;
        assert!(
            !plans.contains("Seq Scan on job_queue"),
            "{when}: {what}: {plans}"
        );
        if what == "claim" {
            assert!(plans.contains("idx_job_queue_claim"), "{when}: {plans}");
        } else {
            assert!(plans.contains("Index Only Scan"), "{when}: {what}: {plans}");
        }
    }
}

#[tokio::test]
async fn q62_a_claim_and_the_counts_stay_cheap_at_a_million_waiting_jobs() {
    let lane = million().await;
    all_are_cheap(&lane, "statistics of an empty table").await;
    lane.run("update pg_class set reltuples = -1, relpages = 0 where relname = 'job_queue'")
        .await;
    all_are_cheap(&lane, "never looked at").await;
    lane.run("vacuum (analyze) lane.job_queue").await;
    all_are_cheap(&lane, "fresh statistics").await;

    let depth = lane.queue.depth(&lane.client, &[], 1_000).await.unwrap();
    assert_eq!(
        (depth.ready, depth.running, depth.scheduled),
        (1_000, 1_000, 1_000)
    );
    let depth = lane.queue.depth(&lane.client, &["default"], 2_000_000);
    let depth = depth.await.unwrap();
    assert_eq!((depth.ready, depth.running), (1_000_000, 10_000));
    assert_eq!(depth.scheduled, 100_000);

    // Somebody's snapshot keeps 10,000 taken rows before the waiting ones.
    let mut holder = lane.database.client().await;
    let held = holder
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead);
    let held = held.start().await.unwrap();
    held.query_one("select count(*) from lane.lane_state", &[])
        .await
        .unwrap();
    let mut worker = lane.claimer("w");
    for _ in 0..20 {
        let claimed = worker.claim(&lane.client, 500).await.unwrap();
        assert_eq!(claimed.len(), 500);
    }
    let sql = "select min(sort_key)::text from lane.job_queue where claimed_at is null
                   and not scheduled";
    let floor: String = lane.client.query_one(sql, &[]).await.unwrap().get(0);
    let to = format!("'{{default}}', array['{floor}'::timestamptz])");
    let cost = lane.warm_buffers(&CLAIM.replace("'{default}')", &to)).await;
    let all = lane.warm_buffers(&counts(&lane, "'{}'::text[]")).await;
    println!("behind a held snapshot: {cost} buffers from the floor, {all} for the counts");
    assert!(cost < BUFFERS_MAX, "{cost} buffers from the floor");
}
