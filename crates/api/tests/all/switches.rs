//! Drain mode and pause, and the order in which a submission is checked.

use queue::Call;
use serde_json::json;
use testkit::Database;

use crate::server::{OPEN, Server, cache, send, submit};

const ROUTE: &str = "/tables/db/events/maintenance";

#[tokio::test]
async fn m05_a_drained_fleet_refuses_new_jobs_and_goes_on_reading() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let job = submit(&database, "other").await;
    let server = Server::start(&database).await;
    let asked = json!({"drained": true, "reason": "upgrade"});
    let drained = server.send("PUT", "/drain", &asked).await.json();
    assert_eq!(drained["drained"], true);
    assert_eq!(drained["by"], "api:anonymous");
    assert_eq!(drained["reason"], "upgrade");
    assert!(drained["since"].is_string());

    let submission = json!({"actions": ["rewrite_data_files"]});
    let refused = server.send("POST", ROUTE, &submission).await;
    let body = refused.problem(503, "drain_mode");
    assert!(
        body["detail"].as_str().unwrap().contains("upgrade"),
        "{body}"
    );
    refused.header("retry-after");
    for path in ["/jobs", "/drain", "/loops", &format!("/jobs/{job}")] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    // Another process sees it at once, and who drained first is kept.
    let other = Server::start(&database).await;
    other
        .send("POST", ROUTE, &submission)
        .await
        .problem(503, "drain_mode");
    let again = other.send("PUT", "/drain", &json!({"drained": true})).await;
    assert_eq!(again.json(), drained);

    let back = server
        .send("PUT", "/drain", &json!({"drained": false}))
        .await;
    let want = json!({"drained": false, "since": null, "by": null, "reason": null});
    assert_eq!(back.json(), want);
    assert_eq!(other.send("POST", ROUTE, &submission).await.status, 202);
    server.stop(&[OPEN]).await;
    other.stop(&[OPEN]).await;
}

/// Everything is wrong at once; each mend brings the next refusal to light.
#[tokio::test]
async fn m05_a_submission_is_checked_in_the_written_order() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    server
        .send("PUT", "/drain", &json!({"drained": true}))
        .await;
    let (bad, good) = (
        json!({"actions": []}),
        json!({"actions": ["purge_pending"]}),
    );
    let bad_name = "/tables/db/a%00b/maintenance";
    server
        .send("POST", bad_name, &bad)
        .await
        .problem(503, "drain_mode");
    server
        .send("PUT", "/drain", &json!({"drained": false}))
        .await;
    server
        .send("POST", bad_name, &bad)
        .await
        .problem(422, "bad_name");
    submit(&database, "events").await;
    // The lock is taken and the table is not in the cache: that the action is missing comes first.
    server
        .send("POST", ROUTE, &bad)
        .await
        .problem(400, "bad_request");
    server
        .send("POST", ROUTE, &good)
        .await
        .problem(404, "no_such_table");
    cache(&database, &["events"]).await;
    server
        .send("POST", ROUTE, &good)
        .await
        .problem(409, "table_locked");
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn q36_a_lane_is_paused_and_goes_on_and_its_workers_are_woken() {
    let database = Database::new().await;
    let pool = database.pool().await;
    let mut calls = maintenance::queue().calls(&pool).await.unwrap();
    let server = Server::start(&database).await;
    let route = "/lanes/snowpack/pause";
    assert_eq!(server.get(route).await.json()["paused"], false);
    let asked = json!({"paused": true, "reason": "storage is slow"});
    let paused = server.send("PUT", route, &asked).await.json();
    assert_eq!(paused["paused"], true);
    assert_eq!(paused["reason"], "storage is slow");
    let state = maintenance::queue().paused(&database.client().await).await;
    assert_eq!(state.unwrap().unwrap().by, "api:anonymous");
    let back = server.send("PUT", route, &json!({"paused": false})).await;
    assert_eq!(back.json()["paused"], false);
    assert_eq!(calls.next().await, Call::Work);
    let state = maintenance::queue().paused(&database.client().await).await;
    assert_eq!(state.unwrap(), None);
    server
        .get("/lanes/other/pause")
        .await
        .problem(404, "no_such_lane");
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn a_switch_takes_what_it_knows_and_nothing_else() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    for (body, path, said) in [
        (json!({}), "body", "missing field `drained`"),
        (
            json!({"drained": "yes"}),
            "body.drained",
            "expected a boolean",
        ),
        (
            json!({"drained": true, "by": "x"}),
            "body.by",
            "unknown field",
        ),
        (
            json!({"drained": true, "reason": "a\nb"}),
            "body.reason",
            "control",
        ),
        (
            json!({"drained": true, "reason": "x".repeat(1_001)}),
            "body.reason",
            "1000 bytes",
        ),
    ] {
        let answer = server.send("PUT", "/drain", &body).await;
        answer.names(400, "bad_request", path, said);
    }
    let plain = send(server.request("PUT", "/drain").body("{\"drained\": true}")).await;
    plain.names(415, "media_type", "header.content-type", "application/json");
    assert_eq!(server.get("/drain").await.json()["drained"], false);
    server.stop(&[OPEN]).await;
}
