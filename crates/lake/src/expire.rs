//! `expire_snapshots`: intended, swapped under the fence, looked at again, its files listed.
//!
//! Deletes nothing. Wherever it stops, the intent says what may be gone, and a later run settles
//! it: [`settle_open`]. Start at [`execute`].

mod candidates;
mod settle;
mod undo;

use std::time::Duration;

use catalog::{Catalog, Table};
use metadata::{Requirement, Update};
use model::TableName;
use planner::expire::Plan;
use planner::{
    Attempt, EngineError, Expired, Expiring, Intent, IntentId, OpenIntent, Report, SwapError,
};
use survey::expire::cleaned;

use crate::Error;
use crate::commit::swap::{self, CatalogSwap};
use crate::commit::{load, named, pause, retries};

pub(crate) use settle::settle_open;

/// Loads tried to learn what became of a swap whose answer was lost.
const LOOKS_MAX: u32 = 6;
/// Half of the longest pause after the first look; doubled with each.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

fn refused(refused: planner::expire::Refused) -> EngineError {
    EngineError::failed(refused.advice(), refused)
}

/// Expires what was planned and still may go, and settles what earlier expiries left open.
pub(crate) async fn execute(
    catalog: &dyn Catalog,
    plan: &Plan,
    attempt: &Attempt<'_>,
) -> Result<Report, EngineError> {
    let name = named(&plan.table)?;
    let expiry = Expiry {
        catalog,
        name,
        plan,
        attempt,
    };
    let table = expiry.load().await?;
    let others = settle::settle_others(catalog, &table, attempt).await?;
    let earlier = !expiry.mine(&table).await?.is_empty();
    let made = expiry.commit(earlier).await?;
    expiry.report(made, others).await
}

#[derive(Debug)]
struct Expiry<'a> {
    catalog: &'a dyn Catalog,
    name: TableName,
    plan: &'a Plan,
    attempt: &'a Attempt<'a>,
}

/// What the swaps came to.
#[derive(Debug, Default)]
struct Made {
    tried: u32,
    /// The report, when the swap recorded it.
    recorded: Option<Report>,
}

/// An intent of this run.
#[derive(Debug)]
struct Mine {
    id: IntentId,
    intent: Intent,
    /// The last swap under it was surely refused.
    refused: bool,
}

