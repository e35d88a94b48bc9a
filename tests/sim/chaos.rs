//! Deals the blows, and undoes what each leaves.
//!
//! One task deals them: it owns the programs, and what a blow leaves for later (thawing a worker,
//! starting Postgres again) waits in the same list as the next blow.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::blows::{Blow, Schedule};
use crate::fleet::{Fleet, Member};
use crate::house::{House, Whose};

const SIGTERM: i32 = 15;
/// Until what ended is started again.
const AGAIN_MS: std::ops::Range<u64> = 0..1_500;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// An order to stop is followed within the grace period, the time for hand-backs and some more.
const STOPS_WITHIN: Duration = Duration::from_secs(50);
/// Runs of the orchestrator and the health sync at once, beside which no more are begun.
const RUNS_MAX: usize = 3;
/// Weather that has hit nobody stays for so much longer.
const WEATHER_STAYS: Duration = Duration::from_millis(500);

/// What a blow leaves for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Later {
    Strike(Blow),
    Thaw(usize),
    Resume(Whose, usize),
    Again(usize),
    StartPostgres(Whose),
    /// With the pause before the next try, when it ended before.
    KillRun(Duration),
    Clear,
}

pub(crate) struct Chaos {
    house: Arc<House>,
    pub(crate) fleet: Fleet,
    schedule: Schedule,
    /// For what depends on how the programs end, so that the schedule does not.
    rng: StdRng,
    /// What comes when.
    agenda: Vec<(Instant, Later)>,
    /// Blows that hit nobody, of kinds that have not struck yet: dealt once they can.
    owed: Vec<Blow>,
    away: Vec<Whose>,
    burning: bool,
    verbose: bool,
    begun: Instant,
    /// What must not have been.
    pub(crate) faults: Vec<String>,
    /// Members told to stop, since when.
    stopping: BTreeMap<usize, Instant>,
}

impl Chaos {
    pub(crate) fn new(house: &Arc<House>, fleet: Fleet, verbose: bool) -> Self {
        Self {
            schedule: Schedule::new(house.seed, house.places, fleet.workers, house.lease),
            rng: StdRng::seed_from_u64(!house.seed),
            house: Arc::clone(house),
            fleet,
            agenda: Vec::new(),
            owed: Vec::new(),
            away: Vec::new(),
            burning: false,
            verbose,
            begun: Instant::now(),
            faults: Vec::new(),
            stopping: BTreeMap::new(),
        }
    }

    /// Deals blows until told to stop, then undoes them all.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Self {
        self.next_blow();
        self.house.sky.calm(false);
        self.burning = true;
        while !stop.is_cancelled() {
            self.tend().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.burning = false;
        self.owed.clear();
        self.house.sky.calm(true);
        for (_, later) in std::mem::take(&mut self.agenda) {
            self.undo(later).await;
        }
        self
    }

    /// Does what is due, and looks after everybody.
    pub(crate) async fn tend(&mut self) {
        let now = Instant::now();
        let due = self.agenda.extract_if(.., |(at, _)| *at <= now);
        let mut due: Vec<Later> = due.map(|(_, later)| later).collect();
        // A blow finds what is still to be undone in the agenda.
        due.sort_by_key(|later| matches!(later, Later::Strike(_)));
        for later in due {
            if let Later::Strike(blow) = later {
                self.strike(blow).await;
                self.next_blow();
            } else {
                self.undo(later).await;
            }
        }
        for blow in std::mem::take(&mut self.owed) {
            self.strike(blow).await;
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
            if !self.house.sky.noted(blow.kind()) {
                self.owed.push(blow);
            }
            return;
        }
        if self.verbose {
            println!("{:7.2} s  {blow:?}", self.begun.elapsed().as_secs_f64());
        }
        // What hits later, if at all, is noted then.
        if !matches!(blow, Blow::Weather(..) | Blow::KillOrchestrator(_)) {
            self.house.sky.note(blow.kind());
        }
        match blow {
            Blow::Kill(_) | Blow::KillApi => {
                let at = self.at(blow);
                let member = &mut self.fleet.members[at];
                member.struck = true;
                member.signal("KILL");
            }
            Blow::Freeze(at, pause) => {
                self.fleet.members[at].frozen = true;
                self.fleet.members[at].signal("STOP");
                self.later(pause, Later::Thaw(at));
            }
            Blow::Terminate(_) | Blow::TerminateApi => {
                let at = self.at(blow);
                self.fleet.members[at].signal("TERM");
                self.stopping.insert(at, Instant::now());
            }
            Blow::Postgres(whose, how, pause) => {
                self.away.push(whose);
                self.house.stop_postgres(whose, how).await;
                self.later(pause, Later::StartPostgres(whose));
            }
            Blow::EndSessions(whose) => self.end_sessions(whose).await,
            Blow::Cut(whose, at) => self.fleet.members[at].tunnel(whose).cut(),
            Blow::Stall(whose, at, pause) => {
                self.fleet.members[at].tunnel(whose).stall(true);
                self.later(pause, Later::Resume(whose, at));
            }
            Blow::Orchestrate(count) => (0..count).for_each(|_| self.fleet.orchestrate()),
            Blow::KillOrchestrator(pause) => {
                self.fleet.orchestrate();
                self.later(pause, Later::KillRun(pause / 2));
            }
            Blow::Assess => self.fleet.assess(),
            Blow::Weather(weather, pause) => {
                self.house.sky.turn(Some(weather));
                self.later(pause, Later::Clear);
            }
        }
    }

