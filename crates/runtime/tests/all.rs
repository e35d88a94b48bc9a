//! The admin server over a real socket, spoken to byte by byte.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use runtime::{Admin, AdminArgs, Ready};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn server(ready: Ready) -> Server {
    let registry = runtime::metrics::registry("test").unwrap();
    let stop = CancellationToken::new();
    let args = AdminArgs {
        admin_addr: "127.0.0.1:0".parse().unwrap(),
    };
    let (address, task) = Admin::new(registry, ready)
        .start(&args, stop.clone())
        .await
        .unwrap();
    Server {
        address,
        stop,
        task,
    }
}

fn always(answer: Result<(), String>) -> Ready {
    Arc::new(move || futures::future::ready(answer.clone()).boxed())
}

impl Server {
    /// Sends `request` as it is and reads until the server closes.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let answer = self
            .raw(&format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            ))
            .await;
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn liveness_needs_nothing_and_readiness_says_why_not() {
    let server = server(always(Err("draining".to_owned()))).await;
    assert_eq!(
        server.ask("GET", "/healthz").await,
        (200, "ok\n".to_owned())
    );
    assert_eq!(
        server.ask("GET", "/readyz").await,
        (503, "not ready: draining\n".to_owned())
    );
    server.end().await;
}

#[tokio::test]
async fn a_ready_process_says_so_and_shows_its_build() {
    let server = server(always(Ok(()))).await;
    assert_eq!(
        server.ask("GET", "/readyz").await,
        (200, "ready\n".to_owned())
    );
    let (status, page) = server.ask("GET", "/metrics").await;
    assert_eq!(status, 200);
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("snowpack_build_info{{program=\"test\",version=\"{version}\"}} 1\n");
    assert!(page.contains(&build), "{page}");
    server.end().await;
}

#[tokio::test]
async fn a_readiness_check_that_hangs_is_a_no() {
    let server = server(Arc::new(|| futures::future::pending().boxed())).await;
    let hung = (503, "not ready: no answer within 2 s\n".to_owned());
    assert_eq!(server.ask("GET", "/readyz").await, hung);
    assert_eq!(server.ask("GET", "/healthz").await.0, 200);
    server.end().await;
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let server = server(always(Ok(()))).await;
    for (method, path, want) in [
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/healthz", 405),
        ("POST", "/nothing", 404),
        ("HEAD", "/healthz", 200),
        ("GET", "/readyz?verbose", 200),
    ] {
        assert_eq!(server.ask(method, path).await.0, want, "{method} {path}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_request_head_without_end_is_cut_off() {
    let server = server(always(Ok(()))).await;
    let endless = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n", "y".repeat(64 * 1024));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(endless.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    server.end().await;
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_setting() {
    let server = server(always(Ok(()))).await;
    let registry = runtime::metrics::registry("test").unwrap();
    let args = AdminArgs {
        admin_addr: server.address,
    };
    let second = Admin::new(registry, always(Ok(())))
        .start(&args, CancellationToken::new())
        .await;
    let error = runtime::chain(&second.unwrap_err());
    let want = format!("listen on {} (SNOWPACK_ADMIN_ADDR): ", server.address);
    assert!(error.starts_with(&want), "{error}");
    server.end().await;
}

#[tokio::test]
async fn stopping_waits_for_no_idle_connection() {
    let server = server(always(Ok(()))).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    server.end().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}
