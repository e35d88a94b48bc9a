//! How long a page of a listing takes, wherever in the listing it is.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::caller::Caller;

/// Rows of a page while cursors are collected, and while time is taken.
const WALK_ROWS: usize = 500;
const PAGE_ROWS: usize = 100;
/// However short the time.
const REQUESTS_MIN: usize = 20;
/// Coprime to any number of cursors there may be: steps through them in no order of theirs.
const STRIDE: usize = 1_000_003;

/// What its pages took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timed {
    pub(super) requests: usize,
    /// Rows in front of the deepest page asked for.
    pub(super) depth: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

/// Walks through the listing for `lasting` at most, which warms it up, then asks for pages at
/// places of that walk for as long again.
pub(super) async fn time(caller: &mut Caller, path: &str, lasting: Duration) -> Result<Timed> {
    let cursors = walk(caller, path, lasting).await?;
    let place = |request: usize| cursors[request * STRIDE % cursors.len()].as_deref();
    let asked = |request| page(path, PAGE_ROWS, place(request));
    let timed = sample(caller, lasting, asked).await?;
    Ok(Timed {
        depth: (cursors.len() - 1) * WALK_ROWS,
        ..timed
    })
}

/// As [`time`], of something that has no pages.
pub(super) async fn one(caller: &mut Caller, path: &str, lasting: Duration) -> Result<Timed> {
    sample(caller, lasting, |_| path.to_owned()).await
}

/// Asks one request after the other.
async fn sample(
    caller: &mut Caller,
    lasting: Duration,
    path: impl Fn(usize) -> String,
) -> Result<Timed> {
    let mut took = Vec::new();
    let begun = Instant::now();
    while took.len() < REQUESTS_MIN || begun.elapsed() < lasting {
        let path = path(took.len());
        let asked = Instant::now();
        caller.get(&path).await?;
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    Ok(Timed {
        requests: took.len(),
        depth: 0,
        p50: percentile(&took, 50),
        p99: percentile(&took, 99),
    })
}

/// Where pages begin, the first one included.
async fn walk(caller: &mut Caller, path: &str, within: Duration) -> Result<Vec<Option<String>>> {
    let mut cursors = vec![None];
    let begun = Instant::now();
    while begun.elapsed() < within {
        let last = cursors.last().and_then(Option::as_deref);
        let document = caller.document(&page(path, WALK_ROWS, last)).await?;
        let page = document.as_object().context("a page is an object")?;
        match page.get("next_cursor").and_then(|cursor| cursor.as_str()) {
            Some(next) => cursors.push(Some(next.to_owned())),
            None => break,
        }
    }
    Ok(cursors)
}

fn page(path: &str, rows: usize, cursor: Option<&str>) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    let cursor = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
    format!("{path}{separator}limit={rows}{cursor}")
}

/// The smallest of `sorted` that `percent` of them do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let ms = |count: u64| (1..=count).map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(percentile(&ms(100), 99), Duration::from_millis(99));
        assert_eq!(percentile(&ms(100), 50), Duration::from_millis(50));
        assert_eq!(percentile(&ms(3), 99), Duration::from_millis(3));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn a_page_keeps_the_filter() {
        assert_eq!(page("/jobs", 5, None), "/jobs?limit=5");
        assert_eq!(
            page("/jobs?a=b", 5, Some("c")),
            "/jobs?a=b&limit=5&cursor=c"
        );
    }
}
