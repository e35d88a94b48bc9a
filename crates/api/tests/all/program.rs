//! The program: how it starts, stops, and what it says about itself.

use std::path::Path;

use serde_json::Value;
use testkit::{Database, Process, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{API, OPEN, Server, cache, send};

#[tokio::test]
async fn it_answers_probes_and_describes_itself_without_a_token() {
    let database = Database::new().await;
    cache(&database, &[]).await;
    let server = Server::start(&database).await;
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(!answer.text.is_empty(), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    let page = server.get("/docs").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.text.contains("/tables/{database}/{table}/maintenance"));
    for foreign in ["http://", "https://", "<script", "src=", "@import"] {
        assert!(!page.text.contains(foreign), "{foreign}");
    }
    server.stop(&[OPEN]).await;
}

/// Every operation of the document: method, path with made-up names, and whether it wants a token.
pub(crate) fn operations(document: &Value) -> Vec<(String, String, bool)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut made_up = String::new();
        for part in path.split('/').skip(1) {
            made_up.push('/');
            made_up.push_str(if part.starts_with('{') { "x" } else { part });
        }
        for (method, operation) in item.as_object().unwrap() {
            let secured = operation.get("security").is_some();
            all.push((method.to_uppercase(), made_up.clone(), secured));
        }
    }
    all
}

#[tokio::test]
async fn every_route_is_documented_and_everything_documented_is_a_route() {
    // Routes are added by `routes!` alone, which documents what it adds.
    for entry in walk(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let text = std::fs::read_to_string(&entry).unwrap();
        for around in [".route(", ".route_service(", ".nest(", ".nest_service("] {
            assert!(!text.contains(around), "{}: {around}", entry.display());
        }
    }
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.toml");
    std::fs::write(&file, "").unwrap();
    let server = Server::guarded(&database, &file).await;
    let document = server.get("/openapi.json").await.json();
    let all = operations(&document);
    assert!(all.len() > 12, "{all:?}");
    for (method, path, secured) in &all {
        let answer = server.call(method, path).await;
        if *secured {
            answer.problem(401, "unauthenticated");
        } else {
            assert!(
                [200, 503].contains(&answer.status),
                "{path}: {}",
                answer.text
            );
        }
        let allowed = server.call("PATCH", path).await;
        allowed.problem(405, "method_not_allowed");
        let mut allowed: Vec<&str> = allowed.header("allow").split(',').map(str::trim).collect();
        let of_path = all.iter().filter(|(_, other, _)| other == path);
        let mut documented: Vec<&str> = of_path.map(|(method, ..)| method.as_str()).collect();
        if documented.contains(&"GET") {
            documented.push("HEAD");
        }
        allowed.sort_unstable();
        documented.sort_unstable();
        assert_eq!(allowed, documented, "{path}");
    }
    server.stop(&["lists no token"]).await;
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let inner = |path: std::path::PathBuf| {
        if path.is_dir() {
            walk(&path)
        } else {
            vec![path]
        }
    };
    paths.flat_map(inner).collect()
}

