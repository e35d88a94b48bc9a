//! Live health and passes on request, over a real catalog.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use testkit::{Database, until};

use crate::lake::{server, table};
use crate::server::{OPEN, Server};

/// No pass of the loop but the first comes in between.
const SLOW: [(&str, &str); 1] = [("SNOWPACK_CACHE_SYNC_SECONDS", "80000")];

async fn count(database: &Database, sql: &str) -> i64 {
    let row = database.client().await.query_one(sql, &[]).await.unwrap();
    row.get(0)
}

/// Brings the cache up to date, whatever it loses.
async fn refresh(server: &Server) {
    let asked = json!({"force": true});
    let answer = server.send("POST", "/tables/cache/refresh", &asked).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["outcome"], "synced");
}

const SNAPSHOTS: &str = "select count(*) from snowpack.health_snapshots";

#[tokio::test]
async fn m22_live_health_measures_recommends_and_stores_a_snapshot() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let location = table(&database, &folder, "db.events").await;
    let server = server(&database, &[]).await;
    let cached = server.get("/tables/db/events/health/cached").await;
    cached.problem(404, "not_assessed");
    let health = server.get("/tables/db/events/health").await;
    assert_eq!(health.status, 200, "{}", health.text);
    let health = health.json();
    assert_eq!(health["metadata_location"], location);
    for part in [
        "file_stats",
        "delete_stats",
        "snapshot_stats",
        "manifest_stats",
    ] {
        assert!(health[part].is_object(), "{part}: {health}");
    }
    assert_eq!(health["score"], 100.0);
    assert_eq!(health["recommended_actions"], json!([]));
    assert_eq!(count(&database, SNAPSHOTS).await, 1);
    server.get("/tables/db/events/health").await;
    assert_eq!(count(&database, SNAPSHOTS).await, 2, "every look is kept");
    let cached = server.get("/tables/db/events/health/cached").await.json();
    assert_eq!(cached["score"], health["score"]);
    let history = server
        .get("/jobs/history/health?table=db.events")
        .await
        .json();
    assert_eq!(history["snapshots"].as_array().unwrap().len(), 2);

    server
        .get("/tables/db/none/health")
        .await
        .problem(404, "no_such_table");
    server
        .get("/tables/none/none/health")
        .await
        .problem(404, "no_such_table");
    std::fs::write(location.trim_start_matches("file://"), "{").unwrap();
    let broken = server.get("/tables/db/events/health").await;
    broken.problem(502, "table_unreadable");
    let cached = server.get("/tables/db/events/health/cached").await.json();
    assert_eq!(
        (&cached["score"], &cached["failure_count"]),
        (&health["score"], &json!(1))
    );
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m24_a_health_sync_is_run_on_request() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    for name in ["db.a", "db.b", "other.c"] {
        table(&database, &folder, name).await;
    }
    let server = server(&database, &SLOW).await;
    refresh(&server).await;
    let started = server.call("POST", "/health-sync/trigger").await;
    assert_eq!(started.status, 202, "{}", started.text);
    assert_eq!(started.header("location"), "/loops");
    until("all are assessed", async || {
        count(&database, SNAPSHOTS).await == 3
    })
    .await;
    until("the pass is noted", async || {
        let loops = server.get("/loops").await.json();
        let passes = loops["loops"].as_array().unwrap().clone();
        passes
            .iter()
            .any(|pass| pass["name"] == "health_sync" && pass["outcome"] == "done")
    })
    .await;
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m28_a_run_on_request_is_recorded_and_says_why_it_left_a_table_alone() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    table(&database, &folder, "db.events").await;
    let server = server(&database, &SLOW).await;
    refresh(&server).await;
    let started = server
        .send("POST", "/orchestrator/trigger", &json!({"dry_run": true}))
        .await;
    assert_eq!(started.status, 202, "{}", started.text);
    let look = started.header("location").to_owned();
    let mut run = Value::Null;
    until("the run has ended", async || {
        run = server.get(&look).await.json()["runs"][0].clone();
        run["status"] == "completed"
    })
    .await;
    assert_eq!(
        (&run["dry_run"], &run["triggered_by"]),
        (&json!(true), &json!("api:anonymous"))
    );
    assert_eq!(run["tables_skipped"], 1, "{run}");
    let why = server.get("/tables/db/events/recommendation").await;
    assert_eq!(why.status, 200, "{}", why.text);
    let why = why.json();
    assert_eq!(
        (&why["decision"], &why["reason"]),
        (&json!("skip"), &json!("opted_out"))
    );
    assert_eq!(why["policy"]["min_input_files"]["value"], 5);
    assert_eq!(why["policy"]["min_input_files"]["source"], "default");
    assert_eq!(why["decisions"][0]["run_id"], run["run_id"]);
    let unknown = server.get("/tables/db/none/recommendation").await;
    unknown.problem(404, "no_such_table");
    server.stop(&[OPEN]).await;
}

/// Whether somebody waits for a lock.
async fn held(database: &Database) -> bool {
    let waiting = "select count(*) from pg_stat_activity where datname = current_database()
        and wait_event_type = 'Lock'";
    count(database, waiting).await > 0
}

