//! How often one caller may ask: token buckets, for a bounded number of callers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Callers remembered at once. A caller that is forgotten starts over with a full bucket.
const CALLERS_MAX: usize = 10_000;

/// One bucket per key. A bucket holds `burst` requests and is refilled at `per_second`.
#[derive(Debug)]
pub(crate) struct Rate<K> {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Eq + Hash + Clone> Rate<K> {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: f64::from(per_second.max(1)),
            burst: f64::from(burst.max(1)),
            buckets: Mutex::default(),
        }
    }

    /// Takes one request out of the caller's bucket, or says how long until there is one.
    pub(crate) fn take(&self, caller: &K) -> Result<(), Duration> {
        self.take_at(caller, Instant::now())
    }

    fn take_at(&self, caller: &K, now: Instant) -> Result<(), Duration> {
        // A map of numbers is never half written.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bucket = if let Some(bucket) = buckets.get(caller) {
            *bucket
        } else {
            self.make_room(&mut buckets, now);
            let tokens = self.burst;
            Bucket { tokens, at: now }
        };
        bucket.tokens = self.tokens(bucket, now);
        bucket.at = now;
        let enough = bucket.tokens >= 1.0;
        if enough {
            bucket.tokens -= 1.0;
        }
        let missing = 1.0 - bucket.tokens;
        buckets.insert(caller.clone(), bucket);
        if enough {
            return Ok(());
        }
        Err(Duration::from_secs_f64(missing / self.per_second))
    }

    fn tokens(&self, bucket: Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + passed * self.per_second).min(self.burst)
    }

    /// Forgets full buckets, which hold nothing that a new one would not; if all are in use, the
    /// half that asked longest ago.
    fn make_room(&self, buckets: &mut HashMap<K, Bucket>, now: Instant) {
        if buckets.len() < CALLERS_MAX {
            return;
        }
        buckets.retain(|_, bucket| self.tokens(*bucket, now) < self.burst);
        if buckets.len() < CALLERS_MAX {
            return;
        }
        let mut times: Vec<Instant> = buckets.values().map(|bucket| bucket.at).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        buckets.retain(|_, bucket| bucket.at > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_then_the_rate() {
        let rate = Rate::new(2, 3);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(rate.take_at(&"a", start), Ok(()));
        }
        assert_eq!(rate.take_at(&"a", start), Err(SECOND / 2));
        assert_eq!(rate.take_at(&"b", start), Ok(()), "another caller");
        let later = start + SECOND;
        assert_eq!(rate.take_at(&"a", later), Ok(()));
        assert_eq!(rate.take_at(&"a", later), Ok(()));
        assert!(rate.take_at(&"a", later).is_err());
    }

    #[test]
    fn callers_are_bounded_and_the_busiest_stay_known() {
        let rate = Rate::new(1, 1);
        let start = Instant::now();
        for caller in 0..CALLERS_MAX * 3 {
            let now = start + Duration::from_micros(caller as u64);
            assert_eq!(rate.take_at(&caller, now), Ok(()));
            assert!(rate.buckets.lock().unwrap().len() <= CALLERS_MAX);
        }
        let last = CALLERS_MAX * 3 - 1;
        let now = start + Duration::from_micros(last as u64);
        assert!(rate.take_at(&last, now).is_err(), "still remembered");
    }
}
