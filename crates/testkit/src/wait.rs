//! Waiting for a condition instead of sleeping for a duration.

use std::time::{Duration, Instant};

/// Nothing a test waits for takes longer on a busy machine.
pub const WAIT_MAX: Duration = Duration::from_mins(1);

const POLL_EVERY: Duration = Duration::from_millis(10);

/// Polls `condition` until it is true.
///
/// # Panics
/// After [`WAIT_MAX`], naming what was waited for.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(
            started.elapsed() < WAIT_MAX,
            "waited {WAIT_MAX:?} in vain: {what}"
        );
        tokio::time::sleep(POLL_EVERY).await;
    }
}
