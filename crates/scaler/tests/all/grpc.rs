//! What KEDA's `external` trigger asks, and what somebody who is not KEDA may try.

use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{Request, Response, body};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keda::{Code, GetMetricsRequest, MetricSpec, MetricValue};
use testkit::{Database, get, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scaler::{CANNOT_COUNT, Scaler, active, one_of_each, renamed, submit, trigger};

fn asked(metric_name: &str, metadata: &[(&str, &str)]) -> GetMetricsRequest {
    GetMetricsRequest {
        scaled_object_ref: Some(trigger(metadata)),
        metric_name: metric_name.to_owned(),
    }
}

#[tokio::test]
async fn m33_keda_is_told_metric_target_and_number_of_each_trigger() {
    let database = Database::new().await;
    one_of_each(&database).await;
    let scaler = Scaler::start(database.url()).await;
    let mut keda = scaler.keda().await;
    for (metadata, name, target, value) in [
        (&[][..], "snowpack-demand", 1, 4),
        (&[("mode", "ready")], "snowpack-ready", 1, 3),
        (
            &[("pool", "l"), ("jobsPerWorker", "8")],
            "snowpack-demand",
            8,
            1,
        ),
        (
            &[
                ("pool", "default"),
                ("mode", "ready"),
                ("scalerAddress", "x:1"),
            ],
            "snowpack-ready",
            1,
            2,
        ),
        (&[("pool", "default,l,l")], "snowpack-demand", 1, 4),
        // One worker is busy, with one of its eight jobs.
        (&[("jobsPerWorker", "8")], "snowpack-demand", 8, 8),
        (&[("pool", "nobody")], "snowpack-demand", 1, 0),
    ] {
        let spec = keda.get_metric_spec(trigger(metadata)).await.unwrap();
        let want = MetricSpec {
            metric_name: name.to_owned(),
            target_size: target,
            target_size_float: target as f64,
        };
        assert_eq!(spec.metric_specs, [want], "{metadata:?}");
        let metrics = keda.get_metrics(asked(name, metadata)).await.unwrap();
        let want = MetricValue {
            metric_name: name.to_owned(),
            metric_value: value,
            metric_value_float: value as f64,
        };
        assert_eq!(metrics.metric_values, [want], "{metadata:?}");
        let active = keda.is_active(trigger(metadata)).await.unwrap();
        assert_eq!(active, 0 < value, "{metadata:?}");
    }
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_a_hundred_triggers_cost_one_query_a_second() {
    let database = Database::new().await;
    submit(&database, "due", "default").await;
    let scaler = Scaler::start(database.url()).await;
    let mut keda = scaler.keda().await;
    let reads = "snowpack_scaler_reads_total{result=\"ok\"}";
    let before = scaler.metric(reads).await.unwrap();
    let started = std::time::Instant::now();
    for _ in 0..100 {
        let metrics = keda.get_metrics(asked("snowpack-demand", &[])).await;
        assert_eq!(metrics.unwrap().metric_values[0].metric_value, 1);
        assert!(keda.is_active(trigger(&[])).await.unwrap());
    }
    let after = scaler.metric(reads).await.unwrap();
    let allowed = 1.0 + started.elapsed().as_secs_f64();
    assert!(after - before <= allowed, "{} reads", after - before);
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn m33_without_postgres_keda_is_told_so_and_never_zero() {
    let database = Database::new().await;
    submit(&database, "due", "default").await;
    let scaler = Scaler::start(database.url()).await;
    let mut keda = scaler.keda().await;
    assert!(keda.is_active(trigger(&[])).await.unwrap());
    let (here, away) = (database.name(), format!("{}_away", database.name()));
    renamed(here, &away).await;
    until("it is unavailable", async || {
        match keda.get_metrics(asked("snowpack-demand", &[])).await {
            Ok(metrics) => {
                assert_eq!(metrics.metric_values[0].metric_value, 1);
                false
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                assert!(
                    status.message().starts_with("Postgres gave no count: "),
                    "{status}"
                );
                true
            }
        }
    })
    .await;
    let status = keda.is_active(trigger(&[])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    // What does not come from Postgres is answered still.
    assert!(keda.get_metric_spec(trigger(&[])).await.is_ok());
    renamed(&away, here).await;
    until("it counts again", async || {
        active(&mut keda, &[]).await == Ok(true)
    })
    .await;
    scaler.stop(&[CANNOT_COUNT, "deadpool.postgres"]).await;
}

#[tokio::test]
async fn m33_a_trigger_that_asks_for_something_else_is_refused_by_every_method() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let mut keda = scaler.keda().await;
    for (metadata, code, words) in [
        (
            ("lane", "other"),
            Code::NotFound,
            "no such lane; there is snowpack",
        ),
        (
            ("jobsPerWorker", "0"),
            Code::InvalidArgument,
            "`jobsPerWorker` = `0`: allowed",
        ),
        (
            ("mode", "all"),
            Code::InvalidArgument,
            "`mode` = `all`: allowed are demand, ready",
        ),
        (
            ("lanes", "snowpack"),
            Code::InvalidArgument,
            "`lanes` is unknown: allowed are lane",
        ),
    ] {
        let about = || trigger(&[metadata]);
        for refused in [
            keda.is_active(about()).await.unwrap_err(),
            keda.get_metric_spec(about()).await.unwrap_err(),
            keda.get_metrics(asked("snowpack-demand", &[metadata]))
                .await
                .unwrap_err(),
            keda.stream_is_active(about()).await.unwrap_err(),
        ] {
            assert_eq!(refused.code(), code, "{metadata:?}: {refused}");
            assert!(refused.message().contains(words), "{metadata:?}: {refused}");
        }
    }
    let status = keda.get_metrics(asked("s0-other", &[])).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::InvalidArgument,
            "metricName `s0-other` is unknown: this trigger's is snowpack-demand"
        )
    );
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn a_token_in_the_metadata_opens_grpc_and_nothing_else_does() {
    let database = Database::new().await;
    let scaler = Scaler::start_with(database.url(), &[("SNOWPACK_SCALER_TOKEN", "s3cret")]).await;
    let mut keda = scaler.keda().await;
    for key in ["token", "tokenFromEnv"] {
        assert_eq!(active(&mut keda, &[(key, "s3cret")]).await, Ok(false));
        let refused = keda
            .is_active(trigger(&[(key, "s3crets")]))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    }
    let refused = keda.stream_is_active(trigger(&[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert!(refused.message().contains("`tokenFromEnv`"), "{refused}");
    assert!(!scaler.process.log().contains("s3cret"));
    scaler.stop(&[]).await;
}

/// One HTTP/2 request with a body as it is: status, and gRPC's status if there is one.
async fn raw(scaler: &Scaler, request: Request<Full<body::Bytes>>) -> (u16, Option<i32>) {
    let stream = TcpStream::connect(scaler.grpc).await.unwrap();
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut send, connection) = shaken.unwrap();
    let driven = tokio::spawn(connection);
    let answer: Response<body::Incoming> = send.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let in_head = answer.headers().get("grpc-status").cloned();
    let rest = answer.into_body().collect().await.unwrap();
    let in_trailers = rest
        .trailers()
        .and_then(|all| all.get("grpc-status").cloned());
    driven.abort();
    let code = in_head.or(in_trailers);
    (
        status,
        code.map(|code| code.to_str().unwrap().parse().unwrap()),
    )
}

fn post(path: &str, kind: &str, bytes: &[u8]) -> Request<Full<body::Bytes>> {
    Request::post(format!("http://localhost{path}"))
        .header("content-type", kind)
        .body(Full::new(body::Bytes::copy_from_slice(bytes)))
        .unwrap()
}

#[tokio::test]
async fn what_is_no_grpc_is_refused_with_the_right_status_and_harms_nobody() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let (path, grpc) = (keda::path::IS_ACTIVE, "application/grpc");
    let garbage = b"\0\0\0\0\x04\xff\xff\xff\xff";
    let mut endless = vec![0, 0x7f, 0xff, 0xff, 0xff];
    endless.extend([b'x'; 100]);
    for (what, request, want) in [
        (
            "an empty message",
            post(path, grpc, b"\0\0\0\0\0"),
            (200, Some(0)),
        ),
        (
            "no message",
            post(path, grpc, b""),
            (200, Some(Code::Internal as i32)),
        ),
        (
            "garbage",
            post(path, grpc, garbage),
            (200, Some(Code::Internal as i32)),
        ),
        (
            "a message of 2 GB",
            post(path, grpc, &endless),
            (200, Some(Code::OutOfRange as i32)),
        ),
        (
            "a compressed message",
            post(path, grpc, b"\x01\0\0\0\0"),
            (200, Some(Code::Internal as i32)),
        ),
        (
            "a method of KEDA's that we do not have",
            post(
                "/externalscaler.ExternalScaler/StreamMetricSpec",
                grpc,
                b"\0\0\0\0\0",
            ),
            (200, Some(Code::Unimplemented as i32)),
        ),
        (
            "another service",
            post("/other.Service/IsActive", grpc, b"\0\0\0\0\0"),
            (200, Some(Code::Unimplemented as i32)),
        ),
        ("JSON", post(path, "application/json", b"{}"), (415, None)),
        (
            "GET",
            Request::get("http://localhost/healthz")
                .body(Full::default())
                .unwrap(),
            (405, None),
        ),
    ] {
        assert_eq!(raw(&scaler, request).await, want, "{what}");
    }
    let mut keda = scaler.keda().await;
    let large = "x".repeat(keda::MESSAGE_BYTES_MAX);
    let refused = keda
        .is_active(trigger(&[("pool", &large)]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    assert_eq!(active(&mut keda, &[]).await, Ok(false));
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn what_is_no_http2_ends_its_own_connection_only() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let mut keda = scaler.keda().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        &[0xff; 4_096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut stream = TcpStream::connect(scaler.grpc).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // It may be reset while we still write.
        stream.read_to_end(&mut answer).await.ok();
        assert_eq!(active(&mut keda, &[]).await, Ok(false));
    }
    assert_eq!(get(scaler.address, "/healthz", &[]).await.0, 200);
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn huge_headers_are_refused() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    let mut request = post(keda::path::IS_ACTIVE, "application/grpc", b"\0\0\0\0\0");
    let large = "x".repeat(3_000).parse().unwrap();
    request.headers_mut().insert("x-large", large);
    assert_eq!(raw(&scaler, request).await, (431, None));
    assert_eq!(active(&mut scaler.keda().await, &[]).await, Ok(false));
    scaler.stop(&[]).await;
}
