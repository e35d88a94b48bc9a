//! The blows, all from one seed, and what undoes them.
//!
//! One task deals them: it owns the programs, and what a blow leaves for later (thawing a worker,
//! starting Postgres again) waits in the same list as the next blow.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use testkit::Stop;
use tokio_util::sync::CancellationToken;

use crate::fleet::{Fleet, Member};
use crate::house::House;

const SIGTERM: i32 = 15;
/// Between two blows.
const PAUSE_MS: std::ops::Range<u64> = 50..1_200;
/// Until what ended is started again.
const AGAIN_MS: std::ops::Range<u64> = 0..1_500;
const AWAY_MS: std::ops::Range<u64> = 0..4_000;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// An order to stop is followed within the grace period, the time for hand-backs and some more.
const STOPS_WITHIN: Duration = Duration::from_secs(50);
/// Runs of the orchestrator and the health sync at once, beside which no more are begun.
const RUNS_MAX: usize = 3;

/// One of each kind of blow, by the number that stands for it.
const EACH: [u32; 13] = [0, 22, 40, 52, 55, 58, 62, 72, 79, 84, 87, 92, 97];

/// What may befall the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL.
    Kill(usize),
    /// SIGSTOP, and SIGCONT so much later.
    Freeze(usize, Duration),
    /// SIGTERM.
    Terminate(usize),
    /// Postgres ends like this and is away for so long.
    Postgres(Stop, Duration),
    /// The server ends every session of the programs.
    EndSessions,
    /// Its connections to Postgres end.
    Cut(usize),
    /// Nothing passes on them for so long.
    Stall(usize, Duration),
    /// So many orchestrators at once.
    Orchestrate(usize),
    Assess,
    /// A run of the orchestrator or the health sync is killed, if there is one.
    KillRun,
}

impl Blow {
    fn kind(self) -> &'static str {
        match self {
            Self::Kill(_) => "SIGKILL",
            Self::Freeze(..) => "SIGSTOP",
            Self::Terminate(_) => "SIGTERM",
            Self::Postgres(Stop::Fast, _) => "Postgres restarted",
            Self::Postgres(Stop::Immediate, _) => "Postgres crashed",
            Self::EndSessions => "sessions ended by the server",
            Self::Cut(_) => "connections cut",
            Self::Stall(..) => "connections stalled",
            Self::Orchestrate(_) => "orchestrators started",
            Self::Assess => "health syncs started",
            Self::KillRun => "runs killed",
        }
    }
}

/// The blows of a seed, each with the pause before it: first one of each kind, in any order, so
/// that a short fire lacks none.
#[derive(Debug)]
pub(crate) struct Schedule {
    rng: StdRng,
    first: Vec<u32>,
    workers: usize,
    lease: Duration,
}

impl Schedule {
    pub(crate) fn new(seed: u64, workers: usize, lease: Duration) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut first = EACH.to_vec();
        first.shuffle(&mut rng);
        Self {
            rng,
            first,
            workers,
            lease,
        }
    }

    fn pause(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }
}

impl Iterator for Schedule {
    type Item = (Duration, Blow);

    fn next(&mut self) -> Option<Self::Item> {
        let pause = self.pause(PAUSE_MS);
        let worker = self.rng.random_range(0..self.workers);
        // The API is the member behind the workers.
        let anybody = self.rng.random_range(0..=self.workers);
        let beyond_lease = self.lease.as_millis() as u64 * 5 / 2;
        let any = self.rng.random_range(0..100);
        let blow = match self.first.pop().unwrap_or(any) {
            0..22 => Blow::Kill(worker),
            22..40 => Blow::Freeze(worker, self.pause(100..beyond_lease)),
            40..52 => Blow::Terminate(worker),
            52..55 => Blow::Postgres(Stop::Fast, self.pause(AWAY_MS)),
            55..58 => Blow::Postgres(Stop::Immediate, self.pause(AWAY_MS)),
            58..62 => Blow::EndSessions,
            62..72 => Blow::Cut(anybody),
            72..79 => Blow::Stall(anybody, self.pause(100..beyond_lease)),
            79..84 => Blow::Kill(self.workers),
            84..87 => Blow::Terminate(self.workers),
            87..92 => Blow::Orchestrate(1 + self.rng.random_range(0..2)),
            92..97 => Blow::Assess,
            _ => Blow::KillRun,
        };
        Some((pause, blow))
    }
}

