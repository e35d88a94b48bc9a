//! A small HTTP/1 server for machines: few routes, bounded in connections, time and size.
//!
//! Used by the admin server and by the scaler. Answers are short and complete; a caller that
//! is slow to ask or slow to read costs one of [`CONNECTIONS_MAX`] for a bounded time.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::Error;

/// What a request is asked with, and what it is answered with.
pub type Ask = Request<Incoming>;
pub type Answer = Response<Full<Bytes>>;

/// Open connections; the next ones wait in the listen queue.
pub const CONNECTIONS_MAX: usize = 256;
/// From the connection, or the last answer, to the end of the request's head.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// From the head to the answer; afterwards the answer is 503.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// One connection's life, so that nobody holds one by reading slowly.
const CONNECTION_WITHIN: Duration = Duration::from_mins(5);
/// Request head in bytes (hyper's smallest).
const HEAD_BYTES_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;
/// For answers on their way when the server stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// After a failed accept (out of file descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens `address`, which `setting` chose.
pub async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen {
            address,
            setting,
            source,
        })
}

/// Answers requests by `answer` until `stop`, then for a moment those on their way.
pub async fn serve<A, F>(listener: TcpListener, answer: A, stop: CancellationToken)
where
    A: Fn(Ask) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    while let Some((stream, slot)) = next(&listener, &slots, &stop).await {
        connections.spawn(connection(stream, slot, answer.clone(), stop.clone()));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(STOP_WITHIN, connections.wait())
        .await
        .is_err()
    {
        debug!(open = connections.len(), "left connections open");
    }
}

/// The next connection with its slot; `None` once stopped.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accepted = async {
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, slot)),
                Err(error) => {
                    warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => None,
        accepted = accepted => accepted,
    }
}

async fn connection<A, F>(
    stream: TcpStream,
    slot: OwnedSemaphorePermit,
    answer: A,
    stop: CancellationToken,
) where
    A: Fn(Ask) -> F,
    F: Future<Output = Answer>,
{
    let service = service_fn(move |ask| {
        let answered = tokio::time::timeout(ANSWER_WITHIN, answer(ask));
        async { Ok::<_, Infallible>(answered.await.unwrap_or_else(|_| too_slow())) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let over = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(CONNECTION_WITHIN) => {}
        }
    };
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = over => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(STOP_WITHIN, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended early");
    }
    drop(slot);
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
