//! What must be true of every state that any schedule can reach.

use super::state::{ATTEMPTS, File, Model, Record, State, Worker};

/// Named as in `ARCHITECTURE.md`, section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Promise {
    /// The row is the truth: the record says what the row says, and no job is lost.
    I1,
    /// No write without the current fence; a job ends once.
    I2,
    /// At most one live job per table, and it holds the table's lock.
    I3,
    /// Only a lease that ran out is due work.
    I4,
    /// A worker that trusts its lease has it.
    I5,
    /// No file that the catalog refers to, or may still come to refer to, is deleted.
    I7,
    /// A stale attempt's swap is refused, or is its own job's one effect.
    I10,
    /// Every live job can still end, whatever happened, without cancel and without a sweeper.
    Ends,
}

/// The promise this state breaks. What only a step can break is noted in the state by the step.
pub(super) fn broken(model: &Model, state: &State) -> Option<Promise> {
    if state.broken.is_some() {
        return state.broken;
    }
    let jobs = 0..model.scope.jobs;
    [
        (
            Promise::I1,
            jobs.clone().all(|job| record_agrees(state, job)),
        ),
        (
            Promise::I3,
            jobs.clone().all(|job| holds_its_lock(model, state, job)),
        ),
        (
            Promise::I5,
            state
                .workers
                .iter()
                .all(|worker| trust_is_due(state, *worker)),
        ),
        (
            Promise::I7,
            jobs.clone().all(|job| no_file_is_missing(state, job)),
        ),
        (
            Promise::I10,
            jobs.clone().all(|job| one_effect(model, state, job)),
        ),
    ]
    .into_iter()
    .find(|(_, kept)| !kept)
    .map(|(promise, _)| promise)
}

fn record_agrees(state: &State, job: usize) -> bool {
    let job = &state.jobs[job];
    match (job.record, job.row) {
        (Record::Pending, Some(row)) => row.attempt == 0,
        (Record::Running(attempt), Some(row)) => row.attempt == attempt,
        (Record::Absent | Record::Looking | Record::Completed | Record::GivenUp, row) => {
            row.is_none()
        }
        (Record::Pending | Record::Running(_), None) => false,
    }
}

/// One lock has one holder, so this says too that two live jobs never share a table.
fn holds_its_lock(model: &Model, state: &State, job: usize) -> bool {
    let held = state.locks[model.scope.table(job)] == Some(job as u8);
    state.jobs[job].row.is_none() || held
}

fn trust_is_due(state: &State, worker: Worker) -> bool {
    match worker {
        Worker::Working {
            job,
            attempt,
            trust,
            ..
        } if trust > 0 => state.jobs[job as usize]
            .row
            .is_some_and(|row| row.attempt == attempt && row.lease > 0),
        _ => true,
    }
}

fn no_file_is_missing(state: &State, job: usize) -> bool {
    (1..=ATTEMPTS as u8)
        .all(|attempt| !(state.applied(job, attempt) && state.file(job, attempt) == File::Deleted))
}

fn one_effect(model: &Model, state: &State, job: usize) -> bool {
    let effects = (1..=ATTEMPTS as u8)
        .filter(|attempt| state.applied(job, *attempt))
        .count();
    let completed = model.scope.catalog.is_some() && state.jobs[job].record == Record::Completed;
    effects <= 1 && (effects == 1 || !completed)
}
