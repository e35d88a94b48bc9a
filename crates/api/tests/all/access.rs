//! Who is let in, and to what.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;
use sha2::{Digest, Sha256};
use testkit::Database;

use crate::server::{Server, cache, send};

/// A tokens file with one token of each role, and one that has expired.
fn file(folder: &tempfile::TempDir) -> PathBuf {
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

fn token(name: &str) -> String {
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
