//! Executes a removal of dangling delete files: judged once more on the table that is committed on.

use std::collections::HashSet;
use std::ops::ControlFlow;

use async_trait::async_trait;
use catalog::{Catalog, Table};
use metadata::{Content, Entry};
use model::Action;
use planner::dangling::{Plan, find};
use planner::{Attempt, Deletes, Report};

use crate::Error;
use crate::commit::manifests::Manifests;
use crate::commit::{Change, Committer, Draft, Drafted, Outcome, snapshot, summary};
use crate::files::place::Places;
use crate::rewrite::current_files;

const ACTION: Action = Action::RemoveDanglingDeletes;

/// Executes `plan`.
pub(crate) async fn execute(
    catalog: &dyn Catalog,
    plan: &Plan,
    attempt: &Attempt<'_>,
) -> Result<Report, Error> {
    let of = (plan.table.as_str(), plan.table_uuid.as_str());
    let begun = Committer::begin(catalog, of, attempt, (ACTION, plan.nothing()));
    let (committer, ..) = match begun.await? {
        ControlFlow::Continue(begun) => begun,
        ControlFlow::Break(report) => return Ok(report),
    };
    let planned = plan.files.iter().map(|file| file.path.as_str());
    let mut dropping = Dropping {
        planned: planned.collect(),
        places: &committer.places,
        manifests: Manifests::new(snapshot::new_id()),
        removed: Vec::new(),
    };
    match committer.commit(&mut dropping, true).await? {
        Outcome::Committed(report) | Outcome::Completed(report) => Ok(report),
        Outcome::Stale { stale, tried } => Ok(Report {
            commit_attempts: tried,
            ..Report::nothing(stale)
        }),
    }
}

/// Delete files to be dropped in one snapshot.
#[derive(Debug)]
struct Dropping<'a> {
    planned: HashSet<&'a str>,
    places: &'a Places,
    manifests: Manifests,
    /// On the last base.
    removed: Vec<Entry>,
}

#[async_trait]
impl Change for Dropping<'_> {
    /// Why nothing is left to drop.
    type Stale = String;

    fn snapshot_id(&self) -> i64 {
        self.manifests.snapshot_id
    }

    fn report(&self, tried: u32) -> Report {
        let files = || self.removed.iter().map(|entry| &entry.file);
        let sum = |numbers: &mut dyn Iterator<Item = u64>| numbers.fold(0, u64::saturating_add);
        Report {
            files_in: self.removed.len() as u64,
            bytes_in: sum(&mut files().map(|file| file.file_size_in_bytes)),
            snapshot_id: Some(self.manifests.snapshot_id),
            commit_attempts: tried,
            deletes: Some(Deletes {
                removed: sum(&mut files().map(|file| file.record_count)),
                added: 0,
            }),
            ..Report::default()
        }
    }

    async fn draft(&mut self, base: &Table) -> Result<Drafted<String>, Error> {
        let live = current_files(base).await?;
        // What another writer added meanwhile may be older than what was planned on.
        let dangling: Vec<String> = find(&base.metadata, &live)
            .map(|(delete, _)| delete.file.file_path.clone())
            .filter(|path| self.planned.contains(path.as_str()))
            .collect();
        if dangling.is_empty() {
            let why = "none of the delete files planned to go dangles any more";
            return Ok(Drafted::Stale(why.to_owned()));
        }
        let built = self
            .manifests
            .build(base, &live, &[], (&[], &dangling), (self.places, false))
            .await?;
        let data = built.removed.iter();
        if let Some(data) = data
            .into_iter()
            .find(|entry| entry.file.content == Content::Data)
        {
            let path = &data.file.file_path;
            return Err(Error::Counts(format!("{path} is no delete file")));
        }
        let summary = summary::of_files(&live, &[], &[], &built.removed);
        let landed = self.manifests.landed(&built.manifests);
        self.removed = built.removed;
        Ok(Drafted::Next(Draft {
            manifests: built.manifests,
            summary,
            new_files: built.new_files,
            landed,
        }))
    }
}
