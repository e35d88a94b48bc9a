//! The lane's calls (NOTIFY), heard on one connection for all who wait for work.
//!
//! The connection is opened when somebody first waits, so that a scaler nobody waits at costs
//! Postgres none, and comes back by itself. Meanwhile whoever waits polls.

use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use futures::FutureExt;
use queue::Call;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::database::Database;

/// Calls within so long of each other are one.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Before the first connection is tried again.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Calls {
    database: Arc<Database>,
    heard: watch::Sender<Option<Instant>>,
    started: Once,
    stop: CancellationToken,
}

impl Calls {
    pub(crate) fn new(database: Arc<Database>, stop: CancellationToken) -> Self {
        Self {
            database,
            heard: watch::Sender::new(None),
            started: Once::new(),
            stop,
        }
    }

    /// When the last call was heard, and that there is another.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Instant>> {
        self.started.call_once(|| {
            let (database, heard) = (Arc::clone(&self.database), self.heard.clone());
            let listen = self.stop.clone().run_until_cancelled_owned(async move {
                listen(&database, &heard).await;
            });
            tokio::spawn(listen);
        });
        self.heard.subscribe()
    }
}

/// Passes on what is heard; never ends.
async fn listen(database: &Database, heard: &watch::Sender<Option<Instant>>) {
    let mut calls = loop {
        match database.calls().await {
            Ok(calls) => break calls,
            // Who counts says so.
            Err(why) => debug!(why, "cannot listen"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    loop {
        // Also at first: what came before the connection was not heard.
        heard.send_replace(Some(Instant::now()));
        tokio::time::sleep(DEBOUNCE).await;
        // A cancel is no work.
        while calls.next().await != Call::Work {}
        while calls.next().now_or_never().is_some() {}
    }
}
