//! The one retry loop: bounded tries, pauses with full jitter.

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// Tries of one call, the first included.
    pub(crate) tries_max: u32,
    /// Longest pause before the second try; it doubles from try to try, and each pause is drawn
    /// from zero to it.
    pub(crate) first_pause: Duration,
    /// No pause is longer.
    pub(crate) pause_max: Duration,
}

impl Retry {
    /// Calls until it succeeds, fails with what will not pass, or is out of tries.
    pub(crate) async fn run<T, E, F>(
        &self,
        location: &str,
        passing: impl Fn(&E) -> bool,
        mut call: impl FnMut() -> F,
    ) -> Result<T, E>
    where
        E: std::fmt::Debug,
        F: Future<Output = Result<T, E>>,
    {
        let mut tries = 1;
        loop {
            match call().await {
                Err(error) if tries < self.tries_max && passing(&error) => {
                    tracing::debug!(location, tries, ?error, "try again");
                    self.pause(tries).await;
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    /// Waits before the try after number `tries`.
    pub(crate) async fn pause(&self, tries: u32) {
        tokio::time::sleep(self.drawn(tries)).await;
    }

    fn drawn(&self, tries: u32) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(2u32.saturating_pow(tries - 1));
        doubled
            .min(self.pause_max)
            .mul_f64(rand::random_range(0.0..1.0))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const RETRY: Retry = Retry {
        tries_max: 4,
        first_pause: Duration::from_micros(10),
        pause_max: Duration::from_micros(25),
    };

    #[tokio::test]
    async fn what_may_pass_is_tried_again_up_to_the_limit_and_nothing_else() {
        for (passing, want) in [(true, RETRY.tries_max), (false, 1)] {
            let tries = Cell::new(0);
            let done: Result<(), ()> = RETRY
                .run(
                    "/a",
                    |()| passing,
                    || {
                        tries.set(tries.get() + 1);
                        async { Err(()) }
                    },
                )
                .await;
            assert!(done.is_err());
            assert_eq!(tries.get(), want, "passing: {passing}");
        }
    }

    #[test]
    fn pauses_grow_and_have_a_limit() {
        for tries in 1..50 {
            let limit = if tries == 1 {
                RETRY.first_pause
            } else {
                RETRY.pause_max
            };
            assert!(RETRY.drawn(tries) <= limit, "{tries}");
        }
    }
}
