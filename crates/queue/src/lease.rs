//! Until when a worker may believe that a job is its own.

use std::time::{Duration, Instant};

/// The part of a lease that is never used: it covers a slow answer and a slow last write.
const MARGIN_PART: u32 = 8;

/// A lease as its holder sees it: by the monotonic clock, counted from *before* the claim or
/// renewal was sent, minus a margin. So it ends here before it ends in the database, whatever
/// either wall clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    trusted_until: Instant,
}

impl Lease {
    /// A lease of `granted` that was asked for at `sent`.
    pub fn granted(sent: Instant, granted: Duration) -> Self {
        Self {
            trusted_until: sent + granted * (MARGIN_PART - 1) / MARGIN_PART,
        }
    }

    /// Past this the holder stops writing outside the database.
    pub fn trusted_until(&self) -> Instant {
        self.trusted_until
    }

    /// True while the holder may still write.
    pub fn trusted(&self, now: Instant) -> bool {
        now < self.trusted_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q18_a_lease_is_distrusted_before_it_ends_in_the_database() {
        let sent = Instant::now();
        let lease = Lease::granted(sent, Duration::from_mins(1));
        assert_eq!(lease.trusted_until(), sent + Duration::from_millis(52_500));
        assert!(lease.trusted(sent + Duration::from_secs(52)));
        assert!(!lease.trusted(sent + Duration::from_millis(52_500)));
    }

    #[test]
    fn a_lease_of_nothing_is_never_trusted() {
        let sent = Instant::now();
        assert!(!Lease::granted(sent, Duration::ZERO).trusted(sent));
    }
}
