//! Executes a rewrite plan: groups rewritten side by side, committed, planned again where another
//! writer got in between.

mod column;
mod decode;
mod destination;
mod group;
mod input;
mod layout;
mod partition;
mod preview;
mod row_group;
mod sort;
mod ways;

use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use catalog::{Catalog, Table};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use metadata::{Fields, LiveFiles, Schema};
use model::Action;
use planner::rewrite::{Group, Input, Options, Plan};
use planner::{Attempt, Report};

use self::group::Rewriter;
pub(crate) use self::group::{Pin, Rewritten};
pub use self::preview::{ColumnPreview, Preview, preview};
use self::row_group::Machine;
pub(crate) use self::ways::Assembled;
use crate::Error;
use crate::commit::{Committer, Outcome, Rewriting, Stale};
use crate::files::properties::WriteSettings;
use crate::files::schema::WriteSchema;

/// Times groups are planned again because another writer changed what they were made from.
const REPLANS_MAX: usize = 3;
const ACTION: Action = Action::RewriteDataFiles;
/// How often finished work units are passed on.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What files are written under; a commit needs it to hold still.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    /// The schema planned with.
    pub(crate) schema: Arc<Schema>,
    pub(crate) format_version: u8,
    pub(crate) default_spec_id: i32,
    pub(crate) sort_order_id: i32,
    /// Outputs carry the sequence number planned on.
    pub(crate) keep_sequence: bool,
}

/// Executes `plan`.
pub(crate) async fn execute(
    catalog: &dyn Catalog,
    (cores, spill): (usize, &Path),
    plan: &Plan,
    attempt: &Attempt<'_>,
) -> Result<Report, Error> {
    let of = (plan.table.as_str(), plan.table_uuid.as_str());
    let begun = Committer::begin(catalog, of, attempt, (ACTION, plan.nothing()));
    let (committer, table, earlier) = match begun.await? {
        ControlFlow::Continue(begun) => begun,
        ControlFlow::Break(report) => return Ok(report),
    };
    let machine = Machine::new(cores, attempt.memory_bytes);
    let mut session = Session {
        committer: &committer,
        plan,
        attempt,
        cores,
        spill,
        machine: machine.clone(),
        pending: VecDeque::new(),
        ended: VecDeque::new(),
        ready: Vec::new(),
        refused: Vec::new(),
        given_up: None,
        failed: None,
        report: earlier.unwrap_or_default(),
        completed: false,
        replans: 0,
        failed_commits: 0,
        units: 0,
    };
    session.begin(&table)?;
    let show = async {
        loop {
            tokio::time::sleep(PROGRESS_EVERY).await;
            show_progress(&machine, attempt);
        }
    };
    let ended = tokio::select! {
        ended = session.run() => ended,
        () = show => Err(Error::Lost("the progress loop ended".to_owned())),
    };
    show_progress(&machine, attempt);
    ended
}

fn show_progress(machine: &Machine, attempt: &Attempt<'_>) {
    let done = machine.done.swap(0, Ordering::Relaxed);
    if done > 0 {
        attempt.progress.advance(done);
    } else if machine.steps.swap(0, Ordering::Relaxed) > 0 {
        attempt.progress.alive();
    }
}

/// The live files of `main`, without their metrics.
pub(crate) async fn current_files(table: &Table) -> Result<LiveFiles, Error> {
    Ok(survey::current_files(table, Fields::PLAN).await?)
}

type Running<'a> = FuturesUnordered<BoxFuture<'a, Ended>>;

/// A group that was rewritten, or how many files were left as they are and why.
type Ended = Result<Rewritten, (usize, Error)>;

/// One execution: groups waiting, groups written, what was committed.
struct Session<'a> {
    committer: &'a Committer<'a>,
    plan: &'a Plan,
    attempt: &'a Attempt<'a>,
    cores: usize,
    /// Where rows that are sorted go when there is no room for them.
    spill: &'a Path,
    machine: Machine,
    pending: VecDeque<(Arc<Rewriter<'a>>, Group, Pin)>,
    /// Ended while others were committed.
    ended: VecDeque<Ended>,
    ready: Vec<Rewritten>,
    /// Why groups were left out.
    refused: Vec<String>,
    /// Why the last group was given up or dropped.
    given_up: Option<String>,
    /// Why the last commit that failed did.
    failed: Option<Error>,
    report: Report,
    /// By an earlier attempt, after this one began.
    completed: bool,
    replans: usize,
    failed_commits: usize,
    /// Work units known so far.
    units: u64,
}

