//! The counts over HTTP, and the scaler as a program.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::json;
use testkit::{Database, Process, get, request, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scaler::{CANNOT_COUNT, SCALER, Scaler, one_of_each, renamed, submit};

#[tokio::test]
async fn m33_claimable_work_is_counted_expired_leases_included() {
    let database = Database::new().await;
    one_of_each(&database).await;
    let scaler = Scaler::start(database.url()).await;
    assert_eq!(
        scaler.json("/ready-count").await,
        (200, json!({"ready": 3}))
    );

    let (status, mut all) = scaler.json("/v1/lanes/snowpack/ready").await;
    let oldest = all
        .as_object_mut()
        .unwrap()
        .remove("oldest_ready_seconds")
        .unwrap();
    assert!(oldest.as_f64().unwrap() > 0.0, "{oldest}");
    let want = json!({
        "lane": "snowpack", "pool": null, "ready": 3, "running": 1, "demand": 4, "busy": 1,
        "scheduled": 1,
    });
    assert_eq!((status, all), (200, want));

    let (_, default) = scaler.json("/v1/lanes/snowpack/ready?pool=default").await;
    assert_eq!(default["pool"], "default");
    let numbers = ["ready", "running", "demand", "scheduled"].map(|name| default[name].as_i64());
    assert_eq!(numbers, [Some(2), Some(1), Some(3), Some(1)]);
    let (_, large) = scaler.json("/v1/lanes/snowpack/ready?pool=l").await;
    assert_eq!((&large["ready"], &large["demand"]), (&json!(1), &json!(1)));
    let path = "/v1/lanes/snowpack/ready?pool=default&jobsPerWorker=8";
    let (_, thin) = scaler.json(path).await;
    assert_eq!((&thin["busy"], &thin["demand"]), (&json!(1), &json!(8)));
    // As a worker that serves several pools is configured: no job counts twice.
    for path in [
        "pool=l,default",
        "pool=default%2Cl",
        "pool=l,default,l,none",
    ] {
        let (_, both) = scaler
            .json(&format!("/v1/lanes/snowpack/ready?{path}"))
            .await;
        let numbers = ["ready", "running", "demand", "scheduled"].map(|name| both[name].as_i64());
        assert_eq!(
            numbers,
            [Some(3), Some(1), Some(4), Some(1)],
            "{path}: {both}"
        );
    }
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_an_empty_lane_counts_zero_and_the_first_job_wakes_it() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let zero = json!({
        "lane": "snowpack", "pool": null, "ready": 0, "running": 0, "demand": 0, "busy": 0,
        "scheduled": 0, "oldest_ready_seconds": 0.0,
    });
    assert_eq!(
        scaler.json("/v1/lanes/snowpack/ready?pool=").await,
        (200, zero)
    );
    submit(&database, "first", "default").await;
    scaler.answers("/ready-count", json!({"ready": 1})).await;
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_a_paused_lane_has_nothing_ready_but_what_runs_still_counts() {
    let database = Database::new().await;
    one_of_each(&database).await;
    let mut client = database.client().await;
    let tx = client.transaction().await.unwrap();
    maintenance::queue()
        .pause(&tx, "test", "for a test")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let scaler = Scaler::start(database.url()).await;
    assert_eq!(
        scaler.json("/ready-count").await,
        (200, json!({"ready": 0}))
    );
    let (_, lane) = scaler.json("/v1/lanes/snowpack/ready").await;
    assert_eq!((&lane["running"], &lane["demand"]), (&json!(1), &json!(1)));
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_without_postgres_there_is_no_number() {
    // A port that was free a moment ago: nobody answers there.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let scaler = Scaler::start(&format!("postgres://user:hunter2@{free}/db")).await;
    for path in ["/ready-count", "/v1/lanes/snowpack/ready?pool=default"] {
        let (status, problem) = scaler.json(path).await;
        assert_eq!(
            (status, &problem["status"]),
            (503, &json!(503)),
            "{problem}"
        );
        assert_eq!(problem["title"], "Postgres gave no count");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&free.to_string()), "{detail}");
        assert!(!detail.contains("hunter2"), "{detail}");
    }
    assert_eq!(get(scaler.address, "/healthz", &[]).await.0, 200);
    assert_eq!(get(scaler.address, "/readyz", &[]).await.0, 503);
    assert_eq!(
        scaler
            .metric("snowpack_queue_ready{lane=\"snowpack\"}")
            .await,
        None
    );
    scaler.stop(&[CANNOT_COUNT]).await;
}

#[tokio::test]
async fn a_database_without_our_tables_is_no_empty_queue() {
    let database = Database::empty().await;
    let scaler = Scaler::start(database.url()).await;
    let (status, problem) = scaler.json("/ready-count").await;
    let want = "schema snowpack is not in the database: run `snowpack migrate`";
    assert_eq!((status, &problem["detail"]), (503, &json!(want)));
    scaler.stop(&[CANNOT_COUNT]).await;
}

#[tokio::test]
async fn m33_while_the_database_is_gone_every_answer_is_503_and_then_the_count_is_back() {
    let database = Database::new().await;
    submit(&database, "due", "default").await;
    let scaler = Scaler::start(database.url()).await;
    scaler.answers("/ready-count", json!({"ready": 1})).await;

    let (here, away) = (database.name(), format!("{}_away", database.name()));
    renamed(here, &away).await;
    until("it answers 503", async || {
        let (status, body) = scaler.json("/ready-count").await;
        assert!(
            status == 503 || body == json!({"ready": 1}),
            "{status} {body}"
        );
        status == 503
    })
    .await;
    renamed(&away, here).await;
    scaler.answers("/ready-count", json!({"ready": 1})).await;
    scaler.stop(&[CANNOT_COUNT, "deadpool.postgres"]).await;
}

#[tokio::test]
async fn m33_a_hundred_callers_cost_one_query_a_second() {
    let database = Database::new().await;
    submit(&database, "due", "default").await;
    let scaler = Scaler::start(database.url()).await;
    let reads = "snowpack_scaler_reads_total{result=\"ok\"}";
    // The page itself shows the queue, so it reads too, but through the same one.
    let before = scaler.metric(reads).await.unwrap();
    let started = Instant::now();
    for _ in 0..3 {
        let callers = (0..100).map(|_| get(scaler.address, "/ready-count", &[]));
        for answer in futures::future::join_all(callers).await {
            assert_eq!(answer, (200, "{\"ready\":1}".to_owned()));
        }
    }
    let after = scaler.metric(reads).await.unwrap();
    let allowed = 1.0 + started.elapsed().as_secs_f64();
    assert!(
        after - before <= allowed,
        "{} reads, at most {allowed}",
        after - before
    );
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_a_count_that_hangs_is_503_in_time_and_is_not_piled_up() {
    let database = Database::new().await;
    let mut holder = database.client().await;
    let tx = holder.transaction().await.unwrap();
    tx.batch_execute("lock table snowpack.job_queue in access exclusive mode")
        .await
        .unwrap();
    let scaler = Scaler::start(database.url()).await;
    let callers = (0..20).map(|_| get(scaler.address, "/ready-count", &[]));
    for (status, body) in futures::future::join_all(callers).await {
        assert_eq!(status, 503, "{body}");
    }
    tx.rollback().await.unwrap();
    scaler.answers("/ready-count", json!({"ready": 0})).await;
    scaler.stop(&[CANNOT_COUNT]).await;
}

#[tokio::test]
async fn a_token_opens_the_counts_and_only_them() {
    let database = Database::new().await;
    let scaler = Scaler::start_with(database.url(), &[("SNOWPACK_SCALER_TOKEN", "s3cret")]).await;
    for (header, want) in [
        ("authorization: Bearer s3cret", 200),
        ("authorization: Bearer s3cre", 401),
        ("authorization: Bearer s3crets", 401),
        ("authorization: Basic s3cret", 401),
        ("x-nothing: 1", 401),
    ] {
        for path in ["/ready-count", "/v1/lanes/snowpack/ready"] {
            assert_eq!(
                get(scaler.address, path, &[header]).await.0,
                want,
                "{path} {header}"
            );
        }
    }
    // A stranger learns neither what lanes there are nor how to ask.
    for path in ["/v1/lanes/other/ready", "/v1/lanes/snowpack/ready?pol=a"] {
        assert_eq!(get(scaler.address, path, &[]).await.0, 401, "{path}");
    }
    assert_eq!(get(scaler.address, "/metrics", &[]).await.0, 200);
    assert!(!scaler.process.log().contains("s3cret"));
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn what_does_not_exist_is_refused_with_the_reason() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    for (method, path, want) in [
        ("GET", "/", 404),
        ("GET", "/v1/lanes/other/ready", 404),
        ("GET", "/v1/lanes/snowpack", 404),
        ("GET", "/v1/lanes/snowpack/ready?pool=a%20b", 400),
        ("GET", "/v1/lanes/snowpack/ready?pol=a", 400),
        ("POST", "/ready-count", 405),
        ("GET", "/ready-count", 200),
    ] {
        assert_eq!(
            request(scaler.address, method, path, &[]).await.0,
            want,
            "{method} {path}"
        );
    }
    let (_, problem) = scaler.json("/v1/lanes/other/ready").await;
    assert_eq!(problem["detail"], "no such lane; there is snowpack");
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn what_is_no_http_is_refused_with_the_right_status_and_harms_nobody() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let endless = format!("GET /ready-count HTTP/1.1\r\nx: {}", "x".repeat(100_000));
    for (what, request, want) in [
        ("words", &b"how many jobs wait?\r\n\r\n"[..], "HTTP/1.1 400"),
        (
            "TLS",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",
            "HTTP/1.1 400",
        ),
        ("an endless header", endless.as_bytes(), "HTTP/1.1 431"),
    ] {
        let mut stream = TcpStream::connect(scaler.address).await.unwrap();
        // It may answer, and hang up, before it was told all.
        stream.write_all(request).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        let answer = String::from_utf8_lossy(&answer);
        // What hangs up early may be all that arrives.
        let lost = request.len() > 4_096 && answer.is_empty();
        assert!(lost || answer.starts_with(want), "{what}: {answer}");
    }
    assert_eq!(
        scaler.json("/ready-count").await,
        (200, json!({"ready": 0}))
    );
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn made_up_pools_are_bounded() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let mut answers = BTreeSet::new();
    for number in 0..80 {
        let path = format!("/v1/lanes/snowpack/ready?pool=p{number}");
        answers.insert(get(scaler.address, &path, &[]).await.0);
    }
    assert_eq!(answers, BTreeSet::from([200, 429]));
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_the_metrics_page_is_well_formed_and_shows_the_queue() {
    let database = Database::new().await;
    one_of_each(&database).await;
    let scaler = Scaler::start(database.url()).await;
    let (status, page) = get(scaler.address, "/metrics", &[]).await;
    assert_eq!(status, 200);
    let mut typed = BTreeSet::new();
    for line in page.lines() {
        if let Some(comment) = line.strip_prefix("# TYPE ") {
            let (name, kind) = comment.split_once(' ').unwrap();
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            typed.insert(name);
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert!(typed.contains(name), "no type before {line}");
            value.parse::<f64>().unwrap();
        }
    }
    for (name, want) in [("ready", 3.0), ("running", 1.0), ("scheduled", 1.0)] {
        let series = format!("snowpack_queue_{name}{{lane=\"snowpack\"}}");
        assert_eq!(scaler.metric(&series).await, Some(want), "{series}");
    }
    let oldest = scaler
        .metric("snowpack_queue_oldest_ready_seconds{lane=\"snowpack\"}")
        .await;
    assert!(oldest.unwrap() > 0.0);
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn a_bad_environment_is_refused_before_anything_is_opened() {
    let url = ("SNOWPACK_DATABASE_URL", "postgres://localhost/db");
    for (variables, want) in [
        (
            vec![url, ("SNOWPACK_SCALER_ADR", "x")],
            "environment variable SNOWPACK_SCALER_ADR is unknown; did you mean \
             SNOWPACK_SCALER_ADDR?",
        ),
        (
            vec![url, ("SNOWPACK_SCALER_GRPC_ADDR", "keda")],
            "environment variable SNOWPACK_SCALER_GRPC_ADDR = `keda`: allowed: an IP address and \
             a port, as in 127.0.0.1:9090 or [::1]:9090",
        ),
        (
            vec![url, ("SNOWPACK_SCALER_TLS_CERT_FILE", "/tls.crt")],
            "SNOWPACK_SCALER_TLS_CERT_FILE is set and SNOWPACK_SCALER_TLS_KEY_FILE is not: \
             allowed are both or neither",
        ),
        (
            vec![url, ("SNOWPACK_SCALER_ADDR", "9091")],
            "environment variable SNOWPACK_SCALER_ADDR = `9091`: allowed: an IP address and a \
             port, as in 127.0.0.1:9090 or [::1]:9090",
        ),
        (
            vec![url, ("SNOWPACK_SCALER_TOKEN", "")],
            "environment variable SNOWPACK_SCALER_TOKEN is empty: allowed is any text, or leave \
             it out",
        ),
        (
            vec![url, ("SNOWPACK_LOG_FORMAT", "xml")],
            "environment variable SNOWPACK_LOG_FORMAT = `xml`: allowed: json, text",
        ),
        (
            vec![],
            "missing: --database-url <DATABASE_URL> (or SNOWPACK_DATABASE_URL in the \
             environment); see --help",
        ),
    ] {
        let process = Process::start(SCALER, &variables, &[]);
        let status = process.ended().await;
        assert_eq!(process.log(), format!("snowpack-scaler: {want}\n"));
        assert_eq!(status.code(), Some(2));
    }
}
