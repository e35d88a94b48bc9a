//! One random schedule: a step, then everything is compared, then the next step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{AttemptId, EndReason, JobId};
use queue::{End, Fence, HandBack, Lease};
use tokio::sync::oneshot;

use super::reference::{Effect, Place, Reference, SEEN, number};
use super::session::{Answer, Op, swap};
use super::world::{World, inside};
use crate::schedule::Dice;

const STEPS: usize = 60;
const KEYS: u32 = 3;
/// After so many leases no job has an attempt left.
const ROUNDS_MAX: usize = 8;

/// What one connection is at.
#[derive(Debug, Default)]
pub(super) enum Phase {
    #[default]
    Free,
    /// It has not answered: it waits for somebody's lock.
    Waiting {
        op: Arc<Op>,
        alone: bool,
        answer: oneshot::Receiver<Answer>,
        waited: bool,
        /// The rows it set out to take, in this order.
        rows: Vec<u32>,
    },
    Open {
        op: Arc<Op>,
        effects: Vec<Effect>,
        claimed: Vec<(Fence, Lease)>,
        /// For somebody's lock, before it was answered.
        waited: bool,
        since: usize,
    },
}

/// What somebody who once claimed a job goes on to do.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) fence: Fence,
    /// As it was granted; renewals may only add to it.
    pub(super) lease: Lease,
    /// The table's version it has planned on.
    pub(super) base: Option<i32>,
    pub(super) done: bool,
}

/// A swap that the catalog elsewhere was asked for.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) fence: Fence,
    pub(super) key: String,
    pub(super) base: i32,
}

pub(super) struct Schedule<'w> {
    pub(super) world: &'w mut World,
    pub(super) dice: Dice,
    pub(super) reference: Reference,
    pub(super) phases: Vec<Phase>,
    pub(super) tasks: Vec<Task>,
    pub(super) requests: Vec<Request>,
    jobs: u32,
    pub(super) step: usize,
    pub(super) log: Vec<String>,
    pub(super) counts: BTreeMap<&'static str, usize>,
}

