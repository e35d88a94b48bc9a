//! Who is let in, and to what.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;
use sha2::{Digest, Sha256};
use testkit::{Database, until};

use crate::program::operations;
use crate::server::{Server, cache, send};

/// A tokens file with one token of each role, and one that has expired.
pub(crate) fn file(folder: &tempfile::TempDir) -> PathBuf {
    let path = folder.path().join("tokens.toml");
    let mut text = String::new();
    for (name, role, more) in [
        ("reader", "reader", ""),
        ("operator", "operator", ""),
        ("admin", "admin", "expires = '2999-01-01T00:00:00Z'"),
        ("late", "admin", "expires = '2001-01-01T00:00:00Z'"),
    ] {
        let hash = Sha256::digest(token(name));
        let hash = hash.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        });
        let entry = format!("name = '{name}'\nrole = '{role}'\nsha256 = '{hash}'\n{more}\n");
        write!(text, "[[token]]\n{entry}").unwrap();
    }
    std::fs::write(&path, text).unwrap();
    path
}

pub(crate) fn token(name: &str) -> String {
    format!("{name}-0123456789abcdef")
}

#[tokio::test]
async fn each_role_may_do_its_own_and_what_those_below_may() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::guarded(&database, &file(&folder)).await;
    let submit = json!({"actions": ["rewrite_data_files"]});
    let drain = json!({"drained": false});
    for (name, allowed) in [("reader", 1), ("operator", 2), ("admin", 3)] {
        for (level, (method, path, body)) in [
            ("GET", "/jobs", None),
            ("POST", "/tables/db/none/maintenance", Some(&submit)),
            ("PUT", "/drain", Some(&drain)),
        ]
        .into_iter()
        .enumerate()
        {
            let mut request = server.request(method, path).bearer_auth(token(name));
            if let Some(body) = body {
                let json = request.header("content-type", "application/json");
                request = json.body(body.to_string());
            }
            let answer = send(request).await;
            if level < allowed {
                assert!(
                    [200, 404].contains(&answer.status),
                    "{name} {path}: {}",
                    answer.text
                );
            } else {
                let body = answer.problem(403, "forbidden");
                let detail = body["detail"].as_str().unwrap();
                assert!(detail.contains("needs the role"), "{detail}");
            }
        }
    }
    server.stop(&[]).await;
}

#[tokio::test]
async fn every_route_that_changes_something_needs_the_role_for_it() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::guarded(&database, &file(&folder)).await;
    let document = server.get("/openapi.json").await.json();
    let mut changing = 0;
    for (method, path, secured) in operations(&document) {
        // Whoever writes what concerns everybody (PUT) is an admin.
        let too_low: &[&str] = match method.as_str() {
            "GET" => continue,
            "PUT" => &["reader", "operator"],
            _ => &["reader"],
        };
        assert!(secured, "{method} {path}");
        changing += 1;
        for name in too_low {
            let request = server.request(&method, &path).bearer_auth(token(name));
            send(request).await.problem(403, "forbidden");
        }
    }
    assert!(changing >= 7, "{changing}");
    server.stop(&[]).await;
}

#[tokio::test]
async fn a_token_is_nowhere_but_in_its_one_header_and_never_in_the_log() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::guarded(&database, &file(&folder)).await;
    let bearer = format!("Bearer {}", token("admin"));
    let get = |path: &str| server.request("GET", path);
    let twice = get("/jobs").header("authorization", &bearer);
    for request in [
        twice.header("authorization", &bearer),
        get("/jobs").header("authorization", format!("{bearer}, {bearer}")),
        get("/jobs").header("authorization", bearer.replace(' ', "\t")),
        get("/jobs").header("proxy-authorization", &bearer),
        get("/jobs").header("cookie", format!("authorization={bearer}")),
        get("/jobs").header("x-forwarded-user", "admin"),
        get(&format!("/jobs?access_token={}", token("admin"))),
    ] {
        send(request).await.problem(401, "unauthenticated");
    }
    let good = get("/jobs").header("AUTHORIZATION", bearer.replace("Bearer", "bEARER "));
    assert_eq!(send(good).await.status, 200);
    assert!(!server.process.log().contains(&token("admin")));
    server.stop(&[]).await;
}

