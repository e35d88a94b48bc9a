//! Who may have a key: locks belong to jobs, from submission to the terminal state.

use futures::future::{join, join_all};
use model::JobId;
use queue::{Cursor, End, HandBack, Lock};

use crate::lane::{LEASE, Lane, idle_max};

/// Asks for a key in a transaction that is rolled back.
async fn ask(lane: &Lane, key: &str, holder: &JobId) -> Lock {
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    lane.queue.lock(&tx, key, holder).await.unwrap()
}

async fn add_with_key(lane: &Lane, number: u32) -> JobId {
    let mut item = lane.item(number);
    item.concurrency_key = Some("db.t".to_owned());
    lane.add(&[item]).await;
    lane.id(number)
}

#[tokio::test]
async fn m19_a_live_holder_keeps_its_lock_even_with_its_lease_run_out() {
    for lane in Lane::both().await {
        let job = add_with_key(&lane, 1).await;
        let other = lane.id(2);
        let held = Lock::Held { by: job.clone() };
        assert_eq!(ask(&lane, "db.t", &other).await, held, "pending");
        let fence = lane.claim_only().await.fence;
        assert_eq!(ask(&lane, "db.t", &other).await, held, "running");
        lane.expire_all().await;
        lane.run("update lane.table_locks set expires_at = now() - interval '1 day'")
            .await;
        assert_eq!(ask(&lane, "db.t", &other).await, held, "lease run out");
        let mut client = lane.database.client().await;
        let tx = client.transaction().await.unwrap();
        lane.queue
            .hand_back(&tx, fence, &HandBack::shutdown())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(ask(&lane, "db.t", &other).await, held, "handed back");
        // On its last attempt with the lease run out it is live until a statement has ended it.
        lane.run("update lane.job_queue set max_attempts = 1").await;
        lane.claim_only().await;
        lane.expire_all().await;
        assert_eq!(
            ask(&lane, "db.t", &other).await,
            held,
            "spent but not ended"
        );
        lane.queue
            .sweep(&lane.client, 10, &mut Cursor::default())
            .await
            .unwrap();
        assert_eq!(ask(&lane, "db.t", &other).await, Lock::Taken, "exhausted");
    }
}

#[tokio::test]
async fn m19_a_lock_whose_holder_has_ended_is_taken_over() {
    for lane in Lane::both().await {
        let job = add_with_key(&lane, 1).await;
        // A lock that was left behind when its job ended, or whose job was deleted.
        for left_behind in [
            "delete from lane.job_queue; update lane.jobs set status = 'completed'",
            "delete from lane.jobs",
        ] {
            lane.run(left_behind).await;
            assert_eq!(lane.holder("db.t").await.as_deref(), Some(job.as_str()));
            assert_eq!(
                ask(&lane, "db.t", &lane.id(2)).await,
                Lock::Taken,
                "{left_behind}"
            );
        }
        let new = add_with_key(&lane, 3).await;
        assert_eq!(lane.holder("db.t").await.as_deref(), Some(new.as_str()));
    }
}

#[tokio::test]
async fn m19_the_lock_of_a_job_committed_meanwhile_is_not_stolen() {
    let lane = Lane::text().await;
    let gone = add_with_key(&lane, 1).await;
    lane.run("delete from lane.job_queue").await;
    assert_eq!(lane.holder("db.t").await.as_deref(), Some(gone.as_str()));
    // 2 takes the dead job's lock over and has not committed; 3 asks and waits for it.
    let mut second = lane.database.client().await;
    let tx = second.transaction().await.unwrap();
    let mut item = lane.item(2);
    item.concurrency_key = Some("db.t".to_owned());
    lane.add_in(&tx, &[item]).await;
    let mut third = lane.database.client().await;
    let pid: i32 = third
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let asking = third.transaction().await.unwrap();
    let third_id = lane.id(3);
    let commit = async {
        testkit::until("the third waits for the second", async || {
            let sql = "select 1 from pg_locks where pid = $1 and not granted";
            lane.client.query_opt(sql, &[&pid]).await.unwrap().is_some()
        })
        .await;
        tx.commit().await.unwrap();
    };
    let (answer, ()) = join(lane.queue.lock(&asking, "db.t", &third_id), commit).await;
    assert_eq!(answer.unwrap(), Lock::Held { by: lane.id(2) });
    asking.rollback().await.unwrap();
    assert_eq!(
        lane.holder("db.t").await.as_deref(),
        Some(lane.id(2).as_str())
    );
}

#[tokio::test]
async fn one_transaction_gives_a_key_to_one_of_its_jobs() {
    let lane = Lane::text().await;
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    assert_eq!(
        lane.queue.lock(&tx, "db.t", &lane.id(1)).await.unwrap(),
        Lock::Taken
    );
    // Its queue row is not there yet; the lock is no orphan all the same.
    let again = lane.queue.lock(&tx, "db.t", &lane.id(2)).await.unwrap();
    assert_eq!(again, Lock::Held { by: lane.id(1) });
    let batch = [("db.u", 3), ("db.t", 4), ("db.u", 5)]
        .map(|(key, number)| (key.to_owned(), lane.id(number)));
    let answers = lane.queue.lock_all(&tx, &batch).await.unwrap();
    let want = [
        Lock::Taken,
        Lock::Held { by: lane.id(1) },
        Lock::Held { by: lane.id(3) },
    ];
    assert_eq!(answers, want);
}

