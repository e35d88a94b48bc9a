//! One connection of a user of the queue: it may leave a transaction open between two steps.

use std::sync::Arc;

use model::{AttemptId, JobId};
use queue::{
    Cancel, Claimed, Cursor, End, Enqueue, Error, Fence, Finished, HandBack, HandedBack, Lock,
    Renewal,
};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, GenericClient, Transaction};

use super::LEASE;
use super::reference::{Reference, number};
use super::world::claimer;
use crate::lane::Lane;

/// What a session is asked to do with the queue.
#[derive(Debug)]
pub(super) enum Op {
    Submit(Enqueue),
    Claim {
        count: u32,
    },
    ClaimOne(JobId),
    Renew(Vec<(JobId, AttemptId)>),
    Finish(Vec<(Fence, End)>),
    HandBack(Fence, HandBack),
    Cancel(JobId),
    /// A guard around the swap of a table from this version; the swap is in its transaction if
    /// the catalog is in our database. Not guarded, as a test of the test: the swap alone.
    Guard {
        fence: Fence,
        key: String,
        base: i32,
        inside: bool,
        guarded: bool,
    },
    Sweep,
}

impl Op {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Submit(_) => "submit",
            Self::Claim { .. } => "claim",
            Self::ClaimOne(_) => "claim one",
            Self::Renew(_) => "renew",
            Self::Finish(_) => "finish",
            Self::HandBack(..) => "hand back",
            Self::Cancel(_) => "cancel",
            Self::Guard { .. } => "guard",
            Self::Sweep => "sweep",
        }
    }

    /// Whether it is this attempt's guard.
    pub(super) fn guards(&self, attempt: &Fence) -> bool {
        matches!(self, Self::Guard { fence, .. } if fence.attempt() == attempt.attempt())
    }

    /// Whether a catalog elsewhere is asked while its guard is open.
    pub(super) fn asks(&self) -> bool {
        matches!(self, Self::Guard { inside: false, .. })
    }

    /// The rows it waits for if somebody has them, in the order it takes them.
    pub(super) fn waits_for(&self, reference: &Reference) -> Vec<u32> {
        let current =
            |fence: &&Fence| reference.current(number(fence.job()), fence.attempt().as_str());
        let fences: Vec<&Fence> = match self {
            Self::Finish(batch) => batch.iter().map(|(fence, _)| fence).collect(),
            Self::HandBack(fence, _) => vec![fence],
            Self::Cancel(job) => return vec![number(job)],
            _ => vec![],
        };
        let mut jobs: Vec<u32> = fences
            .into_iter()
            .filter(current)
            .map(|fence| number(fence.job()))
            .collect();
        jobs.sort_unstable();
        jobs
    }
}

#[derive(Debug)]
pub(super) enum Answer {
    Connected { pid: i32 },
    Locked(Lock),
    Claimed(Vec<Claimed>),
    Renewed(Vec<Renewal>),
    Finished(Vec<(JobId, Finished)>),
    HandedBack(HandedBack),
    Cancelled(Cancel),
    Guarded { swapped: bool },
    Swept,
    Replaced,
    Committed,
    RolledBack,
    Failed(Error),
}

#[derive(Debug)]
pub(super) enum Order {
    Connect,
    /// Without a transaction around it.
    Alone(Arc<Op>),
    /// In a transaction that stays open until [`Order::End`], unless the answer is a refusal.
    Open(Arc<Op>),
    End {
        commit: bool,
    },
}

type Inbox = mpsc::UnboundedReceiver<(Order, oneshot::Sender<Answer>)>;

/// The driver's end of a session.
#[derive(Debug)]
pub(super) struct Session {
    orders: mpsc::UnboundedSender<(Order, oneshot::Sender<Answer>)>,
    pub(super) pid: i32,
}

impl Session {
    pub(super) async fn start(lane: &Arc<Lane>) -> Self {
        let client = lane.database.client().await;
        let pid = pid(&client).await;
        let (orders, inbox) = mpsc::unbounded_channel();
        tokio::spawn(live(lane.clone(), client, inbox));
        Self { orders, pid }
    }

    pub(super) fn send(&self, order: Order) -> oneshot::Receiver<Answer> {
        let (sender, answer) = oneshot::channel();
        self.orders.send((order, sender)).unwrap();
        answer
    }
}

async fn pid(client: &Client) -> i32 {
    client
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0)
}

async fn live(lane: Arc<Lane>, mut client: Client, mut inbox: Inbox) {
    while let Some((order, reply)) = inbox.recv().await {
        let answer = match order {
            Order::Connect => {
                client = lane.database.client().await;
                Answer::Connected {
                    pid: pid(&client).await,
                }
            }
            Order::Alone(op) => alone(&lane, &client, &op).await.unwrap_or_else(refused),
            Order::Open(op) => {
                let ended = open(&lane, &mut client, &op, reply, &mut inbox).await;
                let Some((answer, reply)) = ended else { return };
                if matches!(answer, Answer::Replaced) {
                    // A refused guard's rollback is on the way: nobody is told before it is there.
                    drop(client.batch_execute("").await);
                }
                drop(reply.send(answer));
                continue;
            }
            Order::End { .. } => panic!("no transaction is open"),
        };
        // Nobody listens any more once a schedule has failed.
        drop(reply.send(answer));
    }
}

fn refused(error: Error) -> Answer {
    match error {
        Error::Replaced => Answer::Replaced,
        error => Answer::Failed(error),
    }
}

