//! Every step that anybody can take from a state.

use super::promises::Promise;
use super::rules::Rule;
use super::state::{
    ATTEMPTS, Action, Catalog, FREE_MAX, File, Guard, JOBS, LEASE, Model, Record, Row, State, Step,
    TRUST, WORKERS, What, Worker,
};

type Found = Vec<(Action, State)>;

/// Beats after which a claim's answer is worth nothing.
const AGE_MAX: u8 = LEASE;

/// The attempt a worker is at.
#[derive(Clone, Copy)]
struct Own {
    worker: usize,
    job: usize,
    attempt: u8,
    trust: u8,
}

/// Adds the state that `change` makes of `at`, unless it changes nothing.
fn step(found: &mut Found, at: &State, action: (What, usize, u8), change: impl FnOnce(&mut State)) {
    let mut next = *at;
    change(&mut next);
    next.workers.sort_unstable();
    if next != *at {
        found.push((Action::new(action.0, action.1, action.2), next));
    }
}

/// The worker goes on to another step of its attempt, and nothing else changes.
fn go(found: &mut Found, at: &State, own: Own, what: What, to: Step) {
    step(found, at, (what, own.job, own.attempt), |next| {
        next.put(own, to);
    });
}

fn time(at: &State, found: &mut Found) {
    step(found, at, (What::Time, 0, 0), |next| {
        for job in &mut next.jobs {
            if let Some(row) = &mut job.row {
                row.lease = row.lease.saturating_sub(1);
            }
        }
        for worker in &mut next.workers {
            match worker {
                Worker::Picking { age, .. } => *age = AGE_MAX.min(*age + 1),
                Worker::Working { trust, .. } => *trust = trust.saturating_sub(1),
                _ => {}
            }
        }
    });
}

impl Model {
    pub(super) fn steps(&self, at: &State, found: &mut Found) {
        time(at, found);
        for job in 0..self.scope.jobs {
            self.users(at, job, found);
            self.sweeps(at, job, found);
            for attempt in 1..=ATTEMPTS as u8 {
                self.catalog(at, job, attempt, found);
                self.ledger(at, job, attempt, found);
            }
        }
        for worker in 0..WORKERS {
            // Of equal workers one is enough.
            if worker == 0 || at.workers[worker] != at.workers[worker - 1] {
                self.worker(at, worker, found);
            }
        }
    }

    fn users(&self, at: &State, job: usize, found: &mut Found) {
        let table = self.scope.table(job);
        let free = match at.locks[table].map(|holder| at.jobs[holder as usize].row) {
            None | Some(None) => true,
            Some(Some(holder)) => {
                !self.has(Rule::LockByLife) && holder.attempt > 0 && holder.lease == 0
            }
        };
        // Jobs are alike, so they come in order.
        let next_one = job == 0 || at.jobs[job - 1].record != Record::Absent;
        let submit = |next: &mut State| {
            next.jobs[job].record = Record::Pending;
            next.jobs[job].row = Some(Row::default());
            next.locks[table] = Some(job as u8);
        };
        match at.jobs[job].record {
            Record::Absent if next_one && free && self.has(Rule::LockJudgedAfter) => {
                step(found, at, (What::Submit, job, 0), submit);
            }
            Record::Absent if next_one && free => {
                step(found, at, (What::Look, job, 0), |next| {
                    next.jobs[job].record = Record::Looking;
                });
            }
            Record::Looking => step(found, at, (What::Submit, job, 0), submit),
            _ => {}
        }
        if self.scope.stranger && !at.strangers[table] && table == job {
            step(found, at, (What::Stranger, job, 0), |next| {
                next.strangers[table] = true;
                next.versions[table] += 1;
            });
        }
        let Some(row) = at.jobs[job].row else { return };
        if self.scope.cancels && !at.taken(self, job) {
            step(found, at, (What::Cancel, job, 0), |next| {
                if row.attempt == 0 {
                    next.end(self, job, Record::GivenUp);
                } else if let Some(row) = next.row(job) {
                    row.cancel = true;
                }
            });
        }
    }

