//! Tables, their health and the orchestrator's runs, as Postgres has them, by HTTP.

use serde_json::{Value, json};
use testkit::Database;

use crate::server::{OPEN, Server, cache};

/// Reads every page of a listing, `field` of each row.
async fn pages(server: &Server, path: &str, list: &str, field: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = server.get(&format!("{path}{cursor}")).await;
        assert_eq!(answer.status, 200, "{path}{cursor}: {}", answer.text);
        let page = answer.json();
        let rows = page[list].as_array().unwrap();
        found.extend(rows.iter().map(|row| row[field].clone()));
        match page["next_cursor"].as_str() {
            None => return found,
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
}

#[tokio::test]
async fn m20_tables_are_listed_by_name_by_what_they_say_and_by_health() {
    let database = Database::new().await;
    let names: Vec<String> = (0..25).map(|at| format!("t{at:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    cache(&database, &names).await;
    let client = database.client().await;
    client
        .batch_execute(
            "update snowpack.table_cache_entries set maintenance_enabled = true where table_name < 't05';
             update snowpack.table_cache_entries set maintenance_enabled = false where table_name = 't05';
             insert into snowpack.table_cache_entries (database_name, table_name, payload)
                 values ('other', 'x', '{\"rule\": \"*\", \"metadata_location\": \"file:///m\"}');
             insert into snowpack.table_health (database_name, table_name, score, payload)
                 values ('db', 't01', 12.5, '{}'), ('db', 't02', 80, '{}')",
        )
        .await
        .unwrap();
    let server = Server::start(&database).await;
    let all = pages(&server, "/tables?limit=7", "tables", "table").await;
    assert_eq!(all.len(), 26);
    assert_eq!(
        all[..25],
        names.iter().map(|name| json!(name)).collect::<Vec<_>>()
    );
    for (filter, want) in [
        ("database=other", json!(["x"])),
        (
            "maintenance_enabled=true",
            json!(["t00", "t01", "t02", "t03", "t04"]),
        ),
        ("maintenance_enabled=false", json!(["t05"])),
        ("health_below=50", json!(["t01"])),
        ("health_below=12.5", json!([])),
        ("health_below=101", json!(["t01", "t02"])),
        (
            "health_below=81&maintenance_enabled=true&database=db",
            json!(["t01", "t02"]),
        ),
        ("database=none", json!([])),
    ] {
        let found = pages(
            &server,
            &format!("/tables?{filter}&limit=2"),
            "tables",
            "table",
        )
        .await;
        assert_eq!(json!(found), want, "{filter}");
    }
    let unset = pages(
        &server,
        "/tables?maintenance_enabled=unset&limit=9",
        "tables",
        "table",
    )
    .await;
    assert_eq!(unset.len(), 20);
    let other = &server.get("/tables?database=other").await.json()["tables"][0];
    assert_eq!(other["metadata_location"], "file:///m");
    assert_eq!(other["score"], Value::Null);

    let status = server.get("/tables/cache-status").await.json();
    assert!(status["age_seconds"].as_f64().unwrap() < 600.0, "{status}");
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m23_cached_health_is_the_newest_look_or_404() {
    let database = Database::new().await;
    cache(&database, &["events", "new", "bad"]).await;
    let client = database.client().await;
    client
        .batch_execute(
            r#"insert into snowpack.table_health (database_name, table_name, health_snapshot_id, score,
                   needs_maintenance, payload, assessed_at)
               values ('db', 'events', 7, 62.5, true, '{"file_stats": {"total_data_files": 9},
                   "needs_maintenance": true, "recommended_actions": ["rewrite_data_files"],
                   "assessment": {"score": 62.5}}', now());
               insert into snowpack.table_health (database_name, table_name, error, failure_count)
               values ('db', 'bad', 'read metadata: no such file', 3)"#,
        )
        .await
        .unwrap();
    let server = Server::start(&database).await;
    let health = server.get("/tables/db/events/health/cached").await;
    assert_eq!(health.status, 200, "{}", health.text);
    let health = health.json();
    assert_eq!(health["file_stats"]["total_data_files"], 9);
    assert_eq!(health["recommended_actions"], json!(["rewrite_data_files"]));
    assert_eq!(health["score"], 62.5);
    assert_eq!(health["health_snapshot_id"], 7);

    let status = server.get("/tables/db/events/status").await.json();
    assert_eq!(status["facts"]["file_stats"]["total_data_files"], 9);
    assert_eq!(status["facts"].get("assessment"), None, "{status}");
    assert_eq!(status["inventory"]["table"], "events");

    let never = server.get("/tables/db/new/health/cached").await;
    let never = never.problem(404, "not_assessed");
    assert!(
        never["detail"]
            .as_str()
            .unwrap()
            .contains("never looked at")
    );
    let failing = server
        .get("/tables/db/bad/health/cached")
        .await
        .problem(404, "not_assessed");
    assert!(
        failing["detail"].as_str().unwrap().contains("no such file"),
        "{failing}"
    );
    assert_eq!(
        server.get("/tables/db/new/status").await.json()["facts"],
        Value::Null
    );
    let unknown = server.get("/tables/db/unknown/status").await;
    unknown.problem(404, "no_such_table");
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m30_health_over_time_is_read_page_by_page_also_of_a_table_that_is_gone() {
    let database = Database::new().await;
    let client = database.client().await;
    // Two at the same moment: the number tells them apart.
    client
        .batch_execute(
            "insert into snowpack.health_snapshots (database_name, table_name, assessed_at, score, payload)
             select 'db', 'gone', '2020-01-01T00:00:00.000001Z'::timestamptz + make_interval(hours => at / 2),
                    at, '{}' from generate_series(0, 10) as at",
        )
        .await
        .unwrap();
    let server = Server::start(&database).await;
    let path = "/jobs/history/health?table=db.gone&limit=2";
    let scores = pages(&server, path, "snapshots", "score").await;
    assert_eq!(
        json!(scores),
        json!((0..=10).rev().map(f64::from).collect::<Vec<_>>())
    );
    let empty = server
        .get("/jobs/history/health?table=db.other")
        .await
        .json();
    assert_eq!(empty, json!({"snapshots": [], "next_cursor": null}));
    server.get("/jobs/history/health").await.names(
        400,
        "bad_request",
        "query",
        "missing field `table`",
    );
    server.get("/jobs/history/health?table=x").await.names(
        400,
        "bad_request",
        "query.table",
        "no namespace",
    );
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m28_runs_are_listed_and_read_with_every_decision() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    let decisions: Vec<Value> = (0..7)
        .map(|at| {
            json!({"database": "db", "table": format!("t{at}"), "decision": "skip",
                "reason": if at == 3 { "healthy" } else { "not_due_yet" }, "why": "so"})
        })
        .collect();
    let told = json!({"elapsed_seconds": 60, "decisions": decisions, "payload": {"by": "hand"}});
    let recorded = server.send("POST", "/orchestrator/runs", &told).await;
    assert_eq!(recorded.status, 201, "{}", recorded.text);
    let place = recorded.header("location").to_owned();
    let run = recorded.json();
    assert_eq!(run["status"], "completed");
    assert_eq!(run["tables_assessed"], 7);
    assert_eq!(run["tables_healthy"], 1);
    assert_eq!(run["tables_skipped"], 6);
    assert_eq!(run["triggered_by"], "api:anonymous");
    let failed = json!({"error": "it broke", "counts": {"tables_assessed": 2, "jobs_failed": 1}});
    let failed = server
        .send("POST", "/orchestrator/runs", &failed)
        .await
        .json();
    assert_eq!(
        (&failed["status"], &failed["jobs_failed"]),
        (&json!("failed"), &json!(1))
    );

    let ids = pages(&server, "/orchestrator/runs?limit=1", "runs", "run_id").await;
    assert_eq!(ids, [failed["run_id"].clone(), run["run_id"].clone()]);
    let whole = server.get(&place).await.json();
    assert_eq!(whole["run_id"], run["run_id"]);
    assert_eq!(
        whole["reasons"][0],
        json!({"decision": "skip", "reason": "not_due_yet", "tables": 6})
    );
    let tables = pages(&server, &format!("{place}?limit=3"), "decisions", "table").await;
    assert_eq!(
        json!(tables),
        json!(["t0", "t1", "t2", "t3", "t4", "t5", "t6"])
    );
    let healthy = format!("{place}?reason=healthy&decision=skip");
    assert_eq!(
        json!(pages(&server, &healthy, "decisions", "table").await),
        json!(["t3"])
    );
    server
        .get("/orchestrator/runs/99")
        .await
        .problem(404, "no_such_run");
    server.get("/orchestrator/runs/first").await.names(
        400,
        "bad_request",
        "path.run_id",
        "a whole number",
    );
    server.stop(&[OPEN]).await;
}

/// What is told of a run, the field that is named, and a part of what is said of it.
fn told_wrongly() -> Vec<(Value, &'static str, &'static str)> {
    let decision = |more: Value| {
        let mut made =
            json!({"database": "db", "table": "t", "decision": "submit", "reason": "due"});
        for (name, value) in more.as_object().unwrap() {
            made[name] = value.clone();
        }
        json!({"decisions": [made]})
    };
    let twice = json!({"decisions": [decision(json!({}))["decisions"][0], decision(json!({}))["decisions"][0]]});
    vec![
        (
            json!({"elapsed_seconds": -1}),
            "body.elapsed_seconds",
            "0 to 604800",
        ),
        (
            json!({"elapsed_seconds": 1e300}),
            "body.elapsed_seconds",
            "0 to 604800",
        ),
        (
            json!({"error": "x".repeat(4001)}),
            "body.error",
            "4000 bytes",
        ),
        (json!({"payload": []}), "body.payload", "expected a map"),
        (
            json!({"payload": {"a": ["\u{0}"]}}),
            "body.payload.a[0]",
            "U+0000",
        ),
        (
            json!({"counts": {"jobs_failed": 3_000_000_000_u32}}),
            "body.counts",
            "2147483647",
        ),
        (
            decision(json!({"table": ""})),
            "body.decisions[0].table",
            "empty",
        ),
        (
            decision(json!({"decision": "wait"})),
            "body.decisions[0].decision",
            "expected `submit`",
        ),
        (
            decision(json!({"reason": ""})),
            "body.decisions[0].reason",
            "empty",
        ),
        (
            decision(json!({"decision": "skip", "job_id": "j"})),
            "body.decisions[0].job_id",
            "only a submission",
        ),
        (
            decision(json!({"score": 101})),
            "body.decisions[0].score",
            "0 to 100",
        ),
        (
            decision(json!({"actions": ["x"]})),
            "body.decisions[0].actions[0]",
            "expected one of",
        ),
        (twice, "body.decisions[1].table", "already"),
    ]
}

#[tokio::test]
async fn m28_a_run_told_wrongly_is_refused_and_nothing_is_stored() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    for (told, path, said) in told_wrongly() {
        let answer = server.send("POST", "/orchestrator/runs", &told).await;
        answer.names(400, "bad_request", path, said);
    }
    let runs = server.get("/orchestrator/runs").await.json();
    assert_eq!(runs["runs"], json!([]));
    server.stop(&[OPEN]).await;
}
