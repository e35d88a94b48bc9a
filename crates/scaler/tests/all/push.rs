//! Activity as it is pushed.

use std::time::Duration;

use futures::StreamExt;
use keda::{Code, IsActiveResponse, Streaming};
use model::JobId;
use testkit::{Database, until};

use crate::scaler::{CANNOT_COUNT, Scaler, claimed, renamed, scheduled, submit, trigger};

const STREAMS: &str = "snowpack_scaler_streams";

type Pushed = Streaming<IsActiveResponse>;

async fn open(scaler: &Scaler, metadata: &[(&str, &str)]) -> (keda::Client, Pushed) {
    let mut keda = scaler.keda().await;
    let pushed = keda.stream_is_active(trigger(metadata)).await.unwrap();
    (keda, pushed)
}

/// The next word, however long it takes.
async fn next(pushed: &mut Pushed) -> Option<bool> {
    let next = tokio::time::timeout(testkit::WAIT_MAX, pushed.next()).await;
    next.expect("something is pushed")
        .map(|word| word.unwrap().result)
}

/// Waits for `want`, past the repeated words of before.
async fn turns(pushed: &mut Pushed, want: bool) {
    while next(pushed).await != Some(want) {}
}

async fn notify(database: &Database) {
    let client = database.client().await;
    maintenance::queue().notify(&client).await.unwrap();
}

async fn gone(database: &Database, job: &JobId) {
    let client = database.client().await;
    let delete = "delete from snowpack.job_queue where job_id = $1";
    assert_eq!(client.execute(delete, &[&job.as_str()]).await.unwrap(), 1);
}

/// The reads a scaler made so far.
async fn reads(scaler: &Scaler) -> f64 {
    let name = "snowpack_scaler_reads_total{result=\"ok\"}";
    scaler.metric(name).await.unwrap()
}

