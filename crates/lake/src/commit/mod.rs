//! Commits rewritten groups: reload, validate, build manifests, swap under the fence, and find out
//! what happened when the answer was lost.
//!
//! Every file is reserved in the ledger before it is written, and none is ever deleted here.

mod counts;
mod manifests;
mod schema_change;
pub(crate) mod snapshot;
pub(crate) mod summary;
pub(crate) mod swap;
mod validate;

use std::collections::HashSet;
use std::time::Duration;

use catalog::{Catalog, Table};
use metadata::{LiveFiles, ManifestFile};
use model::TableName;
use planner::rewrite::Plan;
use planner::{Attempt, Report, Signals, SwapError};
use policy::retry::Backoff;

use self::manifests::Manifests;
use self::swap::{CatalogSwap, Ready};
pub(crate) use self::validate::{Stale, terms_broken};
use crate::Error;
use crate::deletes::Bounds;
use crate::files::place::Places;
use crate::rewrite::{Rewritten, current_files};

const RETRIES: &str = "commit.retry.num-retries";
const RETRIES_DEFAULT: u64 = 4;
const RETRIES_MAX: u64 = 100;
const WAIT_MIN: &str = "commit.retry.min-wait-ms";
const WAIT_MIN_DEFAULT_MS: u64 = 100;
const WAIT_MAX: &str = "commit.retry.max-wait-ms";
const WAIT_MAX_DEFAULT_MS: u64 = 60_000;
/// The longest wait a table may ask for: whoever waits keeps a slot of a worker from others.
const WAIT_LONGEST_MS: u64 = 5 * 60_000;
/// Loads tried to learn what became of a swap whose answer was lost.
const LOOKS_MAX: u32 = 6;

/// How a commit ended when it did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Made; the report covers it and everything before it.
    Committed(Report),
    /// An earlier attempt has completed the action: where a swap is not part of a transaction,
    /// one may come late.
    Completed(Report),
    /// Not made, after so many swaps tried: these groups must be planned again or given up.
    Stale { groups: Vec<Stale>, tried: u32 },
}

/// Commits for one action of one attempt.
#[derive(Debug)]
pub(crate) struct Committer<'a> {
    pub(crate) catalog: &'a dyn Catalog,
    pub(crate) name: &'a TableName,
    pub(crate) attempt: &'a Attempt<'a>,
    pub(crate) plan: &'a Plan,
    pub(crate) places: &'a Places,
}

