//! Cases 1 to 5, 11, 16, 18 and 36: who gets a job, and what of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{Either, join_all, select};
use queue::RenewState;
use tokio_postgres::types::Type;

use crate::lane::{LEASE, Lane};

const CLAIMERS: u32 = 32;

#[tokio::test]
async fn m07_q01_one_of_many_claimers_gets_the_job() {
    for lane in Lane::both().await {
        lane.add_many(1).await;
        let clients = join_all((0..CLAIMERS).map(|_| lane.database.client())).await;
        for _ in 0..8 {
            let claims = join_all(
                clients
                    .iter()
                    .map(async |client| lane.claimer("w").claim(client, 1).await.unwrap()),
            )
            .await;
            let winners: Vec<_> = claims.into_iter().flatten().collect();
            assert_eq!(winners.len(), 1);
            lane.expire_all().await;
            lane.run("update lane.job_queue set attempt_count = 0")
                .await;
        }
    }
}

#[tokio::test]
async fn m07_q01_a_claim_does_not_wait_for_one_that_is_under_way() {
    let lane = Lane::text().await;
    lane.add_many(1).await;
    let mut other = lane.database.client().await;
    let tx = other.transaction().await.unwrap();
    assert_eq!(lane.claimer("first").claim(&tx, 1).await.unwrap().len(), 1);
    // Would wait for ever if it waited for the row.
    assert!(lane.claim(1).await.is_empty());
    tx.rollback().await.unwrap();
    assert_eq!(lane.claim(1).await.len(), 1);
}

#[tokio::test]
async fn m07_q02_many_claimers_share_all_jobs_without_overlap() {
    let lane = Lane::text().await;
    lane.run(
        "insert into lane.jobs (job_id) select lpad(n::text, 6, '0') from generate_series(1, 10000) n;
         insert into lane.job_queue (job_id, visible_at)
         select lpad(n::text, 6, '0'), now() from generate_series(1, 10000) n;",
    )
    .await;
    let clients = join_all((0..CLAIMERS).map(|_| lane.database.client())).await;
    let claimed = join_all(clients.iter().map(async |client| {
        let mut worker = lane.claimer("w");
        let mut mine = Vec::new();
        loop {
            let batch = worker.claim(client, 10).await.unwrap();
            assert!(batch.len() <= 10);
            if batch.is_empty() {
                return mine;
            }
            mine.extend(batch.into_iter().map(|claimed| claimed.fence.job().clone()));
        }
    }))
    .await;
    let all: Vec<_> = claimed.into_iter().flatten().collect();
    assert_eq!(all.len(), 10_000);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 10_000);
    assert_eq!(
        lane.count("job_queue where attempt_count = 1").await,
        10_000
    );
}

#[tokio::test]
async fn q03_a_claim_never_takes_more_than_its_limit() {
    let lane = Lane::text().await;
    lane.add_many(300).await;
    // Statistics of a table that was empty.
    lane.run("update pg_class set reltuples = 0, relpages = 0 where relname = 'job_queue'")
        .await;
    let settings = [
        "enable_hashjoin",
        "enable_nestloop",
        "enable_mergejoin",
        "jit",
    ];
    let claims = join_all(settings.iter().map(async |setting| {
        let client = lane.database.client().await;
        client
            .batch_execute(&format!("set {setting} = off"))
            .await
            .unwrap();
        let mut worker = lane.claimer(setting);
        for _ in 0..10 {
            assert_eq!(
                worker.claim(&client, 7).await.unwrap().len(),
                7,
                "{setting}"
            );
        }
    }))
    .await;
    assert_eq!(claims.len(), 4);
    assert_eq!(
        lane.count("job_queue where claimed_at is not null").await,
        280
    );
    assert_eq!(lane.count("jobs where begin_count = 1").await, 280);
}

#[tokio::test]
async fn m08_q04_each_claim_stamps_the_row_with_a_fresh_attempt() {
    for lane in Lane::both().await {
        lane.add_many(1).await;
        let job = lane.id(1);
        let mut attempts = BTreeSet::new();
        for count in 1..=4 {
            let claimed = lane.claim_only().await;
            assert_eq!(claimed.attempt_count, count);
            assert_eq!(claimed.fence.job(), &job);
            assert!(
                attempts.insert(claimed.fence.attempt().clone()),
                "{attempts:?}"
            );
            let row = lane.row(&job).await.unwrap();
            assert_eq!(row.claimed_by.as_deref(), Some("worker"));
            assert_eq!(
                row.attempt.as_deref(),
                Some(claimed.fence.attempt().as_str())
            );
            assert_eq!(row.attempt_count, count);
            let sql = "select visible_at - claimed_at = make_interval(secs => $1)
                           and claimed_at between now() - interval '1 minute' and now()
                       from lane.job_queue";
            let row = lane
                .client
                .query_one(sql, &[&LEASE.as_secs_f64()])
                .await
                .unwrap();
            assert!(
                row.get::<_, bool>(0),
                "the lease is counted by the database's clock"
            );
            let record = lane.record(&job).await;
            assert_eq!(record.status, "running");
            assert_eq!(
                record.attempt.as_deref(),
                Some(claimed.fence.attempt().as_str())
            );
            lane.expire_all().await;
        }
    }
}

