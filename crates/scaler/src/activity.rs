//! Whether there is something to do, told to one caller until it leaves.
//!
//! KEDA scales from zero on `true` and ignores `false`; a `true` it had no use for (it does not
//! know the trigger's metric yet, the API server is away) is lost, so it is said again. While
//! Postgres does not answer nothing is said: an error would end the stream, and KEDA waits longer
//! after every one, up to a minute.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use keda::{IsActiveResponse, Status};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use crate::counts::Counts;
use crate::metrics::Held;
use crate::trigger::Trigger;

/// Between two looks when nothing is heard: jobs become due, and leases run out, without a call.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// `true` is said again after so long.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Activity {
    pub(crate) counts: Arc<Counts>,
    pub(crate) trigger: Trigger,
    pub(crate) calls: watch::Receiver<Option<Instant>>,
    /// The connection is about to end.
    pub(crate) closing: CancellationToken,
    pub(crate) said: Option<(bool, Instant)>,
    pub(crate) _place: OwnedSemaphorePermit,
    pub(crate) _counted: Held,
}

impl Activity {
    /// What is said, from now to the end of the connection.
    pub(crate) fn stream(
        self,
    ) -> impl Stream<Item = Result<IsActiveResponse, Status>> + Send + 'static {
        futures::stream::unfold(self, |mut activity| async move {
            let result = activity.next().await?;
            Some((Ok(IsActiveResponse { result }), activity))
        })
    }

    /// The next thing to say, once there is something; `None` at the end.
    async fn next(&mut self) -> Option<bool> {
        let closing = self.closing.clone();
        closing.run_until_cancelled_owned(self.news()).await
    }

    async fn news(&mut self) -> bool {
        let mut heard = *self.calls.borrow_and_update();
        loop {
            let count = self.counts.since(&self.trigger.pools, heard).await;
            if let Ok(depth) = count {
                let active = 0 < self.trigger.value(&depth);
                if self.is_news(active) {
                    self.said = Some((active, Instant::now()));
                    return active;
                }
            }
            // While there is something to do, that there is more is no news.
            let idle = !matches!(self.said, Some((true, _)));
            tokio::select! {
                called = self.calls.changed(), if idle => {
                    // It fails only with the process.
                    if called.is_ok() {
                        heard = *self.calls.borrow_and_update();
                    }
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn is_news(&self, active: bool) -> bool {
        self.said.is_none_or(|(before, at)| {
            before != active || (active && SAY_AGAIN_AFTER <= at.elapsed())
        })
    }
}
