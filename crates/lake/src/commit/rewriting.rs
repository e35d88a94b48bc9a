//! The snapshot of a rewrite: what others did since is looked at, counts are checked, manifests built.

use async_trait::async_trait;
use catalog::Table;
use metadata::DataFile;
use planner::rewrite::{Plan, RULES_KEY};
use planner::{Attempt, Report};

use super::manifests::Manifests;
use super::{Change, Draft, Drafted, Stale, counts, snapshot, summary, validate};
use crate::Error;
use crate::deletes::Bounds;
use crate::files::place::Places;
use crate::rewrite::{Rewritten, current_files};

/// Groups to be committed in one snapshot.
#[derive(Debug)]
pub(crate) struct Rewriting<'a> {
    plan: &'a Plan,
    groups: &'a [Rewritten],
    /// What the action committed so far.
    before: &'a Report,
    places: &'a Places,
    bounds: Bounds,
    manifests: Manifests,
}

impl<'a> Rewriting<'a> {
    /// Checks the groups' counts (I11).
    pub(crate) fn new(
        plan: &'a Plan,
        groups: &'a [Rewritten],
        before: &'a Report,
        places: &'a Places,
        attempt: &Attempt<'_>,
    ) -> Result<Self, Error> {
        counts::check_totals(groups)?;
        let cancel = attempt.signals.cancel.clone();
        Ok(Self {
            plan,
            groups,
            before,
            places,
            bounds: Bounds::new(attempt.memory_bytes, cancel),
            manifests: Manifests::new(snapshot::new_id()),
        })
    }
}

#[async_trait]
impl Change for Rewriting<'_> {
    /// Groups to be planned again.
    type Stale = Vec<Stale>;

    fn snapshot_id(&self) -> i64 {
        self.manifests.snapshot_id
    }

    fn report(&self, tried: u32) -> Report {
        report(self.before, self.groups, self.manifests.snapshot_id, tried)
    }

    /// Checks the counts against the manifests (I11).
    async fn draft(&mut self, base: &Table) -> Result<Drafted<Vec<Stale>>, Error> {
        let groups = self.groups;
        let live = current_files(base).await?;
        let stale = validate::stale_groups(base, &live, groups, &self.bounds).await?;
        if !stale.is_empty() {
            return Ok(Drafted::Stale(stale));
        }
        let mut dangling = validate::applied_deletes(&live, groups);
        if self.plan.remove_dangling_deletes {
            dangling.extend(validate::dangling_deletes(&live, groups));
            let table = &base.metadata;
            dangling.extend(validate::dangling_equality_deletes(table, &live, groups));
        }
        let sequence = self.plan.use_starting_sequence_number;
        let built = self
            .manifests
            .build(
                base,
                &live,
                groups,
                (&[], &dangling),
                (self.places, sequence),
            )
            .await?;
        counts::check_columns(groups, &built.removed)?;
        let outputs = groups.iter().flat_map(|group| &group.outputs);
        let added: Vec<&DataFile> = outputs.collect();
        let mut summary = summary::of_files(&live, groups, &added, &built.removed);
        summary.insert(RULES_KEY.to_owned(), self.plan.rules.clone());
        let mut landed = self.manifests.landed(&built.manifests);
        landed.extend(added.iter().map(|file| file.file_path.clone()));
        Ok(Drafted::Next(Draft {
            manifests: built.manifests,
            summary,
            new_files: built.new_files,
            landed,
        }))
    }
}

/// The report when `groups` are committed on top of `before`.
fn report(before: &Report, groups: &[Rewritten], snapshot_id: i64, tried: u32) -> Report {
    let mut report = before.clone();
    for group in groups {
        report.files_in += group.group.inputs.len() as u64;
        report.files_out += group.outputs.len() as u64;
        report.bytes_in += group.group.input_bytes();
        report.bytes_out += group
            .outputs
            .iter()
            .map(|file| file.file_size_in_bytes)
            .sum::<u64>();
        report.rows_in += group.rows_in;
        report.deletes_applied += group.deletes_applied;
        report.rows_out += group.rows_out;
        report.column_chunks.add(&group.column_chunks);
        report.spilled.add(group.spilled);
    }
    report.snapshot_id = Some(snapshot_id);
    report.commit_attempts += tried;
    report
}
