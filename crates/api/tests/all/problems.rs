//! Bad requests: one body everywhere, the field named, with what is allowed.

use testkit::Database;

use crate::server::{OPEN, Server, cache, send};

/// Body, the field that is named, and a part of what is said of it.
const BAD: &[(&str, &str, &str)] = &[
    ("{", "body", "EOF"),
    ("", "body", "EOF"),
    ("{} {}", "body", "missing field `actions`"),
    ("{\"actions\": [\"purge_pending\"]} {}", "body", "trailing"),
    ("[]", "body", "expected an object"),
    ("{}", "body", "missing field `actions`"),
    (r#"{"actions": []}"#, "body.actions", "no action"),
    (
        r#"{"actions": null}"#,
        "body.actions",
        "expected a sequence",
    ),
    (
        r#"{"actions": "vacuum"}"#,
        "body.actions",
        "expected a sequence",
    ),
    (
        r#"{"actions": ["vacuum"]}"#,
        "body.actions[0]",
        "expected one of `expire_snapshots`",
    ),
    (
        r#"{"actions": ["purge_pending", 1]}"#,
        "body.actions[1]",
        "expected",
    ),
    (
        r#"{"actions": ["remove_orphan_files"], "options": {"remove_orphan_files": {"older_than": "soon"}}}"#,
        "body.options.remove_orphan_files.older_than",
        "2026-01-31T00:00:00Z",
    ),
    (
        r#"{"actions": ["purge_pending"], "x": 1}"#,
        "body.x",
        "unknown field `x`",
    ),
    (
        r#"{"actions": ["purge_pending"], "priority": 4}"#,
        "body.priority",
        "-3 to 3",
    ),
    (
        r#"{"actions": ["purge_pending"], "priority": "1"}"#,
        "body.priority",
        "expected i16",
    ),
    (
        r#"{"actions": ["purge_pending"], "priority": 99999}"#,
        "body.priority",
        "expected i16",
    ),
    (
        r#"{"actions": ["purge_pending"], "idempotency_key": ""}"#,
        "body.idempotency_key",
        "1 to 500",
    ),
    (
        r#"{"actions": ["rewrite_data_files"], "options": {"rewrite_data_files": {"nope": 1}}}"#,
        "body.options.rewrite_data_files.nope",
        "allowed: target-file-size-bytes",
    ),
    (
        r#"{"actions": ["rewrite_data_files"], "options": {"rewrite_data_files": {"where": []}}}"#,
        "body.options.rewrite_data_files.where",
        "expected a string, a number, true or false",
    ),
    (
        r#"{"actions": ["rewrite_data_files"], "options": {"purge_pending": {}}}"#,
        "body.options",
        "purge_pending",
    ),
    (
        r#"{"actions": ["rewrite_data_files"], "options": {"vacuum": {}}}"#,
        "body.options.vacuum",
        "unknown action `vacuum`; allowed: expire_snapshots",
    ),
];

#[tokio::test]
async fn m02_what_is_wrong_with_a_submission_is_named_and_nothing_is_stored() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let server = Server::start(&database).await;
    for (body, path, said) in BAD {
        let request = server.request("POST", "/tables/db/events/maintenance");
        let request = request.header("content-type", "application/json");
        let answer = send(request.body(*body)).await;
        answer.names(400, "bad_request", path, said);
    }
    let stored = "select count(*) from snowpack.jobs";
    let row = database
        .client()
        .await
        .query_one(stored, &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn an_unknown_route_and_an_unknown_method_are_problems_too() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    server.get("/nope").await.problem(404, "no_such_route");
    let answer = server.call("PATCH", "/jobs").await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "GET,HEAD");
    server.stop(&[OPEN]).await;
}
