//! A plain HTTP proxy before a server, which loses and refuses what the test tells it to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Forward,
    /// Answered with this status and S3's word for it; the server never sees it.
    Refuse(u16, &'static str),
    /// The connection ends before the server sees it.
    Drop,
    /// The server does it, and its answer is lost.
    Lose,
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
        Fate::Refuse(status, code) => {
            let body = format!("<Error><Code>{code}</Code><Message>as told</Message></Error>");
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} {code}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            return client.write_all(answer.as_bytes()).await;
        }
        Fate::Forward | Fate::Lose => {}
    }
    let mut server = TcpStream::connect(server).await?;
    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(head.as_bytes()).await?;
    server.write_all(&body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    if fate == Fate::Forward {
        client.write_all(&answer).await?;
    }
    Ok(())
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
