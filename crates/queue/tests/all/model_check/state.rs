//! What Postgres, the workers, the catalog and the ledger hold.
//!
//! A worker may be arbitrarily slow between two of its steps, so a stale finish, hand-back, renewal
//! or guard is simply a worker that goes on late; and whatever lands after its sender was killed
//! could as well have landed before. Only what an outside catalog was asked needs a place of its
//! own (`requests`): it may land when the guard around it is long gone.

use std::fmt;

use super::promises::Promise;
use super::rules::Rule;

pub(super) const JOBS: usize = 2;
pub(super) const WORKERS: usize = 3;
/// Attempt ids that one job can be given.
pub(super) const ATTEMPTS: usize = 4;

/// A lease lasts two beats of the database's clock; its holder trusts it for one.
pub(super) const LEASE: u8 = 2;
pub(super) const TRUST: u8 = 1;
/// Hand-backs that cost no attempt.
pub(super) const FREE_MAX: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Catalog {
    /// In our database: the swap is in the guard's transaction.
    Inside,
    /// Elsewhere: the guard is held around a request, which may be late or lost.
    Outside,
}

/// How much is searched.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each widens the search by itself"
)]
pub(super) struct Scope {
    pub(super) workers: usize,
    pub(super) jobs: usize,
    pub(super) tables: usize,
    /// Claims that count.
    pub(super) attempts_max: u8,
    pub(super) catalog: Option<Catalog>,
    /// Another writer commits to each table once.
    pub(super) stranger: bool,
    pub(super) cancels: bool,
    pub(super) hand_backs: bool,
    /// The ledger of files and their deletion.
    pub(super) files: bool,
}