    fn sweeps(&self, at: &State, job: usize, found: &mut Found) {
        let row = at.jobs[job].row;
        let expired = row.filter(|row| row.attempt > 0 && row.lease == 0);
        if !self.has(Rule::SweepRechecks) {
            if expired.is_some() && at.sweep.is_none() {
                step(found, at, (What::SweepLook, job, 0), |next| {
                    next.sweep = Some(job as u8);
                });
            }
            if at.sweep == Some(job as u8) && !at.held(self, job) {
                step(found, at, (What::SweepWrite, job, 0), |next| {
                    next.sweep = None;
                    if row.is_some_and(|row| row.lease > 0) {
                        next.breaks(Promise::I4);
                    }
                    next.reset(job);
                });
            }
        } else if let Some(row) = expired.filter(|_| !at.held(self, job)) {
            let claimer = at.workers.contains(&Worker::Idle) && self.has(Rule::ClaimSeesExpired);
            let what = if claimer { What::Tick } else { What::Sweep };
            step(found, at, (what, job, 0), |next| {
                if row.cancel || row.count >= self.scope.attempts_max {
                    next.end(self, job, Record::GivenUp);
                } else {
                    next.reset(job);
                }
            });
        }
    }

    /// What an outside catalog does with requests.
    fn catalog(&self, at: &State, job: usize, attempt: u8, found: &mut Found) {
        let Some(base) = at.requests[job][attempt as usize - 1] else {
            return;
        };
        step(found, at, (What::Drop, job, attempt), |next| {
            *next.request(job, attempt) = None;
        });
        step(found, at, (What::Land, job, attempt), |next| {
            *next.request(job, attempt) = None;
            let swapped = next.swap(self, job, attempt, base);
            for worker in 0..WORKERS {
                let Worker::Working {
                    job: own,
                    attempt: theirs,
                    step,
                    ..
                } = &mut next.workers[worker]
                else {
                    continue;
                };
                // Whoever has lost the guard does not believe the answer, and loads the table.
                let waits = *step == Step::Asked { guard: Guard::Held }
                    || *step == Step::Asked { guard: Guard::Bare };
                if (*own as usize, *theirs) == (job, attempt) && waits {
                    *step = if swapped { Step::Done } else { Step::Fresh };
                    if swapped && self.scope.files {
                        next.set_file(job, attempt, File::Marked);
                    }
                }
            }
        });
    }

    fn ledger(&self, at: &State, job: usize, attempt: u8, found: &mut Found) {
        let purged = if at.applied(job, attempt) && self.has(Rule::PurgeLooksAgain) {
            File::Kept
        } else {
            File::Deleted
        };
        let (what, file) = match at.file(job, attempt) {
            File::Written if at.current(job, attempt) && self.has(Rule::ListsOnlyTheDead) => return,
            File::Written if self.has(Rule::TwoSteps) => (What::List, File::Listed),
            File::Written => (What::List, purged),
            // The grace is longer than any request lives.
            File::Listed if at.requests[job][attempt as usize - 1].is_none() => {
                (What::Grace, File::Due)
            }
            File::Due => (What::Purge, purged),
            File::None | File::Marked | File::Listed | File::Kept | File::Deleted => return,
        };
        step(found, at, (what, job, attempt), |next| {
            next.set_file(job, attempt, file);
        });
    }

    fn worker(&self, at: &State, worker: usize, found: &mut Found) {
        match at.workers[worker] {
            Worker::Absent => {}
            Worker::Idle => self.idle(at, worker, found),
            Worker::Picking { job, age } => self.picking(at, worker, (job as usize, age), found),
            Worker::Working {
                job,
                attempt,
                trust,
                step,
            } => {
                let own = Own {
                    worker,
                    job: job as usize,
                    attempt,
                    trust,
                };
                self.working(at, own, step, found);
            }
            Worker::Ending { job } => {
                let job = job as usize;
                step(found, at, (What::WriteRecord, job, 0), |next| {
                    next.jobs[job].record = Record::Completed;
                    next.workers[worker] = Worker::Idle;
                });
            }
            Worker::Frozen { job, .. } => {
                if self.has(Rule::ServerThrowsOut) {
                    step(found, at, (What::ThrownOut, job as usize, 0), |next| {
                        next.workers[worker] = Worker::Idle;
                    });
                }
            }
        }
    }

    fn idle(&self, at: &State, worker: usize, found: &mut Found) {
        for job in 0..JOBS {
            let due = at.jobs[job].row.is_some_and(|row| row.attempt == 0);
            let passed_over = self.has(Rule::SkipLocked) && at.held(self, job);
            if due && !passed_over {
                step(found, at, (What::Pick, job, 0), |next| {
                    next.workers[worker] = Worker::Picking {
                        job: job as u8,
                        age: 0,
                    };
                });
            }
        }
    }