impl<'a> Session<'a> {
    fn begin(&mut self, table: &Table) -> Result<(), Error> {
        let Some(snapshot_id) = self.plan.snapshot_id else {
            return Err(Error::Refused(
                "the plan has groups and no snapshot".to_owned(),
            ));
        };
        let metadata = &table.metadata;
        let current = metadata.current_snapshot();
        let mut history = current
            .into_iter()
            .flat_map(|now| metadata.history(now.snapshot_id));
        if !history.any(|snapshot| snapshot.snapshot_id == snapshot_id) {
            return Err(Error::Moved(format!(
                "snapshot {snapshot_id}, which was planned on, is no longer in main's history"
            )));
        }
        let Some(schema) = metadata.schema(self.plan.schema_id) else {
            return Err(Error::Moved(format!(
                "schema {} is gone",
                self.plan.schema_id
            )));
        };
        let terms = Terms {
            schema: Arc::clone(schema),
            format_version: metadata.format_version(),
            default_spec_id: metadata.default_spec().spec_id,
            sort_order_id: metadata.default_sort_order_id(),
            keep_sequence: self.plan.use_starting_sequence_number,
        };
        let pin = Pin {
            snapshot_id,
            sequence_number: self.plan.sequence_number,
        };
        let rewriter = self.rewriter(table, terms)?;
        self.wait_for(self.plan.groups.clone(), &rewriter, pin);
        Ok(())
    }

