//! Readiness and metrics: what they say is what Postgres knows.

use serde_json::json;
use testkit::{Database, until};

use crate::server::{OPEN, Server, age, cache, submit};

/// The value of one line of `/metrics`.
async fn metric(server: &Server, line: &str) -> Option<f64> {
    let page = server.get("/metrics").await.text;
    let value = page
        .lines()
        .find_map(|each| each.strip_prefix(line)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

/// Cuts the database off, or lets it answer again.
pub(crate) async fn allow(database: &Database, connections: bool) {
    let (server, _) = database.url().rsplit_once('/').unwrap();
    let url = format!("{server}/postgres");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let name = database.name();
    let alter = format!("alter database {name} with allow_connections {connections}");
    client.batch_execute(&alter).await.unwrap();
    if !connections {
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
        client.execute(end, &[&name]).await.unwrap();
    }
}

#[tokio::test]
async fn m21_ready_means_a_young_cache() {
    let database = Database::new().await;
    let limit = ("SNOWPACK_CACHE_AGE_MAX_SECONDS", "1000");
    let server = Server::with(database.url(), &[("SNOWPACK_AUTH", "none"), limit]).await;
    let answer = server.get("/readyz").await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (503, "not ready: the table cache was never synced\n")
    );
    cache(&database, &["events"]).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    age(&database, 1_001.0).await;
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.text.contains("at most 1000 s are allowed"),
        "{}",
        answer.text
    );
    assert_eq!(server.get("/healthz").await.status, 200, "it is not stuck");
    age(&database, 900.0).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m21_without_postgres_it_is_not_ready_goes_on_and_comes_back() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let server = Server::start(&database).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    allow(&database, false).await;
    until("it is not ready", async || {
        server.get("/readyz").await.status == 503
    })
    .await;
    assert_eq!(server.get("/healthz").await.status, 200);
    let refused = server.get("/jobs").await;
    let body = refused.problem(503, "unavailable");
    assert_eq!(body["detail"], "Postgres does not answer");
    refused.header("retry-after");
    assert_eq!(
        metric(&server, "snowpack_workers_active").await,
        None,
        "no made-up zero"
    );
    assert_eq!(
        metric(&server, "snowpack_queue_ready{lane=\"snowpack\"}").await,
        None
    );
    allow(&database, true).await;
    until("it is ready again", async || {
        server.get("/readyz").await.status == 200
    })
    .await;
    assert_eq!(server.get("/jobs").await.status, 200);
    server
        .stop(&[
            OPEN,
            "request failed",
            "metrics of Postgres",
            "a pass failed",
            "deadpool.postgres",
        ])
        .await;
}

/// What the alert on a held horizon looks at.
#[tokio::test]
async fn q61_an_old_transaction_is_seen_at_every_scrape_until_it_ends() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    let seconds = "snowpack_horizon_held_seconds";
    let transactions = "snowpack_horizon_held_transactions";
    let holder = database.client().await;
    let hold = "begin isolation level repeatable read; select count(*) from snowpack.job_queue";
    holder.batch_execute(hold).await.unwrap();
    let client = database.client().await;
    until("it is seen", async || {
        client.batch_execute("select txid_current()").await.unwrap();
        let of = async |name| metric(&server, name).await.unwrap();
        of(seconds).await > 1.5 && of(transactions).await > 50.0
    })
    .await;
    holder.batch_execute("rollback").await.unwrap();
    until("it is over", async || {
        metric(&server, seconds).await.unwrap() < 1.5
    })
    .await;
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m32_queue_and_workers_are_what_postgres_knows_at_every_scrape() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    let ready = "snowpack_queue_ready{lane=\"snowpack\"}";
    let running = "snowpack_queue_running{lane=\"snowpack\"}";
    assert_eq!(metric(&server, ready).await, Some(0.0));
    assert_eq!(metric(&server, "snowpack_workers_active").await, Some(0.0));
    let client = database.client().await;
    for (table, worker, lease) in [
        ("a", "w1", 3_600.0),
        ("b", "w1", 3_600.0),
        ("c", "w2", 3_600.0),
        ("d", "w3", -1.0),
    ] {
        let job = submit(&database, table).await;
        let claim = "update snowpack.job_queue set claimed_at = now() - interval '1 hour',
            claimed_by = $2, attempt_id = job_id, attempt_count = 1,
            visible_at = now() + make_interval(secs => $3) where job_id = $1";
        client
            .execute(claim, &[&job.as_str(), &worker, &lease])
            .await
            .unwrap();
    }
    submit(&database, "e").await;
    assert_eq!(
        metric(&server, ready).await,
        Some(2.0),
        "one waits, one lost its lease"
    );
    assert_eq!(metric(&server, running).await, Some(3.0));
    assert_eq!(
        metric(&server, "snowpack_workers_active").await,
        Some(2.0),
        "w3's lease is over"
    );
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m32_the_fleets_numbers_are_what_postgres_knows() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    assert_eq!(
        metric(&server, "snowpack_tables_discovered").await,
        Some(0.0)
    );
    assert_eq!(
        metric(&server, "snowpack_table_cache_age_seconds").await,
        None,
        "never synced"
    );
    cache(&database, &["a", "b", "c"]).await;
    age(&database, 500.0).await;
    let client = database.client().await;
    for (table, score) in [("a", 0.0f32), ("b", 90.0), ("c", 90.5)] {
        let insert = "insert into snowpack.table_health (database_name, table_name, score, payload)
            values ('db', $1, $2, '{}')";
        client.execute(insert, &[&table, &score]).await.unwrap();
    }
    assert_eq!(
        metric(&server, "snowpack_tables_discovered").await,
        Some(3.0)
    );
    let age = metric(&server, "snowpack_table_cache_age_seconds")
        .await
        .unwrap();
    assert!((500.0..600.0).contains(&age), "{age}");
    for (line, want) in [
        ("snowpack_health_score_bucket{le=\"10\"}", 1.0),
        ("snowpack_health_score_bucket{le=\"80\"}", 1.0),
        ("snowpack_health_score_bucket{le=\"90\"}", 2.0),
        ("snowpack_health_score_bucket{le=\"+Inf\"}", 3.0),
        ("snowpack_health_score_count", 3.0),
        ("snowpack_health_score_sum", 180.5),
    ] {
        assert_eq!(metric(&server, line).await, Some(want), "{line}");
    }
    server.stop(&[OPEN]).await;
}