    fn picking(&self, at: &State, worker: usize, (job, age): (usize, u8), found: &mut Found) {
        step(found, at, (What::Crash, job, 0), |next| {
            next.workers[worker] = Worker::Idle;
        });
        if self.has(Rule::SkipLocked) {
            step(found, at, (What::Freeze, job, 0), |next| {
                next.workers[worker] = Worker::Frozen {
                    job: job as u8,
                    exclusive: true,
                };
            });
        }
        let attempt = at.jobs[job].row.map_or(0, |row| row.issued + 1);
        if attempt as usize > ATTEMPTS {
            return;
        }
        step(found, at, (What::Claim, job, attempt), |next| {
            next.workers[worker] = Worker::Idle;
            let Some(row) = next.row(job) else { return };
            let stolen = row.attempt > 0 && row.lease > 0;
            (row.attempt, row.issued, row.count) = (attempt, attempt, row.count + 1);
            row.lease = LEASE - age;
            next.jobs[job].record = Record::Running(attempt);
            let trust = if self.has(Rule::TrustFromSending) {
                TRUST.saturating_sub(age)
            } else {
                TRUST
            };
            let (job, step) = (job as u8, Step::Fresh);
            next.workers[worker] = Worker::Working {
                job,
                attempt,
                trust,
                step,
            };
            if stolen {
                next.breaks(Promise::I4);
            }
        });
    }

    fn working(&self, at: &State, own: Own, step_now: Step, found: &mut Found) {
        let Own {
            worker,
            job,
            attempt,
            ..
        } = own;
        step(found, at, (What::Crash, job, attempt), |next| {
            next.workers[worker] = Worker::Idle;
        });
        self.renew(at, own, step_now, found);
        match step_now {
            Step::Fresh => self.plan(at, own, found),
            Step::Planned { base } => self.open_guard(at, own, base, found),
            Step::Guarded { base, guard } => self.guarded(at, own, (base, guard), found),
            Step::Asked { .. } => go(found, at, own, What::GiveUp, Step::Fresh),
            Step::Done => {}
        }
        match step_now {
            Step::Guarded {
                guard: Guard::Held, ..
            }
            | Step::Asked { guard: Guard::Held } => {
                let lost = match step_now {
                    Step::Guarded { base, .. } => Step::Guarded {
                        base,
                        guard: Guard::Lost,
                    },
                    _ => Step::Asked { guard: Guard::Lost },
                };
                go(found, at, own, What::GuardLost, lost);
                step(found, at, (What::Freeze, job, attempt), |next| {
                    next.workers[worker] = Worker::Frozen {
                        job: job as u8,
                        exclusive: false,
                    };
                });
            }
            Step::Guarded { .. } | Step::Asked { .. } => {}
            Step::Fresh | Step::Planned { .. } | Step::Done => {
                self.give_up_the_job(at, own, step_now, found);
            }
        }
    }

    fn renew(&self, at: &State, own: Own, step_now: Step, found: &mut Found) {
        let Own {
            worker,
            job,
            attempt,
            ..
        } = own;
        if at.taken(self, job) {
            return;
        }
        step(found, at, (What::Renew, job, attempt), |next| {
            let current = next.current(job, attempt);
            match next.row(job).filter(|row| row.attempt > 0) {
                // Told of the cancel, it is not extended for ever: here, not at all.
                Some(row) if current && row.cancel => {}
                Some(row) if current => {
                    row.lease = LEASE;
                    next.put(
                        Own {
                            trust: TRUST,
                            ..own
                        },
                        step_now,
                    );
                }
                Some(row) if !self.has(Rule::FenceOnRenewal) => {
                    row.lease = LEASE;
                    next.breaks(Promise::I2);
                }
                _ => next.workers[worker] = Worker::Idle,
            }
        });
    }

    fn plan(&self, at: &State, own: Own, found: &mut Found) {
        let Own {
            worker,
            job,
            attempt,
            trust,
        } = own;
        if trust == 0 || at.taken(self, job) {
            return;
        }
        step(found, at, (What::Plan, job, attempt), |next| {
            let found_own = next.effects[job] != 0 && self.has(Rule::LooksForOwnWork);
            if self.scope.catalog.is_none() || found_own {
                next.put(own, Step::Done);
            } else if next.current(job, attempt) {
                // Paths are reserved under the fence, before anything is written to them.
                if self.scope.files && next.file(job, attempt) == File::None {
                    next.set_file(job, attempt, File::Written);
                }
                let base = next.versions[self.scope.table(job)];
                next.put(own, Step::Planned { base });
            } else {
                next.workers[worker] = Worker::Idle;
            }
        });
    }

