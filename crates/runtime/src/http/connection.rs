//! One connection, from the handshake to its end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::listener::{Accepted, Version};
use super::{Ask, Bounds};

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
            io = shaken(accepted, bounds.head_within) => io,
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
async fn shaken(accepted: Accepted, within: Duration) -> Option<TokioIo<Box<dyn Io>>> {
    let Some(tls) = accepted.tls else {
        return Some(TokioIo::new(Box::new(accepted.stream)));
    };
    match tokio::time::timeout(within, tls.accept(accepted.stream)).await {
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
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<Failure>> + Send + 'static,
{
    let (count, underway) = watch::channel(0);
    let service = service_fn(move |ask| counted(Underway::begin(&count), answer(ask)));
    let served = http1::Builder::new()
        // Its timer would also end a connection that waits for the next request: see `over`.
        .header_read_timeout(None)
        .max_buf_size(bounds.head_bytes_max)
        .max_headers(bounds.headers_max)
        .serve_connection(io, service);
    drive(
        served,
        http1::Connection::graceful_shutdown,
        over(underway, &bounds),
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
    let (count, underway) = watch::channel(0);
    let service = service_fn(move |ask| counted(Underway::begin(&count), answer(ask)));
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
    drive(
        served,
        http2::Connection::graceful_shutdown,
        over(underway, &bounds),
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

/// An answer's body: its request is under way for as long as there is something of it.
struct Counted<B> {
    body: Pin<Box<B>>,
    _underway: Underway,
}

impl<B: Body> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Answers a request that is under way.
async fn counted<F, B>(underway: Underway, answered: F) -> Result<Response<Counted<B>>, Infallible>
where
    F: Future<Output = Response<B>>,
{
    let answer = answered.await;
    Ok(answer.map(|body| Counted {
        body: Box::pin(body),
        _underway: underway,
    }))
}

/// Returns once nothing more is to be asked on the connection: it was quiet, or is too old.
async fn over(underway: watch::Receiver<u32>, bounds: &Bounds) {
    tokio::select! {
        () = quiet(underway, bounds) => {}
        () = tokio::time::sleep(bounds.connection_within) => {}
    }
}

/// Returns once no request came in time, or none was under way for too long.
async fn quiet(mut count: watch::Receiver<u32>, bounds: &Bounds) {
    if tokio::time::timeout(bounds.head_within, count.changed())
        .await
        .is_err()
    {
        return;
    }
    loop {
        // It fails only with the connection, of which this is a part.
        let _ = count.wait_for(|count| *count == 0).await;
        if tokio::time::timeout(bounds.quiet_within, count.changed())
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

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use hyper::body::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const ASKS: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    const LONG: Duration = Duration::from_hours(1);
    const SHORT: Duration = Duration::from_millis(10);

    /// The other end of an HTTP/1 connection that was told `first` before it was served.
    async fn connection(first: &[u8], head_within: Duration, quiet: Duration) -> DuplexStream {
        let (mut ours, theirs) = tokio::io::duplex(4096);
        ours.write_all(first).await.unwrap();
        let io: Box<dyn Io> = Box::new(theirs);
        let answer = |_| async { Response::new(Full::new(Bytes::from_static(b"yes."))) };
        let bounds = Bounds {
            head_within,
            quiet_within: quiet,
            stop_within: SHORT,
            ..Bounds::default()
        };
        let closing = CancellationToken::new();
        tokio::spawn(one(TokioIo::new(io), bounds, answer, closing));
        ours
    }

    async fn answered(stream: &mut DuplexStream) {
        let mut read = Vec::new();
        while !read.ends_with(b"yes.") {
            assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{read:?}");
        }
    }

    async fn ended(mut stream: DuplexStream) {
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert!(read.is_empty(), "{read:?}");
    }

    #[tokio::test]
    async fn a_connection_that_was_answered_is_kept_longer_than_one_that_asks_nothing() {
        let mut kept = connection(ASKS, SHORT, LONG).await;
        ended(connection(b"", SHORT, LONG).await).await;
        ended(connection(b"GET / HTTP/1.1\r\nA: ", SHORT, LONG).await).await;
        answered(&mut kept).await;
        kept.write_all(ASKS).await.unwrap();
        answered(&mut kept).await;
    }

    #[tokio::test]
    async fn a_connection_that_asks_no_more_ends() {
        let mut stream = connection(ASKS, LONG, SHORT).await;
        answered(&mut stream).await;
        ended(stream).await;
    }
}
