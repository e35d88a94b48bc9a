//! Every table of the cache is decided about, a page at a time; those to submit are kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use maintenance::candidates::{self, Candidate};
use maintenance::past::{self, Past};
use maintenance::runs::{self, Choice};
use model::{Action, JobId, TableName};
use policy::{Decision, Options, Wish};

use super::Work;
use crate::Error;
use crate::judge::{self, Known};

/// Tables decided about at once.
const PAGE: u32 = 1_000;
const _: () = assert!(PAGE as usize <= past::TABLES_MAX);

/// A table whose decision is to submit. There may be as many as tables, so it holds no more than
/// the submission needs.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) table: TableName,
    pub(super) actions: Vec<Action>,
    pub(super) options: Arc<Options>,
    pub(super) priority: i16,
    pub(super) why: String,
    pub(super) score: Option<f64>,
    /// The newest job when it was decided.
    pub(super) last_job: Option<JobId>,
}

/// Wanted tables and, at the same index, the wish of each.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) wanted: Vec<Wanted>,
    pub(super) ranked_by: Vec<Wish>,
    /// Most tables go by the same options: each is held once.
    options: BTreeSet<Arc<Options>>,
}

impl Wishes {
    fn shared(&mut self, options: Options) -> Arc<Options> {
        if let Some(there) = self.options.get(&options) {
            return Arc::clone(there);
        }
        let options = Arc::new(options);
        self.options.insert(Arc::clone(&options));
        options
    }
}

impl Work<'_> {
    /// Decides about every table and records those that are left alone.
    pub(super) async fn decide_all(&self) -> Result<Wishes, Error> {
        let mut wishes = Wishes::default();
        let mut after: Option<(String, String)> = None;
        loop {
            let client = self.pool.get().await?;
            self.beat(&client).await?;
            let max_age = self.settings.cache_age_max;
            let page = candidates::page(&**client, after.as_ref(), PAGE, max_age).await?;
            let full = page.len() == PAGE as usize;
            after = page
                .last()
                .map(|last| (last.database.clone(), last.table.clone()));
            let mut skipped = Vec::new();
            let undecided = self.sift(page, &mut skipped);
            let asked: Vec<_> = undecided
                .iter()
                .map(|known| (&known.table, known.table_uuid()))
                .collect();
            let pasts = past::of(&**client, &asked).await?;
            for (known, past) in undecided.iter().zip(pasts) {
                skipped.extend(self.decide(known, past, &mut wishes));
            }
            runs::record(&**client, self.id, &skipped).await?;
            if !full {
                return Ok(wishes);
            }
        }
    }

    /// Those whose past matters; the others are decided at once.
    fn sift(&self, page: Vec<Candidate>, skipped: &mut Vec<runs::Decision>) -> Vec<Known> {
        let mut undecided = Vec::new();
        for candidate in page {
            let skip = match judge::known(&self.settings.defaults, &candidate) {
                Ok(known) => {
                    let Some(decision) = known.barred(self.now_ms) else {
                        undecided.push(known);
                        continue;
                    };
                    skip(&known, &decision)
                }
                Err(unusable) => runs::Decision {
                    database: candidate.database,
                    table: candidate.table,
                    choice: Choice::Skip,
                    reason: unusable.reason.to_owned(),
                    why: unusable.why,
                    actions: Vec::new(),
                    job: None,
                    score: None,
                },
            };
            skipped.push(skip);
        }
        undecided
    }

    /// Adds to the wishes, or says what is skipped.
    fn decide(&self, known: &Known, past: Past, wishes: &mut Wishes) -> Option<runs::Decision> {
        let history = known.history(&past);
        let situation = known.situation(&history, self.now_ms);
        let decision = policy::decide(&situation);
        let Decision::Submit {
            actions,
            options,
            why,
        } = decision
        else {
            return Some(skip(known, &decision));
        };
        let (database, table) = (known.table.database(), known.table.table());
        let wish = policy::wish(&database, table, &situation, &actions);
        let options = wishes.shared(options);
        wishes.ranked_by.push(wish);
        wishes.wanted.push(Wanted {
            table: known.table.clone(),
            actions: actions.iter().map(|wanted| wanted.action).collect(),
            options,
            priority: known.effective.priority.value,
            why,
            score: known.score(),
            last_job: past.last_job,
        });
        None
    }
}

fn skip(known: &Known, decision: &Decision) -> runs::Decision {
    runs::Decision {
        database: known.table.database(),
        table: known.table.table().to_owned(),
        choice: Choice::Skip,
        reason: decision.word().to_owned(),
        why: decision.why().to_owned(),
        actions: Vec::new(),
        job: None,
        score: known.score(),
    }
}