    /// Whom a signal is for.
    fn at(&self, blow: Blow) -> usize {
        match blow {
            Blow::Kill(at) | Blow::Freeze(at, _) | Blow::Terminate(at) => at,
            _ => self.fleet.workers,
        }
    }

    /// Nobody is hit twice at once: what is told to stop must come to an end of its own.
    fn can(&self, blow: Blow) -> bool {
        let coming = |what: Later| self.agenda.iter().any(|(_, later)| *later == what);
        match blow {
            Blow::Kill(_)
            | Blow::Freeze(..)
            | Blow::Terminate(_)
            | Blow::KillApi
            | Blow::TerminateApi => {
                let at = self.at(blow);
                let member = &self.fleet.members[at];
                let untouched = !member.frozen && !member.struck;
                member.running() && untouched && !self.stopping.contains_key(&at)
            }
            Blow::Postgres(whose, ..) | Blow::EndSessions(whose) => !self.away.contains(&whose),
            Blow::Orchestrate(_) | Blow::KillOrchestrator(_) | Blow::Assess => {
                let running = self.fleet.runs.iter().filter(|run| run.running());
                running.count() < RUNS_MAX
            }
            Blow::Cut(whose, at) => 0 < self.fleet.members[at].tunnel(whose).open_count(),
            Blow::Stall(whose, at, _) => {
                let open = self.fleet.members[at].tunnel(whose).open_count();
                0 < open && !coming(Later::Resume(whose, at))
            }
            Blow::Weather(..) => !coming(Later::Clear),
        }
    }

    async fn end_sessions(&self, whose: Whose) {
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
                   where pid <> pg_backend_pid() and backend_type = 'client backend'";
        if let Ok(client) = self.house.pool_of(whose).get().await {
            // It may end before it has told of all.
            let _ = client.execute(sql, &[]).await;
        }
    }

    /// Kills a run of the orchestrator; when all have ended, another one gets less far.
    fn kill_run(&mut self, pause: Duration) {
        let mut runs = self.fleet.runs.iter_mut();
        if let Some(run) = runs.find(|run| run.orchestrates && run.running()) {
            run.kill();
            self.house.sky.note(Blow::KillOrchestrator(pause).kind());
        } else {
            self.fleet.orchestrate();
            self.later(pause, Later::KillRun(pause / 2));
        }
    }

    async fn undo(&mut self, later: Later) {
        match later {
            Later::Thaw(at) => {
                self.fleet.members[at].signal("CONT");
                self.fleet.members[at].frozen = false;
            }
            Later::Resume(whose, at) => self.fleet.members[at].tunnel(whose).stall(false),
            Later::Again(at) => self.fleet.members[at].again(),
            Later::StartPostgres(whose) => {
                self.house.start_postgres(whose).await;
                self.away.retain(|away| *away != whose);
            }
            Later::KillRun(pause) if self.burning => self.kill_run(pause),
            // Once the fire is over, whatever runs may end by itself.
            Later::KillRun(_) | Later::Strike(_) => {}
            Later::Clear if self.burning && !self.house.sky.hit() => {
                self.later(WEATHER_STAYS, Later::Clear);
            }
            Later::Clear => self.house.sky.turn(None),
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