#[tokio::test]
async fn m33_work_is_pushed_as_it_comes_and_again_while_it_lasts() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let (_keda, mut pushed) = open(&scaler, &[]).await;
    assert_eq!(next(&mut pushed).await, Some(false));
    let job = submit(&database, "first", "default").await;
    notify(&database).await;
    assert_eq!(next(&mut pushed).await, Some(true));
    // KEDA may have lost the word: it is said again.
    assert_eq!(next(&mut pushed).await, Some(true));
    gone(&database, &job).await;
    turns(&mut pushed, false).await;
    submit(&database, "second", "default").await;
    notify(&database).await;
    assert_eq!(next(&mut pushed).await, Some(true));
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_a_stream_opened_while_there_is_work_says_so_at_once() {
    let database = Database::new().await;
    let job = submit(&database, "running", "default").await;
    claimed(&database, &job, 3_600).await;
    let scaler = Scaler::start(database.url()).await;
    // What runs is demand, and nothing that a ScaledJob should start another pod for.
    let (_demand, mut demand) = open(&scaler, &[]).await;
    let (_ready, mut ready) = open(&scaler, &[("mode", "ready")]).await;
    assert_eq!(next(&mut demand).await, Some(true));
    assert_eq!(next(&mut ready).await, Some(false));
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_each_pool_is_told_of_its_own_work_only() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let (_small, mut small) = open(&scaler, &[("pool", "default")]).await;
    let (_large, mut large) = open(&scaler, &[("pool", "l")]).await;
    assert_eq!(next(&mut small).await, Some(false));
    assert_eq!(next(&mut large).await, Some(false));
    let job = submit(&database, "large", "l").await;
    notify(&database).await;
    assert_eq!(next(&mut large).await, Some(true));
    gone(&database, &job).await;
    submit(&database, "small", "default").await;
    notify(&database).await;
    // The first word the other pool hears is of its own job.
    assert_eq!(next(&mut small).await, Some(true));
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_what_becomes_due_without_a_call_is_pushed_too() {
    let database = Database::new().await;
    let later = submit(&database, "later", "default").await;
    scheduled(&database, &later).await;
    let scaler = Scaler::start(database.url()).await;
    let (_keda, mut pushed) = open(&scaler, &[]).await;
    assert_eq!(next(&mut pushed).await, Some(false));
    let client = database.client().await;
    let due = "update snowpack.job_queue set visible_at = now() where job_id = $1";
    assert_eq!(client.execute(due, &[&later.as_str()]).await.unwrap(), 1);
    assert_eq!(next(&mut pushed).await, Some(true));
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_a_call_is_looked_into_although_the_last_count_is_fresh() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let (_keda, mut pushed) = open(&scaler, &[]).await;
    assert_eq!(next(&mut pushed).await, Some(false));
    let client = database.client().await;
    let (before, started) = (reads(&scaler).await, std::time::Instant::now());
    until("it looks more often than once a second", async || {
        maintenance::queue().notify(&client).await.unwrap();
        let by_itself = 1.0 + started.elapsed().as_secs_f64();
        by_itself + 3.0 < reads(&scaler).await - before
    })
    .await;
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_calls_cost_nothing_while_it_is_known_that_there_is_work() {
    let database = Database::new().await;
    submit(&database, "due", "default").await;
    let scaler = Scaler::start(database.url()).await;
    let (_keda, mut pushed) = open(&scaler, &[]).await;
    assert_eq!(next(&mut pushed).await, Some(true));
    let client = database.client().await;
    let (before, started) = (reads(&scaler).await, std::time::Instant::now());
    let again = next(&mut pushed);
    tokio::pin!(again);
    // Calls until the word is said again, which is several looks later.
    loop {
        maintenance::queue().notify(&client).await.unwrap();
        let pause = tokio::time::timeout(Duration::from_millis(10), &mut again);
        if let Ok(word) = pause.await {
            assert_eq!(word, Some(true));
            break;
        }
    }
    let made = reads(&scaler).await - before;
    let allowed = 2.0 + started.elapsed().as_secs_f64();
    assert!(made <= allowed, "{made} reads, at most {allowed}");
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_a_stream_outlives_postgres_and_goes_on_where_it_was() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let (mut keda, mut pushed) = open(&scaler, &[]).await;
    assert_eq!(next(&mut pushed).await, Some(false));
    let (here, away) = (database.name(), format!("{}_away", database.name()));
    renamed(here, &away).await;
    until("it is known that Postgres is gone", async || {
        let answer = keda.is_active(trigger(&[])).await;
        answer.is_err_and(|status| status.code() == Code::Unavailable)
    })
    .await;
    // The stream is open: KEDA waits longer and longer after one that broke.
    assert_eq!(scaler.metric(STREAMS).await, Some(1.0));
    renamed(&away, here).await;
    submit(&database, "after", "default").await;
    assert_eq!(next(&mut pushed).await, Some(true));
    scaler.process.mentions("listening again").await;
    let announced = [CANNOT_COUNT, "listen connection lost", "deadpool.postgres"];
    scaler.stop(&announced).await;
}

#[tokio::test]
async fn m33_a_stream_opened_without_postgres_says_nothing_until_it_knows() {
    let database = Database::new().await;
    submit(&database, "due", "default").await;
    let (here, away) = (database.name(), format!("{}_away", database.name()));
    renamed(here, &away).await;
    let scaler = Scaler::start(database.url()).await;
    let (_keda, mut pushed) = open(&scaler, &[]).await;
    scaler.process.mentions(CANNOT_COUNT).await;
    renamed(&away, here).await;
    assert_eq!(next(&mut pushed).await, Some(true));
    scaler.stop(&[CANNOT_COUNT, "deadpool.postgres"]).await;
}

#[tokio::test]
async fn m33_streams_end_in_good_order_with_the_scaler() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let (_keda, mut pushed) = open(&scaler, &[]).await;
    assert_eq!(next(&mut pushed).await, Some(false));
    scaler.process.signal("TERM");
    // An end, not an error: KEDA comes back after two seconds.
    assert_eq!(next(&mut pushed).await, None);
    scaler.process.ended_with(0, &[]).await;
}

#[tokio::test]
async fn streams_are_bounded_and_one_that_is_left_makes_room() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let mut keda = scaler.keda().await;
    let mut other = scaler.keda().await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        let asker = if streams.len() < 100 {
            &mut keda
        } else {
            &mut other
        };
        streams.push(asker.stream_is_active(trigger(&[])).await.unwrap());
    }
    assert_eq!(scaler.metric(STREAMS).await, Some(200.0));
    let refused = other.stream_is_active(trigger(&[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    streams.truncate(100);
    until("there is room", async || {
        scaler.metric(STREAMS).await == Some(100.0)
    })
    .await;
    let mut pushed = other.stream_is_active(trigger(&[])).await.unwrap();
    assert_eq!(next(&mut pushed).await, Some(false));
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn all_streams_listen_on_one_connection_and_without_any_there_is_none() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let client = database.client().await;
    let listening = async || {
        let query = "select count(*) from pg_stat_activity where datname = current_database() \
                     and application_name = 'snowpack-scaler' and query like 'listen %'";
        client.query_one(query, &[]).await.unwrap().get::<_, i64>(0)
    };
    scaler.json("/ready-count").await;
    assert_eq!(listening().await, 0);
    let (_one, mut one) = open(&scaler, &[]).await;
    let (_other, mut other) = open(&scaler, &[("pool", "l")]).await;
    assert_eq!(next(&mut one).await, Some(false));
    assert_eq!(next(&mut other).await, Some(false));
    until("it listens", async || listening().await == 1).await;
    scaler.stop(&[]).await;
}
