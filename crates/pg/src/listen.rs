//! LISTEN on a direct connection that comes back by itself.

use std::time::Duration;

use futures::future::poll_fn;
use tokio::sync::mpsc;
use tokio_postgres::AsyncMessage;

use crate::pool::Target;
use crate::{Error, Pool};

/// First pause before a reconnect; doubled each time up to [`PAUSE_MAX`]. Of each a random part, half
/// at least, so that a fleet that lost its server does not come back in step.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Notifications kept for a slow reader; more are dropped, since each only says "look again".
const BACKLOG_MAX: usize = 1_024;

/// What a [`Listener`] hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Notified {
        channel: String,
        payload: String,
    },
    /// The connection was lost and is back: whatever was sent meanwhile is lost, so poll once.
    Reconnected,
}

/// A subscription; ends when dropped.
#[derive(Debug)]
pub struct Listener {
    /// `None`: it hears nothing.
    heard: Option<mpsc::Receiver<Heard>>,
}

impl Pool {
    /// Subscribes on a connection outside the pool, at the place [`Pool::listening`] gave it.
    /// Fails only if the first connection does; later losses are healed with backoff.
    pub async fn listen(&self, channels: &[&str]) -> Result<Listener, Error> {
        let Some(target) = self.listens_at() else {
            return Ok(Listener { heard: None });
        };
        let channels: Vec<String> = channels.iter().map(|name| quote(name)).collect();
        let (sender, heard) = mpsc::channel(BACKLOG_MAX);
        let subscription = Subscription::open(target, &channels, &sender).await?;
        tokio::spawn(keep(target.clone(), channels, sender, subscription));
        Ok(Listener { heard: Some(heard) })
    }
}

impl Listener {
    /// The next notification or reconnect; never ends while the listener lives.
    pub async fn next(&mut self) -> Heard {
        let next = match &mut self.heard {
            Some(heard) => heard.recv().await,
            None => None,
        };
        match next {
            Some(heard) => heard,
            // Listening is off, or the sending side is gone: the runtime is shutting down.
            None => std::future::pending().await,
        }
    }
}

struct Subscription {
    _client: tokio_postgres::Client,
    ended: tokio::task::JoinHandle<()>,
}

impl Subscription {
    async fn open(
        target: &Target,
        channels: &[String],
        sender: &mpsc::Sender<Heard>,
    ) -> Result<Self, Error> {
        let (client, mut connection) = target.connect().await?;
        let sender = sender.clone();
        let ended = tokio::spawn(async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    Ok(AsyncMessage::Notification(note)) => {
                        let channel = note.channel().to_owned();
                        let payload = note.payload().to_owned();
                        // Full means the reader has plenty of reasons to look already.
                        let _ = sender.try_send(Heard::Notified { channel, payload });
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        let listen: Vec<String> = channels
            .iter()
            .map(|name| format!("listen {name}"))
            .collect();
        client
            .batch_execute(&listen.join(";"))
            .await
            .map_err(|source| Error::Database {
                doing: "listen",
                source,
            })?;
        Ok(Self {
            _client: client,
            ended,
        })
    }
}

/// Reopens the subscription whenever it ends, until the listener is dropped.
async fn keep(
    target: Target,
    channels: Vec<String>,
    sender: mpsc::Sender<Heard>,
    mut subscription: Subscription,
) {
    loop {
        tokio::select! {
            _ = &mut subscription.ended => {}
            () = sender.closed() => return,
        }
        tracing::warn!(place = target.place, "listen connection lost");
        let mut pause = PAUSE_MIN;
        subscription = loop {
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
                () = sender.closed() => return,
            }
            match Subscription::open(&target, &channels, &sender).await {
                Ok(open) => break open,
                Err(error) => tracing::debug!(%error, "listen again"),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        };
        tracing::info!(place = target.place, "listening again");
        // A full backlog wakes the reader just as well.
        let _ = sender.try_send(Heard::Reconnected);
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
