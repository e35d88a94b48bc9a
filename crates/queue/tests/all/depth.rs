//! Case 62: the counts that fleets are scaled by.

use std::time::Duration;

use queue::Depth;

use crate::lane::Lane;

async fn depth(lane: &Lane, pools: &[&str]) -> Depth {
    lane.queue.depth(&lane.client, pools, 1_000).await.unwrap()
}

async fn keda(lane: &Lane) -> i64 {
    lane.client
        .query_one(lane.queue.keda_query(), &[])
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn m33_q62_the_count_scales_from_zero_and_sees_expired_leases() {
    for lane in Lane::both().await {
        assert_eq!(depth(&lane, &[]).await, Depth::default());
        assert_eq!(keda(&lane).await, 0, "a number on an empty lane too");
        let mut items: Vec<_> = (1..=5).map(|number| lane.item(number)).collect();
        items[4].run_after = Some(Duration::from_hours(1));
        items[3].pool = "large".to_owned();
        lane.add(&items).await;
        assert_eq!(keda(&lane).await, 4, "claimable with nobody there");
        assert_eq!(lane.claim(2).await.len(), 2);
        for (pools, ready, running, scheduled) in [
            (&[][..], 2, 2, 1),
            (&["default"], 1, 2, 1),
            (&["large"], 1, 0, 0),
            (&["no"], 0, 0, 0),
            (&["default", "no"], 1, 2, 1),
            (&["default", "large"], 2, 2, 1),
        ] {
            let got = depth(&lane, pools).await;
            let want = (ready, running, ready + running, scheduled);
            assert_eq!(
                (got.ready, got.running, got.demand, got.scheduled),
                want,
                "{pools:?}"
            );
            assert_eq!(got.exhausted, 0);
        }
        assert_eq!(keda(&lane).await, 4, "pods that work are not scaled away");
        // Nobody has reset these, and no worker lives.
        lane.expire_all().await;
        lane.delays_pass().await;
        let oldest = depth(&lane, &[]).await.oldest_ready_seconds;
        for (pools, ready) in [
            (&[][..], 5),
            (&["default"], 4),
            (&["large"], 1),
            (&["large", "default"], 5),
        ] {
            let got = depth(&lane, pools).await;
            assert_eq!(
                (got.ready, got.running, got.scheduled),
                (ready, 0, 0),
                "{pools:?}"
            );
            assert!(got.oldest_ready_seconds > 0.0, "{got:?}");
            if ready == 5 {
                assert!(
                    oldest <= got.oldest_ready_seconds,
                    "{got:?}, {oldest} before"
                );
            }
        }
        assert_eq!(keda(&lane).await, 5);
        lane.run("update lane.job_queue set max_attempts = 1").await;
        assert_eq!(depth(&lane, &[]).await.exhausted, 2);
        assert_eq!(depth(&lane, &["default", "large"]).await.exhausted, 2);
    }
}

#[tokio::test]
async fn m33_workers_that_are_busy_with_one_job_of_many_slots_are_not_scaled_away() {
    let lane = Lane::text().await;
    let mut items: Vec<_> = (1..=4).map(|number| lane.item(number)).collect();
    items[3].pool = "large".to_owned();
    lane.add(&items).await;
    // Two workers hold one job each, and one holds one whose lease ran out.
    lane.run(
        "update lane.job_queue as q
         set claimed_at = now(), claimed_by = holder, attempt_id = q.job_id, attempt_count = 1,
             visible_at = now() + lease
         from (values ('job-000001', 'v', interval '1 h'), ('job-000002', 'w', '1 h'),
                      ('job-000004', 'x', '-1 s')) as c (job_id, holder, lease)
         where q.job_id = c.job_id",
    )
    .await;
    for (pools, demand, busy) in [(&[][..], 4, 2), (&["default"], 3, 2), (&["large"], 1, 0)] {
        let got = depth(&lane, pools).await;
        assert_eq!((got.demand, got.busy), (demand, busy), "{pools:?}");
        for slots in [1, 2, 8] {
            let want = demand.max(busy * slots);
            assert_eq!(got.demand_on(slots), want, "{pools:?} {slots}");
            let pools = match pools {
                [] => "null::text[]".to_owned(),
                some => format!("array['{}']", some.join("','")),
            };
            let sql = lane.queue.keda_query().replace(
                "null::text[] as pools, 1 as slots",
                &format!("{pools} as pools, {slots} as slots"),
            );
            let row = lane.client.query_one(&sql, &[]).await.unwrap();
            assert_eq!(row.get::<_, i64>(0), want, "{sql}");
        }
    }
}

#[tokio::test]
async fn m33_q62_a_paused_lane_asks_for_no_new_workers() {
    let lane = Lane::text().await;
    lane.add_many(3).await;
    lane.claim_only().await;
    lane.queue
        .pause(&lane.client, "ann", "upgrade")
        .await
        .unwrap();
    let got = depth(&lane, &[]).await;
    assert_eq!((got.ready, got.running, got.demand), (0, 1, 1));
    assert!(got.oldest_ready_seconds.abs() < f64::EPSILON, "{got:?}");
    lane.queue.resume(&lane.client).await.unwrap();
    assert_eq!(keda(&lane).await, 3);
}

#[tokio::test]
async fn m33_a_count_is_capped_and_reads_no_more_than_its_cap() {
    let lane = Lane::text().await;
    // Never vacuumed: an index-only scan still looks at the rows it counts, and at no others.
    lane.run(
        "alter table lane.job_queue set (autovacuum_enabled = false);
         alter table lane.job_queue drop constraint job_queue_job_id_fkey;
         insert into lane.job_queue (job_id, visible_at)
         select lpad(n::text, 8, '0'), now() - n * interval '1 s' from generate_series(1, 190000) n;
         insert into lane.job_queue (job_id, visible_at, scheduled)
         select 's' || n, now() + n * interval '1 h', true from generate_series(1, 10000) n;
         insert into lane.job_queue
             (job_id, visible_at, claimed_at, claimed_by, attempt_id, attempt_count)
         select 'c' || n, now() + (n % 3) * interval '1 h' - interval '1 s', now(), 'w', n, 1
         from generate_series(1, 900) n;",
    )
    .await;
    for statistics in [
        "analyze lane.job_queue",
        "update pg_class set reltuples = -1, relpages = 0 where relname = 'job_queue'",
    ] {
        lane.run(statistics).await;
        for pool in [None, Some("default")] {
            // The first call of a session also reads the catalogs.
            depth(&lane, pool.as_slice()).await;
            let got = depth(&lane, pool.as_slice()).await;
            let want = (1_000, 600, 1_600, 1_000);
            let got = (got.ready, got.running, got.demand, got.scheduled);
            assert_eq!(got, want, "{pool:?}");
            let text = pool.map_or("null".to_owned(), |pool| format!("'{pool}'"));
            let sql = format!(
                "explain (analyze, buffers, format json) select * from lane.depth_v1({text})"
            );
            let row = lane.client.query_one(&sql, &[]).await.unwrap();
            let plan: serde_json::Value = row.get(0);
            let read: i64 = ["Shared Hit Blocks", "Shared Read Blocks"]
                .map(|name| plan[0]["Plan"][name].as_i64().unwrap())
                .iter()
                .sum();
            assert!(read < 500, "{statistics}, {pool:?}: {read} buffers");
        }
    }
}
