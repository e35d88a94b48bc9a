//! The API with a certificate.

use testkit::{Certificate, Database, Process, request_on, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{API, OPEN, Server};

const CERT: &str = "SNOWPACK_API_TLS_CERT_FILE";
const KEY: &str = "SNOWPACK_API_TLS_KEY_FILE";

#[tokio::test]
async fn with_a_certificate_callers_speak_tls_and_a_renewed_one_is_shown() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let (first, second) = (Certificate::new(), Certificate::new());
    let [cert, key] = first.mount(folder.path());
    let settings = [
        ("SNOWPACK_AUTH", "none"),
        (CERT, cert.to_str().unwrap()),
        (KEY, key.to_str().unwrap()),
    ];
    let server = Server::with(database.url(), &settings).await;
    let stream = first.connect(server.address, "http/1.1").await.unwrap();
    let (status, body) = request_on(stream, "GET", "/jobs", &[]).await;
    assert_eq!(status, 200, "{body}");

    let mut plain = TcpStream::connect(server.address).await.unwrap();
    let hello = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    plain.write_all(hello).await.unwrap();
    let mut answer = Vec::new();
    // It may end with a reset, as the server did not read all.
    plain.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    second.mount(folder.path());
    until("the new certificate is shown", async || {
        second.connect(server.address, "http/1.1").await.is_ok()
    })
    .await;
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn half_a_certificate_is_refused() {
    for (set, other) in [(CERT, KEY), (KEY, CERT)] {
        let settings = [
            ("SNOWPACK_DATABASE_URL", "postgres://localhost/db"),
            ("SNOWPACK_AUTH", "none"),
            (set, "/tls.pem"),
        ];
        let process = Process::start(API, &settings, &[]);
        assert_eq!(process.ended().await.code(), Some(2));
        let want = format!("{set} is set and {other} is not: allowed are both or neither\n");
        assert!(process.log().ends_with(&want), "{}", process.log());
    }
}
