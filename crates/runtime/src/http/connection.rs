//! One connection, from the handshake to its end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Body;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::listener::{Accepted, Version};
use super::{Ask, Bounds, HEAD_WITHIN};

/// HTTP/2: a connection that asks nothing for so long ends.
const QUIET_MAX: Duration = Duration::from_mins(1);
/// HTTP/2: a peer that is gone without a word is noticed: asked so often, given so long.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// HTTP/2: bytes on their way to us that we did not ask for yet, and from us that nobody reads.
const WINDOW_BYTES: u32 = 64 * 1024;

/// The connection is about to end: whoever still answers brings it to an end. Every request
/// carries it as an extension.
#[derive(Debug, Clone)]
pub struct Closing(pub CancellationToken);

type Failure = Box<dyn std::error::Error + Send + Sync>;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) struct Connection {
    pub(super) accepted: Accepted,
    pub(super) bounds: Bounds,
    pub(super) stop: CancellationToken,
}

impl Connection {
    pub(super) async fn serve<A, F, B>(self, answer: A)
    where
        A: Fn(Ask) -> F + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<Failure>> + Send + 'static,
    {
        let Self {
            accepted,
            bounds,
            stop,
        } = self;
        let (version, peer) = (accepted.version, accepted.peer);
        let io = tokio::select! {
            io = shaken(accepted) => io,
            () = stop.cancelled() => return,
        };
        let Some(io) = io else {
            return;
        };
        let closing = stop.child_token();
        let token = closing.clone();
        let answer = move |mut ask: Ask| {
            ask.extensions_mut().insert(peer);
            ask.extensions_mut().insert(Closing(token.clone()));
            answer(ask)
        };
        match version {
            Version::One => Box::pin(one(io, bounds, answer, closing)).await,
            Version::Two => Box::pin(two(io, bounds, answer, closing)).await,
        }
    }
}

/// What HTTP is spoken on, once both sides have shaken hands.
async fn shaken(accepted: Accepted) -> Option<TokioIo<Box<dyn Io>>> {
    let Some(tls) = accepted.tls else {
        return Some(TokioIo::new(Box::new(accepted.stream)));
    };
    match tokio::time::timeout(HEAD_WITHIN, tls.accept(accepted.stream)).await {
        Ok(Ok(stream)) => Some(TokioIo::new(Box::new(stream))),
        Ok(Err(error)) => {
            debug!(%error, "no TLS");
            None
        }
        Err(_) => {
            debug!("the TLS handshake took too long");
            None
        }
    }
}

async fn one<A, F, B>(
    io: TokioIo<Box<dyn Io>>,
    bounds: Bounds,
    answer: A,
    closing: CancellationToken,
) where
    A: Fn(Ask) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Error: Into<Failure>> + 'static,
{
    let service = service_fn(move |ask| {
        let answered = answer(ask);
        async { Ok::<_, Infallible>(answered.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(bounds.head_bytes_max)
        .max_headers(bounds.headers_max)
        .serve_connection(io, service);
    let over = tokio::time::sleep(bounds.connection_within);
    drive(
        served,
        http1::Connection::graceful_shutdown,
        over,
        bounds,
        closing,
    )
    .await;
}

async fn two<A, F, B>(
    io: TokioIo<Box<dyn Io>>,
    bounds: Bounds,
    answer: A,
    closing: CancellationToken,
) where
    A: Fn(Ask) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Failure>> + Send + 'static,
{
    let (count, counted) = watch::channel(0);
    let service = service_fn(move |ask| {
        let underway = Underway::begin(&count);
        let answered = answer(ask);
        async {
            let answer = answered.await;
            Ok::<_, Infallible>(answer.map(|body| {
                body.map_frame(move |frame| {
                    // The request is under way as long as its body is.
                    let _held = &underway;
                    frame
                })
            }))
        }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .max_concurrent_streams(bounds.requests_max)
        .max_header_list_size(u32::try_from(bounds.head_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(WINDOW_BYTES as usize)
        .serve_connection(io, service);
    let over = async {
        tokio::select! {
            () = quiet(counted) => {}
            () = tokio::time::sleep(bounds.connection_within) => {}
        }
    };
    drive(
        served,
        http2::Connection::graceful_shutdown,
        over,
        bounds,
        closing,
    )
    .await;
}

/// A request of which the answer's last byte is not sent yet.
struct Underway(watch::Sender<u32>);

impl Underway {
    fn begin(count: &watch::Sender<u32>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Returns once no request came within [`HEAD_WITHIN`], or none was under way for [`QUIET_MAX`].
async fn quiet(mut count: watch::Receiver<u32>) {
    if tokio::time::timeout(HEAD_WITHIN, count.changed())
        .await
        .is_err()
    {
        return;
    }
    loop {
        // It fails only with the connection, of which this is a part.
        let _ = count.wait_for(|count| *count == 0).await;
        if tokio::time::timeout(QUIET_MAX, count.changed())
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Serves until the connection ends by itself, or is `over` or `closing` and had its time to end.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    served: C,
    shut: impl FnOnce(Pin<&mut C>),
    over: impl Future<Output = ()>,
    bounds: Bounds,
    closing: CancellationToken,
) {
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = async { tokio::select! { () = over => {}, () = closing.cancelled() => {} } } => {
            closing.cancel();
            shut(served.as_mut());
            let rest = tokio::time::timeout(bounds.stop_within, served).await;
            rest.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended early");
    }
}
