//! What must be in the tables, told in a few lines: each answer of the queue is judged by it, and
//! what has committed is compared with it.

use std::collections::{BTreeMap, BTreeSet};

use model::{JobId, JobStatus};
use queue::{
    Cancel, Claimed, End, Enqueue, Fence, Finished, HandedBack, Lock, RenewState, Renewal,
};

use super::session::{Answer, Op};

/// Hand-backs that cost no attempt.
const FREE_MAX: i32 = 20;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// Behind a delay that no tick has ended yet, and whether its time has come.
    Delayed {
        due: bool,
    },
    Waiting,
    Running {
        attempt: String,
        expired: bool,
    },
    Ended(JobStatus),
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) key: String,
    pub(super) place: Place,
    attempts_max: i32,
    count: i32,
    hand_backs: i32,
    cancel: bool,
    begins: i32,
    /// Swaps that took effect, in our database or elsewhere.
    pub(super) effects: i64,
}

/// What a transaction changes once it commits.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    Submitted {
        job: u32,
        key: String,
        attempts_max: i32,
    },
    Claimed {
        job: u32,
        attempt: String,
    },
    Reset(u32),
    Flipped(u32),
    Ended {
        job: u32,
        status: JobStatus,
    },
    Renewed(u32),
    HandedBack {
        job: u32,
        free: bool,
        delayed: bool,
    },
    CancelRequested(u32),
    Swapped {
        job: u32,
        attempt: String,
    },
}

/// Rows that open transactions hold.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// By guards: renewals pass.
    pub(super) shared: BTreeSet<u32>,
    pub(super) taken: BTreeSet<u32>,
    /// Keys somebody is submitting for.
    pub(super) keys: BTreeSet<String>,
}

