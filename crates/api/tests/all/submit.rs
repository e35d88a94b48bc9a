//! Submission by HTTP: what is checked and what is stored.

use serde_json::{Value, json};
use testkit::Database;

use crate::access::{file, token};
use crate::server::{Answer, OPEN, Server, cache, send, submit};

const ROUTE: &str = "/tables/db/events/maintenance";

#[tokio::test]
async fn m01_valid_actions_for_a_known_table_become_a_pending_job() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let server = Server::start(&database).await;
    let asked = json!({
        "actions": ["purge_pending", "rewrite_data_files"],
        "options": {"rewrite_data_files": {"min-input-files": 2, "rewrite-all": true}},
        "priority": -1,
    });
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = server.request("POST", ROUTE).header("traceparent", trace);
    let request = request.header("content-type", "application/json; charset=utf-8");
    let answer = send(request.body(asked.to_string())).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.header("retry-after"), "30");
    let job = answer.json();
    let id = job["job_id"].as_str().unwrap();
    let place = format!("/jobs/{id}");
    assert_eq!(answer.header("location"), place);
    assert_eq!(job["status"], "pending");
    assert_eq!(
        (&job["database"], &job["table"]),
        (&json!("db"), &json!("events"))
    );
    assert_eq!(
        job["actions"],
        json!(["rewrite_data_files", "purge_pending"])
    );
    let options = json!({"rewrite_data_files": {"min-input-files": "2", "rewrite-all": "true"}});
    assert_eq!(job["options"], options);
    assert_eq!(job["queue"]["priority"], -1);
    assert_eq!(job["submitted_by"], "api:anonymous");
    assert_eq!(job["results"], json!([]));
    assert_eq!(server.get(&place).await.json(), job);
    let kept = "select trace_context from snowpack.jobs where job_id = $1";
    let row = database
        .client()
        .await
        .query_one(kept, &[&id])
        .await
        .unwrap();
    assert_eq!(row.get::<_, Option<String>>(0).as_deref(), Some(trace));
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m03_a_table_that_is_not_in_the_cache_is_not_found() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let server = Server::start(&database).await;
    let asked = json!({"actions": ["rewrite_data_files"]});
    for route in [
        "/db/Events",
        "/db/event",
        "/d/bevents",
        "/db/%22events%22",
        "/db/..",
        "/db/e.v",
    ] {
        let route = format!("/tables{route}/maintenance");
        let answer = server.send("POST", &route, &asked).await;
        // A client may take `..` out of the path before it is sent.
        if answer.status != 404 || answer.json()["code"] != "no_such_route" {
            answer.problem(404, "no_such_table");
        }
    }
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m03_names_that_cannot_be_a_tables_are_refused_whatever_they_hold() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    let asked = json!({"actions": ["rewrite_data_files"]});
    let long = "x".repeat(3_000);
    for (name, said) in [
        ("db/a%00b", "control character"),
        ("d%0Ab/t", "control character"),
        ("%22db/t", "not closed"),
        ("db./t", "empty"),
        (".db/t", "empty"),
        ("d%22b/t", "quote"),
        (&format!("db/{long}"), "2,000 bytes"),
    ] {
        let answer = server
            .send("POST", &format!("/tables/{name}/maintenance"), &asked)
            .await;
        answer.names(422, "bad_name", "path", said);
    }
    let answer = server
        .send("POST", "/tables/db/%FF/maintenance", &asked)
        .await;
    let body = answer.problem(422, "bad_name");
    assert!(body["detail"].as_str().unwrap().contains("UTF-8"), "{body}");
    for name in [
        "db/';drop table snowpack.jobs;--",
        "db/%3Cscript%3E",
        "größe/表",
        "a.b.c/t",
    ] {
        let answer = server
            .send("POST", &format!("/tables/{name}/maintenance"), &asked)
            .await;
        answer.problem(404, "no_such_table");
    }
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m04_a_table_another_job_holds_is_refused_naming_it() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let holder = submit(&database, "events").await;
    let server = Server::start(&database).await;
    let asked = json!({"actions": ["rewrite_data_files"]});
    let refused = server.send("POST", ROUTE, &asked).await;
    let body = refused.problem(409, "table_locked");
    assert_eq!(body["job_id"], holder.as_str());
    assert!(body["detail"].as_str().unwrap().contains(holder.as_str()));
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m01_the_same_key_is_the_same_job_of_the_same_caller_only() {
    let database = Database::new().await;
    cache(&database, &["events", "other"]).await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::guarded(&database, &file(&folder)).await;
    let ask = async |caller: &str, table: &str, body: &Value| -> Answer {
        let request = server.request("POST", &format!("/tables/db/{table}/maintenance"));
        let request = request.header("content-type", "application/json");
        send(request.bearer_auth(token(caller)).body(body.to_string())).await
    };
    let asked = json!({"actions": ["rewrite_data_files"], "idempotency_key": "k1"});
    let first = ask("operator", "events", &asked).await;
    assert_eq!(first.status, 202, "{}", first.text);
    assert_eq!(first.json()["submitted_by"], "api:operator");
    let again = ask("operator", "events", &asked).await;
    assert_eq!(again.status, 200, "{}", again.text);
    assert_eq!(again.json(), first.json());
    assert_eq!(again.header("location"), first.header("location"));

    let other_work = json!({"actions": ["purge_pending"], "idempotency_key": "k1"});
    let refused = ask("operator", "events", &other_work).await;
    refused.names(422, "idempotency_key_reused", "body.idempotency_key", "k1");
    // Another caller's key is another key: it neither finds the job nor collides with it.
    let other = ask("admin", "other", &asked).await;
    assert_eq!(other.status, 202, "{}", other.text);
    assert_ne!(other.json()["job_id"], first.json()["job_id"]);
    server.stop(&[]).await;
}