/// What a blow leaves for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Later {
    Strike(Blow),
    Thaw(usize),
    Resume(usize),
    Again(usize),
    StartPostgres,
}

pub(crate) struct Chaos {
    house: Arc<House>,
    pub(crate) fleet: Fleet,
    schedule: Schedule,
    /// For what depends on how the programs end, so that the schedule does not.
    rng: StdRng,
    /// What comes when.
    agenda: Vec<(Instant, Later)>,
    postgres_away: bool,
    verbose: bool,
    begun: Instant,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// What must not have been.
    pub(crate) faults: Vec<String>,
    /// Members told to stop, since when.
    stopping: BTreeMap<usize, Instant>,
}

impl Chaos {
    pub(crate) fn new(house: &Arc<House>, fleet: Fleet, verbose: bool) -> Self {
        Self {
            schedule: Schedule::new(house.seed, fleet.workers, house.lease),
            rng: StdRng::seed_from_u64(!house.seed),
            house: Arc::clone(house),
            fleet,
            agenda: Vec::new(),
            postgres_away: false,
            verbose,
            begun: Instant::now(),
            counts: BTreeMap::new(),
            faults: Vec::new(),
            stopping: BTreeMap::new(),
        }
    }

    /// Deals blows until told to stop, then undoes them all.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Self {
        self.next_blow();
        while !stop.is_cancelled() {
            self.tend().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        for (_, later) in std::mem::take(&mut self.agenda) {
            self.undo(later).await;
        }
        self
    }

    /// Does what is due, and looks after everybody.
    pub(crate) async fn tend(&mut self) {
        let now = Instant::now();
        let due = self.agenda.extract_if(.., |(at, _)| *at <= now);
        let due: Vec<Later> = due.map(|(_, later)| later).collect();
        for later in due {
            if let Later::Strike(blow) = later {
                self.strike(blow).await;
                self.next_blow();
            } else {
                self.undo(later).await;
            }
        }
        self.look_after().await;
    }

    fn next_blow(&mut self) {
        if let Some((pause, blow)) = self.schedule.next() {
            self.later(pause, Later::Strike(blow));
        }
    }

    fn later(&mut self, pause: Duration, later: Later) {
        self.agenda.push((Instant::now() + pause, later));
    }

    async fn strike(&mut self, blow: Blow) {
        if !self.can(blow) {
            return;
        }
        if self.verbose {
            println!("{:7.2} s  {blow:?}", self.begun.elapsed().as_secs_f64());
        }
        *self.counts.entry(blow.kind()).or_default() += 1;
        match blow {
            Blow::Kill(at) => {
                self.fleet.members[at].struck = true;
                self.fleet.members[at].signal("KILL");
            }
            Blow::Freeze(at, pause) => {
                self.fleet.members[at].frozen = true;
                self.fleet.members[at].signal("STOP");
                self.later(pause, Later::Thaw(at));
            }
            Blow::Terminate(at) => {
                self.fleet.members[at].signal("TERM");
                self.stopping.insert(at, Instant::now());
            }
            Blow::Postgres(how, pause) => {
                self.postgres_away = true;
                self.house.stop_postgres(how).await;
                self.later(pause, Later::StartPostgres);
            }
            Blow::EndSessions => self.end_sessions().await,
            Blow::Cut(at) => self.fleet.members[at].tunnel.cut(),
            Blow::Stall(at, pause) => {
                self.fleet.members[at].tunnel.stall(true);
                self.later(pause, Later::Resume(at));
            }
            Blow::Orchestrate(count) => (0..count).for_each(|_| self.fleet.orchestrate()),
            Blow::Assess => self.fleet.assess(),
            Blow::KillRun => {
                let mut runs = self.fleet.runs.iter_mut();
                if let Some(run) = runs.find(|run| run.running()) {
                    run.kill();
                }
            }
        }
    }

