//! What every program shows to Prometheus, judged by promtool.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use testkit::{Database, Process, binary, get};

/// Demands that promtool finds nothing wrong with a page.
#[track_caller]
fn judge(program: &str, page: &str) {
    let promtool = std::env::var("SNOWPACK_TEST_PROMTOOL")
        .expect("SNOWPACK_TEST_PROMTOOL names promtool; tests/run sets it");
    let mut child = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start {promtool}: {error}"));
    let mut page_in = child.stdin.take().expect("stdin is piped");
    page_in.write_all(page.as_bytes()).expect("write the page");
    drop(page_in);
    let judged = child.wait_with_output().expect("wait for promtool");
    let wrong = String::from_utf8_lossy(&judged.stderr);
    assert!(judged.status.success(), "{program}: {wrong}\n{page}");
    assert!(page.lines().count() > 5, "{program}: {page}");
}

#[tokio::test]
async fn m32_promtool_finds_nothing_wrong_with_any_page_of_metrics() {
    let database = Database::new().await;
    let url = ("SNOWPACK_DATABASE_URL", database.url());
    for (program, message, own) in [
        (
            "snowpack-api",
            "api listens",
            ("SNOWPACK_API_ADDR", "127.0.0.1:0"),
        ),
        (
            "snowpack-worker",
            "admin server listens",
            ("SNOWPACK_ADMIN_ADDR", "127.0.0.1:0"),
        ),
        (
            "snowpack-scaler",
            "scaler listens",
            ("SNOWPACK_SCALER_ADDR", "127.0.0.1:0"),
        ),
    ] {
        let mut variables = vec![url, own, ("SNOWPACK_SCALER_GRPC_ADDR", "127.0.0.1:0")];
        if program == "snowpack-api" {
            variables.push(("SNOWPACK_AUTH", "none"));
        }
        let process = Process::start(binary(program), &variables, &[]);
        let address: SocketAddr = process.address(message).await;
        // Some series come with the first request.
        for path in ["/readyz", "/ready-count", "/metrics"] {
            get(address, path, &[]).await;
        }
        let (status, page) = get(address, "/metrics", &[]).await;
        assert_eq!(status, 200, "{program}");
        judge(program, &page);
        process.signal("TERM");
        process.ended().await;
    }
}