    fn rewriter(&self, table: &Table, terms: Terms) -> Result<Arc<Rewriter<'a>>, Error> {
        let schema = WriteSchema::new(&terms.schema)?;
        let settings = WriteSettings::new(&table.metadata, &schema)?;
        Ok(Arc::new(Rewriter {
            attempt: self.attempt,
            plan: self.plan,
            storage: table.storage.clone(),
            table: Arc::clone(&table.metadata),
            properties: Arc::new(settings.writer.clone()),
            schema: Arc::new(schema),
            specs: table.metadata.specs().to_vec(),
            settings,
            places: &self.committer.places,
            spill: self.spill,
            machine: self.machine.clone(),
            concurrent: self.concurrent() as u64,
            terms: Arc::new(terms),
        }))
    }

    fn concurrent(&self) -> usize {
        self.plan.concurrent_groups_max.unwrap_or(self.cores).max(1)
    }

    /// With partial progress: groups per commit.
    fn partial(&self) -> Option<usize> {
        self.plan.groups_per_commit
    }

    fn wait_for(&mut self, groups: Vec<Group>, rewriter: &Arc<Rewriter<'a>>, pin: Pin) {
        let columns = rewriter.schema.arrow.fields().len() as u64;
        // What a manifest says, which may be a lie.
        self.units = groups.iter().fold(self.units, |units, group| {
            units.saturating_add(group.input_records().saturating_mul(columns))
        });
        self.attempt.progress.total(self.units);
        self.pending.extend(
            groups
                .into_iter()
                .map(|group| (Arc::clone(rewriter), group, pin)),
        );
    }

    async fn run(&mut self) -> Result<Report, Error> {
        let mut running = Running::new();
        loop {
            while running.len() < self.concurrent()
                && let Some((rewriter, group, pin)) = self.pending.pop_front()
            {
                running.push(rewrite(rewriter, group, pin));
            }
            if let Some(ended) = self.ended.pop_front() {
                self.take(Some(ended)).await?;
            } else if !running.is_empty() {
                let ended = tokio::select! {
                    biased;
                    () = self.attempt.signals.cancel.cancelled() => return Err(Error::Stopped),
                    () = self.attempt.signals.drain.cancelled() => {
                        drop(running);
                        return self.drain().await;
                    }
                    ended = running.next() => ended,
                };
                self.take(ended).await?;
            }
            let all_done = running.is_empty() && self.ended.is_empty() && self.pending.is_empty();
            let enough = self
                .partial()
                .is_some_and(|enough| self.ready.len() >= enough);
            if !self.ready.is_empty() && (all_done || enough) {
                self.commit(all_done, &mut running).await?;
            }
            if self.completed {
                return Ok(self.report.clone());
            }
            if all_done && self.pending.is_empty() && self.ready.is_empty() {
                return self.end();
            }
        }
    }

    async fn take(&mut self, ended: Option<Ended>) -> Result<(), Error> {
        match ended {
            None => {}
            Some(Ok(rewritten)) => self.ready.push(rewritten),
            Some(Err((files, error))) if error.refuses() => {
                tracing::warn!(table = %self.committer.name, files, why = %error, "group left as it is");
                self.report.groups_failed += 1;
                self.refused.push(error.to_string());
            }
            Some(Err((files, Error::NotWorth(why)))) => {
                tracing::info!(table = %self.committer.name, files, why, "group left as it is");
                self.given_up = Some(why);
            }
            Some(Err((_, error))) => return Err(self.moved_or(error).await),
        }
        Ok(())
    }

    /// A missing file is the table's fault only while the table still has it.
    async fn moved_or(&self, error: Error) -> Error {
        let Error::Storage {
            source: storage::Error::NotFound { location },
            ..
        } = &error
        else {
            return error;
        };
        let Ok(table) = self.committer.load().await else {
            return error;
        };
        let Ok(live) = current_files(&table).await else {
            return error;
        };
        let mut files = live.data.iter().chain(&live.deletes);
        if files.any(|file| file.file.file_path == *location) {
            return error;
        }
        Error::Moved(format!("another writer removed {location}, and it is gone"))
    }

    /// The worker is going away: what partial progress has ready is committed, the rest is not.
    async fn drain(&mut self) -> Result<Report, Error> {
        self.pending.clear();
        if self.partial().is_some() && !self.ready.is_empty() {
            self.commit(false, &mut Running::new()).await?;
        }
        Err(Error::Stopped)
    }

    fn end(&mut self) -> Result<Report, Error> {
        if self.report.snapshot_id.is_some() {
            return Ok(self.report.clone());
        }
        // However many may fail: no commit at all is no progress.
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if let Some(why) = self.refused.first() {
            return Err(Error::Refused(why.clone()));
        }
        let why = self.given_up.take();
        Ok(Report::nothing(why.unwrap_or_else(|| {
            "another writer left nothing to rewrite".to_owned()
        })))
    }

    /// Commits what is ready while the others go on.
    async fn commit(&mut self, last: bool, running: &mut Running<'_>) -> Result<(), Error> {
        let (committer, plan) = (self.committer, self.plan);
        let mut change = Rewriting::new(
            plan,
            &self.ready,
            &self.report,
            &committer.places,
            self.attempt,
        )?;
        let committing = committer.commit(&mut change, last);
        let (outcome, ended) = beside(committing, running).await;
        self.ended.extend(ended);
        self.committed(outcome).await
    }

    async fn committed(
        &mut self,
        outcome: Result<Outcome<Vec<Stale>>, Error>,
    ) -> Result<(), Error> {
        match outcome {
            Ok(Outcome::Committed(report)) => {
                self.report = report;
                self.ready.clear();
                Ok(())
            }
            Ok(Outcome::Completed(report)) => {
                tracing::info!(table = %self.committer.name, "an earlier attempt's swap came late");
                self.report = report;
                self.completed = true;
                Ok(())
            }
            Ok(Outcome::Stale { stale, tried }) => {
                self.report.commit_attempts += tried;
                self.plan_again(stale).await
            }
            Err(error @ Error::Contended { .. }) if self.partial().is_some() => {
                let groups = std::mem::take(&mut self.ready).len();
                self.give_up(groups, error)
            }
            Err(error) => Err(error),
        }
    }

    /// Partial progress: leaves groups out, unless too many commits failed by now.
    fn give_up(&mut self, groups: usize, error: Error) -> Result<(), Error> {
        self.failed_commits += 1;
        self.report.groups_failed += groups as u32;
        if self.failed_commits > self.plan.failed_commits_max {
            return Err(error);
        }
        tracing::warn!(table = %self.committer.name, groups, why = %error, "groups given up");
        self.failed = Some(error);
        Ok(())
    }

    /// Plans the stale groups again, and only those, on the table as it is now.
    async fn plan_again(&mut self, stale: Vec<Stale>) -> Result<(), Error> {
        let mut hit = Vec::with_capacity(stale.len());
        for found in stale.iter().rev() {
            tracing::info!(table = %self.committer.name, why = found.why, "group is planned again");
            hit.push(self.ready.remove(found.group));
        }
        let why = stale
            .into_iter()
            .next()
            .map(|found| found.why)
            .unwrap_or_default();
        self.replans += 1;
        if self.replans > REPLANS_MAX {
            let error = Error::Moved(why);
            return if self.partial().is_some() {
                self.give_up(hit.len(), error)
            } else {
                Err(error)
            };
        }
        let table = self.committer.load().await?;
        let Some(current) = table.metadata.current_snapshot() else {
            self.given_up = Some(format!("{why}; the table is empty now"));
            return Ok(());
        };
        let live = current_files(&table).await?;
        let pin = Pin {
            snapshot_id: current.snapshot_id,
            sequence_number: current.sequence_number,
        };
        let terms = self.terms_now(&table, &hit);
        let rewriter = self.rewriter(&table, terms)?;
        for group in hit {
            let groups = self.plan_group(&table, &live, &group.group)?;
            self.wait_for(groups, &rewriter, pin);
        }
        self.given_up = Some(why);
        Ok(())
    }

    /// The schema planned with is kept while the table's only grew.
    fn terms_now(&self, table: &Table, hit: &[Rewritten]) -> Terms {
        let now = Terms {
            schema: Arc::clone(table.metadata.current_schema()),
            format_version: table.metadata.format_version(),
            default_spec_id: table.metadata.default_spec().spec_id,
            sort_order_id: table.metadata.default_sort_order_id(),
            keep_sequence: self.plan.use_starting_sequence_number,
        };
        match hit.first() {
            Some(group) if crate::commit::terms_broken(&group.terms, &table.metadata).is_none() => {
                Terms {
                    schema: Arc::clone(&group.terms.schema),
                    ..now
                }
            }
            _ => now,
        }
    }

    fn plan_group(
        &self,
        table: &Table,
        live: &LiveFiles,
        group: &Group,
    ) -> Result<Vec<Group>, Error> {
        let inputs: HashSet<&str> = group
            .inputs
            .iter()
            .map(|input| input.path.as_str())
            .collect();
        let data = live
            .data
            .iter()
            .filter(|file| inputs.contains(file.file.file_path.as_str()));
        let files = LiveFiles {
            manifests: live.manifests.clone(),
            data: data.cloned().collect(),
            deletes: live.deletes.clone(),
        };
        let options = Options {
            target_file_size_bytes: Some(self.plan.target_file_size_bytes),
            min_file_size_bytes: Some(self.plan.min_file_size_bytes),
            max_file_size_bytes: Some(self.plan.max_file_size_bytes),
            rewrite_all: true,
            output_spec_id: Some(self.plan.output_spec_id),
            ..Options::default()
        };
        let plan = planner::rewrite::plan(&table.metadata, &self.plan.table, &files, &options)
            .map_err(|refused| Error::Refused(refused.to_string()))?;
        // One file alone and without deletes would only be copied.
        let worth = |group: &Group| {
            let deletes =
                |input: &Input| !input.deletes.is_empty() || !input.equality_deletes.is_empty();
            self.plan.sorting.is_some()
                || group.moves
                || group.inputs.len() > 1
                || group.inputs.iter().any(deletes)
        };
        Ok(plan.groups.into_iter().filter(worth).collect())
    }
}

/// Awaits `step` while what is running goes on: an upload that nobody polls would be lost, and a
/// connection or a turn that it holds would be waited for in vain.
async fn beside<T>(step: impl Future<Output = T>, running: &mut Running<'_>) -> (T, Vec<Ended>) {
    let mut step = pin!(step);
    let mut ended = Vec::new();
    loop {
        tokio::select! {
            biased;
            done = &mut step => return (done, ended),
            Some(one) = running.next() => ended.push(one),
        }
    }
}

fn rewrite(rewriter: Arc<Rewriter<'_>>, group: Group, pin: Pin) -> BoxFuture<'_, Ended> {
    Box::pin(async move {
        let files = group.inputs.len();
        rewriter
            .rewrite(group, pin)
            .await
            .map_err(|error| (files, error))
    })
}
