//! Submission by HTTP: what is checked, in which order, and what is stored.

use serde_json::json;
use testkit::Database;

use crate::server::{OPEN, Server, cache, submit};

const ROUTE: &str = "/tables/db/events/maintenance";

#[tokio::test]
async fn m01_valid_actions_for_a_known_table_become_a_pending_job() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let server = Server::start(&database).await;
    let asked = json!({
        "actions": ["purge_pending", "rewrite_data_files"],
        "options": {"rewrite_data_files": {"min-input-files": 2}},
        "priority": -1,
    });
    let answer = server.send("POST", ROUTE, &asked).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.header("retry-after"), "30");
    let job = answer.json();
    let place = format!("/jobs/{}", job["job_id"].as_str().unwrap());
    assert_eq!(answer.header("location"), place);
    assert_eq!(job["status"], "pending");
    assert_eq!(job["database"], "db");
    assert_eq!(job["table"], "events");
    assert_eq!(
        job["actions"],
        json!(["rewrite_data_files", "purge_pending"])
    );
    assert_eq!(job["options"]["rewrite_data_files"]["min-input-files"], "2");
    assert_eq!(job["queue"]["priority"], -1);
    assert_eq!(job["submitted_by"], "api:anonymous");

    let read = server.get(&place).await.json();
    for field in ["job_id", "status", "submitted_at", "options", "queue"] {
        assert_eq!(read[field], job[field], "{field}");
    }
    assert_eq!(read["results"], json!([]));
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
