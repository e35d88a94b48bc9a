//! A way to Postgres which loses, refuses or holds the commits the test tells it to.
//!
//! It reads the protocol far enough to know what each commit writes: the statements executed since
//! the transaction began, or the one statement outside any.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What becomes of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFate {
    Forward,
    /// Never reaches the server, and nobody says so: until the client is gone.
    Hold,
    /// The server does it, and its answer is kept back until the client is gone.
    Keep,
    /// The connection ends before the server has it.
    Drop,
    /// The server does it; the connection ends before its answer.
    Lose,
    /// Rolled back and answered with this SQLSTATE.
    Refuse(&'static str),
    /// Reaches the server so much later, whatever becomes of the client meanwhile.
    Late(Duration),
}

type Judge = Arc<Mutex<dyn FnMut(&str) -> CommitFate + Send>>;

/// Runs until dropped; then every connection through it is gone.
#[derive(Debug)]
pub struct PostgresProxy {
    url: String,
    address: SocketAddr,
    held: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl PostgresProxy {
    /// Starts before the server of `url`. `judge` is asked about each commit, given its statements
    /// in lower case.
    ///
    /// # Panics
    /// When no port is free, or `url` is none of [`crate::Database`]'s.
    pub async fn start(url: &str, judge: impl FnMut(&str) -> CommitFate + Send + 'static) -> Self {
        let (user, tail) = url.split_once('@').expect("a user");
        let (server, path) = tail.split_once('/').expect("a database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let held = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let judge: Judge = Arc::new(Mutex::new(judge));
        tasks.spawn(accept(listener, server.to_owned(), judge, held.clone()));
        Self {
            url: format!("{user}@{address}/{path}"),
            address,
            held,
            _tasks: tasks,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Commits held or kept so far; of a kept one, the server is done with it.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, server: String, judge: Judge, held: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (server, judge, held) = (server.clone(), judge.clone(), held.clone());
        // A connection that breaks is the business of whoever held it.
        connections.spawn(async move {
            let _ = serve(client, &server, judge, held).await;
        });
    }
}

/// What a client asks instead of starting, to encrypt.
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
/// The server's last word on a request, and its state between transactions.
const READY: u8 = b'Z';
const IDLE: u8 = b'I';

async fn serve(
    mut client: TcpStream,
    server: &str,
    judge: Judge,
    held: Arc<AtomicUsize>,
) -> io::Result<()> {
    let mut first = message(&mut client, false).await?;
    if first[4..8] == SSL_REQUEST {
        client.write_all(b"N").await?;
        first = message(&mut client, false).await?;
    }
    let mut server = TcpStream::connect(server).await?;
    server.write_all(&first).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut tasks = JoinSet::new();
    let line = Line {
        client: messages(from_client, &mut tasks),
        server: messages(from_server, &mut tasks),
        to_client,
        to_server,
        open: 1,
        state: IDLE,
        session: Session::default(),
        judge,
        held,
    };
    line.run().await
}

/// One message as it came; typed ones begin with a letter.
async fn message(from: &mut (impl AsyncRead + Unpin), typed: bool) -> io::Result<Vec<u8>> {
    let head = if typed { 5 } else { 4 };
    let mut bytes = vec![0; head];
    from.read_exact(&mut bytes).await?;
    let length = bytes
        .last_chunk::<4>()
        .map_or(4, |l| u32::from_be_bytes(*l)) as usize;
    bytes.resize(head + length.saturating_sub(4), 0);
    from.read_exact(&mut bytes[head..]).await?;
    Ok(bytes)
}

/// Reads on a task of its own, so that waiting for two sides loses no bytes.
fn messages(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    tasks: &mut JoinSet<()>,
) -> mpsc::Receiver<Vec<u8>> {
    let (to, messages) = mpsc::channel(64);
    tasks.spawn(async move {
        while let Ok(message) = message(&mut from, true).await {
            if to.send(message).await.is_err() {
                return;
            }
        }
    });
    messages
}

/// A connection of a client and the one to the server behind it.
struct Line<R, W> {
    client: R,
    server: R,
    to_client: W,
    to_server: W,
    /// Requests the server has not answered to the end.
    open: usize,
    /// As of the server's last end of an answer.
    state: u8,
    session: Session,
    judge: Judge,
    held: Arc<AtomicUsize>,
}

impl Line<mpsc::Receiver<Vec<u8>>, tokio::net::tcp::OwnedWriteHalf> {
    async fn run(mut self) -> io::Result<()> {
        let mut request = Vec::new();
        loop {
            tokio::select! {
                message = self.client.recv() => {
                    let Some(message) = message else { return Ok(()) };
                    self.session.sent(&message);
                    request.extend_from_slice(&message);
                    match message[0] {
                        b'Q' | b'S' => self.ask(std::mem::take(&mut request)).await?,
                        b'P' | b'B' | b'D' | b'E' | b'C' => {}
                        _ => self.to_server.write_all(&std::mem::take(&mut request)).await?,
                    }
                }
                message = self.server.recv() => {
                    let Some(message) = message else { return Ok(()) };
                    self.answer(&message).await?;
                }
            }
        }
    }

    async fn answer(&mut self, message: &[u8]) -> io::Result<()> {
        self.note(message);
        self.to_client.write_all(message).await
    }

    fn note(&mut self, message: &[u8]) {
        if message[0] == READY {
            self.open = self.open.saturating_sub(1);
            self.state = message[5];
        }
    }

    /// Passes a whole request on, if it may.
    async fn ask(&mut self, request: Vec<u8>) -> io::Result<()> {
        let fate = match self.session.commits(self.state != IDLE) {
            Some(statements) => {
                let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
                judge(&statements)
            }
            None => CommitFate::Forward,
        };
        if let CommitFate::Late(pause) = fate {
            tokio::time::sleep(pause).await;
        }
        if matches!(fate, CommitFate::Forward | CommitFate::Late(_)) {
            self.open += 1;
            return self.to_server.write_all(&request).await;
        }
        while self.open > 0 {
            let message = self
                .server
                .recv()
                .await
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            self.answer(&message).await?;
        }
        match fate {
            CommitFate::Drop | CommitFate::Forward | CommitFate::Late(_) => {}
            CommitFate::Hold => self.hold().await,
            CommitFate::Keep => {
                self.done(&request).await?;
                self.hold().await;
            }
            CommitFate::Lose => self.done(&request).await?,
            CommitFate::Refuse(code) => {
                if self.state != IDLE {
                    self.done(b"Q\0\0\0\x0drollback\0").await?;
                }
                return self.to_client.write_all(&refusal(code)).await;
            }
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// The server does this; its answer goes nowhere.
    async fn done(&mut self, request: &[u8]) -> io::Result<()> {
        self.to_server.write_all(request).await?;
        self.open += 1;
        while self.open > 0 {
            let message = self
                .server
                .recv()
                .await
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            self.note(&message);
        }
        Ok(())
    }

    async fn hold(&mut self) {
        self.held.fetch_add(1, Ordering::SeqCst);
        while self.client.recv().await.is_some() {}
    }
}

fn refusal(code: &str) -> Vec<u8> {
    let fields = format!("SERROR\0VERROR\0C{code}\0Mas the test told\0\0");
    let length = u32::try_from(fields.len() + 4).expect("a short text");
    let mut bytes = vec![b'E'];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(fields.as_bytes());
    bytes.extend_from_slice(&[READY, 0, 0, 0, 5, IDLE]);
    bytes
}

/// What a client has said.
#[derive(Default)]
struct Session {
    prepared: HashMap<String, String>,
    /// The statement bound last.
    bound: Option<String>,
    /// Executed since the last end of a transaction, or of a request outside one.
    executed: Vec<String>,
}

impl Session {
    fn sent(&mut self, message: &[u8]) {
        let body = &message[5..];
        match message[0] {
            b'P' => {
                let (name, rest) = text(body);
                self.prepared.insert(name, text(rest).0.to_lowercase());
            }
            b'B' => {
                let (_portal, rest) = text(body);
                self.bound = self.prepared.get(&text(rest).0).cloned();
            }
            b'E' => self.executed.extend(self.bound.take()),
            b'Q' => self.executed.push(text(body).0.to_lowercase()),
            _ => {}
        }
    }

    /// The statements that take effect with the request just sent.
    fn commits(&mut self, within: bool) -> Option<String> {
        let last = self.executed.last()?.as_str();
        let begins = ["begin", "start transaction"]
            .iter()
            .any(|word| last.starts_with(word));
        let ends = last.starts_with("commit");
        if begins || last.starts_with("rollback") {
            self.executed.clear();
            return None;
        }
        (ends || !within).then(|| std::mem::take(&mut self.executed).join(";\n"))
    }
}

/// A text that ends with a zero byte, and what follows it.
fn text(bytes: &[u8]) -> (String, &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let rest = bytes.get(end + 1..).unwrap_or_default();
    (String::from_utf8_lossy(&bytes[..end]).into_owned(), rest)
}

#[cfg(test)]
mod tests {
    use tokio_postgres::NoTls;

    use super::*;
    use crate::{Database, until};

    #[tokio::test]
    async fn a_late_commit_lands_though_its_client_is_gone() {
        let database = Database::empty().await;
        let direct = database.client().await;
        direct
            .batch_execute("create table t (i int)")
            .await
            .unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let judged = Arc::clone(&asked);
        let proxy = PostgresProxy::start(database.url(), move |said| {
            if !said.contains("insert") {
                return CommitFate::Forward;
            }
            judged.fetch_add(1, Ordering::SeqCst);
            CommitFate::Late(Duration::from_millis(200))
        });
        let proxy = proxy.await;
        let (client, connection) = tokio_postgres::connect(proxy.url(), NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let insert =
            tokio::spawn(async move { client.batch_execute("insert into t values (1)").await });
        until("the commit is judged", async || {
            asked.load(Ordering::SeqCst) == 1
        })
        .await;
        connection.abort();
        assert!(insert.await.unwrap().is_err());
        until("the commit lands", async || {
            let row = direct.query_one("select count(*) from t", &[]).await;
            row.unwrap().get::<_, i64>(0) == 1
        })
        .await;
    }
}