#[tokio::test(flavor = "multi_thread")]
async fn m28_a_stopped_api_records_that_the_run_it_was_asked_for_was_stopped() {
    let database = Database::new().await;
    let client = database.client().await;
    let sick = "insert into snowpack.table_cache_entries (database_name, table_name, payload)
        select 'db', 't' || n, jsonb_build_object('table_uuid', 'u' || n)
        from generate_series(1, 300) n;
        insert into snowpack.table_health (database_name, table_name, score, assessed_at, payload)
        select 'db', 't' || n, 60, now(), jsonb_build_object('table_uuid', 'u' || n,
        'metadata_location', 'm', 'format_version', 2, 'file_stats', jsonb_build_object(
        'total_data_files', 100, 'total_size_bytes', 1000000, 'small_file_count', 90,
        'compactable_file_count', 90, 'compactable_bytes', 900000,
        'target_file_size_bytes', 536870912)) from generate_series(1, 300) n;
        update snowpack.table_cache_meta set last_synced_at = now()";
    client.batch_execute(sick).await.unwrap();
    let server = server(&database, &[("SNOWPACK_ENROLMENT", "opt-out")]).await;
    // The run stands still at its first submission.
    let holder = database.client().await;
    let hold = "begin; lock table snowpack.settings in access exclusive mode";
    holder.batch_execute(hold).await.unwrap();
    let started = server.call("POST", "/orchestrator/trigger").await;
    assert_eq!(started.status, 202, "{}", started.text);
    until("the run waits to submit", async || held(&database).await).await;
    server.process.signal("TERM");
    server.process.mentions("draining").await;
    holder.batch_execute("rollback").await.unwrap();
    server.process.ended_with(0, &[OPEN]).await;

    let run = "select status, error, triggered_by, jobs_submitted from snowpack.orchestrator_runs";
    let run = client.query_one(run, &[]).await.unwrap();
    let words: [&str; 3] = [run.get(0), run.get(1), run.get(2)];
    let why = "stopped by a signal before the end";
    assert_eq!(words, ["failed", why, "api:anonymous"]);
    let submitted = i64::from(run.get::<_, i32>(3));
    assert_eq!(
        submitted,
        count(&database, "select count(*) from snowpack.jobs").await
    );
    assert!(submitted < 300, "it went on to the end");
}

#[tokio::test]
async fn m20_a_refresh_says_what_it_found_and_holds_back_a_sudden_loss() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    for name in ["db.a", "db.b", "db.c"] {
        table(&database, &folder, name).await;
    }
    let server = server(&database, &SLOW).await;
    refresh(&server).await;
    let asked = async |body: Value| {
        let answer = server.send("POST", "/tables/cache/refresh", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    };
    let client = database.client().await;
    client
        .batch_execute("delete from iceberg_tables where table_name in ('a', 'b')")
        .await
        .unwrap();
    let held = asked(json!({})).await;
    assert_eq!(
        (&held["outcome"], &held["tables"]),
        (&json!("held_back"), &json!(3))
    );
    assert!(
        held["error"]
            .as_str()
            .unwrap()
            .contains("2 of 3 tables are gone"),
        "{held}"
    );
    let status = server.get("/tables/cache-status").await.json();
    assert_eq!(status["outcome"], "held_back");
    let forced = asked(json!({"force": true})).await;
    assert_eq!(
        (&forced["outcome"], &forced["tables"]),
        (&json!("synced"), &json!(1))
    );
    let tables = server.get("/tables").await.json();
    assert_eq!(tables["tables"].as_array().unwrap().len(), 1);

    // Another process is at it.
    let mut other = database.client().await;
    let tx = other.transaction().await.unwrap();
    let lock =
        "select pg_advisory_xact_lock(hashtextextended('snowpack loop table_cache_sync', 0))";
    tx.execute(lock, &[]).await.unwrap();
    let busy = server.call("POST", "/tables/cache/refresh").await;
    busy.problem(409, "already_running");
    tx.commit().await.unwrap();

    client
        .batch_execute("drop table iceberg_tables")
        .await
        .unwrap();
    let failed = asked(json!({})).await;
    assert_eq!(
        (&failed["outcome"], &failed["tables"]),
        (&json!("failed"), &json!(1))
    );
    server
        .stop(&[OPEN, "table cache not replaced", "a pass failed", "is gone"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn m20_readers_see_one_whole_set_whatever_is_swapped_meanwhile() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    for at in 0..8 {
        table(&database, &folder, &format!("db.a{at}")).await;
    }
    let server = server(&database, &SLOW).await;
    refresh(&server).await;
    let client = database.client().await;
    let done = AtomicBool::new(false);
    let swaps = async {
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "b")] {
            let rename = "update iceberg_tables set table_name = $2 || substr(table_name, 2)
                where table_name like $1 || '%'";
            assert_eq!(client.execute(rename, &[&from, &to]).await.unwrap(), 8);
            refresh(&server).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let reads = async {
        let mut sets: Vec<String> = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let tables = server.get("/tables").await.json();
            let names = tables["tables"].as_array().unwrap().iter();
            let mut letters: Vec<String> = names
                .map(|table| table["table"].as_str().unwrap()[..1].to_owned())
                .collect();
            assert_eq!(letters.len(), 8, "{tables}");
            letters.dedup();
            assert_eq!(letters.len(), 1, "{tables}");
            let seen = letters.remove(0);
            if sets.last() != Some(&seen) {
                sets.push(seen);
            }
        }
        assert!(
            sets.len() > 1,
            "nothing was swapped under a reader: {sets:?}"
        );
    };
    tokio::join!(swaps, reads);
    server.stop(&[OPEN]).await;
}
