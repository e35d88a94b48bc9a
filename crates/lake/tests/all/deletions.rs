//! The deletion lists of a test's ledger, and where its process dies.

use std::collections::BTreeMap;
use std::sync::Mutex;

use model::{AttemptId, JobId};
use planner::{Candidate, Intent, IntentId, LedgerError, OpenIntent};

/// A step that changes what the ledger or the catalog holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Intend,
    Swap,
    List,
    Settle,
}

/// The process ends right before or right after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    Before(Step),
    After(Step),
}

#[derive(Debug, Default)]
pub(crate) struct Deletions {
    state: Mutex<State>,
    dies: Mutex<Option<Death>>,
}

#[derive(Debug, Default)]
struct State {
    job: Option<(JobId, AttemptId)>,
    intents: Vec<Kept>,
    listed: BTreeMap<String, Candidate>,
    grace_ms: i64,
}

#[derive(Debug)]
struct Kept {
    by: (JobId, AttemptId),
    intent: Intent,
    closed: bool,
    old: bool,
}

impl Deletions {
    /// Whose steps follow.
    pub(crate) fn works(&self, job: &JobId, attempt: &AttemptId) {
        self.state.lock().unwrap().job = Some((job.clone(), attempt.clone()));
    }

    pub(crate) fn die(&self, death: Death) {
        *self.dies.lock().unwrap() = Some(death);
    }

    /// A death that did not come does not come any more.
    pub(crate) fn live(&self) {
        *self.dies.lock().unwrap() = None;
    }

    /// Whether the death came.
    pub(crate) fn died(&self) -> bool {
        self.dies.lock().unwrap().is_none()
    }

    /// Fails once when this is where the process ends.
    pub(crate) fn at(&self, here: Death) -> Result<(), LedgerError> {
        let mut dies = self.dies.lock().unwrap();
        if *dies != Some(here) {
            return Ok(());
        }
        *dies = None;
        Err(LedgerError::Failed {
            doing: "live on",
            source: format!("the process ended: {here:?}").into(),
        })
    }

    /// A day goes by for every intent.
    pub(crate) fn age(&self) {
        for kept in &mut self.state.lock().unwrap().intents {
            kept.old = true;
        }
    }

    /// Paths listed for deletion.
    pub(crate) fn listed(&self) -> Vec<String> {
        self.state.lock().unwrap().listed.keys().cloned().collect()
    }

    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        self.state
            .lock()
            .unwrap()
            .listed
            .values()
            .cloned()
            .collect()
    }

    /// The grace the last files were listed with.
    pub(crate) fn grace_ms(&self) -> i64 {
        self.state.lock().unwrap().grace_ms
    }

    pub(crate) fn open_count(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.intents.iter().filter(|kept| !kept.closed).count()
    }

    pub(crate) fn open(&self, table_uuid: &str) -> Vec<OpenIntent> {
        let state = self.state.lock().unwrap();
        let current = state.job.as_ref();
        let open = state.intents.iter().enumerate();
        open.filter(|(_, kept)| !kept.closed && kept.intent.table_uuid == table_uuid)
            .map(|(id, kept)| OpenIntent {
                id: IntentId(id as i64),
                job: kept.by.0.clone(),
                attempt: kept.by.1.clone(),
                intent: kept.intent.clone(),
                attempt_over: Some(&kept.by) != current,
                old: kept.old,
            })
            .collect()
    }

    pub(crate) fn intend(&self, intent: &Intent) -> Result<IntentId, LedgerError> {
        self.at(Death::Before(Step::Intend))?;
        let mut state = self.state.lock().unwrap();
        let by = state.job.clone().expect("somebody works");
        state.intents.push(Kept {
            by,
            intent: intent.clone(),
            closed: false,
            old: false,
        });
        let id = IntentId(state.intents.len() as i64 - 1);
        drop(state);
        self.at(Death::After(Step::Intend))?;
        Ok(id)
    }

    pub(crate) fn list(&self, files: &[Candidate], grace_ms: i64) -> Result<(), LedgerError> {
        self.at(Death::Before(Step::List))?;
        {
            let mut state = self.state.lock().unwrap();
            state.grace_ms = grace_ms;
            for file in files {
                let known = state.listed.entry(file.path.clone());
                known.or_insert_with(|| file.clone());
            }
        }
        self.at(Death::After(Step::List))
    }

    pub(crate) fn settle(&self, id: IntentId, open: &[i64]) -> Result<(), LedgerError> {
        self.at(Death::Before(Step::Settle))?;
        {
            let mut state = self.state.lock().unwrap();
            let kept = &mut state.intents[id.0 as usize];
            assert!(!kept.closed, "{id:?} is settled twice");
            kept.intent
                .ids
                .retain(|gone| open.contains(&gone.snapshot_id));
            kept.closed = kept.intent.ids.is_empty();
        }
        self.at(Death::After(Step::Settle))
    }
}
