//! A TCP way to a server, which can be cut and held up.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes under way at once in one direction.
const BUFFER_BYTES: usize = 64 << 10;

/// Ends when dropped, and every connection through it with it.
#[derive(Debug)]
pub struct Tunnel {
    address: SocketAddr,
    state: watch::Sender<State>,
    /// Held by every connection that is open, and twice beside them.
    open: Arc<()>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    cuts: u64,
    stalled: bool,
}

impl Tunnel {
    /// Opens a way to `server`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn open(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (state, watched) = watch::channel(State::default());
        let open = Arc::new(());
        let held = Arc::clone(&open);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A server that is away ends the connection, as it would without us.
                let (state, held) = (watched.clone(), Arc::clone(&held));
                tokio::spawn(async move {
                    carry(client, server, state).await;
                    drop(held);
                });
            }
        });
        Self {
            address,
            state,
            open,
            task,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections open now.
    pub fn open_count(&self) -> usize {
        Arc::strong_count(&self.open).saturating_sub(2)
    }

    /// Ends every connection that is open now.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// While stalled, connections stay open and nothing passes.
    pub fn stall(&self, stalled: bool) {
        self.state.send_modify(|state| state.stalled = stalled);
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Both directions of one connection, until an end closes it or it is cut.
async fn carry(client: TcpStream, server: SocketAddr, state: watch::Receiver<State>) {
    let mut cut = state.clone();
    let cuts = state.borrow().cuts;
    let carried = async {
        let server = TcpStream::connect(server).await?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            ended = pass(from_client, to_server, state.clone()) => ended,
            ended = pass(from_server, to_client, state.clone()) => ended,
        }
    };
    tokio::select! {
        // Whoever held the connection sees its end.
        _ = carried => {}
        // So does whoever held the tunnel.
        _ = cut.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        if state.wait_for(|state| !state.stalled).await.is_err() {
            return Ok(());
        }
        to.write_all(&bytes[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn bytes_pass_until_the_tunnel_is_cut_and_wait_while_it_is_stalled() {
        let tunnel = Tunnel::open(echo().await).await;
        let mut stream = TcpStream::connect(tunnel.address()).await.unwrap();
        let mut answer = [0; 4];
        stream.write_all(b"ping").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");
        assert_eq!(tunnel.open_count(), 1);

        tunnel.stall(true);
        stream.write_all(b"late").await.unwrap();
        assert!(futures_now(stream.read_exact(&mut answer)).await.is_none());
        tunnel.stall(false);
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"late");

        tunnel.cut();
        assert_eq!(stream.read(&mut answer).await.unwrap_or(0), 0);
        let mut next = TcpStream::connect(tunnel.address()).await.unwrap();
        next.write_all(b"next").await.unwrap();
        next.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"next");
    }

    /// What is there without waiting for anybody, after everybody else had a turn.
    async fn futures_now<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            answer = future => Some(answer),
            () = tokio::task::yield_now() => None,
        }
    }
}
