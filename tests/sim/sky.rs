//! What befalls requests on their way to the S3 server, and swaps on their way to the catalog.
//!
//! The programs' ways lead through proxies that ask here; writers and judges have ways of their
//! own. Counts every strike, as [`crate::chaos`] counts its blows.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use testkit::{CommitFate, Fate};

/// What a worker says to Postgres when it swaps a table's metadata.
const SWAP: &str = "update iceberg_tables";
/// Of the swaps so many are struck, once each kind has been.
const SWAPS_STRUCK: f64 = 0.12;
/// Of the requests while there is weather.
const REQUESTS_STRUCK: f64 = 0.5;
const CUT_AFTER_BYTES: std::ops::Range<usize> = 0..300;
const PIECE_BYTES: std::ops::Range<usize> = 64..512;

/// What the way to the S3 server is like for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// 503 with `Retry-After`.
    Busy,
    /// The request is done, and its answer does not come.
    Lost,
    /// The answer ends within its body.
    CutOff,
    /// The answer comes in small pieces.
    Slow,
    /// The connection ends before the server sees the request.
    Broken,
    /// 503, whatever is asked.
    Refusing,
}

impl Weather {
    pub(crate) const ALL: [Self; 6] = [
        Self::Busy,
        Self::Lost,
        Self::CutOff,
        Self::Slow,
        Self::Broken,
        Self::Refusing,
    ];

    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Busy => "S3 requests put off (503, Retry-After)",
            Self::Lost => "S3 answers lost",
            Self::CutOff => "S3 answers cut short",
            Self::Slow => "S3 answers slowed down",
            Self::Broken => "S3 connections broken",
            Self::Refusing => "S3 requests refused while all were",
        }
    }

    fn fate(self, rng: &mut StdRng) -> Fate {
        match self {
            Self::Refusing => Fate::Refuse(503, "ServiceUnavailable"),
            _ if !rng.random_bool(REQUESTS_STRUCK) => Fate::Forward,
            Self::Busy => Fate::Later(["0", "1"][rng.random_range(0..2)]),
            Self::Lost => Fate::Lose,
            Self::CutOff => Fate::Cut(rng.random_range(CUT_AFTER_BYTES)),
            Self::Slow => Fate::Trickle(rng.random_range(PIECE_BYTES)),
            Self::Broken => Fate::Drop,
        }
    }
}

/// What befalls a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strike {
    /// It is made, and its answer does not come.
    Lose,
    /// It does not reach the server.
    Drop,
    /// It reaches the server later, be its attempt over or not.
    Late,
}

impl Strike {
    const ALL: [Self; 3] = [Self::Lose, Self::Drop, Self::Late];

    fn kind(self) -> &'static str {
        match self {
            Self::Lose => "answers of swaps lost",
            Self::Drop => "connections cut at a swap",
            Self::Late => "swaps held up",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Sky {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    weather: Option<Weather>,
    /// Somebody was hit by this weather.
    hit: bool,
    /// Kinds of strikes that no swap has met yet.
    first: Vec<Strike>,
    late_max: Duration,
    calm: bool,
    struck: BTreeMap<&'static str, u64>,
}

impl Sky {
    pub(crate) fn new(seed: u64, lease: Duration) -> Self {
        let mut rng = StdRng::seed_from_u64(seed.rotate_left(32));
        let mut first = Strike::ALL.to_vec();
        first.shuffle(&mut rng);
        let state = State {
            rng,
            weather: None,
            hit: false,
            first,
            // Beyond the lease, so that another attempt may have begun.
            late_max: lease * 5 / 2,
            // Until the fire begins.
            calm: true,
            struck: BTreeMap::new(),
        };
        Self {
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Without calm, swaps are struck; weather comes by itself.
    pub(crate) fn calm(&self, calm: bool) {
        let mut state = self.state();
        state.calm = calm;
        if calm {
            state.weather = None;
        }
    }

    pub(crate) fn turn(&self, weather: Option<Weather>) {
        let mut state = self.state();
        (state.weather, state.hit) = (weather, false);
    }

    /// Every kind of strike at a swap.
    pub(crate) fn strikes() -> impl Iterator<Item = &'static str> {
        Strike::ALL.iter().map(|strike| strike.kind())
    }

    /// Whether the weather has hit somebody.
    pub(crate) fn hit(&self) -> bool {
        self.state().hit
    }

    pub(crate) fn note(&self, kind: &'static str) {
        *self.state().struck.entry(kind).or_default() += 1;
    }

    pub(crate) fn noted(&self, kind: &'static str) -> bool {
        self.state().struck.contains_key(kind)
    }

    /// How often each kind of fault struck.
    pub(crate) fn struck(&self) -> BTreeMap<&'static str, u64> {
        self.state().struck.clone()
    }

    /// What becomes of a request to the S3 server.
    pub(crate) fn request(&self) -> Fate {
        let mut state = self.state();
        let Some(weather) = state.weather else {
            return Fate::Forward;
        };
        let fate = weather.fate(&mut state.rng);
        if fate != Fate::Forward {
            state.hit = true;
            *state.struck.entry(weather.kind()).or_default() += 1;
        }
        fate
    }

    /// What becomes of a commit of the catalog's database.
    pub(crate) fn commit(&self, statements: &str) -> CommitFate {
        let mut state = self.state();
        if state.calm || !statements.contains(SWAP) {
            return CommitFate::Forward;
        }
        let strike = if let Some(strike) = state.first.pop() {
            strike
        } else if state.rng.random_bool(SWAPS_STRUCK) {
            Strike::ALL[state.rng.random_range(0..Strike::ALL.len())]
        } else {
            return CommitFate::Forward;
        };
        *state.struck.entry(strike.kind()).or_default() += 1;
        match strike {
            Strike::Lose => CommitFate::Lose,
            Strike::Drop => CommitFate::Drop,
            Strike::Late => {
                let late_max = state.late_max;
                CommitFate::Late(late_max.mul_f64(state.rng.random_range(0.0..1.0)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_strikes_and_none_when_it_is_calm() {
        let sky = Sky::new(1, Duration::from_secs(2));
        let swap = format!("begin;\n{SWAP} set ..;\ncommit");
        assert_eq!(sky.commit(&swap), CommitFate::Forward);
        assert_eq!(sky.request(), Fate::Forward);
        sky.calm(false);
        for weather in Weather::ALL {
            sky.turn(Some(weather));
            assert!((0..64).any(|_| sky.request() != Fate::Forward));
            assert!(sky.hit());
        }
        let commits = (0..64).map(|_| sky.commit(&swap));
        assert!(commits.filter(|fate| *fate != CommitFate::Forward).count() > 2);
        assert_eq!(sky.commit("select 1"), CommitFate::Forward);
        let mut kinds = Sky::strikes().chain(Weather::ALL.iter().map(|weather| weather.kind()));
        assert!(kinds.all(|kind| sky.noted(kind)), "{:?}", sky.struck());
        sky.calm(true);
        assert_eq!(sky.request(), Fate::Forward);
    }
}