    fn open_guard(&self, at: &State, own: Own, base: u8, found: &mut Found) {
        let Own {
            worker,
            job,
            attempt,
            trust,
        } = own;
        if trust == 0 || at.taken(self, job) {
            return;
        }
        step(found, at, (What::OpenGuard, job, attempt), |next| {
            let holds = self.has(Rule::GuardOnSwap) && self.has(Rule::GuardHolds);
            if next.current(job, attempt) || !self.has(Rule::GuardOnSwap) {
                let guard = if holds { Guard::Held } else { Guard::Bare };
                next.put(own, Step::Guarded { base, guard });
            } else {
                next.workers[worker] = Worker::Idle;
            }
        });
    }

    fn guarded(&self, at: &State, own: Own, (base, guard): (u8, Guard), found: &mut Found) {
        let Own {
            job,
            attempt,
            trust,
            ..
        } = own;
        go(found, at, own, What::Rollback, Step::Fresh);
        match self.scope.catalog {
            Some(Catalog::Inside) if guard == Guard::Lost => {}
            Some(Catalog::Inside) => step(found, at, (What::Swap, job, attempt), |next| {
                let current = next.current(job, attempt);
                let swapped = next.swap(self, job, attempt, base);
                next.put(own, if swapped { Step::Done } else { Step::Fresh });
                if swapped && self.scope.files {
                    next.set_file(job, attempt, File::Marked);
                }
                if swapped && !current {
                    next.breaks(Promise::I10);
                }
            }),
            Some(Catalog::Outside) => {
                let asked = at.requests[job][attempt as usize - 1].is_some();
                if trust > 0 && !asked {
                    step(found, at, (What::Ask, job, attempt), |next| {
                        *next.request(job, attempt) = Some(base);
                        next.put(own, Step::Asked { guard });
                    });
                }
            }
            None => {}
        }
    }

    /// Finish and hand-back: own rows are waited for, and only then is a missing one a refusal.
    fn give_up_the_job(&self, at: &State, own: Own, step_now: Step, found: &mut Found) {
        let Own { job, attempt, .. } = own;
        if at.held(self, job) {
            return;
        }
        let cancelled = at.jobs[job].row.is_some_and(|row| row.cancel);
        if step_now == Step::Done || cancelled {
            step(found, at, (What::Finish, job, attempt), |next| {
                self.finish(next, own, step_now == Step::Done);
            });
        }
        if self.scope.hand_backs && step_now != Step::Done {
            for free in [false, true] {
                let what = if free {
                    What::HandBackFree
                } else {
                    What::HandBack
                };
                step(found, at, (what, job, attempt), |next| {
                    self.hand_back(next, own, free);
                });
            }
        }
    }

    /// Whether a write of this attempt takes effect. A fence left out is noted when it mattered.
    fn passes(&self, next: &mut State, own: Own, fence: Rule) -> bool {
        let current = next.current(own.job, own.attempt);
        let there = next.jobs[own.job].row.is_some();
        if there && !current && !self.has(fence) {
            next.breaks(Promise::I2);
        }
        current || (there && !self.has(fence))
    }

    fn finish(&self, next: &mut State, own: Own, done: bool) {
        next.workers[own.worker] = Worker::Idle;
        if !self.passes(next, own, Rule::FenceOnFinish) {
            return;
        }
        let record = next.jobs[own.job].record;
        let ended = if done {
            Record::Completed
        } else {
            Record::GivenUp
        };
        next.end(self, own.job, ended);
        if !self.has(Rule::OneCommit) {
            next.jobs[own.job].record = record;
            next.workers[own.worker] = Worker::Ending { job: own.job as u8 };
        }
    }

    fn hand_back(&self, next: &mut State, own: Own, free: bool) {
        next.workers[own.worker] = Worker::Idle;
        if !self.passes(next, own, Rule::FenceOnHandBack) {
            return;
        }
        let Some(row) = next.row(own.job) else { return };
        let free = free && row.free < FREE_MAX;
        if row.cancel || (!free && row.count >= self.scope.attempts_max) {
            next.end(self, own.job, Record::GivenUp);
            return;
        }
        row.count -= u8::from(free);
        row.free += u8::from(free);
        next.reset(own.job);
    }
}

impl State {
    fn put(&mut self, own: Own, step: Step) {
        let Own {
            worker,
            job,
            attempt,
            trust,
        } = own;
        self.workers[worker] = Worker::Working {
            job: job as u8,
            attempt,
            trust,
            step,
        };
    }
}