fn plain(source: tokio_postgres::Error) -> Error {
    Error::Database {
        doing: "end or begin a transaction",
        source,
    }
}

/// Claim, renew and sweep need no transaction of the caller's.
async fn alone<C: GenericClient + Sync>(lane: &Lane, client: &C, op: &Op) -> Result<Answer, Error> {
    let queue = &lane.queue;
    match op {
        Op::Claim { count } => {
            // A new claimer always looks after expired rows first.
            let claimed = claimer(lane).claim(client, *count).await?;
            Ok(Answer::Claimed(claimed))
        }
        Op::ClaimOne(job) => {
            let claimed = queue.claim_one(client, job, LEASE, "w").await?;
            Ok(Answer::Claimed(claimed.into_iter().collect()))
        }
        Op::Renew(attempts) => Ok(Answer::Renewed(queue.renew(client, attempts, LEASE).await?)),
        Op::Sweep => {
            queue.sweep(client, 1_000, &mut Cursor::default()).await?;
            Ok(Answer::Swept)
        }
        other => panic!("{other:?} needs a transaction"),
    }
}

async fn inside(lane: &Lane, tx: &Transaction<'_>, op: &Op) -> Result<Answer, Error> {
    let queue = &lane.queue;
    match op {
        Op::Submit(item) => {
            let key = item.concurrency_key.as_deref().unwrap_or_default();
            let lock = queue.lock(tx, key, &item.job).await?;
            if lock == Lock::Taken {
                lane.records(tx, std::slice::from_ref(item)).await;
                queue.enqueue(tx, std::slice::from_ref(item)).await?;
            }
            Ok(Answer::Locked(lock))
        }
        Op::Finish(batch) => {
            let batch = batch
                .iter()
                .map(|(fence, end)| (fence.for_retry(), end.clone()));
            Ok(Answer::Finished(
                queue.finish_all(tx, batch.collect()).await?,
            ))
        }
        Op::HandBack(fence, how) => Ok(Answer::HandedBack(
            queue.hand_back(tx, fence.for_retry(), how).await?,
        )),
        Op::Cancel(job) => Ok(Answer::Cancelled(queue.cancel(tx, job).await?)),
        Op::Guard {
            fence,
            key,
            base,
            inside,
            ..
        } => {
            let swapped = *inside && swap(tx, fence, key, *base).await.map_err(plain)?;
            Ok(Answer::Guarded { swapped })
        }
        other => alone(lane, tx, other).await,
    }
}

/// Runs the op in a transaction of its own and waits for its end. `None` when the schedule is over.
async fn open(
    lane: &Lane,
    client: &mut Client,
    op: &Op,
    reply: oneshot::Sender<Answer>,
    inbox: &mut Inbox,
) -> Option<(Answer, oneshot::Sender<Answer>)> {
    if let Op::Guard {
        fence,
        key,
        base,
        inside,
        guarded: true,
    } = op
    {
        let guard = match lane.queue.guard(client, fence, LEASE).await {
            Ok(guard) => guard,
            Err(error) => return Some((refused(error), reply)),
        };
        let swapped = if *inside {
            swap(guard.transaction(), fence, key, *base).await
        } else {
            Ok(false)
        };
        match swapped {
            Ok(swapped) => drop(reply.send(Answer::Guarded { swapped })),
            Err(error) => return Some((Answer::Failed(plain(error).in_guard()), reply)),
        }
        let (commit, reply) = end(inbox).await?;
        let ended = if commit {
            guard.commit().await
        } else {
            guard.rollback().await
        };
        return Some((ended_as(ended, commit), reply));
    }
    let tx = match client.transaction().await {
        Ok(tx) => tx,
        Err(error) => return Some((Answer::Failed(plain(error)), reply)),
    };
    match inside(lane, &tx, op).await {
        Ok(answer) => drop(reply.send(answer)),
        Err(error) => {
            // Before anybody is told, so that its locks are gone by then.
            let ended = tx.rollback().await;
            let failed =
                ended.map_or_else(|source| Answer::Failed(plain(source)), |()| refused(error));
            return Some((failed, reply));
        }
    }
    let (commit, reply) = end(inbox).await?;
    let ended = if commit {
        tx.commit().await
    } else {
        tx.rollback().await
    };
    Some((ended_as(ended.map_err(plain), commit), reply))
}

async fn end(inbox: &mut Inbox) -> Option<(bool, oneshot::Sender<Answer>)> {
    match inbox.recv().await? {
        (Order::End { commit }, reply) => Some((commit, reply)),
        (other, _) => panic!("{other:?} while a transaction is open"),
    }
}

fn ended_as(ended: Result<(), Error>, commit: bool) -> Answer {
    match ended {
        Ok(()) if commit => Answer::Committed,
        Ok(()) => Answer::RolledBack,
        Err(error) => Answer::Failed(error),
    }
}

/// The catalog's part: a new version if the old one is still there, and who made it.
pub(super) async fn swap<C: GenericClient>(
    client: &C,
    fence: &Fence,
    key: &str,
    base: i32,
) -> Result<bool, tokio_postgres::Error> {
    let update = "update catalog.tables set version = version + 1 where name = $1 and version = $2";
    if client.execute(update, &[&key, &base]).await? == 0 {
        return Ok(false);
    }
    let insert = "insert into catalog.commits (job_id, attempt_id) values ($1, $2)";
    let (job, attempt) = (fence.job().as_str(), fence.attempt().as_str());
    client.execute(insert, &[&job, &attempt]).await?;
    Ok(true)
}
