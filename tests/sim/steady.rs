//! Trying again while Postgres, the catalog or the API is away.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Nothing is away for longer.
const PATIENCE: Duration = Duration::from_mins(4);
const PAUSE: Duration = Duration::from_millis(100);

/// Tries until it works, or for [`PATIENCE`].
pub(crate) async fn steadily<T>(
    what: &str,
    mut tried: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        match tried().await {
            Ok(done) => return Ok(done),
            Err(error) if PATIENCE < begun.elapsed() => {
                return Err(error).with_context(|| format!("gave up to {what}"));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
