//! Waiting for a measured process to end by itself.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::demo::child::Child;

/// How late its end may be noticed.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a process took from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Spent {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) peak_bytes: u64,
}

impl Spent {
    /// Of several rounds, each number by itself.
    pub(super) fn median(rounds: &[Self]) -> Self {
        let middle = |number: fn(&Self) -> f64| {
            let mut numbers: Vec<f64> = rounds.iter().map(number).collect();
            numbers.sort_by(f64::total_cmp);
            numbers.get(numbers.len() / 2).copied().unwrap_or_default()
        };
        Self {
            seconds: middle(|round| round.seconds),
            cpu_seconds: middle(|round| round.cpu_seconds),
            peak_bytes: middle(|round| round.peak_bytes as f64) as u64,
        }
    }
}

/// How a child that was just started ended, and after how long.
pub(super) async fn ended(child: &mut Child) -> Result<(ExitStatus, Duration)> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.ended().context("look after a measured process")? {
            return Ok((status, begun.elapsed()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_taken_of_each_number() {
        let rounds = [(3.0, 1), (1.0, 2), (2.0, 3)];
        let rounds = rounds.map(|(seconds, peak_bytes)| Spent {
            seconds,
            cpu_seconds: 1.0,
            peak_bytes,
        });
        let median = Spent::median(&rounds);
        assert_eq!((median.seconds, median.peak_bytes), (2.0, 2));
        assert_eq!(Spent::median(&[]).peak_bytes, 0);
    }
}
