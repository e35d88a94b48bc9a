//! Steps that many attempts take at the same moment, taken together: what comes while one batch is
//! on its way goes with the next. What was asked together once is likely to be so again, so a batch
//! is waited with for a moment until it is as large as the last; a lone attempt waits for nobody.

use std::future::Future;
use std::time::Duration;

use maintenance::{ClaimedJob, Error};
use model::{AttemptId, JobId};
use queue::{End, Fence, Finished, Queue};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use crate::records::PoolRecords;

/// Items of one batch at most: a larger one is no cheaper for each.
const ITEMS_MAX: usize = 500;
/// A batch that takes longer is given up: one of its items may wait for a lock or a dead server,
/// and the others need not.
const WITHIN: Duration = Duration::from_secs(2);
/// How long a batch is waited with.
const GATHERED_WITHIN: Duration = Duration::from_millis(2);

/// One kind of step.
pub(crate) trait Step: Send + Sync + 'static {
    type Item: Send + 'static;
    type Answer: Send + 'static;

    /// Answers the items in their order, or fails for all of them.
    fn take(
        &self,
        items: Vec<Self::Item>,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, Error>> + Send;
}

/// An item, and where it waits for its answer.
type Asked<S> = (<S as Step>::Item, oneshot::Sender<<S as Step>::Answer>);

/// Takes one kind of step for all attempts of a process, until it is dropped.
#[derive(Debug)]
pub(crate) struct Batches<S: Step> {
    asked: mpsc::UnboundedSender<Asked<S>>,
}

impl<S: Step> Batches<S> {
    pub(crate) fn start(step: S) -> Self {
        Self::start_within(step, WITHIN)
    }

    fn start_within(step: S, within: Duration) -> Self {
        let (asked, waiting) = mpsc::unbounded_channel();
        tokio::spawn(serve(step, within, waiting));
        Self { asked }
    }

    /// The answer to one item. `None`: its batch failed or was given up, which says nothing about
    /// this item. It may have taken effect even so; it is to be tried alone.
    pub(crate) async fn ask(&self, item: S::Item) -> Option<S::Answer> {
        let (answer, answered) = oneshot::channel();
        self.asked.send((item, answer)).ok()?;
        answered.await.ok()
    }
}

async fn serve<S: Step>(step: S, within: Duration, mut waiting: mpsc::UnboundedReceiver<Asked<S>>) {
    let (mut asked, mut last) = (Vec::new(), 1);
    while waiting.recv_many(&mut asked, ITEMS_MAX).await > 0 {
        let gathered = async {
            while asked.len() < last && !waiting.is_closed() {
                let room = ITEMS_MAX - asked.len();
                waiting.recv_many(&mut asked, room).await;
            }
        };
        let _ = tokio::time::timeout(GATHERED_WITHIN, gathered).await;
        last = asked.len();
        let (items, askers): (Vec<_>, Vec<_>) = asked.drain(..).unzip();
        match tokio::time::timeout(within, step.take(items)).await {
            Ok(Ok(answers)) => {
                for (asker, answer) in askers.into_iter().zip(answers) {
                    // Whoever asked may be gone.
                    let _ = asker.send(answer);
                }
            }
            Ok(Err(error)) => debug!(%error, items = askers.len(), "a batch failed"),
            Err(_) => debug!(items = askers.len(), "a batch was given up"),
        }
    }
}

/// Loads the jobs of claims.
#[derive(Debug)]
pub(crate) struct Loads(pub(crate) PoolRecords);

impl Step for Loads {
    type Item = (JobId, AttemptId);
    type Answer = Result<ClaimedJob, Error>;

    async fn take(&self, claims: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Error> {
        let client = self.0.client("load the claimed jobs").await?;
        let loaded = maintenance::claimed_jobs(&**client, &claims).await?;
        client.give_back();
        Ok(loaded)
    }
}

/// Writes the ends of attempts that leave no results behind.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) records: PoolRecords,
    pub(crate) queue: Queue,
}

impl Step for Ends {
    type Item = (Fence, End);
    type Answer = Finished;

    async fn take(&self, ends: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Error> {
        let doing = "write the ends of attempts";
        let database = |source| Error::Database { doing, source };
        let mut client = self.records.client(doing).await?;
        let tx = (**client).transaction().await.map_err(database)?;
        let finished = self.queue.finish_all(&tx, ends).await?;
        tx.commit().await.map_err(database)?;
        client.give_back();
        Ok(finished.into_iter().map(|(_, finished)| finished).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use tokio::sync::Semaphore;

    use super::*;

    /// Doubles numbers when it is let; fails for every batch with a zero.
    struct Doubling {
        let_through: Arc<Semaphore>,
        batches: Arc<Mutex<Vec<usize>>>,
    }

    impl Step for Doubling {
        type Item = u32;
        type Answer = u32;

        async fn take(&self, items: Vec<u32>) -> Result<Vec<u32>, Error> {
            self.let_through.acquire().await.unwrap().forget();
            self.batches.lock().unwrap().push(items.len());
            if items.contains(&0) {
                return Err(queue::Error::Replaced.into());
            }
            Ok(items.iter().map(|item| item * 2).collect())
        }
    }

    /// The batches, what lets one through, and how many items each took.
    type Parts = (
        Arc<Batches<Doubling>>,
        Arc<Semaphore>,
        Arc<Mutex<Vec<usize>>>,
    );

    fn parts(within: Duration) -> Parts {
        let (let_through, batches) = (Arc::new(Semaphore::new(0)), Arc::default());
        let step = Doubling {
            let_through: Arc::clone(&let_through),
            batches: Arc::clone(&batches),
        };
        (
            Arc::new(Batches::start_within(step, within)),
            let_through,
            batches,
        )
    }

    async fn asked(
        batches: &Arc<Batches<Doubling>>,
        item: u32,
    ) -> tokio::task::JoinHandle<Option<u32>> {
        let (batches, own) = (Arc::clone(batches), Arc::new(Semaphore::new(0)));
        let told = Arc::clone(&own);
        let asking = tokio::spawn(async move {
            told.add_permits(1);
            batches.ask(item).await
        });
        own.acquire().await.unwrap().forget();
        asking
    }

    #[tokio::test]
    async fn what_comes_meanwhile_goes_together_and_each_gets_its_own_answer() {
        let (batches, let_through, taken) = parts(Duration::MAX);
        let mut asking = Vec::new();
        for item in 1..=250 {
            asking.push(asked(&batches, item).await);
        }
        let_through.add_permits(250);
        for (item, asking) in (1..=250).zip(asking) {
            assert_eq!(asking.await.unwrap(), Some(item * 2));
        }
        let taken = taken.lock().unwrap();
        assert_eq!(taken.iter().sum::<usize>(), 250);
        assert!(taken.iter().all(|items| *items <= ITEMS_MAX), "{taken:?}");
        assert!(taken.len() <= 4, "{taken:?}");
    }

    #[tokio::test]
    async fn a_batch_that_fails_says_nothing_and_the_next_is_taken() {
        let (batches, let_through, _) = parts(Duration::MAX);
        let_through.add_permits(2);
        assert_eq!(batches.ask(0).await, None);
        assert_eq!(batches.ask(4).await, Some(8));
    }

    #[tokio::test]
    async fn a_batch_that_hangs_is_given_up() {
        let (batches, let_through, taken) = parts(Duration::from_millis(1));
        assert_eq!(batches.ask(1).await, None);
        assert!(taken.lock().unwrap().is_empty());
        let_through.add_permits(1);
        assert_eq!(batches.ask(2).await, Some(4));
    }
}
