//! Every operation of the OpenAPI document with what no honest caller sends: whatever it is, the
//! answer is a documented one and never our own fault. A new route is covered at once.

use serde_json::Value;
use testkit::Database;

use crate::server::{Answer, OPEN, Server, cache, send};

/// Percent-encoded, as they would stand in a path or a query.
const TEXTS: &[&str] = &[
    "%00",
    "a%00b",
    "%FF%FE",
    "%0A%0D",
    "..%2F..%2Fetc",
    "%27%3B%20drop%20table%20jobs%3B%20--",
    "%22",
    "%22%22.%22",
    "a.b.c",
    ".",
    "%25s%25n",
    "%F0%9F%92%A9",
    "%E2%80%AE",
    "-1",
    "9223372036854775808",
    "NaN",
    "1e999",
    "null",
    "true",
    "%7B%7D",
    "v1.00.0000000000000000",
    "v1.5b5d.ffffffffffffffff",
    "v0.5b5d.00",
];

/// Bodies that no route takes, and how they are refused.
const BODIES: &[(&[u8], &str, u16)] = &[
    (b"{", "application/json", 400),
    (b"[]", "application/json", 400),
    (b"\"text\"", "application/json", 400),
    (b"1e999", "application/json", 400),
    (b"{\"nobody knows\": 1}", "application/json", 400),
    (b"{\"a\": \"\xff\"}", "application/json", 400),
    (b"{\"a\": \"\\ud800\"}", "application/json", 400),
    (b"{} {}", "application/json", 400),
    (b"\xef\xbb\xbf{}", "application/json", 400),
    (b"{}", "text/plain", 415),
    (b"<a/>", "application/xml", 415),
    (b"a=1", "application/x-www-form-urlencoded", 415),
];

/// One operation, with names in its path that are good ones.
struct Operation {
    method: String,
    path: String,
    /// Of its path.
    names: Vec<String>,
    queries: Vec<String>,
    takes_body: bool,
    documented: Vec<u16>,
}

impl Operation {
    fn all(document: &Value) -> Vec<Self> {
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let parameters = operation["parameters"].as_array();
                let named = |place: &str| {
                    let all = parameters.into_iter().flatten();
                    let here = all.filter(|parameter| parameter["in"] == place);
                    let name = |parameter: &Value| parameter["name"].as_str().unwrap().to_owned();
                    here.map(name).collect()
                };
                let responses = operation["responses"].as_object().unwrap();
                all.push(Self {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    names: named("path"),
                    queries: named("query"),
                    takes_body: operation["requestBody"].is_object(),
                    documented: responses
                        .keys()
                        .map(|status| status.parse().unwrap())
                        .collect(),
                });
            }
        }
        all
    }

    /// The path with `text` for the name `which`.
    fn path(&self, which: &str, text: &str) -> String {
        let mut path = self.path.clone();
        for (name, good) in [
            ("database", "db"),
            ("table", "events"),
            ("job_id", "nobody"),
            ("lane", "snowpack"),
            ("run_id", "1"),
        ] {
            let text = if name == which { text } else { good };
            path = path.replace(&format!("{{{name}}}"), text);
        }
        assert!(!path.contains('{'), "{path}: say above what is a good name");
        path
    }

    /// What it needs to be asked at all.
    fn query(&self) -> &'static str {
        if self.path == "/jobs/history/health" {
            "table=db.events&"
        } else {
            ""
        }
    }

    #[track_caller]
    fn judge(&self, what: &str, answer: &Answer) {
        let Answer { status, text, .. } = answer;
        let asked = format!("{} {} with {what}: {status} {text}", self.method, self.path);
        assert!(self.documented.contains(status), "not documented: {asked}");
        assert_ne!(*status, 500, "{asked}");
        if *status >= 400 && !["/readyz", "/healthz"].contains(&self.path.as_str()) {
            let code = answer.json()["code"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            answer.problem(*status, &code);
        }
    }
}

#[tokio::test]
async fn hostile_names_and_queries_are_answered_as_documented() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let server = Server::start(&database).await;
    let long = "x".repeat(5_000);
    let texts: Vec<&str> = TEXTS.iter().copied().chain([long.as_str()]).collect();
    let document = server.get("/openapi.json").await.json();
    for operation in Operation::all(&document) {
        for name in &operation.names {
            // A client resolves a dot by itself.
            for text in texts.iter().filter(|text| **text != ".") {
                let path = operation.path(name, text);
                let answer = server.call(&operation.method, &path).await;
                operation.judge(&format!("{name}={text:.60}"), &answer);
            }
        }
        let path = operation.path("", "");
        for name in &operation.queries {
            for text in &texts {
                let asked = format!("{path}?{}{name}={text}", operation.query());
                let answer = server.call(&operation.method, &asked).await;
                operation.judge(&format!("?{name}={text:.60}"), &answer);
                if name == "cursor" {
                    assert_eq!(answer.status, 400, "{asked}");
                }
            }
            let twice = format!("{path}?{name}=1&{name}=2");
            let answer = server.call(&operation.method, &twice).await;
            answer.problem(400, "bad_request");
        }
        if !operation.queries.is_empty() {
            let unknown = format!("{path}?{}nobody_knows=1", operation.query());
            let answer = server.call(&operation.method, &unknown).await;
            answer.problem(400, "bad_request");
        }
    }
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn hostile_bodies_are_refused_at_every_route_that_takes_one() {
    let database = Database::new().await;
    cache(&database, &["events"]).await;
    let server = Server::start(&database).await;
    let document = server.get("/openapi.json").await.json();
    let takers = Operation::all(&document)
        .into_iter()
        .filter(|each| each.takes_body);
    let mut count = 0;
    for operation in takers {
        count += 1;
        let deep = format!("{{\"a\": {}", "[".repeat(100_000));
        let large = vec![b' '; 1024 * 1024 + 1];
        let more: [(&[u8], _, _); 2] = [
            (deep.as_bytes(), "application/json", 400),
            (&large, "application/json", 413),
        ];
        for (body, media_type, status) in BODIES.iter().chain(&more) {
            let request = server.request(&operation.method, &operation.path("", ""));
            let request = request
                .header("content-type", *media_type)
                .body(body.to_vec());
            let answer = send(request).await;
            let what = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            operation.judge(&what, &answer);
            assert_eq!(
                answer.status, *status,
                "{} {what}: {}",
                operation.path, answer.text
            );
        }
    }
    assert!(count >= 7, "{count}");
    server.stop(&[OPEN]).await;
}