    /// Nobody is hit twice at once: what is told to stop must come to an end of its own.
    fn can(&self, blow: Blow) -> bool {
        let sound = |at: usize| {
            let member = &self.fleet.members[at];
            member.running() && !member.frozen && !member.struck && !self.stopping.contains_key(&at)
        };
        match blow {
            Blow::Kill(at) | Blow::Freeze(at, _) | Blow::Terminate(at) => sound(at),
            Blow::Postgres(..) | Blow::EndSessions => !self.postgres_away,
            Blow::Orchestrate(_) | Blow::Assess => {
                let running = self.fleet.runs.iter().filter(|run| run.running());
                running.count() < RUNS_MAX
            }
            Blow::Cut(_) | Blow::KillRun => true,
            Blow::Stall(at, _) => !self.agenda.iter().any(|(_, l)| *l == Later::Resume(at)),
        }
    }

    async fn end_sessions(&self) {
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
                   where pid <> pg_backend_pid() and backend_type = 'client backend'";
        if let Ok(client) = self.house.pool.get().await {
            // It may end before it has told of all.
            let _ = client.execute(sql, &[]).await;
        }
    }

    async fn undo(&mut self, later: Later) {
        match later {
            Later::Strike(_) => {}
            Later::Thaw(at) => {
                self.fleet.members[at].signal("CONT");
                self.fleet.members[at].frozen = false;
            }
            Later::Resume(at) => self.fleet.members[at].tunnel.stall(false),
            Later::Again(at) => self.fleet.members[at].again(),
            Later::StartPostgres => {
                self.house.start_postgres().await;
                self.postgres_away = false;
            }
        }
    }

    /// Notes how programs ended, and starts again those that stay.
    async fn look_after(&mut self) {
        for at in 0..self.fleet.members.len() {
            let coming = self.agenda.iter().any(|(_, l)| *l == Later::Again(at));
            let member = &self.fleet.members[at];
            let stopping = self.stopping.get(&at);
            if member.running() {
                if stopping.is_some_and(|since| STOPS_WITHIN < since.elapsed()) {
                    let name = &member.name;
                    self.faults
                        .push(format!("{name} did not stop when told to"));
                    self.stopping.remove(&at);
                }
                continue;
            }
            if coming {
                continue;
            }
            let status = member.ended().await;
            let told = self.stopping.remove(&at).is_some();
            let expected = match (status.code(), status.signal()) {
                _ if member.struck => true,
                // What could not be handed back is due after its lease.
                (Some(0 | 1), _) => told,
                (_, Some(SIGTERM)) => told && member.silent(),
                _ => false,
            };
            if !expected {
                let (name, why) = (&member.name, if told { "told to stop" } else { "not told" });
                self.faults.push(format!("{name}, {why}, ended: {status}"));
            }
            let pause = Duration::from_millis(self.rng.random_range(AGAIN_MS));
            self.later(pause, Later::Again(at));
        }
        let runs = std::mem::take(&mut self.fleet.runs);
        for run in runs {
            if run.running() {
                self.fleet.runs.push(run);
            } else if !run.struck && !matches!(run.code().await, Some(0..=2)) {
                self.faults.push(format!("{} ended abnormally", run.name));
            }
        }
    }

    /// Nothing is left to undo, and everybody runs.
    pub(crate) fn quiet(&self) -> bool {
        let all = self.fleet.members.iter().all(Member::running);
        all && self.agenda.is_empty() && self.stopping.is_empty() && self.fleet.runs.is_empty()
    }

    /// Everybody is told to stop, and must.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        for member in &self.fleet.members {
            member.signal("TERM");
        }
        for member in &self.fleet.members {
            let code = member.ended().await.code();
            if code != Some(0) {
                bail!("{} ended with {code:?} when all was well", member.name);
            }
        }
        for run in std::mem::take(&mut self.fleet.runs) {
            run.code().await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_every_blow() {
        let blows = |seed| {
            let schedule = Schedule::new(seed, 8, Duration::from_secs(2));
            schedule.take(EACH.len()).collect::<Vec<_>>()
        };
        assert_eq!(blows(1), blows(1));
        assert_ne!(blows(1), blows(2));
        let kinds: std::collections::BTreeSet<_> =
            blows(1).iter().map(|(_, blow)| blow.kind()).collect();
        assert_eq!(kinds.len(), 11, "{kinds:?}");
    }
}
