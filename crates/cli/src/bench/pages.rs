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

/// What is asked for after each page: what a request costs at that moment that reads nothing.
pub(super) const PEER: &str = "/healthz";

/// What its pages took.
#[derive(Debug)]
pub(super) struct Timed {
    /// Rows in front of the deepest page asked for.
    pub(super) depth: usize,
    pub(super) pages: Times,
    pub(super) peer: Times,
}

/// How long requests took, the shortest first.
#[derive(Debug, Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub(super) fn requests(&self) -> usize {
        self.0.len()
    }

    /// The smallest that `percent` of them do not exceed.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(took: I) -> Self {
        let mut took: Vec<Duration> = took.into_iter().collect();
        took.sort_unstable();
        Self(took)
    }
}

/// Walks through the listing for `lasting` at most, which warms it up, then asks for pages at
/// places of that walk for as long again, one request after the other.
pub(super) async fn time(caller: &mut Caller, path: &str, lasting: Duration) -> Result<Timed> {
    let cursors = walk(caller, path, lasting).await?;
    let (mut pages, mut peer) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while pages.len() < REQUESTS_MIN || begun.elapsed() < lasting {
        let cursor = cursors[pages.len() * STRIDE % cursors.len()].as_deref();
        pages.push(ask(caller, &page(path, PAGE_ROWS, cursor)).await?);
        peer.push(ask(caller, PEER).await?);
    }
    Ok(Timed {
        depth: (cursors.len() - 1) * WALK_ROWS,
        pages: pages.into_iter().collect(),
        peer: peer.into_iter().collect(),
    })
}

async fn ask(caller: &mut Caller, path: &str) -> Result<Duration> {
    let asked = Instant::now();
    caller.get(path).await?;
    Ok(asked.elapsed())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let took = |count: u64| {
            (1..=count)
                .rev()
                .map(Duration::from_millis)
                .collect::<Times>()
        };
        assert_eq!(took(100).percentile(99), Duration::from_millis(99));
        assert_eq!(took(100).percentile(50), Duration::from_millis(50));
        assert_eq!(took(3).percentile(99), Duration::from_millis(3));
        assert_eq!(took(0).percentile(99), Duration::ZERO);
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
