//! Jobs as they are listed, cancelled and hidden.

use std::collections::BTreeSet;

use model::JobId;
use serde_json::{Value, json};
use testkit::{Database, until};

use crate::server::{OPEN, Server, submit};

/// As a worker would, long ago.
async fn end(database: &Database, job: &JobId, status: &str) {
    let client = database.client().await;
    let id = job.as_str();
    let queue = "delete from snowpack.job_queue where job_id = $1";
    client.execute(queue, &[&id]).await.unwrap();
    let lock = "delete from snowpack.table_locks where holder = $1";
    client.execute(lock, &[&id]).await.unwrap();
    let record = "update snowpack.jobs set status = $2, completed_at = now(),
        reason = case when $2 = 'failed' then 'exhausted' end where job_id = $1";
    assert_eq!(client.execute(record, &[&id, &status]).await.unwrap(), 1);
}

fn ids(page: &Value) -> Vec<String> {
    let jobs = page["jobs"].as_array().unwrap();
    let id = |job: &Value| job["job_id"].as_str().unwrap().to_owned();
    jobs.iter().map(id).collect()
}

#[tokio::test]
async fn m29_jobs_are_listed_by_status_and_table_without_the_hidden_ones() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    let (done, waits, hidden) = (
        submit(&database, "done").await,
        submit(&database, "waits").await,
        submit(&database, "hidden").await,
    );
    end(&database, &done, "completed").await;
    end(&database, &hidden, "failed").await;
    let answer = server.call("DELETE", &format!("/jobs/{hidden}")).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    for (query, want) in [
        ("", vec![&waits, &done]),
        ("?status=completed", vec![&done]),
        ("?status=failed", vec![]),
        ("?table=db.waits", vec![&waits]),
        ("?table=db.done&status=pending", vec![]),
        ("?database=db", vec![&waits, &done]),
        ("?database=d", vec![]),
        ("?since=2020-01-01T00:00:00Z&status=pending", vec![&waits]),
        ("?since=2999-01-01T00:00:00%2B02:00", vec![]),
        ("?table=\"db\".waits", vec![&waits]),
    ] {
        let page = server.get(&format!("/jobs{query}")).await.json();
        let want: Vec<String> = want.into_iter().map(ToString::to_string).collect();
        assert_eq!(ids(&page), want, "{query}");
        assert_eq!(page["next_cursor"], Value::Null, "{query}");
    }
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m29_pages_hold_every_job_once_whatever_is_submitted_meanwhile() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    let mut all = BTreeSet::new();
    for table in 0..7 {
        all.insert(submit(&database, &format!("t{table}")).await.to_string());
    }
    // All of one moment: the id alone tells them apart.
    let same = "update snowpack.jobs set submitted_at = '2026-01-01T00:00:00.000001Z'";
    database.client().await.execute(same, &[]).await.unwrap();
    let (mut seen, mut query, mut pages) = (Vec::new(), "?limit=3".to_owned(), 0);
    loop {
        let page = server.get(&format!("/jobs{query}")).await.json();
        seen.extend(ids(&page));
        pages += 1;
        submit(&database, &format!("later{pages}")).await;
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=3&cursor={cursor}");
    }
    assert_eq!(pages, 3);
    assert_eq!(seen.len(), all.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);

    let first = server.get("/jobs?limit=2").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    for stale in [
        format!("status=pending&cursor={cursor}"),
        format!("cursor={cursor}0"),
        format!("cursor={}", cursor.replace("v1", "v0")),
        "cursor=".to_owned(),
        "cursor=%01".to_owned(),
    ] {
        let answer = server.get(&format!("/jobs?{stale}")).await;
        answer.names(400, "bad_cursor", "query.cursor", "leave it out");
    }
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m29_a_time_that_postgres_does_not_hold_is_refused() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    for path in ["/jobs", "/jobs/history"] {
        for since in ["-009998-01-01T00:00:00Z", "-004800-01-01T00:00:00Z", "2026"] {
            let answer = server.get(&format!("{path}?since={since}")).await;
            answer.names(400, "bad_request", "query.since", "2026-01-31");
        }
        for since in ["0000-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
            let answer = server.get(&format!("{path}?since={since}")).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
    }
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m29_a_page_has_a_limit() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    for limit in ["0", "501", "-1", "x", "1e2", "", "99999999999999999999"] {
        let answer = server.get(&format!("/jobs?limit={limit}")).await;
        answer.names(400, "bad_request", "query.limit", "from 1 to 500");
    }
    for (query, path, said) in [
        ("status=odd", "query.status", "expected one of `pending`"),
        ("statu=pending", "query.statu", "unknown field `statu`"),
        ("status=pending&status=failed", "query", "duplicate field"),
        ("table=events", "query.table", "no namespace"),
        ("since=yesterday", "query.since", "2026-01-31T00:00:00Z"),
        ("table=%22db.t", "query.table", "not closed"),
    ] {
        let answer = server.get(&format!("/jobs?{query}")).await;
        answer.names(400, "bad_request", path, said);
    }
    assert_eq!(server.get("/jobs?limit=500").await.status, 200);
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m31_a_job_that_ended_can_be_hidden_and_a_live_one_cannot() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    let job = submit(&database, "events").await;
    let route = format!("/jobs/{job}");
    let body = server.call("DELETE", &route).await.problem(409, "job_live");
    assert_eq!(body["job_id"], job.as_str());
    assert_eq!(server.get(&route).await.status, 200);

    let cancelled = server.call("POST", &format!("{route}/cancel")).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    let want = json!({"job_id": job.as_str(), "cancelled": true});
    assert_eq!(cancelled.json(), want);
    let again = server.call("POST", &format!("{route}/cancel")).await;
    again.problem(409, "job_ended");

    assert_eq!(server.call("DELETE", &route).await.status, 204);
    server.get(&route).await.problem(404, "no_such_job");
    server
        .call("DELETE", &route)
        .await
        .problem(404, "no_such_job");
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn a_running_job_is_cancelled_at_its_next_safe_point() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    let job = submit(&database, "events").await;
    let claim = "update snowpack.job_queue set claimed_at = now(), claimed_by = 'w',
        attempt_id = 'a', attempt_count = 1, visible_at = now() + interval '1 hour'";
    database.client().await.execute(claim, &[]).await.unwrap();
    let answer = server.call("POST", &format!("/jobs/{job}/cancel")).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.json()["cancelled"], false);
    let read = server.get(&format!("/jobs/{job}")).await.json();
    assert_eq!(read["queue"]["cancel_requested"], true);
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn an_id_that_is_no_jobs_is_not_found_whatever_it_holds() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    for id in [
        "x",
        "%27%3B--",
        "..%2F..",
        "%C3%A9",
        "%00",
        "%FF",
        "a%00",
        &"9".repeat(5_000),
    ] {
        for (method, more) in [("GET", ""), ("DELETE", ""), ("POST", "/cancel")] {
            let answer = server.call(method, &format!("/jobs/{id}{more}")).await;
            answer.problem(404, "no_such_job");
        }
    }
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m30_a_job_that_retention_let_go_is_listed_and_read_from_the_history() {
    let database = Database::new().await;
    let (old, new) = (
        submit(&database, "old").await,
        submit(&database, "new").await,
    );
    end(&database, &old, "completed").await;
    let age = "update snowpack.jobs set submitted_at = now() - interval '100 days',
        started_at = now() - interval '100 days', completed_at = now() - interval '99 days'
        where job_id = $1";
    database
        .client()
        .await
        .execute(age, &[&old.as_str()])
        .await
        .unwrap();
    let server = Server::start(&database).await;
    until("retention was at work", async || {
        !ids(&server.get("/jobs").await.json()).contains(&old.to_string())
    })
    .await;
    let page = server.get("/jobs/history?limit=1").await.json();
    assert_eq!(ids(&page), [new.to_string()]);
    assert_eq!(page["jobs"][0]["archived_at"], Value::Null);
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = server
        .get(&format!("/jobs/history?limit=1&cursor={cursor}"))
        .await
        .json();
    assert_eq!(ids(&page), [old.to_string()]);
    assert!(page["jobs"][0]["archived_at"].is_string(), "{page}");
    let listed = server
        .get("/jobs/history?table=db.old&status=completed")
        .await
        .json();
    assert_eq!(ids(&listed), [old.to_string()]);
    let read = server.get(&format!("/jobs/{old}")).await.json();
    assert_eq!(
        (&read["job_id"], &read["status"]),
        (&json!(old.as_str()), &json!("completed"))
    );
    // A cursor of one listing is none of the other.
    let other = server.get(&format!("/jobs?limit=1&cursor={cursor}")).await;
    other.names(400, "bad_cursor", "query.cursor", "leave it out");
    server.stop(&[OPEN]).await;
}
