//! An open port, and how callers speak to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Peer;
use super::places::{Place, Places};
use crate::{Error, Tls};

/// After a failed accept (out of file descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

impl Version {
    /// As TLS names it (RFC 7301).
    fn protocol(self) -> &'static [u8] {
        match self {
            Self::One => b"http/1.1",
            Self::Two => b"h2",
        }
    }
}

/// An open port; plain HTTP/1 unless told otherwise.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    version: Version,
    tls: Option<Arc<ServerConfig>>,
}

/// A connection that was just made.
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) peer: Peer,
    pub(super) version: Version,
    pub(super) tls: Option<TlsAcceptor>,
}

/// Opens `address`, which `setting` chose.
pub async fn bind(address: SocketAddr, setting: &'static str) -> Result<Listener, Error> {
    let failed = |source| Error::Listen {
        address,
        setting,
        source,
    };
    Ok(Listener {
        tcp: TcpListener::bind(address).await.map_err(failed)?,
        version: Version::One,
        tls: None,
    })
}

impl Listener {
    /// Speaks HTTP/2, from the first byte on, and nothing else: what gRPC needs.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.version = Version::Two;
        self
    }

    /// Speaks TLS, if there is a certificate. Comes after [`Listener::http2`], which the two
    /// sides agree on while they shake hands.
    pub fn with_tls(mut self, tls: Option<&Arc<Tls>>) -> Result<Self, Error> {
        let config = tls.map(|tls| Arc::clone(tls).config(self.version.protocol()));
        self.tls = config.transpose()?;
        Ok(self)
    }

    /// Where it is open; never port 0.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The next connection with its place; `None` once stopped. One of an address that has its
    /// share already is closed at once.
    pub(super) async fn next(
        &self,
        places: &Arc<Places>,
        stop: &CancellationToken,
    ) -> Option<(Accepted, Place)> {
        let accepted = async {
            loop {
                let free = places.free().await?;
                match self.tcp.accept().await {
                    Ok((stream, peer)) => {
                        if let Some(place) = places.give(free, peer.ip()) {
                            return Some((self.accepted(stream, peer), place));
                        }
                        debug!(%peer, "an address holds too many connections");
                    }
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

    fn accepted(&self, stream: TcpStream, peer: SocketAddr) -> Accepted {
        // An answer in several frames does not wait for the caller's acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "answers may be delayed");
        }
        Accepted {
            stream,
            peer: Peer(peer),
            version: self.version,
            tls: self.tls.clone().map(TlsAcceptor::from),
        }
    }
}