/// The protocol in a scope, whole or without one of its rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    pub(super) scope: Scope,
    pub(super) without: Option<Rule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Record {
    Absent,
    /// Only without [`Rule::LockJudgedAfter`]: its submitter has seen that nobody live has the lock.
    Looking,
    Pending,
    Running(u8),
    Completed,
    /// Failed or cancelled.
    GivenUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Row {
    /// Zero while unclaimed.
    pub(super) attempt: u8,
    /// Attempt ids handed out.
    pub(super) issued: u8,
    /// Attempts that counted.
    pub(super) count: u8,
    pub(super) free: u8,
    /// What is left of it by the database's clock.
    pub(super) lease: u8,
    pub(super) cancel: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Job {
    pub(super) record: Record,
    pub(super) row: Option<Row>,
}

/// The transaction around a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Guard {
    Held,
    /// Its connection is gone; the worker does not know.
    Lost,
    /// Only without [`Rule::GuardOnSwap`] or [`Rule::GuardHolds`].
    Bare,
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    Fresh,
    Planned {
        base: u8,
    },
    Guarded {
        base: u8,
        guard: Guard,
    },
    /// An outside catalog was asked.
    Asked {
        guard: Guard,
    },
    Done,
}

/// One process. A crashed one is replaced by an idle one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Worker {
    Absent,
    Idle,
    /// Inside a claim's transaction, so many beats after it was sent.
    Picking {
        job: u8,
        age: u8,
    },
    Working {
        job: u8,
        attempt: u8,
        trust: u8,
        step: Step,
    },
    /// Only without [`Rule::OneCommit`]: the row is deleted, the record is not written yet.
    Ending {
        job: u8,
    },
    /// Stopped for good inside a transaction.
    Frozen {
        job: u8,
        exclusive: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum File {
    None,
    /// In the ledger since before it was written.
    Written,
    /// Marked as committed.
    Marked,
    /// To be deleted after a grace.
    Listed,
    /// The grace is over.
    Due,
    Kept,
    Deleted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) jobs: [Job; JOBS],
    /// The holder of each table's lock.
    pub(super) locks: [Option<u8>; JOBS],
    /// Sorted: which of two equal workers acts makes no difference.
    pub(super) workers: [Worker; WORKERS],
    /// Only without [`Rule::SweepRechecks`]: the row that was seen expired.
    pub(super) sweep: Option<u8>,
    /// Commits to each table so far.
    pub(super) versions: [u8; JOBS],
    pub(super) strangers: [bool; JOBS],
    /// Attempts whose swap took effect, a bit each.
    pub(super) effects: [u8; JOBS],
    /// The base of what each attempt has asked of the outside catalog and nobody has answered.
    pub(super) requests: [[Option<u8>; ATTEMPTS]; JOBS],
    pub(super) files: [[File; ATTEMPTS]; JOBS],
    /// Broken by the step that led here.
    pub(super) broken: Option<Promise>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum What {
    #[default]
    Begin,
    Submit,
    Look,
    Cancel,
    Stranger,
    Time,
    Tick,
    Sweep,
    SweepLook,
    SweepWrite,
    Pick,
    Claim,
    Renew,
    Plan,
    OpenGuard,
    Rollback,
    Swap,
    Ask,
    GuardLost,
    GiveUp,
    Land,
    Drop,
    Finish,
    WriteRecord,
    HandBack,
    HandBackFree,
    Crash,
    Freeze,
    ThrownOut,
    List,
    Grace,
    Purge,
}

/// One step of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Action {
    what: What,
    job: u8,
    /// Zero where none is meant.
    attempt: u8,
}

impl Action {
    /// Whether a job may count on it: no luck, no user, no sweeper, nobody who is killed.
    pub(super) fn heals(self) -> bool {
        !matches!(
            self.what,
            What::Cancel
                | What::Stranger
                | What::Sweep
                | What::SweepLook
                | What::SweepWrite
                | What::GuardLost
                | What::Drop
                | What::Crash
                | What::Freeze
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, job, attempt } = *self;
        let job = job + 1;
        if attempt > 0 {
            write!(f, "job {job}, attempt {attempt}: ")?;
        } else if !matches!(what, What::Time | What::Begin) {
            write!(f, "job {job}: ")?;
        }
        f.write_str(match what {
            What::Begin => "nothing has happened",
            What::Submit => "is submitted, with its table's lock",
            What::Look => "its submitter sees that nobody live has the lock",
            What::Cancel => "is cancelled",
            What::Stranger => "another writer commits to its table",
            What::Time => "time passes",
            What::Tick => "a claim's tick meets the expired row",
            What::Sweep => "a sweep meets the expired row",
            What::SweepLook => "a sweep sees that the lease ran out",
            What::SweepWrite => "that sweep resets the row",
            What::Pick => "a claim picks the row",
            What::Claim => "the claim commits",
            What::Renew => "renews",
            What::Plan => "loads the table, plans, writes its files",
            What::OpenGuard => "opens the guard",
            What::Rollback => "gives the guard back",
            What::Swap => "swaps and commits the guard",
            What::Ask => "asks the catalog to swap",
            What::GuardLost => "the guard's connection is lost",
            What::GiveUp => "waits no longer for the catalog",
            What::Land => "its request reaches the catalog",
            What::Drop => "its request is lost",
            What::Finish => "finishes",
            What::WriteRecord => "the record is written",
            What::HandBack => "hands back",
            What::HandBackFree => "hands back on shutdown",
            What::Crash => "its worker is killed",
            What::Freeze => "its worker freezes in a transaction",
            What::ThrownOut => "the server throws the frozen worker out",
            What::List => "its files are listed for deletion",
            What::Grace => "the grace of its files ends",
            What::Purge => "its files are purged",
        })
    }
}

impl State {
    pub(super) fn new(model: &Model) -> Self {
        let absent = Job {
            record: Record::Absent,
            row: None,
        };
        let mut workers = [Worker::Absent; WORKERS];
        workers[WORKERS - model.scope.workers..].fill(Worker::Idle);
        Self {
            jobs: [absent; JOBS],
            locks: [None; JOBS],
            workers,
            sweep: None,
            versions: [0; JOBS],
            strangers: [false; JOBS],
            effects: [0; JOBS],
            requests: [[None; ATTEMPTS]; JOBS],
            files: [[File::None; ATTEMPTS]; JOBS],
            broken: None,
        }
    }

    pub(super) fn applied(&self, job: usize, attempt: u8) -> bool {
        self.effects[job] & (1 << attempt) != 0
    }

    pub(super) fn file(&self, job: usize, attempt: u8) -> File {
        self.files[job][attempt as usize - 1]
    }

    pub(super) fn set_file(&mut self, job: usize, attempt: u8, file: File) {
        self.files[job][attempt as usize - 1] = file;
    }

    pub(super) fn request(&mut self, job: usize, attempt: u8) -> &mut Option<u8> {
        &mut self.requests[job][attempt as usize - 1]
    }

    pub(super) fn row(&mut self, job: usize) -> Option<&mut Row> {
        self.jobs[job].row.as_mut()
    }

    pub(super) fn current(&self, job: usize, attempt: u8) -> bool {
        self.jobs[job].row.is_some_and(|row| row.attempt == attempt)
    }

    pub(super) fn breaks(&mut self, promise: Promise) {
        self.broken = self.broken.or(Some(promise));
    }

    /// Somebody has the row `for update`.
    pub(super) fn taken(&self, model: &Model, job: usize) -> bool {
        self.workers.iter().any(|worker| match *worker {
            Worker::Picking { job: picked, .. } => {
                picked as usize == job && model.has(Rule::SkipLocked)
            }
            Worker::Frozen {
                job: held,
                exclusive,
            } => held as usize == job && exclusive,
            _ => false,
        })
    }

    /// Somebody has the row in a way that a claim or a reset passes over.
    pub(super) fn held(&self, model: &Model, job: usize) -> bool {
        self.taken(model, job)
            || self.workers.iter().any(|worker| match *worker {
                Worker::Working {
                    job: own,
                    step:
                        Step::Guarded {
                            guard: Guard::Held, ..
                        }
                        | Step::Asked { guard: Guard::Held },
                    ..
                }
                | Worker::Frozen { job: own, .. } => own as usize == job,
                _ => false,
            })
    }

    /// Terminal record, row gone, lock released.
    pub(super) fn end(&mut self, model: &Model, job: usize, record: Record) {
        if self.jobs[job].row.take().is_none() {
            self.breaks(Promise::I2);
        }
        self.jobs[job].record = record;
        let lock = &mut self.locks[model.scope.table(job)];
        if *lock == Some(job as u8) {
            *lock = None;
        }
    }

    /// The row waits for another attempt.
    pub(super) fn reset(&mut self, job: usize) {
        if let Some(row) = self.row(job) {
            (row.attempt, row.lease) = (0, 0);
        }
        self.jobs[job].record = Record::Pending;
    }

    /// The catalog's own step: it knows bases, not fences.
    pub(super) fn swap(&mut self, model: &Model, job: usize, attempt: u8, base: u8) -> bool {
        let version = &mut self.versions[model.scope.table(job)];
        if *version != base && model.has(Rule::CompareAndSwap) {
            return false;
        }
        *version += 1;
        if self.applied(job, attempt) {
            self.breaks(Promise::I10);
        }
        self.effects[job] |= 1 << attempt;
        true
    }
}

impl Scope {
    /// Two workers and two jobs on one table, with everything but a catalog.
    pub(super) const TWO_BY_TWO: Self = Self {
        workers: 2,
        jobs: 2,
        tables: 1,
        attempts_max: 2,
        catalog: None,
        stranger: false,
        cancels: true,
        hand_backs: true,
        files: false,
    };

    pub(super) fn table(&self, job: usize) -> usize {
        job % self.tables
    }
}

impl Model {
    pub(super) fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}

impl Action {
    pub(super) fn new(what: What, job: usize, attempt: u8) -> Self {
        Self {
            what,
            job: job as u8,
            attempt,
        }
    }
}