impl<'w> Schedule<'w> {
    pub(super) fn new(world: &'w mut World, seed: u64) -> Self {
        Self {
            phases: world.sessions.iter().map(|_| Phase::Free).collect(),
            world,
            // Neighbouring seeds, far apart.
            dice: Dice::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            reference: Reference::default(),
            tasks: Vec::new(),
            requests: Vec::new(),
            jobs: 0,
            step: 0,
            log: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// The whole schedule, or what went wrong.
    pub(super) async fn run(&mut self) -> Result<(), String> {
        while self.step < STEPS {
            self.step += 1;
            self.random_step().await?;
            self.settle_all().await?;
            self.end_the_old().await?;
            self.compare().await?;
        }
        self.finale().await
    }

    pub(super) fn note(&mut self, kind: &'static str, line: &str) {
        *self.counts.entry(kind).or_default() += 1;
        self.log.push(format!("{:3}. {line}", self.step));
    }

    async fn random_step(&mut self) -> Result<(), String> {
        if !self.phases.iter().any(|phase| matches!(phase, Phase::Free)) {
            return self.end_some().await;
        }
        match self.dice.below(34) {
            0..=3 => self.submit().await,
            4..=7 => {
                let count = 1 + self.dice.below(3);
                self.start_either(Op::Claim { count }).await
            }
            8 => match self.some_job() {
                Some(job) => self.start_either(Op::ClaimOne(job)).await,
                None => Ok(()),
            },
            9 | 33 => self.renew().await,
            10..=16 => self.swap_some().await,
            17..=19 => self.finish().await,
            20 => self.hand_back().await,
            21 => match self.some_job() {
                Some(job) => self.start(Op::Cancel(job), false).await,
                None => Ok(()),
            },
            22 | 23 => self.time_passes().await,
            24 => self.start_either(Op::Sweep).await,
            25 | 26 => self.end_some().await,
            27 => self.kill_some().await,
            28 => self.pause().await,
            29 => self.stranger().await,
            _ => self.land_some().await,
        }
    }

    fn some_job(&mut self) -> Option<JobId> {
        let job = 1 + self.dice.below(self.jobs.max(1));
        (self.jobs > 0).then(|| self.world.lane.id(job))
    }

    /// Any attempt, half of the time one of the last.
    fn some_task(&mut self) -> Option<usize> {
        let count = self.tasks.len() as u32;
        let recent = count.min(1 + self.dice.below(2) * count);
        (count > 0).then(|| (count - 1 - self.dice.below(recent)) as usize)
    }

    async fn submit(&mut self) -> Result<(), String> {
        self.jobs += 1;
        let mut item = self.world.lane.item(self.jobs);
        item.max_attempts = 1 + self.dice.below(4) as i32;
        item.concurrency_key = Some(format!("db.t{}", self.dice.below(KEYS)));
        self.start(Op::Submit(item), false).await
    }

    async fn renew(&mut self) -> Result<(), String> {
        let skip = self.dice.below(2) as usize;
        let ids: Vec<(JobId, AttemptId)> = self
            .tasks
            .iter()
            .skip(skip)
            .map(|task| task.fence.ids())
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.start_either(Op::Renew(ids)).await
    }

    /// Plans, or swaps what was planned.
    async fn swap_some(&mut self) -> Result<(), String> {
        let Some(at) = self.some_task() else {
            return Ok(());
        };
        let job = number(self.tasks[at].fence.job());
        let Some(now) = self.reference.jobs.get(&job) else {
            return Ok(());
        };
        if self.tasks[at].done {
            return Ok(());
        }
        let (key, effects) = (now.key.clone(), now.effects);
        let base = if let Some(base) = self.tasks[at].base.take() {
            base
        } else {
            let line = format!("job {job} is planned, {effects} effects so far");
            self.note("planned", &line);
            // An earlier attempt's swap is recognised, not repeated.
            self.tasks[at].done = effects > 0;
            let base = self.world.version(job, &key).await;
            if effects > 0 || self.dice.below(2) == 0 {
                self.tasks[at].base = (effects == 0).then_some(base);
                return Ok(());
            }
            base
        };
        let guard = Op::Guard {
            fence: self.tasks[at].fence.for_retry(),
            key,
            base,
            inside: inside(job),
            guarded: self.world.guarded,
        };
        self.start(guard, false).await
    }

    async fn finish(&mut self) -> Result<(), String> {
        let mut batch: BTreeMap<JobId, (Fence, End)> = BTreeMap::new();
        for _ in 0..=self.dice.below(2) {
            let Some(at) = self.some_task() else {
                return Ok(());
            };
            let task = &self.tasks[at];
            let end = if task.done {
                End::completed()
            } else if self.dice.below(3) == 0 {
                End::failed(EndReason::ActionFailed, "broke")
            } else {
                continue;
            };
            batch.insert(task.fence.job().clone(), (task.fence.for_retry(), end));
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.start(Op::Finish(batch.into_values().collect()), false)
            .await
    }

    async fn hand_back(&mut self) -> Result<(), String> {
        let Some(at) = self.some_task() else {
            return Ok(());
        };
        let how = match self.dice.below(3) {
            0 => HandBack::shutdown(),
            1 => HandBack::failed(Duration::from_mins(10), "later"),
            _ => HandBack::timeout(Duration::ZERO, "hung"),
        };
        let fence = self.tasks[at].fence.for_retry();
        self.start(Op::HandBack(fence, how), false).await
    }

    /// A lease or a delay runs out.
    async fn time_passes(&mut self) -> Result<(), String> {
        let held = self.held(None);
        let late: Vec<u32> = self
            .reference
            .jobs
            .iter()
            .filter(|(_, job)| {
                matches!(
                    job.place,
                    Place::Running { expired: false, .. } | Place::Delayed { due: false }
                )
            })
            .map(|(number, _)| *number)
            .collect();
        if late.is_empty() {
            return Ok(());
        }
        let job = late[self.dice.below(late.len() as u32) as usize];
        let passed = self.world.expire(job).await;
        if passed == held.taken.contains(&job) {
            return Err(format!("I4: job {job} is locked: {}, {held:?}", !passed));
        }
        if passed && let Some(job) = self.reference.jobs.get_mut(&job) {
            match &mut job.place {
                Place::Running { expired: over, .. } | Place::Delayed { due: over } => *over = true,
                Place::Waiting | Place::Ended(_) => {}
            }
        }
        self.note(
            "time passed",
            &format!("the time of job {job} is over: {passed}"),
        );
        Ok(())
    }

    /// Another writer commits to a table, in both catalogs.
    async fn stranger(&mut self) -> Result<(), String> {
        let key = format!("db.t{}", self.dice.below(KEYS));
        self.world.stranger(&key).await;
        self.note("stranger", &format!("another writer commits to {key}"));
        Ok(())
    }

    async fn pause(&mut self) -> Result<(), String> {
        // Rarely paused, soon resumed.
        if !self.reference.paused && self.dice.below(3) > 0 {
            return Ok(());
        }
        self.reference.paused = !self.reference.paused;
        self.world.pause(self.reference.paused).await;
        self.note("pause", &format!("paused: {}", self.reference.paused));
        Ok(())
    }

    /// A request reaches the catalog elsewhere, or is lost.
    async fn land_some(&mut self) -> Result<(), String> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let at = self.dice.below(self.requests.len() as u32) as usize;
        self.land(at).await
    }

    pub(super) async fn land(&mut self, at: usize) -> Result<(), String> {
        let request = self.requests.swap_remove(at);
        let job = number(request.fence.job());
        if self.dice.below(12) == 0 {
            self.note(
                "request lost",
                &format!("the request of {:?} is lost", request.fence),
            );
            return Ok(());
        }
        let swapped = swap(
            &self.world.outside,
            &request.fence,
            &request.key,
            request.base,
        )
        .await;
        let swapped = swapped.map_err(|error| format!("{error:?}"))?;
        let late = !self
            .phases
            .iter()
            .any(|phase| matches!(phase, Phase::Open { op, .. } if op.guards(&request.fence)));
        let kind = match (swapped, late) {
            (true, false) => "landed",
            (true, true) => "landed late",
            (false, _) => "refused by the catalog",
        };
        self.note(
            kind,
            &format!("the request of {:?} lands: {swapped}", request.fence),
        );
        if swapped && let Some(job) = self.reference.jobs.get_mut(&job) {
            job.effects += 1;
            if job.effects > 1 {
                return Err(format!("I10: a second effect of {:?}", request.fence));
            }
        }
        // Only who still waits hears of it.
        for task in self.tasks.iter_mut().filter(|_| !late) {
            task.done |= swapped && task.fence.attempt() == request.fence.attempt();
        }
        Ok(())
    }

    /// Everything that has committed is as the reference has it.
    pub(super) async fn compare(&self) -> Result<(), String> {
        let rows = self.world.lane.client.query(SEEN, &[]).await.unwrap();
        let seen: BTreeMap<u32, String> = rows
            .iter()
            .map(|row| (number(&JobId::new(row.get::<_, &str>(0))), row.get(1)))
            .collect();
        let want: BTreeMap<u32, String> = self
            .reference
            .jobs
            .iter()
            .map(|(number, job)| (*number, job.line()))
            .collect();
        if seen != want {
            let wrong: Vec<_> = seen
                .iter()
                .filter(|(job, line)| want.get(job) != Some(line))
                .collect();
            let gone: Vec<_> = want
                .iter()
                .filter(|(job, _)| !seen.contains_key(job))
                .collect();
            return Err(format!("I1: {wrong:?} instead of {want:?}; gone: {gone:?}"));
        }
        let of_ours = |(job, now): (&u32, &super::reference::Job)| {
            (inside(*job) && now.effects > 0).then_some(now.effects)
        };
        let effects: i64 = self.reference.jobs.iter().filter_map(of_ours).sum();
        self.world.agrees(&self.reference, effects).await?;
        self.trusted().await
    }

    /// Who trusts its lease has it by the database's clock, for no less long.
    async fn trusted(&self) -> Result<(), String> {
        let left = self.world.leases().await;
        let now = Instant::now();
        for task in &self.tasks {
            let (job, attempt) = (number(task.fence.job()), task.fence.attempt().as_str());
            let place = self.reference.jobs.get(&job).map(|job| &job.place);
            let own = Place::Running {
                attempt: attempt.to_owned(),
                expired: false,
            };
            if place != Some(&own) {
                continue;
            }
            let trusted = task.lease.trusted_until().saturating_duration_since(now);
            let left = left.get(attempt).copied().unwrap_or_default();
            if left < trusted.as_secs_f64() {
                return Err(format!(
                    "I5: {:?} is trusted for {trusted:?} and ends in {left} s",
                    task.fence
                ));
            }
        }
        Ok(())
    }

    /// Everybody ends, leases run out, and each job ends: none is lost, none is stuck.
    async fn finale(&mut self) -> Result<(), String> {
        if self.reference.paused {
            self.reference.paused = false;
            self.world.pause(false).await;
        }
        for _ in 0..=self.phases.len() {
            for at in 0..self.phases.len() {
                self.end(at, true).await?;
            }
        }
        while !self.requests.is_empty() {
            self.land_some().await?;
        }
        let live = |reference: &Reference| reference.jobs.values().filter(|job| job.live()).count();
        for _ in 0..ROUNDS_MAX {
            if live(&self.reference) == 0 {
                break;
            }
            for _ in 0..live(&self.reference) {
                self.time_passes().await?;
            }
            self.start(Op::Claim { count: 100 }, true).await?;
            self.compare().await?;
        }
        self.start(Op::Sweep, true).await?;
        self.reference.left.clear();
        self.compare().await?;
        match live(&self.reference) {
            0 => Ok(()),
            left => Err(format!(
                "{left} jobs can not end: {:?}",
                self.reference.jobs
            )),
        }
    }
}
