//! The blows of a round, all from one seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use testkit::Stop;

use crate::house::Whose;
use crate::places::{Places, Tables};
use crate::sky::{Sky, Weather};

/// Between two blows.
const PAUSE_MS: std::ops::Range<u64> = 50..1_200;
const AWAY_MS: std::ops::Range<u64> = 0..4_000;
const WEATHER_MS: std::ops::Range<u64> = 300..4_000;
/// How far a run of the orchestrator gets that is killed.
const RUN_MS: std::ops::Range<u64> = 10..400;

/// What may befall the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL.
    Kill(usize),
    /// SIGSTOP, and SIGCONT so much later.
    Freeze(usize, Duration),
    /// SIGTERM.
    Terminate(usize),
    KillApi,
    TerminateApi,
    /// Postgres ends like this and is away for so long.
    Postgres(Whose, Stop, Duration),
    /// The server ends every session of the programs.
    EndSessions(Whose),
    /// A program's connections to Postgres end.
    Cut(Whose, usize),
    /// Nothing passes on them for so long.
    Stall(Whose, usize, Duration),
    /// So many orchestrators at once.
    Orchestrate(usize),
    /// An orchestrator that is killed so much later.
    KillOrchestrator(Duration),
    Assess,
    Weather(Weather, Duration),
}

impl Blow {
    pub(crate) fn kind(self) -> &'static str {
        use Whose::{Catalog, Queue};
        match self {
            Self::Kill(_) => "SIGKILL",
            Self::Freeze(..) => "SIGSTOP",
            Self::Terminate(_) => "SIGTERM",
            Self::KillApi => "API killed",
            Self::TerminateApi => "API restarted",
            Self::Postgres(Queue, Stop::Fast, _) => "Postgres restarted",
            Self::Postgres(Queue, Stop::Immediate, _) => "Postgres crashed",
            Self::Postgres(Catalog, Stop::Fast, _) => "catalog restarted",
            Self::Postgres(Catalog, Stop::Immediate, _) => "catalog crashed",
            Self::EndSessions(Queue) => "sessions ended by the server",
            Self::EndSessions(Catalog) => "sessions ended by the catalog",
            Self::Cut(Queue, _) => "connections cut",
            Self::Cut(Catalog, _) => "catalog connections cut",
            Self::Stall(Queue, ..) => "connections stalled",
            Self::Stall(Catalog, ..) => "catalog connections stalled",
            Self::Orchestrate(_) => "orchestrators started",
            Self::KillOrchestrator(_) => "orchestrators killed",
            Self::Assess => "health syncs started",
            Self::Weather(weather, _) => weather.kind(),
        }
    }
}

/// Kinds of blows, with how often each falls beside the others.
type Kinds = Vec<(Kind, u32)>;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Kill,
    Freeze,
    Terminate,
    KillApi,
    TerminateApi,
    Postgres(Whose, Stop),
    EndSessions(Whose),
    Cut(Whose),
    Stall(Whose),
    Orchestrate,
    KillOrchestrator,
    Assess,
    Weather(Weather),
}

fn kinds(places: Places) -> Kinds {
    let mut kinds = vec![
        (Kind::Kill, 22),
        (Kind::Freeze, 18),
        (Kind::Terminate, 12),
        (Kind::KillApi, 5),
        (Kind::TerminateApi, 3),
        (Kind::Postgres(Whose::Queue, Stop::Fast), 3),
        (Kind::Postgres(Whose::Queue, Stop::Immediate), 3),
        (Kind::EndSessions(Whose::Queue), 4),
        (Kind::Cut(Whose::Queue), 10),
        (Kind::Stall(Whose::Queue), 7),
        (Kind::Orchestrate, 8),
        (Kind::KillOrchestrator, 3),
        (Kind::Assess, 5),
    ];
    if places.elsewhere() {
        kinds.extend([
            (Kind::Postgres(Whose::Catalog, Stop::Fast), 4),
            (Kind::Postgres(Whose::Catalog, Stop::Immediate), 4),
            (Kind::EndSessions(Whose::Catalog), 4),
            (Kind::Cut(Whose::Catalog), 12),
            (Kind::Stall(Whose::Catalog), 8),
        ]);
    }
    if places.tables == Tables::S3 {
        kinds.extend(Weather::ALL.map(|weather| (Kind::Weather(weather), 6)));
    }
    kinds
}

