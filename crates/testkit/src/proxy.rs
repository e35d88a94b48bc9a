//! A plain HTTP proxy before a server, which loses, refuses, holds and spoils what the test tells it to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Between the pieces of a slow answer; without, they would arrive as one.
const BETWEEN_PIECES: Duration = Duration::from_millis(2);

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Forward,
    /// Answered with this status and S3's word for it; the server never sees it.
    Refuse(u16, &'static str),
    /// Refused as by a busy server that says when to come again (`Retry-After`).
    Later(&'static str),
    /// The connection ends before the server sees it.
    Drop,
    /// The server does it, and its answer is lost.
    Lose,
    /// Never answered, and the server never sees it.
    Hold,
    /// The server does it, and its answer is kept back as long as anybody waits for it.
    Keep,
    /// The answer's head and so many bytes of its body; then the connection ends.
    Cut(usize),
    /// The answer in pieces of so many bytes, each on its way alone.
    Trickle(usize),
    /// The answer's `Content-Range` says another place than its bytes have.
    Misplace,
    /// The server is not told which range is wanted, and answers with the whole object.
    Whole,
}

type Judge = Box<dyn FnMut(&str) -> Fate + Send>;

/// Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<String>,
    open: usize,
    open_most: usize,
    held: usize,
}

impl Proxy {
    /// Starts before `server`. `judge` is asked about each request, as in `PUT /bucket/key?x=y`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(
        server: SocketAddr,
        judge: impl FnMut(&str) -> Fate + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(judge)));
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (judge, log) = (Arc::clone(&judge), Arc::clone(&log));
                // A connection that breaks is the business of whoever held it.
                tokio::spawn(async move {
                    {
                        let mut log = lock(&log);
                        log.open += 1;
                        log.open_most = log.open_most.max(log.open);
                    }
                    serve(client, server, &judge, &log).await.ok();
                    lock(&log).open -= 1;
                });
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in order.
    pub fn seen(&self) -> Vec<String> {
        lock(&self.seen).requests.clone()
    }

    /// Requests held or kept so far; with a kept one, the server is done.
    pub fn held(&self) -> usize {
        lock(&self.seen).held
    }

    /// Connections open at once, at most.
    pub fn open_most(&self) -> usize {
        lock(&self.seen).open_most
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request for each connection, so that nothing has to be understood but a request's length.
async fn serve(
    mut client: TcpStream,
    server: SocketAddr,
    judge: &Mutex<Judge>,
    log: &Mutex<Seen>,
) -> std::io::Result<()> {
    let (head, mut body) = read_head(&mut client).await?;
    let length = header(&head, "content-length").map_or(0, |text| text.parse().unwrap_or(0));
    let read = body.len();
    body.resize(length, 0);
    client.read_exact(&mut body[read..]).await?;
    let request: Vec<&str> = head.split(' ').take(2).collect();
    let request = request.join(" ");
    lock(log).requests.push(request.clone());
    let fate = (lock(judge))(&request);
    match fate {
        Fate::Drop => return Ok(()),
        Fate::Hold => return hold(client, log).await,
        Fate::Refuse(status, code) => {
            return client.write_all(&refusal(status, code, "")).await;
        }
        Fate::Later(when) => {
            let header = format!("retry-after: {when}\r\n");
            return client.write_all(&refusal(503, "SlowDown", &header)).await;
        }
        _ => {}
    }
    let mut server = TcpStream::connect(server).await?;
    let mut head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    if fate == Fate::Whole {
        head = without(&head, "range");
    }
    server.write_all(head.as_bytes()).await?;
    server.write_all(&body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    match fate {
        Fate::Lose => Ok(()),
        Fate::Keep => hold(client, log).await,
        Fate::Cut(length) => {
            let end = (body_of(&answer) + length).min(answer.len());
            client.write_all(&answer[..end]).await
        }
        Fate::Trickle(length) => {
            client.set_nodelay(true)?;
            for piece in answer.chunks(length) {
                client.write_all(piece).await?;
                tokio::time::sleep(BETWEEN_PIECES).await;
            }
            Ok(())
        }
        Fate::Misplace => client.write_all(&misplaced(&answer)).await,
        _ => client.write_all(&answer).await,
    }
}

/// Waits until the client is gone.
async fn hold(mut client: TcpStream, log: &Mutex<Seen>) -> std::io::Result<()> {
    lock(log).held += 1;
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.map(drop)
}

fn refusal(status: u16, code: &str, header: &str) -> Vec<u8> {
    let body = format!("<Error><Code>{code}</Code><Message>as told</Message></Error>");
    let length = body.len();
    let head = format!("HTTP/1.1 {status} {code}\r\ncontent-length: {length}\r\n{header}");
    format!("{head}connection: close\r\n\r\n{body}").into_bytes()
}

/// Where an answer's body begins.
fn body_of(answer: &[u8]) -> usize {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    head.map_or(answer.len(), |end| end + 4)
}

/// The answer with the range it names moved by one byte.
fn misplaced(answer: &[u8]) -> Vec<u8> {
    let (head, body) = answer.split_at(body_of(answer));
    let head = String::from_utf8_lossy(head).into_owned();
    let moved = header(&head, "content-range").and_then(|range| {
        let (start, rest) = range.strip_prefix("bytes ")?.split_once('-')?;
        let (end, size) = rest.split_once('/')?;
        let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
        Some(head.replace(range, &format!("bytes {}-{}/{size}", start + 1, end + 1)))
    });
    [moved.unwrap_or(head).as_bytes(), body].concat()
}

/// The head without this header.
fn without(head: &str, name: &str) -> String {
    let other = |line: &&str| {
        let key = line.split_once(':').map(|(key, _)| key);
        !key.is_some_and(|key| key.eq_ignore_ascii_case(name))
    };
    let lines: Vec<&str> = head.split("\r\n").filter(other).collect();
    lines.join("\r\n")
}

/// The head with its empty line, and what came after it.
async fn read_head(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