impl Held {
    pub(super) fn passed_over(&self, job: u32) -> bool {
        self.shared.contains(&job) || self.taken.contains(&job)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Reference {
    pub(super) jobs: BTreeMap<u32, Job>,
    issued: BTreeSet<String>,
    pub(super) paused: bool,
    /// Keys whose lock may have been left behind by a claim that met a submitter.
    pub(super) left: BTreeSet<String>,
}

impl Job {
    fn new(key: &str, attempts_max: i32) -> Self {
        Self {
            key: key.to_owned(),
            place: Place::Waiting,
            attempts_max,
            count: 0,
            hand_backs: 0,
            cancel: false,
            begins: 0,
            effects: 0,
        }
    }

    pub(super) fn live(&self) -> bool {
        !matches!(self.place, Place::Ended(_))
    }

    fn spent(&self) -> bool {
        self.cancel || self.count >= self.attempts_max
    }

    /// How a job ends that may not run again.
    fn end(&self) -> JobStatus {
        if self.cancel {
            JobStatus::Cancelled
        } else {
            JobStatus::Failed
        }
    }

    /// The job as `seen.sql` below writes it.
    pub(super) fn line(&self) -> String {
        let flag = |set: bool| if set { "t" } else { "f" };
        let (status, attempt, scheduled, due) = match &self.place {
            Place::Delayed { due } => ("pending", "-", true, *due),
            Place::Waiting => ("pending", "-", false, true),
            Place::Running { attempt, expired } => ("running", attempt.as_str(), false, *expired),
            Place::Ended(status) => return format!("{status} {} 1 gone", self.begins),
        };
        format!(
            "{status} {} 0 {attempt} {attempt} {} {} {} {} {} {} {}",
            self.begins,
            self.count,
            self.hand_backs,
            flag(scheduled),
            flag(due),
            flag(self.cancel),
            self.key,
            self.key,
        )
    }
}

/// A job as its record, its row and its lock tell it.
pub(super) const SEEN: &str = "
    select j.job_id::text, concat_ws(' ', j.status, j.begin_count, j.end_count,
        case when q.job_id is null and l.table_key is null and j.status not in ('pending', 'running')
            then 'gone'
            else concat_ws(' ', coalesce(j.attempt_id, '-'), coalesce(q.attempt_id, '-'),
                q.attempt_count, q.hand_back_count, q.scheduled, q.visible_at <= now(),
                q.cancel_requested_at is not null, q.concurrency_key,
                coalesce(l.table_key, 'without its lock'))
        end)
    from lane.jobs j
    left join lane.job_queue q using (job_id)
    left join lane.table_locks l on l.holder = j.job_id and q.job_id is not null
    order by j.job_id";

/// The lane's nth job has n at the end of its id.
pub(super) fn number(job: &JobId) -> u32 {
    let text = job.as_str();
    text[text.len() - 6..].parse().unwrap()
}

impl Reference {
    pub(super) fn current(&self, job: u32, attempt: &str) -> bool {
        matches!(
            self.jobs.get(&job).map(|job| &job.place),
            Some(Place::Running { attempt: now, .. }) if now == attempt
        )
    }

    /// Judges an answer, and says what follows from it.
    pub(super) fn judge(
        &self,
        op: &Op,
        answer: &Answer,
        held: &Held,
    ) -> Result<Vec<Effect>, String> {
        match (op, answer) {
            (Op::Submit(item), Answer::Locked(lock)) => self.locked(item, lock),
            (Op::Claim { count }, Answer::Claimed(claimed)) => self.claimed(*count, claimed, held),
            (Op::ClaimOne(job), Answer::Claimed(claimed)) => {
                self.claimed_one(number(job), claimed.first(), held)
            }
            (Op::Sweep, Answer::Swept) => Ok(self.tick(held)),
            (Op::Renew(_), Answer::Renewed(renewals)) => {
                let judged = renewals.iter().map(|renewal| self.renewed(renewal, held));
                Ok(judged
                    .collect::<Result<Vec<_>, _>>()?
                    .into_iter()
                    .flatten()
                    .collect())
            }
            (Op::Finish(batch), Answer::Finished(answers)) => self.finished(batch, answers),
            (Op::HandBack(fence, how), Answer::HandedBack(answer)) => {
                self.handed_back(number(fence.job()), fence.attempt().as_str(), how, *answer)
            }
            (Op::Cancel(job), Answer::Cancelled(answer)) => self.cancelled(number(job), *answer),
            (Op::Guard { fence, .. }, Answer::Guarded { swapped }) => {
                let (job, attempt) = (number(fence.job()), fence.attempt().to_string());
                if !self.current(job, &attempt) {
                    return Err(format!(
                        "I10: the guard of a stale attempt opened: {fence:?}"
                    ));
                }
                Ok(Vec::from_iter(
                    swapped.then_some(Effect::Swapped { job, attempt }),
                ))
            }
            (Op::Guard { fence, .. } | Op::HandBack(fence, _), Answer::Replaced) => {
                if self.current(number(fence.job()), fence.attempt().as_str()) {
                    return Err(format!("I2: the current attempt was refused: {op:?}"));
                }
                Ok(vec![])
            }
            (op, answer) => Err(format!("{op:?} was answered {answer:?}")),
        }
    }

    fn locked(&self, item: &Enqueue, lock: &Lock) -> Result<Vec<Effect>, String> {
        let key = item.concurrency_key.clone().unwrap_or_default();
        let mut jobs = self.jobs.iter();
        let holder = jobs.find(|(_, job)| job.live() && job.key == key);
        match (lock, holder) {
            (Lock::Taken, None) => Ok(vec![Effect::Submitted {
                job: number(&item.job),
                key,
                attempts_max: item.max_attempts,
            }]),
            (Lock::Held { by }, Some((holder, _))) if number(by) == *holder => Ok(vec![]),
            (lock, holder) => Err(format!("I3: {lock:?} of {key}, which {holder:?} has")),
        }
    }

    fn finished(
        &self,
        batch: &[(Fence, End)],
        answers: &[(JobId, Finished)],
    ) -> Result<Vec<Effect>, String> {
        let mut effects = Vec::new();
        for ((fence, end), (_, finished)) in batch.iter().zip(answers) {
            let job = number(fence.job());
            let current = self.current(job, fence.attempt().as_str());
            if current != (*finished == Finished::Done) {
                return Err(format!(
                    "I2: finish of {fence:?}, current: {current}: {finished:?}"
                ));
            }
            effects.extend(current.then_some(Effect::Ended {
                job,
                status: end.status,
            }));
        }
        Ok(effects)
    }

    /// What a tick does with the rows that nobody holds.
    fn tick(&self, held: &Held) -> Vec<Effect> {
        let free = self
            .jobs
            .iter()
            .filter(|(number, _)| !held.passed_over(**number));
        free.filter_map(|(number, job)| match job.place {
            Place::Delayed { due: true } => Some(Effect::Flipped(*number)),
            Place::Running { expired: true, .. } if job.spent() => Some(Effect::Ended {
                job: *number,
                status: job.end(),
            }),
            Place::Running { expired: true, .. } => Some(Effect::Reset(*number)),
            _ => None,
        })
        .collect()
    }

    fn claimed(&self, count: u32, claimed: &[Claimed], held: &Held) -> Result<Vec<Effect>, String> {
        let mut effects = self.tick(held);
        let mut ticked = self.clone();
        for effect in &effects {
            ticked.apply(effect)?;
        }
        let due: BTreeSet<u32> = ticked
            .jobs
            .iter()
            .filter(|(number, job)| job.place == Place::Waiting && !held.passed_over(**number))
            .map(|(number, _)| *number)
            .collect();
        let want = if self.paused {
            0
        } else {
            due.len().min(count as usize)
        };
        let got: BTreeSet<u32> = claimed
            .iter()
            .map(|claimed| number(claimed.fence.job()))
            .collect();
        if claimed.len() != want || got.len() != want || !got.is_subset(&due) {
            return Err(format!(
                "I4: {count} of {due:?} asked for, {got:?} claimed, {want} expected"
            ));
        }
        for claimed in claimed {
            effects.push(ticked.one_claim(claimed)?);
        }
        Ok(effects)
    }

    fn one_claim(&self, claimed: &Claimed) -> Result<Effect, String> {
        let job = number(claimed.fence.job());
        let count = self.jobs[&job].count + 1;
        if claimed.attempt_count != count {
            return Err(format!(
                "I2: attempt {count} of job {job} calls itself {}",
                claimed.attempt_count
            ));
        }
        let attempt = claimed.fence.attempt().to_string();
        Ok(Effect::Claimed { job, attempt })
    }

    fn claimed_one(
        &self,
        job: u32,
        claimed: Option<&Claimed>,
        held: &Held,
    ) -> Result<Vec<Effect>, String> {
        let Some(now) = self.jobs.get(&job) else {
            return Ok(vec![]);
        };
        let due = matches!(
            now.place,
            Place::Waiting | Place::Delayed { due: true } | Place::Running { expired: true, .. }
        );
        let due = due && !self.paused && !held.passed_over(job);
        match claimed {
            Some(claimed) if due && !now.spent() => Ok(vec![self.one_claim(claimed)?]),
            None if due && now.spent() => Ok(vec![Effect::Ended {
                job,
                status: now.end(),
            }]),
            None if !due => Ok(vec![]),
            other => Err(format!(
                "I4: asked for job {job}, {now:?}, held: {held:?}: {other:?}"
            )),
        }
    }

    fn renewed(&self, renewal: &Renewal, held: &Held) -> Result<Option<Effect>, String> {
        let job = number(&renewal.job);
        let current = self.current(job, renewal.attempt.as_str());
        match renewal.state {
            RenewState::Lost if !current => Ok(None),
            RenewState::Busy if current && held.taken.contains(&job) => Ok(None),
            RenewState::Renewed { .. } if current && !held.taken.contains(&job) => {
                Ok(Some(Effect::Renewed(job)))
            }
            _ => Err(format!("I2: current: {current}, {held:?}: {renewal:?}")),
        }
    }

    fn handed_back(
        &self,
        job: u32,
        attempt: &str,
        how: &queue::HandBack,
        answer: HandedBack,
    ) -> Result<Vec<Effect>, String> {
        if !self.current(job, attempt) {
            return Err(format!(
                "I2: a stale attempt handed job {job} back: {answer:?}"
            ));
        }
        let now = &self.jobs[&job];
        let free = !how.counts && now.hand_backs < FREE_MAX;
        let last = !free && now.count >= now.attempts_max;
        let status = if now.cancel || last {
            Some(now.end())
        } else {
            None
        };
        match (answer, status) {
            (HandedBack::Waiting, None) => {
                let delayed = !how.after.is_zero();
                Ok(vec![Effect::HandedBack { job, free, delayed }])
            }
            (HandedBack::Ended(ended, _), Some(status)) if ended == status => {
                Ok(vec![Effect::Ended { job, status }])
            }
            (answer, status) => Err(format!(
                "I1: {now:?} was handed back: {answer:?}, not {status:?}"
            )),
        }
    }

    fn cancelled(&self, job: u32, answer: Cancel) -> Result<Vec<Effect>, String> {
        let place = self.jobs.get(&job).map(|job| &job.place);
        match (answer, place) {
            (Cancel::NotLive, None | Some(Place::Ended(_))) => Ok(vec![]),
            (Cancel::Requested, Some(Place::Running { .. })) => {
                Ok(vec![Effect::CancelRequested(job)])
            }
            (Cancel::AtOnce, Some(Place::Waiting | Place::Delayed { .. })) => {
                Ok(vec![Effect::Ended {
                    job,
                    status: JobStatus::Cancelled,
                }])
            }
            (answer, place) => Err(format!("I2: cancel of job {job}, {place:?}: {answer:?}")),
        }
    }

    /// What has committed. An effect that no rule allows is an error.
    pub(super) fn apply(&mut self, effect: &Effect) -> Result<(), String> {
        let wrong = Err(format!(
            "I2: {effect:?} of {:?}",
            effect.job().and_then(|job| self.jobs.get(&job))
        ));
        if let Effect::Submitted {
            job,
            key,
            attempts_max,
        } = effect
        {
            self.jobs.insert(*job, Job::new(key, *attempts_max));
            return Ok(());
        }
        let Some(job) = effect.job().and_then(|job| self.jobs.get_mut(&job)) else {
            return wrong;
        };
        match (effect, &mut job.place) {
            (
                Effect::Claimed { attempt, .. },
                Place::Waiting
                | Place::Delayed { due: true }
                | Place::Running { expired: true, .. },
            ) => {
                job.place = Place::Running {
                    attempt: attempt.clone(),
                    expired: false,
                };
                job.count += 1;
                job.begins += 1;
                if !self.issued.insert(attempt.clone()) {
                    return wrong;
                }
            }
            (Effect::Reset(_), Place::Running { expired: true, .. })
            | (Effect::Flipped(_), Place::Delayed { due: true }) => job.place = Place::Waiting,
            (Effect::Ended { status, .. }, place) if !matches!(place, Place::Ended(_)) => {
                if *status == JobStatus::Completed && job.effects != 1 {
                    return wrong;
                }
                job.place = Place::Ended(*status);
            }
            (Effect::Renewed(_), Place::Running { expired, .. }) => *expired = false,
            (Effect::HandedBack { free, delayed, .. }, Place::Running { .. }) => {
                job.count -= i32::from(*free);
                job.hand_backs += i32::from(*free);
                job.place = if *delayed {
                    Place::Delayed { due: false }
                } else {
                    Place::Waiting
                };
            }
            (Effect::CancelRequested(_), Place::Running { .. }) => job.cancel = true,
            (Effect::Swapped { attempt, .. }, Place::Running { attempt: now, .. })
                if attempt == now && job.effects == 0 =>
            {
                job.effects = 1;
            }
            _ => return wrong,
        }
        Ok(())
    }
}

impl Effect {
    /// What a run counts it as.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Submitted { .. } => "submitted",
            Self::Claimed { .. } => "claimed",
            Self::Reset(_) => "reset",
            Self::Flipped(_) => "flipped",
            Self::Ended { status, .. } => status.as_str(),
            Self::Renewed(_) => "renewed",
            Self::HandedBack { .. } => "handed back",
            Self::CancelRequested(_) => "cancel requested",
            Self::Swapped { .. } => "swapped",
        }
    }

    pub(super) fn job(&self) -> Option<u32> {
        match self {
            Self::Submitted { .. } => None,
            Self::Claimed { job, .. }
            | Self::Ended { job, .. }
            | Self::HandedBack { job, .. }
            | Self::Swapped { job, .. }
            | Self::Reset(job)
            | Self::Flipped(job)
            | Self::Renewed(job)
            | Self::CancelRequested(job) => Some(*job),
        }
    }
}
