//! What can go wrong around a program. None of it heals by trying again: the process ends.

use std::io;

/// Each is the last thing a process says.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line or the environment asks for something impossible: exit code 2.
    #[error("{0}")]
    Usage(String),
    #[error("listen on {address} ({setting})")]
    Listen {
        address: std::net::SocketAddr,
        /// The variable that chose the address.
        setting: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("prepare TLS")]
    Tls(#[source] rustls::Error),
    #[error("catch signals")]
    Signals(#[source] io::Error),
    #[error("start logging")]
    Log(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("register metrics")]
    Metrics(#[from] prometheus::Error),
}
