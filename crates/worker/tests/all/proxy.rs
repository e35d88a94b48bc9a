//! A way to Postgres that stops for good right before or right after a chosen write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Parts of statements that write outside a transaction.
const WRITES: &[&str] = &[
    "insert into",
    "update snowpack",
    "update \"snowpack\"",
    "delete from",
    "claim_v1",
];
/// What a client asks instead of starting, to encrypt.
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
/// A server's last word on a request, but for its one byte of state.
const READY: [u8; 5] = [b'Z', 0, 0, 0, 5];

/// Which write is the last.
#[derive(Debug)]
struct Cut {
    left: AtomicUsize,
    /// The write is made and its answer kept back.
    after: bool,
    held: AtomicBool,
    reached: AtomicBool,
}

/// Runs until dropped; then every connection through it is gone.
pub(crate) struct Proxy {
    pub(crate) url: String,
    cut: Arc<Cut>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Lets `writes` writes to the database at `url` through.
    pub(crate) async fn new(url: &str, writes: usize, after: bool) -> Self {
        let (head, tail) = url.split_once('@').unwrap();
        let (server, path) = tail.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let cut = Arc::new(Cut {
            left: AtomicUsize::new(writes + 1),
            after,
            held: AtomicBool::new(false),
            reached: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server.to_owned(), Arc::clone(&cut)));
        Self {
            url: format!("{head}@{address}/{path}"),
            cut,
            _tasks: tasks,
        }
    }

    /// The last write was reached: nothing goes through any more.
    pub(crate) fn reached(&self) -> bool {
        self.cut.reached.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, server: String, cut: Arc<Cut>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(&server).await.unwrap();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let waits = Arc::new(AtomicBool::new(false));
        connections.spawn(requests(
            from_client,
            to_server,
            Arc::clone(&cut),
            Arc::clone(&waits),
        ));
        connections.spawn(answers(from_server, to_client, Arc::clone(&cut), waits));
    }
}

/// One message as it came; `None` at the end of the connection.
async fn message(from: &mut OwnedReadHalf, typed: bool) -> Option<Vec<u8>> {
    let mut bytes = vec![0; if typed { 5 } else { 4 }];
    from.read_exact(&mut bytes).await.ok()?;
    let length = bytes
        .last_chunk::<4>()
        .map(|length| u32::from_be_bytes(*length))?;
    let head = bytes.len();
    bytes.resize(head + length as usize - 4, 0);
    from.read_exact(&mut bytes[head..]).await.ok()?;
    Some(bytes)
}

/// Passes requests on, and says when the last write was among them.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    cut: Arc<Cut>,
    waits: Arc<AtomicBool>,
) {
    let (mut started, mut within, mut writes) = (false, false, false);
    while let Some(bytes) = message(&mut from, started).await {
        if !started {
            started = bytes[4..8] != SSL_REQUEST;
        } else if commits(&bytes, &mut within, &mut writes)
            && cut.left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            cut.held.store(true, Ordering::SeqCst);
            if cut.after {
                waits.store(true, Ordering::SeqCst);
                let _ = to.write_all(&bytes).await;
            } else {
                cut.reached.store(true, Ordering::SeqCst);
            }
            return std::future::pending().await;
        }
        if cut.held.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Whether the server commits a write when it has this message.
fn commits(bytes: &[u8], within: &mut bool, writes: &mut bool) -> bool {
    let text = String::from_utf8_lossy(&bytes[5..]).to_lowercase();
    let writing = || WRITES.iter().any(|part| text.contains(part));
    match bytes[0] {
        b'Q' if text.starts_with("start transaction") || text.starts_with("begin") => {
            *within = true;
            false
        }
        b'Q' if text.starts_with("commit") => {
            *within = false;
            true
        }
        b'Q' if text.starts_with("rollback") => {
            *within = false;
            false
        }
        b'Q' => !*within && writing(),
        b'P' => {
            *writes = !*within && writing();
            false
        }
        b'S' => std::mem::take(writes),
        _ => false,
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    cut: Arc<Cut>,
    waits: Arc<AtomicBool>,
) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let answer = &bytes[..count];
        if waits.load(Ordering::SeqCst) {
            let ready = count >= 6 && answer[count - 6..count - 1] == READY;
            if ready {
                cut.reached.store(true, Ordering::SeqCst);
                return std::future::pending().await;
            }
        } else if cut.held.load(Ordering::SeqCst) {
            return std::future::pending().await;
        } else if to.write_all(answer).await.is_err() {
            return;
        }
    }
}
