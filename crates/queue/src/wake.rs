//! Wake-up: after a commit, debounced per lane, on one channel for new work and cancels.
//!
//! NOTIFY takes a lock of the whole server through the commit's fsync, so it is never sent inside
//! a caller's transaction, and a flood of commits sends few. Losing one costs a poll, nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::JobId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use crate::sql::rows;
use crate::{Error, Queue, metrics};

/// After a wake-up, further ones wait this long and become one.
const DEBOUNCE: Duration = Duration::from_millis(75);
/// Idle workers look by themselves after this and a random part of the jitter: 1 to 5 s.
const POLL_MIN: Duration = Duration::from_secs(1);
const POLL_JITTER: Duration = Duration::from_secs(4);
/// Woken workers spread over this, so that they do not all reach for the same row.
const WAKE_DELAY_MAX: Duration = Duration::from_millis(3);
/// Cancels announced in one go; the heartbeat brings any that are left out.
const CANCELS_MAX: usize = 256;

/// What is said on a lane's channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// There is work; also after a reconnect, when a call may have been missed.
    Work,
    /// This running job is to be cancelled.
    Cancel(JobId),
}

/// A subscription to a lane's channel.
#[derive(Debug)]
pub struct Calls {
    listener: pg::Listener,
}

impl Calls {
    /// The next call; never ends.
    pub async fn next(&mut self) -> Call {
        match self.listener.next().await {
            pg::Heard::Notified { payload, .. } if !payload.is_empty() => {
                Call::Cancel(JobId::new(payload))
            }
            pg::Heard::Notified { .. } | pg::Heard::Reconnected => Call::Work,
        }
    }
}

impl Queue {
    /// Subscribes to the lane's calls, on a connection of its own that comes back by itself.
    pub async fn calls(&self, pool: &pg::Pool) -> Result<Calls, Error> {
        Ok(Calls {
            listener: pool.listen(&[&self.channel()]).await?,
        })
    }

    /// Wakes the lane once, for short-lived processes; others have a [`Waker`]. Call it after the
    /// commit.
    pub async fn notify<C: GenericClient + Sync>(&self, client: &C) -> Result<(), Error> {
        self.call(client, "").await
    }

    /// Tells the worker of a running job that it is cancelled. Call it after the commit.
    pub async fn notify_cancel<C: GenericClient + Sync>(
        &self,
        client: &C,
        job: &JobId,
    ) -> Result<(), Error> {
        self.call(client, job.as_str()).await
    }

    async fn call<C: GenericClient + Sync>(&self, client: &C, payload: &str) -> Result<(), Error> {
        let channel = self.channel();
        let params = &[(&channel as _, Type::TEXT), (&payload as _, Type::TEXT)];
        rows(client, "wake the lane", &self.sql().notify, params).await?;
        metrics::woke(self.lane());
        Ok(())
    }
}

/// What waits to be said.
#[derive(Debug, Default)]
struct Said {
    work: bool,
    cancels: Vec<JobId>,
}

/// Wakes a lane's workers after commits of this process: the first at once, then at most one in
/// [`DEBOUNCE`], the last always.
#[derive(Debug)]
pub struct Waker {
    said: Arc<Mutex<Said>>,
    /// Changes with every word; dropping it ends the task once everything is said.
    spoken: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Waker {
    /// Starts the lane's waker; it ends when dropped or closed.
    pub fn start(queue: Queue, pool: pg::Pool) -> Self {
        let said = Arc::new(Mutex::new(Said::default()));
        let (spoken, heard) = watch::channel(0);
        let task = tokio::spawn(pass_on(queue, pool, said.clone(), heard));
        Self { said, spoken, task }
    }

    /// New work was committed.
    pub fn wake(&self) {
        lock(&self.said).work = true;
        self.spoken.send_modify(|count| *count += 1);
    }

    /// A running job's cancel was committed.
    pub fn cancelled(&self, job: &JobId) {
        {
            let mut said = lock(&self.said);
            if said.cancels.len() < CANCELS_MAX {
                said.cancels.push(job.clone());
            }
        }
        self.spoken.send_modify(|count| *count += 1);
    }

    /// Says what is left to say, and ends.
    pub async fn close(self) {
        let Self { spoken, task, .. } = self;
        drop(spoken);
        // The task fails only with the runtime, and then there is nobody to wake.
        let _ = task.await;
    }
}

fn lock(said: &Mutex<Said>) -> std::sync::MutexGuard<'_, Said> {
    // Nothing that holds it can panic, and a list of words cannot be half written.
    said.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn pass_on(
    queue: Queue,
    pool: pg::Pool,
    said: Arc<Mutex<Said>>,
    mut heard: watch::Receiver<u64>,
) {
    while heard.changed().await.is_ok() {
        let words = std::mem::take(&mut *lock(&said));
        if let Err(error) = say(&queue, &pool, words).await {
            tracing::warn!(lane = queue.lane(), %error, "wake-up not sent; workers will poll");
        }
        tokio::time::sleep(DEBOUNCE).await;
    }
}

async fn say(queue: &Queue, pool: &pg::Pool, words: Said) -> Result<(), Error> {
    let client = pool.get().await?;
    let client: &tokio_postgres::Client = &client;
    for job in &words.cancels {
        queue.notify_cancel(client, job).await?;
    }
    if words.work {
        queue.notify(client).await?;
    }
    Ok(())
}

/// How long an idle worker waits before it looks by itself; different every time.
pub fn idle_poll() -> Duration {
    POLL_MIN + POLL_JITTER.mul_f64(rand::random::<f64>())
}

/// How long a woken worker waits before it claims; different every time.
pub fn wake_delay() -> Duration {
    WAKE_DELAY_MAX.mul_f64(rand::random::<f64>())
}
