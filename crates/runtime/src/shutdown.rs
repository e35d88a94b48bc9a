//! Signals, and the two things a process does about them: drain, then stop.

use std::time::Duration;

use futures::StreamExt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::Error;

/// How far the end of the process is. `drain` comes first, `stop` never before it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Take nothing new; end what runs at the next safe point.
    pub drain: CancellationToken,
    /// Give back what runs, now.
    pub stop: CancellationToken,
}

impl Shutdown {
    /// The first SIGTERM or SIGINT drains; the second, or `grace` after the first, stops.
    pub fn on_signals(grace: Duration) -> Result<Self, Error> {
        let signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::Signals)?;
        let shutdown = Self::default();
        tokio::spawn(shutdown.clone().follow(signals, grace));
        Ok(shutdown)
    }

    async fn follow(self, mut signals: Signals, grace: Duration) {
        let Some(first) = signals.next().await else {
            return;
        };
        info!(
            signal = name(first),
            grace_seconds = grace.as_secs(),
            "draining"
        );
        self.drain.cancel();
        tokio::select! {
            second = signals.next() => info!(signal = second.map(name), "stopping"),
            () = tokio::time::sleep(grace) => info!("stopping: the grace period is over"),
        }
        self.stop.cancel();
        // Further signals change nothing, and must not kill a process that hands back.
        while signals.next().await.is_some() {}
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        SIGTERM => "SIGTERM",
        SIGINT => "SIGINT",
        _ => "other",
    }
}
