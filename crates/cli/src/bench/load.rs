//! Callers that ask one thing again and again: as fast as they can, or at a pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keda::GetMetricsRequest;
use tokio::task::JoinSet;

use super::caller::Caller;
use super::pages::Times;

/// One caller with its connection, and what it asks.
pub(super) enum Asker {
    Json(Caller, String),
    Grpc(keda::Client, GetMetricsRequest),
    Postgres(pg::Client, String),
}

impl Asker {
    async fn ask(&mut self) -> Result<()> {
        match self {
            Self::Json(caller, path) => caller.get(path).await.map(drop),
            Self::Grpc(keda, request) => {
                let answer = keda.get_metrics(request.clone()).await?;
                ensure!(!answer.metric_values.is_empty(), "no value: {answer:?}");
                Ok(())
            }
            Self::Postgres(client, query) => {
                client.query_typed_one(query, &[]).await?;
                Ok(())
            }
        }
    }
}

/// Each asks the next as soon as it has its answer. Gives the answers and the time they took.
pub(super) async fn flat_out(
    askers: &mut Vec<Asker>,
    lasting: Duration,
) -> Result<(u64, Duration)> {
    let begun = Instant::now();
    let answered = all(askers, |mut asker| async move {
        let mut answered = 0_u64;
        while begun.elapsed() < lasting {
            asker.ask().await?;
            answered += 1;
        }
        Ok((asker, answered))
    });
    Ok((answered.await?.iter().sum(), begun.elapsed()))
}

/// `per_second` requests a second are due, whoever is free asks the next one, and the time it
/// takes counts from when it was due: an answer that is late makes the ones behind it late.
pub(super) async fn paced(
    askers: &mut Vec<Asker>,
    per_second: u32,
    lasting: Duration,
) -> Result<Times> {
    let (next, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let took = all(askers, |mut asker| {
        let next = Arc::clone(&next);
        async move {
            let mut took = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let after = Duration::from_secs_f64(number as f64 / f64::from(per_second));
                if lasting <= after {
                    return Ok((asker, took));
                }
                let due = begun + after;
                tokio::time::sleep_until(due.into()).await;
                asker.ask().await?;
                took.push(due.elapsed());
            }
        }
    });
    Ok(took.await?.into_iter().flatten().collect())
}

/// Every asker at work at once; they are back afterwards.
async fn all<T, F>(askers: &mut Vec<Asker>, work: impl Fn(Asker) -> F) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<(Asker, T)>> + Send + 'static,
{
    let mut asking = JoinSet::new();
    for asker in askers.drain(..) {
        asking.spawn(work(asker));
    }
    let mut all = Vec::new();
    while let Some(ended) = asking.join_next().await {
        let (asker, done) = ended.context("a caller's task ended badly")??;
        askers.push(asker);
        all.push(done);
    }
    Ok(all)
}
