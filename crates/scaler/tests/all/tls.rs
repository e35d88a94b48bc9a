//! Both ports with TLS, and certificates that change.

use std::net::SocketAddr;
use std::path::Path;

use testkit::{Certificate, Database, Process, get, request_on, until};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::scaler::{SCALER, Scaler, active, submit};

const CERT: &str = "SNOWPACK_SCALER_TLS_CERT_FILE";
const KEY: &str = "SNOWPACK_SCALER_TLS_KEY_FILE";
const NOT_TAKEN: &str = "the TLS certificate is not taken; the one before holds";

async fn start(database: &Database, folder: &Path, certificate: &Certificate) -> Scaler {
    let [cert, key] = certificate.mount(folder);
    let settings = [(CERT, cert.to_str().unwrap()), (KEY, key.to_str().unwrap())];
    Scaler::start_with(database.url(), &settings).await
}

/// True when the server at `address` shows this very certificate.
async fn shown(certificate: &Certificate, address: SocketAddr, protocol: &str) -> bool {
    certificate.connect(address, protocol).await.is_ok()
}

async fn keda(scaler: &Scaler, certificate: &Certificate) -> keda::Client {
    let stream = certificate.connect(scaler.grpc, "h2").await.unwrap();
    let origin = "https://localhost".parse().unwrap();
    keda::Client::on(stream, origin).await.unwrap()
}

#[tokio::test]
async fn m33_with_a_certificate_both_ports_speak_tls_and_nothing_else() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    submit(&database, "due", "default").await;
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let scaler = start(&database, folder.path(), &certificate).await;
    let stream = certificate
        .connect(scaler.address, "http/1.1")
        .await
        .unwrap();
    let answer = request_on(stream, "GET", "/ready-count", &[]).await;
    assert_eq!(answer, (200, "{\"ready\":1}".to_owned()));
    let mut trusted = keda(&scaler, &certificate).await;
    assert_eq!(active(&mut trusted, &[]).await, Ok(true));

    for (address, protocol, wrong) in [
        (scaler.address, "http/1.1", "h2"),
        (scaler.grpc, "h2", "http/1.1"),
    ] {
        assert!(
            !shown(&other, address, protocol).await,
            "another's certificate"
        );
        assert!(
            !shown(&certificate, address, wrong).await,
            "{wrong} on {address}"
        );
        let mut plain = TcpStream::connect(address).await.unwrap();
        let hello = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut plain, hello)
            .await
            .unwrap();
        let mut answer = Vec::new();
        plain.read_to_end(&mut answer).await.ok();
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    scaler.stop(&[]).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_a_bad_one_is_not() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let (first, second) = (Certificate::new(), Certificate::new());
    let scaler = start(&database, folder.path(), &first).await;
    // A connection from before keeps working.
    let mut before = keda(&scaler, &first).await;
    assert_eq!(active(&mut before, &[]).await, Ok(false));

    second.mount(folder.path());
    until("the new certificate is shown", async || {
        shown(&second, scaler.grpc, "h2").await
    })
    .await;
    assert!(shown(&second, scaler.address, "http/1.1").await);
    assert!(!shown(&first, scaler.grpc, "h2").await);
    assert_eq!(active(&mut before, &[]).await, Ok(false));

    // The key of another certificate, then none at all.
    let [cert, key] = first.mount(folder.path());
    std::fs::write(&key, &second.pem()[1]).unwrap();
    scaler
        .process
        .mentions("it is not the key of the certificate")
        .await;
    std::fs::remove_file(&cert).unwrap();
    scaler.process.mentions("No such file").await;
    assert!(shown(&second, scaler.grpc, "h2").await);

    let third = Certificate::new();
    third.mount(folder.path());
    until("the third certificate is shown", async || {
        shown(&third, scaler.grpc, "h2").await
    })
    .await;
    assert!(!scaler.process.log().contains("PRIVATE KEY"));
    scaler.stop(&[NOT_TAKEN]).await;
}

#[tokio::test]
async fn a_stranger_with_many_handshakes_that_never_end_keeps_nobody_out() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let certificate = Certificate::new();
    let scaler = start(&database, folder.path(), &certificate).await;
    // More than there are places; an address gets half of them.
    let mut silent = Vec::new();
    for _ in 0..runtime::http::CONNECTIONS_MAX + 10 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(scaler.grpc).await.unwrap());
    }
    let mut asked = keda(&scaler, &certificate).await;
    assert_eq!(active(&mut asked, &[]).await, Ok(false));
    // Those that got a place lose it as well.
    let mut first = silent.swap_remove(0);
    assert_eq!(
        first.read(&mut [0]).await.unwrap_or(0),
        0,
        "it was thrown out"
    );
    let stream = certificate
        .connect(scaler.address, "http/1.1")
        .await
        .unwrap();
    assert_eq!(request_on(stream, "GET", "/healthz", &[]).await.0, 200);
    scaler.stop(&[]).await;
}

/// It does not start with these two files, and says so in one line.
async fn refused(cert: &str, key: &str, which: &str, why: &str) {
    let url = ("SNOWPACK_DATABASE_URL", "postgres://localhost/db");
    let process = Process::start(SCALER, &[url, (CERT, cert), (KEY, key)], &[]);
    let status = process.ended().await;
    let log = process.log();
    assert!(
        log.starts_with(&format!("snowpack-scaler: {which}")),
        "{log}"
    );
    assert!(log.contains(why), "{why}: {log}");
    assert_eq!((status.code(), log.lines().count()), (Some(2), 1), "{log}");
}

#[tokio::test]
async fn files_that_are_no_pair_are_refused_with_setting_file_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Certificate::new(), Certificate::new());
    let [cert, key] = ours.pem();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (good_cert, good_key) = (file("cert", cert), file("key", key));
    let (empty, other) = (file("empty", ""), file("other", &other.pem()[1]));
    let cut = file("cut", &cert[..cert.len() / 2]);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let garbage = file("garbage", garbage);
    let missing = folder.path().join("missing").to_str().unwrap().to_owned();
    for (cert, key, setting, wrong, why) in [
        (
            &missing,
            &good_key,
            CERT,
            &missing,
            "No such file or directory",
        ),
        (
            &good_cert,
            &missing,
            KEY,
            &missing,
            "No such file or directory",
        ),
        (
            &empty,
            &good_key,
            CERT,
            &empty,
            "it holds no certificate in PEM",
        ),
        (
            &good_cert,
            &empty,
            KEY,
            &empty,
            "it holds no private key in PEM",
        ),
        (
            &good_cert,
            &good_cert,
            KEY,
            &good_cert,
            "it holds no private key in PEM",
        ),
        (&cut, &good_key, CERT, &cut, "section end"),
        (
            &garbage,
            &good_key,
            CERT,
            &garbage,
            "invalid peer certificate: BadEncoding",
        ),
        (
            &good_cert,
            &other,
            KEY,
            &other,
            "it is not the key of the certificate in ",
        ),
    ] {
        refused(cert, key, &format!("{setting}={wrong}: "), why).await;
    }
}

#[tokio::test]
async fn without_a_certificate_the_ports_are_plain() {
    let database = Database::new().await;
    let scaler = Scaler::start(database.url()).await;
    assert_eq!(get(scaler.address, "/healthz", &[]).await.0, 200);
    assert!(!shown(&Certificate::new(), scaler.grpc, "h2").await);
    scaler.stop(&[]).await;
}
