//! Workers that die or freeze: the next one completes the job, the old one changes nothing.

use model::{JobId, JobStatus};
use testkit::SmallTable;

use crate::lakehouse::{Hold, Lakehouse};

/// The shortest lease there is, for the worker that loses it, and what a worker says about it.
const LEASE: (&str, &str) = ("SNOWPACK_LEASE_SECONDS", "2");
const SHORT: &str = "the lease is short";
/// What a worker may say when it wakes up and another one has its job.
const ON_WAKING: [&str; 6] = [
    SHORT,
    "lease_lost",
    "commit outcome unknown, looking",
    "leases could not be renewed",
    "listen connection lost",
    "deadpool.postgres",
];

#[tokio::test]
async fn m10_q13_a_worker_killed_before_the_swap_is_followed_by_the_next() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let job = house.submit("events").await;
    let hold = house.hold_swap("events").await;
    let killed = house.worker(&[LEASE], &[]);
    hold.holds().await;
    let first = house.job(&job).await.attempt.unwrap();
    killed.signal("KILL");
    killed.ended().await;
    hold.release().await;

    let next = house.worker(&[], &["--max-jobs=1"]);
    next.ended_with(0, &[]).await;
    let done = house.job(&job).await;
    assert_eq!(done.status, JobStatus::Completed);
    assert_ne!(done.attempt.unwrap(), first);
    assert_eq!(house.leftovers(&job).await, (1, 0));
    house.rewritten_once("events", &before).await;
    nothing_outside_the_ledger(&house).await;
}

#[tokio::test]
async fn m10_a_worker_killed_after_the_swap_is_not_repeated() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let job = house.submit("events").await;
    let swap = house.hold_swap("events").await;
    let killed = house.worker(&[LEASE], &[]);
    swap.holds().await;
    let end = house.hold_end(&job).await;
    swap.release().await;
    end.holds().await;
    killed.signal("KILL");
    killed.ended().await;
    end.release().await;
    house.rewritten_once("events", &before).await;

    house
        .worker(&[], &["--max-jobs=1"])
        .ended_with(0, &[])
        .await;
    assert_eq!(house.status(&job).await, JobStatus::Completed);
    assert_eq!(house.leftovers(&job).await, (1, 0));
    house.rewritten_once("events", &before).await;
    nothing_outside_the_ledger(&house).await;
}

#[tokio::test]
async fn m11_q08_a_worker_frozen_beyond_its_lease_changes_nothing_when_it_wakes() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let job = house.submit("events").await;
    let hold = house.hold_swap("events").await;
    // Its swap goes through on the server, but nobody is awake to commit it.
    wakes_too_late(&house, hold, &job, &before).await;
}

#[tokio::test]
async fn m11_q08_a_worker_frozen_while_it_writes_down_its_files_holds_nobody_up() {
    let house = Lakehouse::new().await;
    let before = house.table("events").await;
    let job = house.submit("events").await;
    let hold = house.hold_ledger().await;
    wakes_too_late(&house, hold, &job, &before).await;
}

/// A worker is frozen in the held step, the next one does the job, the first one wakes up.
async fn wakes_too_late(house: &Lakehouse, hold: Hold, job: &JobId, before: &SmallTable) {
    let frozen = house.worker(&[LEASE], &[]);
    hold.holds().await;
    frozen.signal("STOP");
    hold.release().await;

    let next = house.worker(&[], &["--max-jobs=1"]);
    next.ended_with(0, &[]).await;
    assert_eq!(house.status(job).await, JobStatus::Completed);
    house.rewritten_once("events", before).await;
    let (table, rows) = (house.look("events").await, everything(house).await);

    frozen.signal("CONT");
    frozen.mentions("\"lease_lost\"").await;
    frozen.signal("TERM");
    frozen.ended_with(0, &ON_WAKING).await;
    assert_eq!(house.look("events").await, table);
    assert_eq!(everything(house).await, rows);
}

#[tokio::test]
async fn q11_a_pod_that_comes_back_under_its_name_does_not_inherit_its_jobs() {
    let house = Lakehouse::new().await;
    house.table("events").await;
    let job = house.submit("events").await;
    let hold = house.hold_swap("events").await;
    let pod = [
        ("SNOWPACK_WORKER_NAME", "pod-0"),
        ("SNOWPACK_LEASE_SECONDS", "600"),
    ];
    let killed = house.worker(&pod, &[]);
    hold.holds().await;
    let claimed = (house.claimed_by(&job).await, house.job(&job).await.attempt);
    assert!(claimed.0.starts_with("pod-0-"), "{claimed:?}");
    killed.signal("KILL");
    killed.ended().await;
    hold.release().await;

    house.work_off(&pod, &[]).await;
    assert_eq!(
        (house.claimed_by(&job).await, house.job(&job).await.attempt),
        claimed
    );
    assert_eq!(house.status(&job).await, JobStatus::Running);
}

/// Every row a stale attempt might touch.
async fn everything(house: &Lakehouse) -> Vec<String> {
    let client = house.database.client().await;
    let mut all = Vec::new();
    for table in [
        "snowpack.jobs",
        "snowpack.job_queue",
        "snowpack.job_actions",
        "snowpack.table_locks",
        "snowpack.attempt_files",
        "iceberg_tables",
    ] {
        let sql = format!("select row.*::text from {table} as row order by 1");
        for row in client.query(&sql, &[]).await.unwrap() {
            all.push(format!("{table} {}", row.get::<_, String>(0)));
        }
    }
    all
}

/// Every file a worker wrote below the warehouse is the table's or known to the ledger.
async fn nothing_outside_the_ledger(house: &Lakehouse) {
    let files = house.files_of_workers();
    assert!(!files.is_empty());
    let (reachable, known) = (house.files("events").await.reachable, house.known().await);
    for path in files {
        assert!(reachable.contains(&path) || known.contains(&path), "{path}");
    }
}