#[tokio::test]
async fn without_a_good_token_nobody_is_let_in() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::guarded(&database, &file(&folder)).await;
    let answer = server.get("/jobs").await;
    answer.problem(401, "unauthenticated");
    assert_eq!(
        answer.header("www-authenticate"),
        "Bearer realm=\"snowpack\""
    );
    for (scheme, token) in [
        ("Bearer", token("late")),
        ("Bearer", token("nobody")),
        ("Bearer", String::new()),
        ("Basic", token("admin")),
        ("bearer", format!("{} {}", token("admin"), token("admin"))),
    ] {
        let request = server.request("GET", "/jobs");
        let answer = send(request.header("authorization", format!("{scheme} {token}"))).await;
        answer.problem(401, "unauthenticated");
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
    server.stop(&[]).await;
}

#[tokio::test]
async fn the_file_is_read_again_when_it_changes_and_a_bad_one_changes_nothing() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let server = Server::guarded(&database, &path).await;
    let status = async |name: &str| {
        let request = server.request("GET", "/jobs").bearer_auth(token(name));
        send(request).await.status
    };
    assert_eq!(status("reader").await, 200);
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "[[token]]\nname = 'half").unwrap();
    server
        .process
        .mentions("the tokens file is not taken")
        .await;
    assert_eq!(status("reader").await, 200, "those read before hold");
    let without = good.replacen(
        "[[token]]\nname = 'reader'\nrole = 'reader'",
        "[[token]]\nname = 'r2'\nrole = 'admin'",
        1,
    );
    let (_, rest) = without.split_once("[[token]]\nname = 'operator'").unwrap();
    std::fs::write(&path, format!("[[token]]\nname = 'operator'{rest}")).unwrap();
    until("the token is gone", async || status("reader").await == 401).await;
    assert_eq!(status("operator").await, 200);
    server.stop(&["the tokens file is not taken"]).await;
}

#[tokio::test]
async fn a_caller_that_asks_too_often_is_told_when_to_come_back() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    let more = [
        ("SNOWPACK_AUTH", "tokens"),
        ("SNOWPACK_TOKENS_FILE", file.to_str().unwrap()),
        ("SNOWPACK_RATE_PER_SECOND", "1"),
    ];
    let server = Server::with(database.url(), &more).await;
    let ask =
        async |name: &str| send(server.request("GET", "/jobs").bearer_auth(token(name))).await;
    let mut last = ask("reader").await;
    until("it is too often", async || {
        last = ask("reader").await;
        last.status != 200
    })
    .await;
    last.problem(429, "too_many_requests");
    assert_eq!(last.header("retry-after"), "1");
    assert_eq!(
        ask("operator").await.status,
        200,
        "another caller has its own"
    );
    assert_eq!(
        server.get("/readyz").await.status,
        503,
        "probes are not counted"
    );
    until("it may ask again", async || {
        ask("reader").await.status == 200
    })
    .await;
    server.stop(&[]).await;
}

#[tokio::test]
async fn wrong_credentials_are_bounded_by_address_and_good_ones_are_let_in() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder);
    let more = [
        ("SNOWPACK_AUTH", "tokens"),
        ("SNOWPACK_TOKENS_FILE", file.to_str().unwrap()),
        ("SNOWPACK_API_PROXIES", "1"),
    ];
    let server = Server::with(database.url(), &more).await;
    let ask = async |from: &str, name: &str| {
        let request = server
            .request("GET", "/jobs")
            .header("x-forwarded-for", from);
        send(request.bearer_auth(token(name))).await
    };
    let mut guesses = 0;
    until("guessing ends", async || {
        guesses += 1;
        // What a caller writes itself stands before what our proxy saw.
        let from = format!("10.9.9.{guesses}, 192.0.2.1");
        ask(&from, "guess").await.status == 429
    })
    .await;
    assert!((20..200).contains(&guesses), "{guesses}");
    let known = ask("192.0.2.1", "admin").await;
    assert_eq!(known.status, 200, "nobody is locked out by a neighbour");
    until("it is told when to come back", async || {
        let refused = ask("192.0.2.1", "guess").await;
        refused.status == 429 && refused.header("retry-after") == "1"
    })
    .await;
    ask("192.0.2.2", "guess")
        .await
        .problem(401, "unauthenticated");
    server.stop(&[]).await;
}