#[tokio::test]
async fn q05_a_claim_killed_before_its_commit_leaves_no_trace() {
    let lane = Lane::text().await;
    let mut item = lane.item(1);
    item.concurrency_key = Some("db.t".to_owned());
    lane.add(&[item]).await;
    let before = lane.row(&lane.id(1)).await;
    let mut doomed = lane.database.client().await;
    let pid: i32 = doomed
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let tx = doomed.transaction().await.unwrap();
    assert_eq!(lane.claimer("doomed").claim(&tx, 1).await.unwrap().len(), 1);
    lane.client
        .execute("select pg_terminate_backend($1)", &[&pid])
        .await
        .unwrap();
    testkit::until("the backend is gone", async || {
        let sql = "select 1 from pg_stat_activity where pid = $1";
        lane.client.query_opt(sql, &[&pid]).await.unwrap().is_none()
    })
    .await;
    let after = lane.row(&lane.id(1)).await.unwrap();
    let before = before.unwrap();
    assert_eq!((after.attempt, after.attempt_count), (None, 0));
    assert_eq!(after.sort_key, before.sort_key);
    assert_eq!(
        lane.holder("db.t").await.as_deref(),
        Some(lane.id(1).as_str())
    );
    assert_eq!(lane.claim_only().await.attempt_count, 1);
}

#[tokio::test]
async fn q11_a_worker_of_the_same_name_does_not_inherit_claims() {
    let lane = Lane::text().await;
    lane.add_many(1).await;
    let old = lane.claimer("pod-1").claim(&lane.client, 1).await.unwrap();
    // The pod was replaced by one of the same name.
    let mut new = lane.claimer("pod-1");
    assert!(new.claim(&lane.client, 1).await.unwrap().is_empty());
    let row = lane.row(&lane.id(1)).await.unwrap();
    assert_eq!(
        row.attempt.as_deref(),
        Some(old[0].fence.attempt().as_str())
    );
    lane.expire_all().await;
    let again = lane.claimer("pod-1").claim(&lane.client, 1).await.unwrap();
    assert_ne!(again[0].fence.attempt(), old[0].fence.attempt());
    let renewals = lane
        .queue
        .renew(&lane.client, &[old[0].fence.ids()], LEASE)
        .await
        .unwrap();
    assert_eq!(renewals[0].state, queue::RenewState::Lost);
}

#[tokio::test]
async fn q16_no_statement_takes_a_time_from_the_worker() {
    let lane = Lane::text().await;
    let times = [
        Type::TIMESTAMP,
        Type::TIMESTAMPTZ,
        Type::DATE,
        Type::TIMESTAMP_ARRAY,
    ];
    let mut params = BTreeMap::new();
    for (name, text) in queue::statements("lane", lane.id_type()) {
        let statement = lane.client.prepare(&text).await.unwrap();
        params.insert(name, statement.params().to_vec());
    }
    // The claim's floors are sort keys the database gave out: where to begin, not what is due.
    assert_eq!(params["claim"].last(), Some(&Type::TIMESTAMPTZ_ARRAY));
    for (name, types) in params {
        assert!(
            types.iter().all(|kind| !times.contains(kind)),
            "{name}: {types:?}"
        );
    }
}

#[tokio::test]
async fn every_statement_prepares_in_both_kinds_of_lane() {
    for lane in Lane::both().await {
        for (name, text) in queue::statements("lane", lane.id_type()) {
            let prepared = lane.client.prepare(&text).await;
            assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
        }
    }
}

#[tokio::test]
async fn one_job_is_claimed_by_name_in_the_transaction_that_submits_it() {
    for lane in Lane::both().await {
        let mut client = lane.database.client().await;
        let tx = client.transaction().await.unwrap();
        lane.add_in(&tx, &[lane.item(1), lane.item(2)]).await;
        let job = lane.id(2);
        let claimed = lane
            .queue
            .claim_one(&tx, &job, LEASE, "cli")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(claimed.fence.job(), &job);
        assert!(
            lane.queue
                .claim_one(&tx, &job, LEASE, "cli")
                .await
                .unwrap()
                .is_none()
        );
        tx.commit().await.unwrap();
        assert_eq!(lane.record(&job).await.status, "running");
        assert_eq!(lane.record(&lane.id(1)).await.status, "pending");
    }
}