impl Expiry<'_> {
    async fn load(&self) -> Result<Table, Error> {
        let table_uuid = &self.plan.table_uuid;
        load(self.catalog, &self.name, table_uuid, self.attempt).await
    }

    /// The open intents of this job, of whatever attempt.
    async fn mine(&self, table: &Table) -> Result<Vec<OpenIntent>, Error> {
        let open = self
            .attempt
            .ledger
            .open_intents(table.metadata.uuid())
            .await?;
        Ok(open
            .into_iter()
            .filter(|open| open.job == *self.attempt.job)
            .collect())
    }

    /// Swaps until nothing of the plan is left to do. With `earlier` intents of the job, their
    /// settling records the report.
    async fn commit(&self, earlier: bool) -> Result<Made, EngineError> {
        let mut made = Made::default();
        let mut intents = Vec::new();
        let mut lost_to = String::new();
        loop {
            let base = self.look(made.tried).await?;
            self.withdraw(&mut intents, &base).await?;
            let again = self.plan.again(&base.metadata, &base.metadata_location);
            let now = cleaned(again.map_err(refused)?, &base, self.attempt.progress).await?;
            let now = self.never_more(now);
            if now.changes_nothing() {
                return Ok(made);
            }
            if self.attempt.signals.cancel.is_cancelled() {
                return Err(Error::Stopped.into());
            }
            if made.tried > retries(&base) {
                let (attempts, why) = (made.tried, lost_to);
                return Err(Error::Contended { attempts, why }.into());
            }
            made.tried += 1;
            let intended = self.intend(&mut intents, &base, &now).await?;
            let report = (intended.is_none() && !earlier).then(|| report(&made, &now));
            match self.swap(&base, &now, report.as_ref()).await? {
                Ok(()) => {
                    made.recorded = report;
                    return Ok(made);
                }
                Err(SwapError::Conflict(why)) => {
                    tracing::info!(table = %self.name, tried = made.tried, why, "another writer committed first");
                    if let Some(mine) = intended.and_then(|at| intents.get_mut(at)) {
                        mine.refused = true;
                    }
                    lost_to = why;
                    pause(&base, made.tried, self.attempt.signals).await;
                }
                Err(SwapError::Unknown(error)) => {
                    tracing::warn!(table = %self.name, %error, "outcome of the expiry unknown, looking");
                    lost_to = error.to_string();
                    pause(&base, made.tried, self.attempt.signals).await;
                }
                Err(SwapError::Replaced) => return Err(Error::Replaced.into()),
                Err(SwapError::Failed { advice, source }) => {
                    return Err(Error::Swap { advice, source }.into());
                }
            }
        }
    }

    /// Loads the table; after a swap a passing failure to do so is not the end.
    async fn look(&self, tried: u32) -> Result<Table, Error> {
        let mut looks = 0;
        loop {
            match self.load().await {
                Err(error @ Error::Catalog { .. }) if tried > 0 && looks < LOOKS_MAX => {
                    looks += 1;
                    tracing::warn!(table = %self.name, looks, %error, "cannot look for the expiry");
                    if self.attempt.signals.cancel.is_cancelled() {
                        return Err(Error::Stopped);
                    }
                    let pause = LOOK_PAUSE * (1 << looks);
                    tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                }
                other => return other,
            }
        }
    }

    /// Definitions are never removed beyond those planned.
    fn never_more(&self, mut now: Plan) -> Plan {
        now.remove_specs
            .retain(|id| self.plan.remove_specs.contains(id));
        now.remove_schemas
            .retain(|id| self.plan.remove_schemas.contains(id));
        now
    }

    /// Closes intents whose swap was refused. One of whose snapshots any is gone stays: an answer
    /// may speak of a request sent twice.
    async fn withdraw(&self, intents: &mut Vec<Mine>, base: &Table) -> Result<(), Error> {
        let mut left = Vec::new();
        for mine in intents.drain(..) {
            let there = |gone: &Expiring| base.metadata.snapshot(gone.snapshot_id).is_some();
            if mine.refused && mine.intent.ids.iter().all(there) {
                self.attempt.ledger.settle(mine.id, &[], None).await?;
            } else {
                left.push(mine);
            }
        }
        *intents = left;
        Ok(())
    }

    /// Stores what is about to be done, unless an open intent says it already; gives its place.
    async fn intend(
        &self,
        intents: &mut Vec<Mine>,
        base: &Table,
        now: &Plan,
    ) -> Result<Option<usize>, Error> {
        if now.expire.is_empty() {
            return Ok(None);
        }
        let intent = Intent {
            table_uuid: now.table_uuid.clone(),
            planned_location: base.metadata_location.clone(),
            ids: now.expire.clone(),
            grace_ms: now.grace_ms,
        };
        if let Some(at) = intents.iter().position(|mine| mine.intent == intent) {
            return Ok(Some(at));
        }
        let id = self.attempt.ledger.intend(&intent).await?;
        intents.push(Mine {
            id,
            intent,
            refused: false,
        });
        Ok(Some(intents.len() - 1))
    }

    async fn swap(
        &self,
        base: &Table,
        now: &Plan,
        report: Option<&Report>,
    ) -> Result<Result<(), SwapError>, Error> {
        let ready = swap::prepare(
            (self.catalog, self.attempt),
            base,
            change(base, now),
            Vec::new(),
            Vec::new(),
        )
        .await?;
        let swap = CatalogSwap {
            catalog: self.catalog,
            prepared: &ready.prepared,
        };
        if self.attempt.signals.cancel.is_cancelled() {
            return Err(Error::Stopped);
        }
        Ok(self
            .attempt
            .ledger
            .commit(&swap, &ready.landed, report)
            .await)
    }

    /// Lists what is free by now, and settles this job's intents with the report.
    async fn report(&self, made: Made, others: u64) -> Result<Report, EngineError> {
        let table = self.load().await?;
        let mine = self.mine(&table).await?;
        let ready = settle::list(self.catalog, &table, self.attempt, &mine).await?;
        let mut expired = ready.expired.clone();
        let gone = |name: &&String| !table.metadata.refs().contains_key(*name);
        expired.refs = self.plan.remove_refs.iter().filter(gone).count() as u64;
        let specs = self.plan.remove_specs.iter();
        let specs = specs
            .filter(|id| table.metadata.spec(**id).is_none())
            .count();
        let schemas = self.plan.remove_schemas.iter();
        let schemas = schemas
            .filter(|id| table.metadata.schema(**id).is_none())
            .count();
        expired.definitions = (specs + schemas) as u64;
        if let Some(recorded) = made.recorded {
            return Ok(recorded);
        }
        let mut report = if expired == Expired::default() && others == 0 {
            Report::nothing(
                self.plan
                    .nothing()
                    .unwrap_or("nothing planned may go any more"),
            )
        } else if expired == Expired::default() {
            Report::nothing(format!(
                "every snapshot is retained; {others} earlier expiries settled"
            ))
        } else {
            Report {
                expired: Some(expired),
                ..Report::default()
            }
        };
        report.commit_attempts = made.tried;
        if !ready.is_empty() {
            ready.settle(self.attempt, &report).await?;
        }
        Ok(report)
    }
}

/// The report of a swap that frees no file.
fn report(made: &Made, now: &Plan) -> Report {
    Report {
        expired: Some(Expired {
            refs: now.remove_refs.len() as u64,
            definitions: (now.remove_specs.len() + now.remove_schemas.len()) as u64,
            ..Expired::default()
        }),
        commit_attempts: made.tried,
        ..Report::default()
    }
}

/// Every ref is relied on: what is retained follows from all of them.
fn change(base: &Table, now: &Plan) -> (Vec<Requirement>, Vec<Update>) {
    let metadata = &base.metadata;
    let mut requirements = vec![Requirement::AssertTableUuid {
        uuid: metadata.uuid().to_owned(),
    }];
    requirements.extend(
        now.refs
            .iter()
            .map(|(name, id)| Requirement::AssertRefSnapshotId {
                r#ref: name.clone(),
                snapshot_id: Some(*id),
            }),
    );
    // Refs go first: a snapshot a ref names cannot be removed.
    let mut updates: Vec<Update> = now
        .remove_refs
        .iter()
        .map(|name| Update::RemoveSnapshotRef {
            ref_name: name.clone(),
        })
        .collect();
    if !now.expire.is_empty() {
        updates.push(Update::RemoveSnapshots {
            snapshot_ids: now.expire.iter().map(|gone| gone.snapshot_id).collect(),
        });
    }
    if !now.remove_specs.is_empty() {
        requirements.push(Requirement::AssertDefaultSpecId {
            default_spec_id: metadata.default_spec().spec_id,
        });
        updates.push(Update::RemovePartitionSpecs {
            spec_ids: now.remove_specs.clone(),
        });
    }
    if !now.remove_schemas.is_empty() {
        requirements.push(Requirement::AssertCurrentSchemaId {
            current_schema_id: metadata.current_schema().schema_id,
        });
        updates.push(Update::RemoveSchemas {
            schema_ids: now.remove_schemas.clone(),
        });
    }
    (requirements, updates)
}