/// What does not pass by itself, of all that `/metrics` knows from Postgres.
async fn standing(server: &Server) -> Vec<String> {
    let page = server.get("/metrics").await.text;
    let of_postgres = [
        "snowpack_queue_ready{",
        "snowpack_queue_running{",
        "snowpack_queue_scheduled{",
        "snowpack_workers_active ",
        "snowpack_tables_discovered ",
        "snowpack_health_score",
    ];
    let stands = |line: &&str| of_postgres.iter().any(|name| line.starts_with(name));
    page.lines().filter(stands).map(str::to_owned).collect()
}

#[tokio::test]
async fn m32_replicas_tell_the_same_numbers_whoever_was_asked_to_change_them() {
    let database = Database::new().await;
    let (one, other) = (
        Server::start(&database).await,
        Server::start(&database).await,
    );
    let mut told = vec![standing(&one).await];
    assert!(told[0].len() > 6, "{told:?}");
    cache(&database, &["a", "b"]).await;
    let actions = json!({"actions": ["rewrite_data_files"]});
    for (server, table) in [(&one, "a"), (&other, "b")] {
        let path = format!("/tables/db/{table}/maintenance");
        let job = server.send("POST", &path, &actions).await;
        assert_eq!(job.status, 202, "{}", job.text);
        let (here, there) = (standing(&one).await, standing(&other).await);
        assert_eq!(here, there, "after a job for {table}");
        assert_ne!(here, *told.last().unwrap(), "nothing changed");
        told.push(here);
    }
    let client = database.client().await;
    let claimed = "update snowpack.job_queue set claimed_at = now(), claimed_by = 'w',
        attempt_id = job_id, visible_at = now() + interval '1 hour'";
    assert_eq!(client.execute(claimed, &[]).await.unwrap(), 2);
    let (here, there) = (standing(&other).await, standing(&one).await);
    assert_eq!(here, there);
    let running = "snowpack_queue_running{lane=\"snowpack\"} 2".to_owned();
    assert!(here.contains(&running), "{here:?}");
    one.stop(&[OPEN]).await;
    assert_eq!(standing(&other).await, here, "the other one is gone");
    other.stop(&[OPEN]).await;
}

#[tokio::test]
async fn requests_are_counted_by_route_never_by_path() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    for id in ["a", "b", "c"] {
        server
            .get(&format!("/jobs/{id}"))
            .await
            .problem(404, "no_such_job");
    }
    server.get("/made/up").await.problem(404, "no_such_route");
    let of = |route: &str| {
        format!("snowpack_http_requests_total{{method=\"GET\",route=\"{route}\",status=\"404\"}}")
    };
    assert_eq!(metric(&server, &of("/jobs/{job_id}")).await, Some(3.0));
    assert_eq!(metric(&server, &of("unknown")).await, Some(1.0));
    server.stop(&[OPEN]).await;
}
