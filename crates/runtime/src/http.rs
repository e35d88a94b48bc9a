//! An HTTP server that is bounded in connections, time and size, with TLS or without.
//!
//! [`serve`] is for machines: few routes, short answers (the admin server, the scaler).
//! [`serve_within`] is the same with other bounds and any body (the API, gRPC). A caller that is
//! slow to shake hands, to ask or to read costs one of the connections for a bounded time.

mod connection;
mod listener;
mod places;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

pub use connection::Closing;
use connection::Connection;
pub use listener::{Listener, bind};
use places::Places;

/// What a request is asked with, and what it is answered with.
pub type Ask = Request<Incoming>;
pub type Answer = Response<Full<Bytes>>;

/// Open connections; the next ones wait in the listen queue.
pub const CONNECTIONS_MAX: usize = 256;
/// From the head to the answer; afterwards the answer is 503.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What bounds a server.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Open connections; the next ones wait in the listen queue.
    pub connections_max: usize,
    /// Those of one address, so that the others find a place; more are closed at once. A server
    /// behind a proxy sees one address only.
    pub connections_max_per_address: usize,
    /// HTTP/2: requests under way at once on one connection. Each may hold a head.
    pub requests_max: u32,
    /// From the connection to the end of the first request's head; for the TLS handshake as well.
    pub head_within: Duration,
    /// From an answer to the next request: longer than load balancers keep connections open
    /// (mostly a minute), which would else ask on one that is just being closed.
    pub quiet_within: Duration,
    /// One connection's life, so that nobody holds one by reading slowly.
    pub connection_within: Duration,
    /// Request head in bytes; hyper's smallest is 8 KiB.
    pub head_bytes_max: usize,
    pub headers_max: usize,
    /// For answers on their way when the server stops, or a connection's life is over.
    pub stop_within: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            connections_max_per_address: CONNECTIONS_MAX / 2,
            requests_max: 64,
            head_within: Duration::from_secs(10),
            quiet_within: Duration::from_secs(75),
            connection_within: Duration::from_mins(5),
            head_bytes_max: 8 * 1024,
            headers_max: 64,
            stop_within: Duration::from_secs(2),
        }
    }
}

/// The caller's end of the connection; every request carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Answers requests by `answer` until `stop`, then for a moment those on their way. An answer
/// that takes longer than [`ANSWER_WITHIN`] is 503.
pub async fn serve<A, F>(listener: Listener, answer: A, stop: CancellationToken)
where
    A: Fn(Ask) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let in_time = move |ask| {
        let answered = tokio::time::timeout(ANSWER_WITHIN, answer(ask));
        async { answered.await.unwrap_or_else(|_| too_slow()) }
    };
    serve_within(listener, Bounds::default(), in_time, stop).await;
}

/// Answers requests by `answer` until `stop`, then for `stop_within` those on their way. How
/// long an answer may take is the caller's to bound.
pub async fn serve_within<A, F, B>(
    listener: Listener,
    bounds: Bounds,
    answer: A,
    stop: CancellationToken,
) where
    A: Fn(Ask) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let places = Places::new(&bounds);
    let connections = TaskTracker::new();
    while let Some((accepted, place)) = listener.next(&places, &stop).await {
        let connection = Connection {
            accepted,
            bounds,
            stop: stop.clone(),
        };
        let answer = answer.clone();
        connections.spawn(async move {
            connection.serve(answer).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(bounds.stop_within, connections.wait())
        .await
        .is_err()
    {
        debug!(open = connections.len(), "left connections open");
    }
}

/// An answer of plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body)
}

/// An answer of any media type.
pub fn with_type(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// True for the methods every route here has.
pub fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// The path exists, but not for this method.
pub fn not_allowed() -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

pub fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "no such path\n")
}

fn too_slow() -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n")
}
