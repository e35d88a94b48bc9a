//! Postgres or the catalog out of reach, in the middle of everything.

use serde_json::json;
use testkit::{Database, until};

use crate::lake::{CATALOG, table};
use crate::numbers::allow;
use crate::server::{OPEN, Server, cache};

/// One request to each part of the API.
const REQUESTS: &[(&str, &str)] = &[
    ("GET", "/jobs"),
    ("GET", "/jobs/nobody"),
    ("GET", "/jobs/history/health?table=db.events"),
    ("GET", "/tables"),
    ("GET", "/tables/cache-status"),
    ("GET", "/tables/db/events/health"),
    ("GET", "/tables/db/events/health/cached"),
    ("GET", "/tables/db/events/status"),
    ("GET", "/tables/db/events/recommendation"),
    ("GET", "/orchestrator/runs"),
    ("GET", "/orchestrator/runs/1"),
    ("GET", "/drain"),
    ("GET", "/lanes/snowpack/pause"),
    ("GET", "/loops"),
    ("POST", "/tables/cache/refresh"),
    ("POST", "/jobs/nobody/cancel"),
];

/// What is said of it at WARN.
const ANNOUNCED: &[&str] = &[
    OPEN,
    "request failed",
    "a pass failed",
    "table cache not replaced",
    "Connection error",
    "Connection could not be recycled",
];

#[tokio::test]
async fn a_lost_postgres_is_unavailable_everywhere_and_heals_by_itself() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let server = Server::start(&database).await;
    for (method, path) in REQUESTS {
        let answer = server.call(method, path).await;
        assert!(answer.status < 500, "{path}: {}", answer.text);
    }
    allow(&database, false).await;
    for (method, path) in REQUESTS {
        let answer = server.call(method, path).await;
        answer.problem(503, "unavailable");
        assert!(!answer.header("retry-after").is_empty());
        for inner in ["127.0.0.1", "snowpack_test", "postgres://", "tokio"] {
            assert!(
                !answer.text.contains(inner),
                "{path} tells {inner}: {}",
                answer.text
            );
        }
    }
    allow(&database, true).await;
    for (method, path) in REQUESTS {
        until(&format!("{path} answers again"), async || {
            server.call(method, path).await.status < 500
        })
        .await;
    }
    server.stop(ANNOUNCED).await;
}

#[tokio::test]
async fn without_the_catalog_what_postgres_knows_is_answered() {
    let (database, catalog) = (Database::new().await, Database::new().await);
    let folder = tempfile::tempdir().unwrap();
    table(&catalog, &folder, "db.events").await;
    cache(&database, &["events"]).await;
    let own = [
        ("SNOWPACK_AUTH", "none"),
        ("SNOWPACK_CATALOG_NAME", CATALOG),
        ("SNOWPACK_CATALOG_URI", catalog.url()),
    ];
    let server = Server::with(database.url(), &own).await;
    let health = server.get("/tables/db/events/health").await;
    assert_eq!(health.status, 200, "{}", health.text);
    allow(&catalog, false).await;
    let lost = server.get("/tables/db/events/health").await;
    lost.problem(503, "unavailable");
    let cached = server.get("/tables/db/events/health/cached").await;
    assert_eq!(cached.json()["score"], health.json()["score"]);
    let refresh = server.call("POST", "/tables/cache/refresh").await;
    assert_eq!(refresh.status, 200, "{}", refresh.text);
    assert_eq!(refresh.json()["outcome"], "failed");
    let tables = server.get("/tables").await.json();
    assert_eq!(tables["tables"][0]["table"], "events", "the old set stands");
    let run = server
        .send("POST", "/orchestrator/trigger", &json!({"dry_run": true}))
        .await;
    assert_eq!(run.status, 202, "it needs no catalog: {}", run.text);
    allow(&catalog, true).await;
    until("it is live again", async || {
        server.get("/tables/db/events/health").await.status == 200
    })
    .await;
    server.stop(ANNOUNCED).await;
}
