//! The one retry loop: bounded tries, pauses with full jitter, a server's own wish heard.

use std::time::Duration;

/// A server that says when to come again is waited for up to this, and no longer.
pub(crate) const ASKED_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// Tries of one call, the first included.
    pub(crate) tries_max: u32,
    /// Longest pause before the second try; it doubles from try to try, and each pause is drawn
    /// from zero to it.
    pub(crate) first_pause: Duration,
    /// No pause is longer, but where a server asked for one.
    pub(crate) pause_max: Duration,
}

/// Whether the call that failed may succeed when it is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Again {
    Never,
    Later,
    /// Not before this is over, as the server said.
    After(Duration),
}

impl Retry {
    /// Calls until it succeeds, fails with what will not pass, or is out of tries.
    pub(crate) async fn run<T, E, F>(
        &self,
        location: &str,
        again: impl Fn(&E) -> Again,
        mut call: impl FnMut() -> F,
    ) -> Result<T, E>
    where
        E: std::fmt::Debug,
        F: Future<Output = Result<T, E>>,
    {
        let mut tries = 1;
        loop {
            let error = match call().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let again = again(&error);
            if tries >= self.tries_max || again == Again::Never {
                return Err(error);
            }
            self.pause(location, tries, again).await;
            tries += 1;
        }
    }

    /// Waits before the try after number `tries`.
    pub(crate) async fn pause(&self, location: &str, tries: u32, again: Again) {
        let pause = self.drawn(tries, again);
        tracing::debug!(location, tries, ?again, ?pause, "trying again");
        tokio::time::sleep(pause).await;
    }

    /// What a server asks for is the least, so that those it told the same do not come at once.
    fn drawn(&self, tries: u32, again: Again) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(2u32.saturating_pow(tries - 1));
        let own = doubled
            .min(self.pause_max)
            .mul_f64(rand::random_range(0.0..1.0));
        match again {
            Again::After(asked) => asked.min(ASKED_MAX) + own,
            Again::Never | Again::Later => own,
        }
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
        let soon = Again::After(Duration::from_micros(1));
        for (again, want) in [
            (Again::Later, RETRY.tries_max),
            (soon, RETRY.tries_max),
            (Again::Never, 1),
        ] {
            let tries = Cell::new(0);
            let done: Result<(), ()> = RETRY
                .run(
                    "/a",
                    |()| again,
                    || {
                        tries.set(tries.get() + 1);
                        async { Err(()) }
                    },
                )
                .await;
            assert!(done.is_err());
            assert_eq!(tries.get(), want, "{again:?}");
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
            assert!(RETRY.drawn(tries, Again::Later) <= limit, "{tries}");
        }
    }

    #[test]
    fn pauses_are_spread_over_their_whole_range() {
        let drawn: Vec<_> = (0..200).map(|_| RETRY.drawn(9, Again::Later)).collect();
        let part = |from, to| {
            let (from, to) = (RETRY.pause_max * from / 4, RETRY.pause_max * to / 4);
            drawn.iter().any(|pause| (from..to).contains(pause))
        };
        assert!(part(0, 1) && part(3, 4), "{drawn:?}");
    }

    #[test]
    fn what_a_server_asks_for_is_the_least_and_has_a_limit() {
        let asked = Duration::from_secs(3);
        for (asked, least) in [(asked, asked), (Duration::from_hours(9), ASKED_MAX)] {
            for tries in 1..9 {
                let pause = RETRY.drawn(tries, Again::After(asked));
                let most = least + RETRY.pause_max;
                assert!((least..=most).contains(&pause), "{asked:?}: {pause:?}");
            }
        }
    }
}
