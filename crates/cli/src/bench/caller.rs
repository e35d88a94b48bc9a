//! A client that asks one question after the other on one connection that stays open.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One connection to the API.
#[derive(Debug)]
pub(super) struct Caller {
    send: SendRequest<Empty<Bytes>>,
    host: String,
    /// Ends with the caller.
    _connection: JoinSet<()>,
}

impl Caller {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driven = JoinSet::new();
        driven.spawn(async move {
            // Whoever asks next is told.
            let _ = connection.await;
        });
        Ok(Self {
            send,
            host: address.to_string(),
            _connection: driven,
        })
    }

    /// The body of a good answer; any other answer is an error that shows it.
    pub(super) async fn get(&mut self, path: &str) -> Result<Bytes> {
        let request = Request::get(path)
            .header(HOST, &self.host)
            .body(Empty::new())?;
        let asking = || format!("GET {path}");
        self.send.ready().await.with_context(asking)?;
        let answer = self.send.send_request(request).await;
        let answer = answer.with_context(asking)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.with_context(asking)?;
        let body = body.to_bytes();
        if !status.is_success() {
            let said = String::from_utf8_lossy(&body);
            bail!("GET {path}: {status}: {said}");
        }
        Ok(body)
    }

    pub(super) async fn document(&mut self, path: &str) -> Result<Value> {
        let body = self.get(path).await?;
        serde_json::from_slice(&body).with_context(|| format!("read the answer to GET {path}"))
    }
}