#[tokio::test]
async fn a_worker_takes_only_from_its_pools_in_their_order() {
    let lane = Lane::text().await;
    let mut items: Vec<_> = (1..=6).map(|number| lane.item(number)).collect();
    for (item, pool) in items
        .iter_mut()
        .zip(["small", "large", "small", "other", "large", "small"])
    {
        item.pool = pool.to_owned();
    }
    lane.add(&items).await;
    let claimed = lane
        .claimer_of("w", &["large", "small"])
        .claim(&lane.client, 9)
        .await
        .unwrap();
    let got: Vec<_> = claimed
        .iter()
        .map(|claimed| claimed.fence.job().clone())
        .collect();
    let want: Vec<_> = [2, 5, 1, 3, 6].map(|number| lane.id(number)).to_vec();
    assert_eq!(got, want);
}

#[tokio::test]
async fn q36_a_paused_lane_hands_out_nothing_and_goes_on_when_resumed() {
    let lane = Lane::text().await;
    let mut items: Vec<_> = (1..=4).map(|number| lane.item(number)).collect();
    items[3].run_after = Some(Duration::from_hours(1));
    lane.add(&items).await;
    let mut worker = lane.claimer("w");
    let mut running = worker.claim(&lane.client, 2).await.unwrap();
    lane.queue
        .pause(&lane.client, "ann", "upgrade")
        .await
        .unwrap();
    let paused = lane.queue.paused(&lane.client).await.unwrap().unwrap();
    assert_eq!(
        (paused.by.as_str(), paused.reason.as_str()),
        ("ann", "upgrade")
    );
    // From the very next claim on, by name too.
    assert!(worker.claim(&lane.client, 5).await.unwrap().is_empty());
    let named = lane.id(3);
    let named = lane.queue.claim_one(&lane.client, &named, LEASE, "w");
    assert!(named.await.unwrap().is_none());
    // What runs is renewed and finishes.
    let first = running.remove(0).fence;
    let ids = [first.ids()];
    let renewed = lane.queue.renew(&lane.client, &ids, LEASE);
    assert!(matches!(
        renewed.await.unwrap()[0].state,
        RenewState::Renewed { .. }
    ));
    lane.complete(first).await.unwrap();
    assert_eq!(lane.record(&lane.id(1)).await.status, "completed");
    // A job that loses its lease waits again, one that was delayed becomes due; both stay.
    lane.expire_all().await;
    lane.delays_pass().await;
    assert!(lane.claim(5).await.is_empty());
    assert_eq!(lane.record(&lane.id(2)).await.status, "pending");
    assert_eq!(lane.count("job_queue where scheduled").await, 0);
    assert_eq!(lane.count("job_queue where attempt_count > 1").await, 0);
    lane.queue.resume(&lane.client).await.unwrap();
    assert_eq!(lane.queue.paused(&lane.client).await.unwrap(), None);
    assert_eq!(worker.claim(&lane.client, 5).await.unwrap().len(), 3);
}

#[tokio::test]
async fn q18_a_lease_counts_from_its_statement_and_not_from_the_transaction_around_it() {
    let lane = Lane::text().await;
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    lane.add_in(&tx, &[lane.item(1)]).await;
    let (job, queue) = (lane.id(1), &lane.queue);
    let claimed = queue.claim_one(&tx, &job, LEASE, "cli").await.unwrap();
    // Its holder counts from when it sent the claim, which was after the transaction began.
    let sql = "select claimed_at > now() and visible_at >= claimed_at + make_interval(secs => $1),
                      visible_at > claimed_at + make_interval(secs => $1)
               from lane.job_queue";
    let seconds = LEASE.as_secs_f64();
    let row = tx.query_one(sql, &[&seconds]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (true, false));
    let ids = [claimed.unwrap().fence.ids()];
    queue.renew(&tx, &ids, LEASE).await.unwrap();
    let row = tx.query_one(sql, &[&seconds]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (true, true));
}

/// A worker with a floor, jobs 6 to 8 behind it and 9 before it.
async fn with_a_floor(lane: &Lane) -> queue::Claimer {
    lane.add_many(8).await;
    let mut worker = lane.claimer("w");
    assert_eq!(worker.claim(&lane.client, 5).await.unwrap().len(), 5);
    let mut urgent = lane.item(9);
    urgent.priority = -3;
    lane.add(&[urgent]).await;
    worker
}