#[tokio::test]
async fn a_request_id_is_taken_if_it_is_sane_else_made_and_is_in_the_log() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    let ask = async |id: &str| {
        let request = server.request("GET", "/jobs").header("x-request-id", id);
        send(request).await.header("x-request-id").to_owned()
    };
    assert_eq!(ask("trace-7.a:b_C").await, "trace-7.a:b_C");
    server.process.mentions("trace-7.a:b_C").await;
    for odd in ["", "a b", "<script>", "a\"b", &"x".repeat(129)] {
        let made = ask(odd).await;
        assert_eq!(made.len(), 36, "{odd}: {made}");
        server.process.mentions(&made).await;
    }
    assert_ne!(ask("").await, ask("").await);
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn told_to_stop_it_is_not_ready_and_answers_until_it_is_told_again() {
    let database = Database::new().await;
    cache(&database, &[]).await;
    let more = [
        ("SNOWPACK_AUTH", "none"),
        ("SNOWPACK_API_LINGER_SECONDS", "600"),
    ];
    let server = Server::with(database.url(), &more).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    server.process.signal("TERM");
    until("it is not ready", async || {
        server.get("/readyz").await.status == 503
    })
    .await;
    assert!(server.get("/readyz").await.text.contains("stopping"));
    assert_eq!(
        server.get("/jobs").await.status,
        200,
        "load balancers are slow"
    );
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn a_request_on_its_way_is_answered_before_the_end() {
    let database = Database::new().await;
    let server = Server::start(&database).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let head = "PUT /drain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 16\r\nexpect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    // It asks for the body: the route is at work.
    let mut asked = [0; 25];
    slow.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.process.signal("TERM");
    server
        .process
        .logged("stopping: the grace period is over")
        .await;
    slow.write_all(b"{\"drained\":true}").await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    server.process.ended_with(0, &[OPEN]).await;
}

#[tokio::test]
async fn settings_that_would_open_a_network_by_accident_are_refused() {
    let database = Database::new().await;
    let own = [
        ("SNOWPACK_DATABASE_URL", database.url()),
        ("SNOWPACK_AUTH", "none"),
    ];
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let open = ("SNOWPACK_API_ADDR", address);
        let process = Process::start(API, &[&own[..], &[open]].concat(), &[]);
        assert_eq!(process.ended().await.code(), Some(2));
        assert!(
            process.log().contains("SNOWPACK_AUTH_INSECURE=true"),
            "{}",
            process.log()
        );
    }
    let forced = [
        ("SNOWPACK_API_ADDR", "0.0.0.0:0"),
        ("SNOWPACK_AUTH_INSECURE", "true"),
    ];
    let process = Process::start(API, &[&own[..], &forced].concat(), &[]);
    process.address("api listens").await;
    process.mentions("no authentication").await;
    for (name, value) in [
        ("SNOWPACK_AUTH", "tokens"),
        ("SNOWPACK_AUTH", "jwt"),
        ("SNOWPACK_AUTH", "off"),
    ] {
        let process = Process::start(API, &[own[0], (name, value)], &[]);
        assert_eq!(process.ended().await.code(), Some(2), "{value}");
        assert!(process.log().contains("SNOWPACK_"), "{}", process.log());
    }
    let process = Process::start(API, &own[..1], &[]);
    assert_eq!(
        process.ended().await.code(),
        Some(2),
        "authentication has no default"
    );
    assert!(process.log().contains("SNOWPACK_AUTH"), "{}", process.log());
}

#[tokio::test]
async fn a_deployment_migrates_and_waits_for_it() {
    let database = Database::empty().await;
    let url = [("SNOWPACK_DATABASE_URL", database.url())];
    let early = Process::start(API, &url, &["wait-for-db", "--timeout", "0"]);
    assert_eq!(early.ended().await.code(), Some(1));
    assert!(early.log().contains("snowpack migrate"), "{}", early.log());
    let waits = Process::start(API, &url, &["wait-for-db"]);
    waits.logged("waiting to start").await;
    for _ in 0..2 {
        let migrates = Process::start(API, &url, &["migrate"]);
        migrates.ended_with(0, &[]).await;
    }
    waits.ended_with(0, &["waiting to start"]).await;
}

#[tokio::test]
async fn loops_take_turns_and_say_how_it_went() {
    let database = Database::new().await;
    let (one, other) = (
        Server::start(&database).await,
        Server::start(&database).await,
    );
    let mut swept = Value::Null;
    until("the queue was swept", async || {
        let loops = one.get("/loops").await.json();
        let found = loops["loops"]
            .as_array()
            .unwrap()
            .iter()
            .find(|pass| pass["name"] == "sweep");
        swept = found.cloned().unwrap_or_default();
        swept["outcome"] == "done"
    })
    .await;
    assert!(
        swept["holder"]
            .as_str()
            .unwrap()
            .starts_with("snowpack-api-")
    );
    assert!(
        swept["detail"].as_str().unwrap().contains("0 reset"),
        "{swept}"
    );
    let seen = other.get("/loops").await.json();
    let names = seen["loops"].as_array().unwrap().iter();
    assert!(
        names.map(|pass| &pass["name"]).any(|name| name == "sweep"),
        "{seen}"
    );
    one.stop(&[OPEN]).await;
    other.stop(&[OPEN]).await;
}

#[tokio::test]
async fn it_serves_with_what_a_file_says_with_and_without_its_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snowpack.toml");
    let text = "auth = 'none'\ndatabase_url = 'postgres://u:hunter2@127.0.0.1:1/db'\n\
                api_addr = '127.0.0.1:0'\nstart_seconds = 0\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    for words in [
        &["--config", path][..],
        &["serve", "--config", path],
        &["--config", path, "serve"],
    ] {
        let process = Process::start(API, &[], words);
        let status = process.ended().await;
        let log = process.log();
        assert_eq!(status.code(), Some(1), "{log}");
        let last = log.lines().last().unwrap();
        assert!(last.contains("127.0.0.1:1, database db"), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
}
