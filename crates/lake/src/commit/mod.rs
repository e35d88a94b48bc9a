//! Commits what an action made: reload, validate, build manifests, swap under the fence, and find
//! out what happened when the answer was lost. [`Rewriting`] is what a rewrite of data files commits.
//!
//! Every file is reserved in the ledger before it is written, and none is ever deleted here.

mod counts;
pub(crate) mod manifests;
mod rewriting;
mod rounds;
mod schema_change;
pub(crate) mod snapshot;
pub(crate) mod summary;
pub(crate) mod swap;
mod validate;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use async_trait::async_trait;
use catalog::{Catalog, Table};
use metadata::ManifestFile;
use model::{Action, TableName};
use planner::{Attempt, Report, Signals, SwapError};
use policy::retry::Backoff;

pub(crate) use self::rewriting::Rewriting;
pub(crate) use self::rounds::{Made, Maker};
use self::swap::{CatalogSwap, NewFile, Ready};
pub(crate) use self::validate::{Stale, terms_broken};
use crate::Error;
use crate::files::place::Places;

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
pub(crate) enum Outcome<S> {
    /// Made; the report covers it and everything before it.
    Committed(Report),
    /// An earlier attempt has completed the action: where a swap is not part of a transaction,
    /// one may come late.
    Completed(Report),
    /// Not made, after so many swaps tried: what another writer made wrong must be planned again
    /// or given up.
    Stale { stale: S, tried: u32 },
}

/// One snapshot that an action commits, on top of whatever the table is by then.
#[async_trait]
pub(crate) trait Change: Send {
    /// What another writer made wrong.
    type Stale: Send;

    fn snapshot_id(&self) -> i64;

    /// What the action has done once this is committed, after so many swaps tried.
    fn report(&self, tried: u32) -> Report;

    /// The snapshot on `base`. Writes nothing: a try after this may need other files.
    async fn draft(&mut self, base: &Table) -> Result<Drafted<Self::Stale>, Error>;
}

/// What became of a change on one base.
#[derive(Debug)]
pub(crate) enum Drafted<S> {
    Stale(S),
    Next(Draft),
}

/// A snapshot without its list.
#[derive(Debug)]
pub(crate) struct Draft {
    /// In the order of the new list.
    pub(crate) manifests: Vec<ManifestFile>,
    pub(crate) summary: BTreeMap<String, String>,
    /// What is still to be reserved and written.
    pub(crate) new_files: Vec<NewFile>,
    /// What was written before and becomes part of the table.
    pub(crate) landed: Vec<String>,
}

/// Commits for one action of one attempt.
#[derive(Debug)]
pub(crate) struct Committer<'a> {
    pub(crate) catalog: &'a dyn Catalog,
    pub(crate) name: TableName,
    pub(crate) table_uuid: &'a str,
    pub(crate) attempt: &'a Attempt<'a>,
    pub(crate) action: Action,
    pub(crate) places: Places,
}

/// The table to work on, and what earlier attempts of the job committed.
pub(crate) type Begun<'a> = (Committer<'a>, Table, Option<Report>);

impl<'a> Committer<'a> {
    /// Looks at the table that a plan names by its key and UUID; breaks off when nothing is left to do:
    /// `nothing` is the plan's reason for that, and an earlier attempt's last swap may have come after
    /// this one looked for it.
    pub(crate) async fn begin(
        catalog: &'a dyn Catalog,
        (key, table_uuid): (&str, &'a str),
        attempt: &'a Attempt<'a>,
        (action, nothing): (Action, Option<&str>),
    ) -> Result<ControlFlow<Report, Begun<'a>>, Error> {
        let name = named(key)?;
        let table = load(catalog, &name, table_uuid, attempt).await?;
        let (earlier, completed) = summary::committed_by(&table.metadata, attempt.job, action);
        let nothing = nothing.map(Report::nothing);
        if completed || nothing.is_some() {
            return Ok(ControlFlow::Break(earlier.or(nothing).unwrap_or_default()));
        }
        let committer = Self {
            catalog,
            name,
            table_uuid,
            attempt,
            action,
            places: Places::new(&table.metadata, attempt.attempt.as_str()),
        };
        Ok(ControlFlow::Continue((committer, table, earlier)))
    }

    /// Commits `change` in one snapshot on top of whatever the table is by now. `last` says that
    /// nothing follows.
    pub(crate) async fn commit<C: Change>(
        &self,
        change: &mut C,
        last: bool,
    ) -> Result<Outcome<C::Stale>, Error> {
        let snapshot_id = change.snapshot_id();
        let mut tried = 0;
        let mut lost_to = String::new();
        loop {
            let base = self.load().await?;
            if base.metadata.snapshot(snapshot_id).is_some() {
                return Ok(Outcome::Committed(change.report(tried)));
            }
            let earlier = summary::committed_by(&base.metadata, self.attempt.job, self.action);
            if let (Some(earlier), true) = earlier {
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
            let draft = match change.draft(&base).await {
                Ok(Drafted::Stale(stale)) => return Ok(Outcome::Stale { stale, tried }),
                Ok(Drafted::Next(draft)) => draft,
                Err(error) => {
                    lost_to = self.gone(&base, error, &lost_to).await?;
                    tried += 1;
                    pause(&base, tried, self.attempt.signals).await;
                    continue;
                }
            };
            tried += 1;
            let report = change.report(tried);
            let ready = self.ready(&base, snapshot_id, draft, (&report, last));
            let ready = ready.await?;
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

    /// The table as it is now.
    pub(crate) async fn load(&self) -> Result<Table, Error> {
        load(self.catalog, &self.name, self.table_uuid, self.attempt).await
    }

    /// Writes everything the swap needs.
    async fn ready(
        &self,
        base: &Table,
        snapshot_id: i64,
        draft: Draft,
        (report, last): (&Report, bool),
    ) -> Result<Ready, Error> {
        self.attempt.progress.alive();
        let mut summary = draft.summary;
        summary::sign(&mut summary, self.attempt, self.action, (report, last));
        let now_ms = self.attempt.ledger.now_ms().await?;
        let next = snapshot::next(base, snapshot_id, draft.manifests, summary, now_ms)
            .place(self.places.manifest_list(snapshot_id))?;
        let mut new_files = draft.new_files;
        new_files.push(next.list);
        swap::prepare(
            (self.catalog, self.attempt),
            base,
            (next.requirements, next.updates),
            new_files,
            draft.landed,
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

/// The table a plan names.
pub(crate) fn named(key: &str) -> Result<TableName, Error> {
    key.parse()
        .map_err(|error| Error::Refused(format!("the plan names no table: {error}")))
}

/// The table as it is now, if it is still the one with this UUID.
pub(crate) async fn load(
    catalog: &dyn Catalog,
    name: &TableName,
    table_uuid: &str,
    attempt: &Attempt<'_>,
) -> Result<Table, Error> {
    let loaded = catalog.load(name).await;
    let table = loaded.map_err(|source| Error::Catalog {
        doing: "load the table",
        source,
    })?;
    attempt.progress.alive();
    if table.metadata.uuid() == table_uuid {
        Ok(table)
    } else {
        Err(Error::OtherTable(format!(
            "table {name} was dropped and created again since it was planned: its uuid is {}, the plan's {table_uuid}",
            table.metadata.uuid(),
        )))
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

/// What a property asks for, as far as `max`; the default where it is no number.
fn number(value: Option<&str>, default: u64, max: u64) -> u64 {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match value.map(str::trim) {
        // One that no number holds is more than any.
        Some(text) if digits(text) => text.parse().unwrap_or(u64::MAX).min(max),
        _ => default,
    }
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
