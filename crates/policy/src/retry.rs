//! What becomes of a job whose attempt failed.

use std::time::Duration;

use model::{Advice, EndReason};

/// Exponential backoff with full jitter: before attempt `n + 1` a uniformly random part of
/// `base * 2^(n-1)`, never more than `cap`. Full jitter spreads a fleet that failed together
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub base: Duration,
    pub cap: Duration,
}

/// For jobs: a lost network heals within seconds, a conflict with a busy writer within minutes.
pub const JOB_BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(10),
    cap: Duration::from_mins(10),
};

impl Backoff {
    /// The longest pause after `failures` failures in a row; nothing before the first.
    pub fn ceiling(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
                self.base.saturating_mul(factor).min(self.cap)
            }
        }
    }

    /// The pause after `failures` failures. `random` is uniform in 0..1; anything outside is
    /// brought to the nearest end.
    pub fn pause(&self, failures: u32, random: f64) -> Duration {
        let part = if random.is_nan() {
            1.0
        } else {
            random.clamp(0.0, 1.0)
        };
        self.ceiling(failures).mul_f64(part).min(self.cap)
    }
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// An action failed, with its error's advice.
    Action(Advice),
    /// The watchdog or the attempt's deadline stopped it.
    Timeout,
}

/// Attempts that counted so far, this one included, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    pub count: u32,
    pub max: u32,
}

/// What to do, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub next: Next,
    /// For the log and for people.
    pub why: &'static str,
}

/// What becomes of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Hand it back; the attempt counts, and the job is not due before `after`.
    Retry { after: Duration },
    /// It ends failed.
    Fail(EndReason),
    /// The job is somebody else's now: write nothing.
    Stop,
}

/// Decides about a job whose attempt failed. `random` is uniform in 0..1.
pub fn after(failure: Failure, attempts: Attempts, backoff: &Backoff, random: f64) -> Decision {
    let (why, last) = match failure {
        Failure::Action(Advice::Stop) => {
            return Decision {
                next: Next::Stop,
                why: "another attempt has the job",
            };
        }
        Failure::Action(Advice::GiveUp) => {
            return Decision {
                next: Next::Fail(EndReason::ActionFailed),
                why: "trying again would not help",
            };
        }
        Failure::Action(Advice::RetryLater) => ("the same may succeed later", EndReason::Exhausted),
        Failure::Action(Advice::PlanAgain) => ("the table moved: plan again", EndReason::Exhausted),
        Failure::Action(Advice::FindOut) => (
            "it may have landed: the next attempt looks first",
            EndReason::Exhausted,
        ),
        Failure::Timeout => ("it was stopped for taking too long", EndReason::Timeout),
    };
    if attempts.count >= attempts.max {
        return Decision {
            next: Next::Fail(last),
            why: "every attempt was used up",
        };
    }
    let after = backoff.pause(attempts.count, random);
    Decision {
        next: Next::Retry { after },
        why,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADVICE: [Advice; 5] = [
        Advice::RetryLater,
        Advice::PlanAgain,
        Advice::GiveUp,
        Advice::Stop,
        Advice::FindOut,
    ];

    fn failures() -> impl Strategy<Value = Failure> {
        prop_oneof![
            prop::sample::select(&ADVICE[..]).prop_map(Failure::Action),
            Just(Failure::Timeout)
        ]
    }

    fn backoffs() -> impl Strategy<Value = Backoff> {
        (0_u64..100_000, 0_u64..100_000_000).prop_map(|(base, cap)| Backoff {
            base: Duration::from_millis(base),
            cap: Duration::from_millis(cap),
        })
    }

    #[track_caller]
    fn check(failure: Failure, count: u32, want: Next) {
        let got = after(failure, Attempts { count, max: 3 }, &JOB_BACKOFF, 1.0);
        assert_eq!(got.next, want, "for {failure:?} at attempt {count} of 3");
        assert!(!got.why.is_empty());
    }

    #[test]
    fn each_advice_has_its_end() {
        let seconds = |s| Next::Retry {
            after: Duration::from_secs(s),
        };
        check(Failure::Action(Advice::RetryLater), 1, seconds(10));
        check(Failure::Action(Advice::RetryLater), 2, seconds(20));
        check(Failure::Action(Advice::PlanAgain), 1, seconds(10));
        check(Failure::Action(Advice::FindOut), 2, seconds(20));
        check(
            Failure::Action(Advice::RetryLater),
            3,
            Next::Fail(EndReason::Exhausted),
        );
        check(
            Failure::Action(Advice::FindOut),
            3,
            Next::Fail(EndReason::Exhausted),
        );
        check(
            Failure::Action(Advice::GiveUp),
            1,
            Next::Fail(EndReason::ActionFailed),
        );
        check(Failure::Action(Advice::Stop), 3, Next::Stop);
        check(Failure::Timeout, 1, seconds(10));
        check(Failure::Timeout, 3, Next::Fail(EndReason::Timeout));
    }

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let seconds: Vec<u64> = (0..9).map(|n| JOB_BACKOFF.ceiling(n).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 320, 600, 600]);
    }

    proptest! {
        #[test]
        fn a_pause_is_never_longer_than_its_ceiling_or_the_cap(
            backoff in backoffs(), failures: u32, random: f64,
        ) {
            let pause = backoff.pause(failures, random);
            prop_assert!(pause <= backoff.ceiling(failures));
            prop_assert!(pause <= backoff.cap);
        }

        #[test]
        fn ceilings_never_shrink(backoff in backoffs(), failures in 0_u32..200) {
            prop_assert!(backoff.ceiling(failures) <= backoff.ceiling(failures + 1));
        }

        #[test]
        fn a_larger_random_number_never_shortens_the_pause(
            backoff in backoffs(), failures in 1_u32..50, a in 0.0..1.0, b in 0.0..1.0,
        ) {
            let (small, large) = if a <= b { (a, b) } else { (b, a) };
            prop_assert!(backoff.pause(failures, small) <= backoff.pause(failures, large));
        }

        #[test]
        fn no_job_is_retried_for_ever(
            failure in failures(), backoff in backoffs(), max in 1_u32..20, random in 0.0..1.0,
        ) {
            let retries = (1..=max)
                .take_while(|count| {
                    let attempts = Attempts { count: *count, max };
                    matches!(after(failure, attempts, &backoff, random).next, Next::Retry { .. })
                })
                .count();
            prop_assert!(retries < max as usize);
        }
    }
}