impl Committer<'_> {
    /// Commits `groups` in one snapshot on top of whatever the table is by now. `before` is what
    /// the action committed so far; `last` says that nothing follows.
    pub(crate) async fn commit(
        &self,
        groups: &[Rewritten],
        before: &Report,
        last: bool,
    ) -> Result<Outcome, Error> {
        counts::check_totals(groups)?;
        let snapshot_id = snapshot::new_id();
        let mut manifests = Manifests::new(snapshot_id);
        let cancel = self.attempt.signals.cancel.clone();
        let bounds = Bounds::new(self.attempt.memory_bytes, cancel);
        let mut tried = 0;
        let mut lost_to = String::new();
        loop {
            let base = self.load().await?;
            if base.metadata.snapshot(snapshot_id).is_some() {
                return Ok(Outcome::Committed(report(
                    before,
                    groups,
                    snapshot_id,
                    tried,
                )));
            }
            if let (Some(earlier), true) = summary::committed_by(&base.metadata, self.attempt.job) {
                return Ok(Outcome::Completed(earlier));
            }
            if self.attempt.signals.cancel.is_cancelled() {
                return Err(Error::Stopped);
            }
            if tried > retries(&base) {
                return Err(Error::Contended {
                    attempts: tried,
                    why: lost_to,
                });
            }
            let live = current_files(&base).await?;
            let stale = validate::stale_groups(&base, &live, groups, &bounds).await?;
            if !stale.is_empty() {
                return Ok(Outcome::Stale {
                    groups: stale,
                    tried,
                });
            }
            tried += 1;
            let report = report(before, groups, snapshot_id, tried);
            let ready = self
                .ready(&base, &live, groups, &mut manifests, (&report, last))
                .await?;
            if self.attempt.signals.cancel.is_cancelled() {
                return Err(Error::Stopped);
            }
            match self.swap(ready, last.then_some(&report)).await {
                Ok(()) => return Ok(Outcome::Committed(report)),
                Err(SwapError::Conflict(why)) => {
                    tracing::info!(table = %self.name, tried, why, "another writer committed first");
                    lost_to = why;
                    pause(&base, tried, self.attempt.signals).await;
                }
                Err(SwapError::Unknown(source)) => {
                    tracing::warn!(table = %self.name, snapshot_id, %source, "commit outcome unknown, looking");
                    self.settle(&base, snapshot_id, source).await?;
                }
                Err(SwapError::Replaced) => return Err(Error::Replaced),
                Err(SwapError::Failed { advice, source }) => {
                    return Err(Error::Swap { advice, source });
                }
            }
        }
    }

    async fn load(&self) -> Result<Table, Error> {
        let loaded = self.catalog.load(self.name).await;
        let base = loaded.map_err(|source| Error::Catalog {
            doing: "load the table",
            source,
        })?;
        self.attempt.progress.alive();
        if base.metadata.uuid() != self.plan.table_uuid {
            return Err(Error::OtherTable(format!(
                "table {} was dropped and created again: its uuid is {}, the plan's {}",
                self.name,
                base.metadata.uuid(),
                self.plan.table_uuid
            )));
        }
        Ok(base)
    }

    /// Builds and writes everything the swap needs, and checks the counts against the manifests.
    async fn ready(
        &self,
        base: &Table,
        live: &LiveFiles,
        groups: &[Rewritten],
        manifests: &mut Manifests,
        (report, last): (&Report, bool),
    ) -> Result<Ready, Error> {
        let mut dangling = validate::applied_deletes(live, groups);
        if self.plan.remove_dangling_deletes {
            dangling.extend(validate::dangling_deletes(live, groups));
            let table = &base.metadata;
            dangling.extend(validate::dangling_equality_deletes(table, live, groups));
        }
        let sequence = self.plan.use_starting_sequence_number;
        let built = manifests
            .build(base, live, groups, &dangling, (self.places, sequence))
            .await?;
        counts::check_columns(groups, &built.removed)?;
        self.attempt.progress.alive();
        let summary = summary::of_rewrite(&summary::Rewrite {
            live,
            groups,
            removed: &built.removed,
            report,
            last,
            plan: self.plan,
            attempt: self.attempt,
        });
        let now_ms = self.attempt.ledger.now_ms().await?;
        let landed = landed(&built.manifests, &manifests.written, groups);
        let next = snapshot::next(
            base,
            manifests.snapshot_id,
            built.manifests,
            summary,
            now_ms,
        )
        .place(self.places.manifest_list(manifests.snapshot_id))?;
        let mut new_files = built.new_files;
        new_files.push(next.list);
        swap::prepare(
            (self.catalog, self.attempt),
            base,
            (next.requirements, next.updates),
            new_files,
            landed,
        )
        .await
    }

    async fn swap(&self, ready: Ready, report: Option<&Report>) -> Result<(), SwapError> {
        let swap = CatalogSwap {
            catalog: self.catalog,
            prepared: &ready.prepared,
        };
        self.attempt
            .ledger
            .commit(&swap, &ready.landed, report)
            .await
    }

    /// Returns once the table could be loaded: the next round looks for the snapshot first.
    async fn settle(
        &self,
        base: &Table,
        snapshot_id: i64,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> Result<(), Error> {
        for look in 1..=LOOKS_MAX {
            pause(base, look, self.attempt.signals).await;
            match self.load().await {
                Ok(_) => return Ok(()),
                Err(error @ Error::OtherTable(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(table = %self.name, look, %error, "cannot look for the commit");
                }
            }
        }
        Err(Error::Unknown {
            snapshot_id,
            source,
        })
    }
}

/// Swaps tried again after losing against another writer.
pub(crate) fn retries(base: &Table) -> u32 {
    let retries = number(
        base.metadata.property(RETRIES),
        RETRIES_DEFAULT,
        RETRIES_MAX,
    );
    u32::try_from(retries).unwrap_or(u32::MAX)
}

/// Waits before the next try, as the table's properties say.
pub(crate) async fn pause(base: &Table, failures: u32, signals: &Signals) {
    let wait = |key, default| {
        let ms = number(base.metadata.property(key), default, WAIT_LONGEST_MS);
        Duration::from_millis(ms)
    };
    let backoff = Backoff {
        base: wait(WAIT_MIN, WAIT_MIN_DEFAULT_MS),
        cap: wait(WAIT_MAX, WAIT_MAX_DEFAULT_MS),
    };
    let pause = backoff.pause(failures, rand::random_range(0.0..1.0));
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = signals.cancel.cancelled() => {}
    }
}

/// Of all that was written, what the new snapshot lists: manifests of an earlier try may not be.
fn landed(listed: &[ManifestFile], written: &[String], groups: &[Rewritten]) -> Vec<String> {
    let listed: HashSet<&str> = listed
        .iter()
        .map(|manifest| manifest.manifest_path.as_str())
        .collect();
    let manifests = written
        .iter()
        .filter(|path| listed.contains(path.as_str()))
        .cloned();
    let outputs = groups.iter().flat_map(|group| &group.outputs);
    manifests
        .chain(outputs.map(|file| file.file_path.clone()))
        .collect()
}

/// What a property asks for, as far as `max`; the default where it is no number.
fn number(value: Option<&str>, default: u64, max: u64) -> u64 {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match value.map(str::trim) {
        // One that no number holds is more than any.
        Some(text) if digits(text) => text.parse().unwrap_or(u64::MAX).min(max),
        _ => default,
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
    }
    report.snapshot_id = Some(snapshot_id);
    report.commit_attempts += tried;
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_table_asks_of_retries_is_brought_into_a_range() {
        for (value, want) in [
            (None, 4),
            (Some("0"), 0),
            (Some(" 7 "), 7),
            (Some("100"), 100),
            (Some("101"), 100),
            (Some("18446744073709551615"), 100),
            (Some("18446744073709551616"), 100),
            (Some("-1"), 4),
            (Some("many"), 4),
            (Some(""), 4),
        ] {
            assert_eq!(
                number(value, RETRIES_DEFAULT, RETRIES_MAX),
                want,
                "{value:?}"
            );
        }
    }
}