/// Every kind of fault there is in such places.
pub(crate) fn every(places: Places) -> Vec<&'static str> {
    let schedule = Schedule::new(0, places, 1, Duration::from_secs(2));
    let first = schedule.first.len();
    let blows = schedule.take(first).map(|(_, blow)| blow.kind());
    blows.chain(Sky::strikes()).collect()
}

/// The blows of a seed, each with the pause before it: first one of each kind, in any order, so
/// that a short fire lacks none.
#[derive(Debug)]
pub(crate) struct Schedule {
    rng: StdRng,
    kinds: Kinds,
    first: Vec<Kind>,
    workers: usize,
    lease: Duration,
}

impl Schedule {
    pub(crate) fn new(seed: u64, places: Places, workers: usize, lease: Duration) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let kinds = kinds(places);
        let mut first: Vec<Kind> = kinds.iter().map(|(kind, _)| *kind).collect();
        first.shuffle(&mut rng);
        Self {
            rng,
            kinds,
            first,
            workers,
            lease,
        }
    }

    fn pause(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }

    fn kind(&mut self) -> Kind {
        if let Some(kind) = self.first.pop() {
            return kind;
        }
        let all: u32 = self.kinds.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.rng.random_range(0..all);
        for (kind, weight) in &self.kinds {
            if drawn < *weight {
                return *kind;
            }
            drawn -= weight;
        }
        Kind::Kill
    }
}

impl Iterator for Schedule {
    type Item = (Duration, Blow);

    fn next(&mut self) -> Option<Self::Item> {
        let pause = self.pause(PAUSE_MS);
        let worker = self.rng.random_range(0..self.workers);
        // The API is the member behind the workers.
        let anybody = self.rng.random_range(0..=self.workers);
        let beyond_lease = 100..self.lease.as_millis() as u64 * 5 / 2;
        let blow = match self.kind() {
            Kind::Kill => Blow::Kill(worker),
            Kind::Freeze => Blow::Freeze(worker, self.pause(beyond_lease)),
            Kind::Terminate => Blow::Terminate(worker),
            Kind::KillApi => Blow::KillApi,
            Kind::TerminateApi => Blow::TerminateApi,
            Kind::Postgres(whose, how) => Blow::Postgres(whose, how, self.pause(AWAY_MS)),
            Kind::EndSessions(whose) => Blow::EndSessions(whose),
            Kind::Cut(whose) => Blow::Cut(whose, anybody),
            Kind::Stall(whose) => Blow::Stall(whose, anybody, self.pause(beyond_lease)),
            Kind::Orchestrate => Blow::Orchestrate(1 + self.rng.random_range(0..2)),
            Kind::KillOrchestrator => Blow::KillOrchestrator(self.pause(RUN_MS)),
            Kind::Assess => Blow::Assess,
            Kind::Weather(weather) => Blow::Weather(weather, self.pause(WEATHER_MS)),
        };
        Some((pause, blow))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_says_every_blow_and_begins_with_one_of_each_kind() {
        for (place, count) in [(0, 13), (1, 19), (2, 18), (3, 24)] {
            let places = Places::draw(place, None, None);
            let blows = |seed| {
                let schedule = Schedule::new(seed, places, 8, Duration::from_secs(2));
                schedule.take(count).collect::<Vec<_>>()
            };
            assert_eq!(blows(1), blows(1));
            assert_ne!(blows(1), blows(2));
            let kinds: BTreeSet<_> = blows(1).iter().map(|(_, blow)| blow.kind()).collect();
            assert_eq!(kinds.len(), count, "{places}: {kinds:?}");
            assert!(kinds.iter().all(|kind| every(places).contains(kind)));
        }
    }
}
