//! Steps against Postgres that outlast a restart of it.

use std::fmt::Display;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use model::Advice;
use tracing::debug;

/// First pause between two tries; each is twice the one before. Of each a random part, half at
/// least, so that a fleet that lost its server does not come back in step.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a step's error must tell.
pub(crate) trait Advised: Display {
    fn advice(&self) -> Advice;
}

impl Advised for maintenance::Error {
    fn advice(&self) -> Advice {
        maintenance::Error::advice(self)
    }
}

/// Tries `step` until it works, fails for another reason than a passing one, or `until` is over.
/// The step is told how many tries came before it, and must be safe to repeat.
pub(crate) async fn steadily<T, E, F, Step>(until: Instant, mut step: Step) -> Result<T, E>
where
    E: Advised,
    F: Future<Output = Result<T, E>>,
    Step: FnMut(u32) -> F,
{
    let mut pause = PAUSE_MIN;
    let mut tries = 0;
    loop {
        let error = match step(tries).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let passing = matches!(error.advice(), Advice::RetryLater | Advice::FindOut);
        if !passing || Instant::now() + pause >= until {
            return Err(error);
        }
        debug!(%error, tries, "trying again");
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(PAUSE_MAX);
        tries += 1;
    }
}

/// Awaits `step`, but no longer than `more` once `over` is: a server may be silent for good. A step
/// that is dropped on its way may still take effect.
pub(crate) async fn unless_over<T>(
    step: impl Future<Output = T>,
    over: impl Future<Output = ()>,
    more: Duration,
) -> Option<T> {
    let mut step = pin!(step);
    tokio::select! {
        biased;
        done = &mut step => Some(done),
        () = over => tokio::time::timeout(more, step).await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Failed(Advice);

    impl Display for Failed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:?}", self.0)
        }
    }

    impl Advised for Failed {
        fn advice(&self) -> Advice {
            self.0
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn passing_failures_are_tried_again_and_others_are_not() {
        let until = Instant::now() + Duration::from_secs(30);
        let healed = steadily(until, |tries| async move {
            if tries < 2 {
                Err(Failed(Advice::RetryLater))
            } else {
                Ok(tries)
            }
        });
        assert_eq!(healed.await.unwrap(), 2);
        let refused = steadily(until, |tries| async move {
            assert_eq!(tries, 0);
            Err::<(), _>(Failed(Advice::GiveUp))
        });
        assert_eq!(refused.await.unwrap_err().0, Advice::GiveUp);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_step_that_never_answers_is_left_when_its_time_is_over() {
        let (now, later) = (Duration::ZERO, Duration::from_secs(30));
        let silent = std::future::pending::<()>;
        assert_eq!(unless_over(silent(), async {}, now).await, None);
        let slow = async { tokio::task::yield_now().await };
        assert_eq!(unless_over(slow, async {}, later).await, Some(()));
        assert_eq!(unless_over(async {}, silent(), now).await, Some(()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn there_is_an_end_to_trying() {
        let over = steadily(Instant::now(), |_| async {
            Err::<(), _>(Failed(Advice::RetryLater))
        });
        assert_eq!(over.await.unwrap_err().0, Advice::RetryLater);
    }
}