#[tokio::test]
async fn q46_many_racers_for_one_key_have_one_winner_whom_the_others_are_told() {
    let lane = Lane::text().await;
    for round in 1..=2_u32 {
        lane.run("delete from lane.job_queue; delete from lane.table_locks")
            .await;
        // 32 connections at once, 64 racers in two rounds.
        let mut clients = join_all((0..32).map(|_| lane.database.client())).await;
        let answers = join_all(clients.iter_mut().zip(1..).map(async |(client, racer)| {
            let mut item = lane.item(1_000 * round + racer);
            item.concurrency_key = Some("db.t".to_owned());
            let tx = client.transaction().await.unwrap();
            let answer = lane.queue.lock(&tx, "db.t", &item.job).await.unwrap();
            if answer == Lock::Taken {
                lane.records(&tx, std::slice::from_ref(&item)).await;
                lane.queue
                    .enqueue(&tx, std::slice::from_ref(&item))
                    .await
                    .unwrap();
            }
            tx.commit().await.unwrap();
            (item.job, answer)
        }))
        .await;
        let holder = JobId::new(lane.holder("db.t").await.unwrap());
        let winners: Vec<_> = answers
            .iter()
            .filter(|(_, answer)| *answer == Lock::Taken)
            .map(|(id, _)| id)
            .collect();
        assert_eq!(winners, [&holder]);
        for (job, answer) in answers.iter().filter(|(job, _)| *job != holder) {
            assert_eq!(*answer, Lock::Held { by: holder.clone() }, "{job}");
        }
        assert_eq!(lane.count("job_queue").await, 1);
    }
}

#[tokio::test]
async fn q46_batches_with_keys_in_opposite_orders_do_not_deadlock() {
    let lane = Lane::text().await;
    for round in 0..10_u32 {
        let takers = join_all((0..8_u32).map(async |taker| {
            let mut wanted: Vec<(String, JobId)> = (0..50_u32)
                .map(|key| {
                    (
                        format!("db.t{key:03}"),
                        lane.id(round * 1_000 + taker * 100 + key),
                    )
                })
                .collect();
            if taker % 2 == 1 {
                wanted.reverse();
            }
            let mut client = lane.database.client().await;
            let tx = client.transaction().await.unwrap();
            let answers = lane.queue.lock_all(&tx, &wanted).await.unwrap();
            let items: Vec<_> = wanted
                .into_iter()
                .zip(answers)
                .filter(|(_, answer)| *answer == Lock::Taken)
                .map(|((key, job), _)| {
                    let mut item = queue::Enqueue::new(job);
                    item.concurrency_key = Some(key);
                    item
                })
                .collect();
            lane.records(&tx, &items).await;
            lane.queue.enqueue(&tx, &items).await.unwrap();
            tx.commit().await.unwrap();
            items.len()
        }))
        .await;
        assert_eq!(
            takers.iter().sum::<usize>(),
            50,
            "every key was taken once: {takers:?}"
        );
        let mut client = lane.database.client().await;
        let tx = client.transaction().await.unwrap();
        let ended = lane
            .claimer("w")
            .claim(&tx, 50)
            .await
            .unwrap()
            .into_iter()
            .map(|claimed| (claimed.fence, End::completed()))
            .collect();
        lane.queue.finish_all(&tx, ended).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(lane.count("table_locks").await, 0);
    }
}

#[tokio::test]
async fn q41_a_stale_attempt_neither_extends_nor_releases_the_lock() {
    let lane = Lane::text().await;
    add_with_key(&lane, 1).await;
    let stale = lane.claim_only().await.fence;
    lane.expire_all().await;
    lane.claim_only().await;
    lane.run("update lane.table_locks set expires_at = now()")
        .await;
    lane.queue
        .renew(&lane.client, &[stale.ids()], LEASE)
        .await
        .unwrap();
    assert_eq!(lane.count("table_locks where expires_at <= now()").await, 1);
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    lane.queue
        .finish(&tx, stale, &End::completed())
        .await
        .unwrap_err();
    tx.commit().await.unwrap();
    assert!(lane.holder("db.t").await.is_some());
}

#[tokio::test]
async fn who_asks_for_a_lock_or_cancels_is_thrown_out_when_silent() {
    let lane = Lane::text().await;
    lane.add_many(1).await;
    let mut client = lane.database.client().await;
    let tx = client.transaction().await.unwrap();
    let taken = lane.queue.lock(&tx, "db.t", &lane.id(1)).await.unwrap();
    assert_eq!(taken, Lock::Taken);
    assert_eq!(idle_max(&tx).await, "10s", "others wait for the key");
    let mut item = lane.item(2);
    item.concurrency_key = Some("db.held".to_owned());
    lane.add(&[item]).await;
    tx.rollback().await.unwrap();

    let tx = client.transaction().await.unwrap();
    let held = lane.queue.lock(&tx, "db.held", &lane.id(1)).await.unwrap();
    assert_eq!(held, Lock::Held { by: lane.id(2) });
    assert_eq!(idle_max(&tx).await, "10s", "the holder's finish waits");
    tx.rollback().await.unwrap();

    let tx = client.transaction().await.unwrap();
    lane.queue.cancel(&tx, &lane.id(2)).await.unwrap();
    assert_eq!(idle_max(&tx).await, "10s", "the claim passes over the job");
}
