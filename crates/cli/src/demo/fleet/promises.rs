//! What must have become of every table, held against what did.

use maintenance::runs::{Choice, Decided, Status};
use model::{Action, JobStatus};

use super::kind::{Fate, Kind};
use super::rounds::{Round, Seen};
use super::standing::Standing;
use super::tables::Made;
use crate::demo::event::Fingerprint;

const NOT_DUE_YET: &str = "not_due_yet";

/// A job of so many failures in a row keeps its table out of the next runs.
const FAILURES_MIN: usize = policy::QUARANTINED_FROM_FAILURES as usize;

/// One table at the end.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) kind: Kind,
    pub(crate) table: String,
    /// What its writer wrote.
    pub(crate) written: Fingerprint,
    /// What is there.
    pub(crate) read: Fingerprint,
    /// Its metadata file is the one it was made with.
    pub(crate) untouched: bool,
    /// The property nobody can read, as it is explained to its owner.
    pub(crate) unread: Option<String>,
    pub(crate) before: Standing,
    pub(crate) after: Standing,
    /// One of each run.
    pub(crate) decisions: Vec<Decided>,
}

impl Looked {
    pub(crate) fn new(
        made: &Made,
        (read, untouched, unread): (Fingerprint, bool, Option<String>),
        seen: &Seen,
    ) -> Self {
        let name = made.name();
        let (table, database) = (name.key(), name.database());
        let of_table = |round: &Round| {
            let mut decisions = round.decisions.iter();
            let found = decisions.find(|one| one.database == database && one.table == name.table());
            found.cloned()
        };
        let standing =
            |of: &super::standing::Standings| of.get(&table).cloned().unwrap_or_default();
        Self {
            kind: made.kind,
            written: made.writer.account(),
            read,
            untouched,
            unread,
            before: standing(&seen.before),
            after: standing(&seen.after),
            decisions: seen.rounds.iter().filter_map(of_table).collect(),
            table,
        }
    }

    /// The rows are those its writer wrote.
    pub(crate) fn rows_kept(&self) -> bool {
        self.read == self.written
    }

    pub(crate) fn jobs(&self, status: JobStatus) -> usize {
        let ended = self.decisions.iter();
        ended.filter(|one| one.job_status == Some(status)).count()
    }

    fn rewrites(&self) -> usize {
        let rewrite = Action::RewriteDataFiles.as_str();
        let submitted = self.decisions.iter().filter(|one| one.job.is_some());
        submitted
            .filter(|one| one.actions.iter().any(|action| action == rewrite))
            .count()
    }

    /// The reason of the last run.
    pub(crate) fn last(&self) -> Option<&Decided> {
        self.decisions.last()
    }

    fn always(&self, reason: &str) -> bool {
        !self.decisions.is_empty()
            && self
                .decisions
                .iter()
                .all(|one| one.choice == Choice::Skip && one.reason == reason && one.job.is_none())
    }

    fn left_alone(&self) -> bool {
        self.untouched && self.decisions.iter().all(|one| one.job.is_none())
    }
}

/// A sentence, and the tables it is not true of.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) says: String,
    pub(crate) broken: Vec<String>,
}

/// Every promise, in the order they are shown.
pub(crate) fn all(tables: &[Looked], rounds: &[Round]) -> Vec<Promise> {
    let promise = |says: &str, among: &dyn Fn(&Looked) -> bool, kept: &dyn Fn(&Looked) -> bool| {
        let broken = tables.iter().filter(|one| among(one) && !kept(one));
        Promise {
            says: says.to_owned(),
            broken: broken.map(|one| one.table.clone()).collect(),
        }
    };
    let fated = |fate: Fate| move |one: &Looked| one.kind.fate() == fate;
    let of = |kind: Kind| move |one: &Looked| one.kind == kind;
    vec![
        promise(
            "Not a row was lost, resurrected or changed",
            &|_| true,
            &Looked::rows_kept,
        ),
        promise(
            "Every neglected table is healthy, and its jobs completed",
            &fated(Fate::Maintained),
            &maintained,
        ),
        promise(
            "Tables that were fine were left alone, by their own limits where they have some",
            &fated(Fate::Fine),
            &|one| one.left_alone() && one.after.healthy() && one.always("healthy"),
        ),
        promise(
            "Tables whose owners said no, or nothing, were not touched",
            &|one| matches!(one.kind.fate(), Fate::LeftAlone(_)),
            &|one| match one.kind.fate() {
                Fate::LeftAlone(reason) => one.left_alone() && one.always(reason),
                _ => false,
            },
        ),
        promise(
            "What a writer added meanwhile was maintained too",
            &of(Kind::Streaming),
            &|one| 1 < one.rewrites(),
        ),
        promise(
            "A table with a cadence of its own was maintained once, and waits",
            &fated(Fate::MaintainedOnce),
            &waits,
        ),
        promise(
            "A property nobody can read is reported, and the next source applies",
            &of(Kind::Unreadable),
            &|one| one.unread.is_some(),
        ),
        promise(
            "Metadata nobody can read is reported",
            &of(Kind::CorruptMetadata),
            &|one| one.after.error.is_some(),
        ),
        promise(
            "A table whose jobs fail is quarantined, and hinders nobody",
            &fated(Fate::Quarantined),
            &quarantined,
        ),
        recorded(rounds),
    ]
}

fn maintained(one: &Looked) -> bool {
    one.after.healthy()
        && 0 < one.jobs(JobStatus::Completed)
        && one.jobs(JobStatus::Failed) == 0
        && !one.untouched
}

fn waits(one: &Looked) -> bool {
    let later = one.decisions.iter().skip(1);
    one.rewrites() == 1
        && one.jobs(JobStatus::Completed) == 1
        && later
            .into_iter()
            .all(|one| one.job.is_none() && one.reason == NOT_DUE_YET)
}

fn quarantined(one: &Looked) -> bool {
    one.jobs(JobStatus::Failed) == FAILURES_MIN
        && one.jobs(JobStatus::Completed) == 0
        && one
            .last()
            .is_some_and(|one| one.reason == policy::Reason::Quarantined.as_str())
}

/// The runs themselves: none was cut short, and the last found nothing to do.
fn recorded(rounds: &[Round]) -> Promise {
    let completed = |round: &&Round| round.run.status != Status::Completed;
    let mut broken: Vec<String> = rounds
        .iter()
        .filter(completed)
        .map(|round| format!("run {}", round.run.id))
        .collect();
    let busy = rounds
        .last()
        .is_some_and(|round| 0 < round.run.counts.jobs_submitted);
    if busy {
        broken.push("the last run still found something to do".to_owned());
    }
    Promise {
        says: "Every run is recorded with its reasons, and the last found nothing to do".to_owned(),
        broken,
    }
}
