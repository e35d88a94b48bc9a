//! Should this process get requests (M21): Postgres answers, the table cache is young enough,
//! and nobody asked the process to stop.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use pg::Pool;
use runtime::{Ready, chain};
use tokio_util::sync::CancellationToken;

/// The question `/readyz` asks. It is given two seconds.
pub(crate) fn question(pool: Pool, age_max: Duration, drain: CancellationToken) -> Ready {
    Arc::new(move || {
        let (pool, drain) = (pool.clone(), drain.clone());
        async move {
            if drain.is_cancelled() {
                return Err("stopping".to_owned());
            }
            look(&pool, age_max).await
        }
        .boxed()
    })
}

async fn look(pool: &Pool, age_max: Duration) -> Result<(), String> {
    let client = pool.get().await.map_err(|error| chain(&error))?;
    let age = maintenance::overview::cache_age(&**client).await;
    match age.map_err(|error| chain(&error))? {
        None => Err("the table cache was never synced".to_owned()),
        Some(age) if age_max < age => Err(format!(
            "the table cache is {} s old, at most {} s are allowed",
            age.as_secs(),
            age_max.as_secs()
        )),
        Some(_) => Ok(()),
    }
}