/// Makes the record's side of job 9's claim do this.
async fn on_claim_of_9(lane: &Lane, does: &str) {
    lane.run(&format!(
        "create or replace function lane.record_claimed(ids text[], attempt_ids text[])
         returns void language plpgsql as $$
         begin
             if 'job-000009' = any (ids) then {does}; end if;
         end $$"
    ))
    .await;
}

#[tokio::test]
async fn jobs_taken_before_a_claim_fails_are_answered() {
    let lane = Lane::text().await;
    let mut worker = with_a_floor(&lane).await;
    on_claim_of_9(&lane, "raise exception 'broken record'").await;
    // From the floor it takes three, from the start it fails.
    let claimed = worker.claim(&lane.client, 5).await.unwrap();
    let got: Vec<_> = claimed.iter().map(|one| one.fence.job().clone()).collect();
    assert_eq!(got, [6, 7, 8].map(|number| lane.id(number)));
    assert!(worker.claim(&lane.client, 5).await.is_err());
}

/// A worker's claim that took jobs 6 to 8 and was given up at 9.
async fn given_up(lane: &Lane) -> queue::Claimer {
    let mut worker = with_a_floor(lane).await;
    lane.run("select pg_advisory_lock(9)").await;
    on_claim_of_9(lane, "perform pg_advisory_xact_lock(9)").await;
    let slow = lane.database.client().await;
    let waits = testkit::until("the claim waits", async || {
        let sql = "job_queue, pg_locks
                   where locktype = 'advisory' and objid = 9 and not granted and database =
                       (select oid from pg_database where datname = current_database())";
        lane.count(sql).await > 0
    });
    let given_up = select(Box::pin(worker.claim(&slow, 5)), Box::pin(waits)).await;
    assert!(matches!(given_up, Either::Right(_)));
    drop(given_up);
    worker
}

#[tokio::test]
async fn jobs_taken_by_a_claim_that_was_given_up_are_for_who_stops_to_hand_back() {
    let lane = Lane::text().await;
    let mut worker = given_up(&lane).await;
    let taken = worker.give_up();
    let got: Vec<_> = taken.iter().map(|one| one.fence.job().clone()).collect();
    assert_eq!(got, [6, 7, 8].map(|number| lane.id(number)));
    assert!(worker.give_up().is_empty(), "once");
}

#[tokio::test]
async fn a_claim_that_waits_for_a_lock_is_refused_before_its_worker_gives_up() {
    let lane = Lane::text().await;
    lane.add_many(3).await;
    let migration = lane.database.client().await;
    let lock = "begin; lock table lane.jobs in access exclusive mode";
    migration.batch_execute(lock).await.unwrap();
    let mut worker = lane.claimer("w");
    let refused = worker.claim(&lane.client, 3);
    let refused = tokio::time::timeout(testkit::WAIT_MAX, refused).await;
    let error = refused.expect("the server says no").unwrap_err();
    assert_eq!(error.advice(), model::Advice::RetryLater, "{error}");
    migration.batch_execute("rollback").await.unwrap();
    let left = lane.client.query_one("show lock_timeout", &[]).await;
    assert_eq!(left.unwrap().get::<_, &str>(0), "0", "for one claim only");
    let claimed = worker.claim(&lane.client, 3).await.unwrap();
    let attempts: Vec<i32> = claimed.iter().map(|one| one.attempt_count).collect();
    assert_eq!(attempts, [1, 1, 1], "none was lost");
}

#[tokio::test]
async fn jobs_taken_by_a_claim_that_was_given_up_are_answered_by_the_next() {
    let lane = Lane::text().await;
    let mut worker = given_up(&lane).await;
    let claimed = worker.claim(&lane.client, 2).await.unwrap();
    let more = worker.claim(&lane.client, 5).await.unwrap();
    let got = claimed.iter().chain(&more);
    let got: Vec<_> = got.map(|one| one.fence.job().clone()).collect();
    assert_eq!(got, [6, 7, 8].map(|number| lane.id(number)));
}

#[tokio::test]
async fn rows_that_may_not_run_do_not_make_a_worker_idle() {
    let lane = Lane::text().await;
    lane.add_many(20).await;
    lane.run("update lane.job_queue set deadline_at = now()")
        .await;
    lane.add(&[lane.item(21)]).await;
    let claimed = lane.claim(1).await;
    assert_eq!(
        claimed.len(),
        1,
        "one is due behind those past their deadline"
    );
    assert_eq!(claimed[0].fence.job(), &lane.id(21));
    assert_eq!(lane.count("jobs where reason = 'deadline'").await, 20);
}