#[tokio::test]
async fn a_job_that_failed_is_tried_again_as_a_new_one() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let server = Server::start(&database).await;
    let job = submit(&database, "events").await;
    let route = format!("/jobs/{job}/retry");
    server.call("POST", &route).await.problem(409, "job_live");
    server.call("POST", &format!("/jobs/{job}/cancel")).await;
    let again = server.call("POST", &route).await;
    assert_eq!(again.status, 202, "{}", again.text);
    let new = again.json();
    assert_eq!(new["retry_of"], job.as_str());
    assert_eq!(
        (&new["status"], &new["submitted_by"]),
        (&json!("pending"), &json!("api:anonymous"))
    );
    let body = server
        .call("POST", &route)
        .await
        .problem(409, "table_locked");
    assert_eq!(body["job_id"], new["job_id"]);
    server
        .call("POST", "/jobs/none/retry")
        .await
        .problem(404, "no_such_job");
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn a_body_is_taken_up_to_a_mebibyte_announced_or_not() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let server = Server::start(&database).await;
    let json = |size: usize| {
        let asked = json!({"actions": ["rewrite_data_files"]}).to_string();
        format!("{asked}{}", " ".repeat(size - asked.len()))
    };
    let request = || {
        server
            .request("POST", ROUTE)
            .header("content-type", "application/json")
    };
    let large = send(request().body(json(1024 * 1024 + 1))).await;
    large.names(413, "too_large", "body", "1048576 bytes");
    let chunks: Vec<Result<String, std::io::Error>> = vec![Ok(json(700_000)), Ok(json(700_000))];
    let unannounced = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    send(request().body(unannounced))
        .await
        .problem(413, "too_large");
    let deep = format!("{{\"actions\": {}", "[".repeat(100_000));
    send(request().body(deep)).await.problem(400, "bad_request");
    let fits = send(request().body(json(1024 * 1024))).await;
    assert_eq!(fits.status, 202, "{}", fits.text);
    server.stop(&[OPEN]).await;
}
