//! An HTTP/1.1 request, spoken plainly: what a probe or a scraper would see.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Status and body of `GET path`, with further header lines.
///
/// # Panics
/// When there is no answer, or none in HTTP.
pub async fn get(address: SocketAddr, path: &str, headers: &[&str]) -> (u16, String) {
    request(address, "GET", path, headers).await
}

/// Status and body of any request without a body.
///
/// # Panics
/// When there is no answer, or none in HTTP.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
) -> (u16, String) {
    let stream = TcpStream::connect(address)
        .await
        .expect("connect to the server");
    request_on(stream, method, path, headers).await
}

/// The same on a connection that is open already.
///
/// # Panics
/// When there is no answer, or none in HTTP.
pub async fn request_on(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &[&str],
) -> (u16, String) {
    exchange(stream, method, path, headers, "")
        .await
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// Status and body of a request with a body in JSON, to a server that may be away or go away.
pub async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<(u16, String)> {
    let stream = TcpStream::connect(address).await?;
    let length = format!("content-length: {}", body.len());
    let headers = ["content-type: application/json", &length];
    exchange(stream, method, path, &headers, body).await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> io::Result<(u16, String)> {
    let request = format!("{method} {path} HTTP/1.1");
    let lines = [
        &[request.as_str(), "host: localhost", "connection: close"],
        headers,
    ]
    .concat();
    let sent = format!("{}\r\n\r\n{body}", lines.join("\r\n"));
    stream.write_all(sent.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    status
        .zip(body)
        .ok_or_else(|| io::Error::other(format!("no HTTP: {answer}")))
}
