//! README's table of routes is what the API does, and for whom.

use std::fmt::Write as _;
use std::path::Path;

use testkit::Database;

use crate::access::{file, token};
use crate::server::{Server, send};

/// The least role that is not refused for being too low.
async fn role(server: &Server, method: &str, path: &str) -> &'static str {
    if server.call(method, path).await.status != 401 {
        return "anybody";
    }
    for role in ["reader", "operator"] {
        let request = server.request(method, path).bearer_auth(token(role));
        if send(request).await.status != 403 {
            return role;
        }
    }
    "admin"
}

#[tokio::test]
async fn readme_lists_every_route_with_the_role_it_needs() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let server = Server::guarded(&database, &file(&folder)).await;
    let document = server.get("/openapi.json").await.json();
    let mut table = "| route | role | what |\n|---|---|---|\n".to_owned();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase();
            let made_up: Vec<&str> = path
                .split('/')
                .map(|part| if part.starts_with('{') { "x" } else { part })
                .collect();
            let role = role(&server, &method, &made_up.join("/")).await;
            let what = operation["summary"].as_str().unwrap();
            writeln!(table, "| `{method} {path}` | {role} | {what} |").unwrap();
        }
    }
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, rest) = readme.split_once("<!-- routes -->\n").unwrap();
    let (written, _) = rest.split_once("<!-- /routes -->").unwrap();
    assert!(written == table, "README should say:\n{table}");
    server
        .stop(&["table cache not replaced", "request failed"])
        .await;
}
