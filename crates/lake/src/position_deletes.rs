//! Executes a rewrite of position delete files: the positions that still delete something, read,
//! sorted, written into few files, committed in place of the old ones.
//!
//! A new file carries the highest data sequence number of those it is made of (Iceberg spec,
//! "Scan Planning": it applies to data files as old or older). Only positions that applied by the
//! number of their own file go into it, so that it deletes what they deleted and nothing else.

mod parts;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use catalog::{Catalog, Table};
use metadata::{Content, DataFile, Entry, LiveFile, LiveFiles};
use model::Action;
use planner::position_deletes::{Group, Place, Plan, names_elsewhere};
use planner::rewrite::path_of_bounds;
use planner::{Attempt, Deletes, Report, Reserved};

use crate::Error;
use crate::commit::manifests::Manifests;
use crate::commit::{Change, Committer, Draft, Drafted, Made, Maker, snapshot, summary};
use crate::deletes::{Bounds, DataFiles, DeleteScope, Numbers, Wanted, read_positions};
use crate::files::place::Places;
use crate::rewrite::current_files;
use crate::write::FileWriter;
use parts::{Part, Sorted};

const ACTION: Action = Action::RewritePositionDeleteFiles;
/// Java's property: a delete file holds those of one data `file`, or of a `partition`.
const GRANULARITY: &str = "write.delete.granularity";
const NO_FEWER: &str = "rewritten, the delete files would be no fewer";

/// Executes `plan`.
pub(crate) async fn execute(
    catalog: &dyn Catalog,
    plan: &Plan,
    attempt: &Attempt<'_>,
) -> Result<Report, Error> {
    let of = (plan.table.as_str(), plan.table_uuid.as_str());
    let begun = Committer::begin(catalog, of, attempt, (ACTION, plan.nothing()));
    let (committer, table, _) = match begun.await? {
        ControlFlow::Continue(begun) => begun,
        ControlFlow::Break(report) => return Ok(report),
    };
    let rewriter = Rewriter {
        groups: plan.groups.clone(),
        places: &committer.places,
        plan,
        attempt,
    };
    committer.rounds(table, rewriter).await
}

/// Writes the delete files that others become.
#[derive(Debug)]
struct Rewriter<'a> {
    groups: Vec<Group>,
    places: &'a Places,
    plan: &'a Plan,
    attempt: &'a Attempt<'a>,
}

/// Delete files and those made of them.
#[derive(Debug)]
struct Rewritten {
    /// Path and data sequence number.
    inputs: Vec<(String, i64)>,
    outputs: Vec<DataFile>,
    /// The data sequence number of the outputs.
    sequence_number: i64,
}

#[async_trait]
impl<'a> Maker for Rewriter<'a> {
    type Change = Rewriting<'a>;

    async fn make(&self, table: &Table, tried: u32) -> Result<Made<Rewriting<'a>>, Error> {
        let live = current_files(table).await?;
        let deletes: HashMap<&str, &LiveFile> = live
            .deletes
            .iter()
            .map(|delete| (delete.file.file_path.as_str(), delete))
            .collect();
        let data = Data::of(&live);
        let records = self.groups.iter().map(Group::records);
        let progress = self.attempt.progress;
        progress.total(records.fold(0, u64::saturating_add));
        let mut rewriting = Rewriting {
            manifests: Manifests::new(snapshot::new_id()),
            places: self.places,
            rewritten: Vec::with_capacity(self.groups.len()),
            tried,
            data: Arc::clone(&data.files),
            last_sequence_number: table.metadata.last_sequence_number(),
            removed: Vec::new(),
        };
        let (mut again, mut refused) = (None, None);
        for group in &self.groups {
            let inputs = match present(group, &deletes, &data) {
                Ok(inputs) => inputs,
                // The others need not wait for it.
                Err(why) => {
                    again = Some(why);
                    continue;
                }
            };
            match self.rewrite(table, &data, group, &inputs).await {
                Ok(Some(rewritten)) => rewriting.rewritten.push(rewritten),
                Ok(None) => {}
                Err(Error::Refused(why)) => {
                    let (table, partition) = (&self.plan.table, &group.partition_path);
                    tracing::warn!(table, partition, why, "delete files left as they are");
                    refused = Some(why);
                }
                Err(error) => return Err(error),
            }
            progress.advance(group.records());
        }
        match (rewriting.rewritten.is_empty(), again, refused) {
            (false, ..) => Ok(Made::Change(rewriting)),
            (true, Some(why), _) => Ok(Made::Again(why)),
            (true, None, Some(why)) => Err(Error::Refused(why)),
            (true, None, None) => Ok(Made::Nothing(NO_FEWER.to_owned())),
        }
    }

    async fn plan_again(&mut self, table: &Table) -> Result<bool, Error> {
        let plan = survey::plan_position_deletes(table, &self.plan.options).await?;
        self.groups = plan.groups;
        Ok(!self.groups.is_empty())
    }
}

/// The group's files as they are now, or why it must be planned again.
fn present<'a>(
    group: &Group,
    deletes: &HashMap<&str, &'a LiveFile>,
    data: &Data<'_>,
) -> Result<Vec<&'a LiveFile>, String> {
    let inputs = group.inputs.iter().map(|input| {
        let path = &input.path;
        let delete = deletes.get(path.as_str()).ok_or_else(|| removed(path))?;
        if names_elsewhere(delete, |path| data.place(path)) {
            return Err(format!(
                "{path} names a data file of another partition by now"
            ));
        }
        Ok(*delete)
    });
    inputs.collect()
}

fn removed(path: &str) -> String {
    format!("another writer removed the delete file {path}")
}

impl Rewriter<'_> {
    /// Writes what the inputs become; `None` when that would be no better.
    async fn rewrite(
        &self,
        table: &Table,
        data: &Data<'_>,
        group: &Group,
        inputs: &[&LiveFile],
    ) -> Result<Option<Rewritten>, Error> {
        let bounds = Bounds::new(
            self.attempt.memory_bytes,
            self.attempt.signals.cancel.clone(),
        );
        let scopes = inputs.iter().map(|delete| data.scope(delete)).collect();
        let progress = self.attempt.progress;
        let positions = read_positions(&table.storage, scopes, &bounds, progress).await?;
        let sorted = Sorted::new(positions);
        let parts = self.parts(table, group, inputs, &sorted);
        let mut sizes = group.inputs.iter().map(|input| input.bytes);
        let large = sizes.any(|bytes| bytes > self.plan.max_size_bytes);
        let splits = large && parts.len() > inputs.len();
        if parts.len() >= inputs.len() && !splits && !self.plan.options.rewrite_all {
            return Ok(None);
        }
        self.write(table, group, parts, inputs).await.map(Some)
    }

    /// As the table's property says: one for each data file, or few for the partition. Where it says
    /// nothing, what was kept apart stays apart.
    fn parts<'a>(
        &self,
        table: &Table,
        group: &Group,
        inputs: &[&LiveFile],
        sorted: &'a Sorted,
    ) -> Vec<Part<'a>> {
        let by_file = match table.metadata.property(GRANULARITY) {
            Some(granularity) => granularity.eq_ignore_ascii_case("file"),
            None => inputs.iter().all(|delete| {
                delete.file.referenced_data_file.is_some() || path_of_bounds(delete).is_some()
            }),
        };
        if by_file {
            return sorted.by_file();
        }
        // By what the inputs took for each.
        let bytes = u128::from(group.bytes()) * u128::from(sorted.len());
        let bytes = bytes / u128::from(group.records().max(1));
        let parts = bytes.div_ceil(u128::from(self.plan.target_size_bytes.max(1)));
        sorted.even(u64::try_from(parts).unwrap_or(u64::MAX))
    }

    async fn write(
        &self,
        table: &Table,
        group: &Group,
        parts: Vec<Part<'_>>,
        inputs: &[&LiveFile],
    ) -> Result<Rewritten, Error> {
        let owner = self.attempt.attempt.as_str();
        let writer = FileWriter::new(table, owner)?.with_spec(group.spec_id)?;
        let locations: Vec<String> = parts
            .iter()
            .map(|_| self.places.data_file(&group.partition_path, "-deletes"))
            .collect();
        let reserved: Vec<Reserved> = locations
            .iter()
            .map(|path| Reserved {
                path: path.clone(),
                kind: "deletes",
            })
            .collect();
        let uuid = table.metadata.uuid();
        self.attempt.ledger.reserve(uuid, &reserved).await?;
        let mut outputs = Vec::with_capacity(parts.len());
        for (location, part) in locations.into_iter().zip(parts) {
            let count: u64 = part.iter().map(|(_, rows)| rows.len() as u64).sum();
            let partition = group.partition.clone();
            let file = writer
                .position_deletes_at(location, partition, &part)
                .await?;
            if file.record_count != count {
                return Err(Error::Counts(format!(
                    "{}: {count} positions became {}",
                    file.file_path, file.record_count
                )));
            }
            outputs.push(file);
            self.attempt.progress.alive();
        }
        let numbers = inputs.iter().map(|delete| delete.sequence_number);
        Ok(Rewritten {
            inputs: inputs
                .iter()
                .map(|delete| (delete.file.file_path.clone(), delete.sequence_number))
                .collect(),
            outputs,
            sequence_number: numbers.max().unwrap_or(0),
        })
    }
}

/// The live data files, by what delete files find them.
struct Data<'a> {
    files: Arc<DataFiles>,
    partitions: HashMap<Place<'a>, usize>,
    /// By their numbers.
    places: Vec<Place<'a>>,
}

impl<'a> Data<'a> {
    fn of(live: &'a LiveFiles) -> Self {
        let (mut partitions, mut places) = (HashMap::new(), Vec::new());
        let mut files = DataFiles::with_capacity(live.data.len());
        for data in &live.data {
            let place = (data.file.spec_id, &*data.file.partition);
            let partition = *partitions.entry(place).or_insert_with(|| {
                places.push(place);
                places.len() - 1
            });
            let numbers = Numbers {
                partition,
                sequence_number: data.sequence_number,
            };
            files.insert(data.file.file_path.clone(), numbers);
        }
        Self {
            files: Arc::new(files),
            partitions,
            places,
        }
    }

    fn place(&self, path: &str) -> Option<Place<'a>> {
        let numbers = self.files.get(path)?;
        Some(self.places[numbers.partition])
    }

    /// The data files whose rows the delete file deletes by its own number: the one it names, or
    /// those of its partition.
    fn scope(&self, delete: &LiveFile) -> DeleteScope {
        let file = &delete.file;
        let live = |path: &&str| self.files.contains_key(*path);
        let named = match &file.referenced_data_file {
            Some(path) => Some(path.as_str()),
            None => path_of_bounds(delete).filter(live),
        };
        let reached = |path: &&str| {
            let numbers = self.files.get(*path);
            numbers.is_some_and(|data| data.sequence_number <= delete.sequence_number)
        };
        let partition = self.partitions.get(&(file.spec_id, &*file.partition));
        let wanted = match (named, partition) {
            (None, Some(partition)) => Wanted::Reached {
                data: Arc::clone(&self.files),
                partition: *partition,
                sequence_number: delete.sequence_number,
            },
            (named, _) => {
                let paths = named.filter(reached).map(str::to_owned);
                Wanted::These(paths.into_iter().collect())
            }
        };
        DeleteScope {
            location: file.file_path.clone(),
            bytes: file.file_size_in_bytes,
            records: file.record_count,
            wanted,
        }
    }
}

/// New delete files, written and not yet committed.
#[derive(Debug)]
struct Rewriting<'a> {
    manifests: Manifests,
    places: &'a Places,
    rewritten: Vec<Rewritten>,
    /// Swaps tried before this was made.
    tried: u32,
    /// The data files that were live then, and the table's last sequence number.
    data: Arc<DataFiles>,
    last_sequence_number: i64,
    /// Entries removed on the last base.
    removed: Vec<Entry>,
}

impl Rewriting<'_> {
    fn outputs(&self) -> impl Iterator<Item = &DataFile> {
        self.rewritten.iter().flat_map(|one| &one.outputs)
    }

    /// Why these files do not delete what the old ones do on the table as it is by now.
    fn stale(&self, live: &LiveFiles) -> Option<String> {
        let deletes = live.deletes.iter();
        let still: HashSet<(&str, i64)> = deletes
            .map(|delete| (delete.file.file_path.as_str(), delete.sequence_number))
            .collect();
        let mut inputs = self.rewritten.iter().flat_map(|one| &one.inputs);
        if let Some((path, _)) = inputs.find(|(path, at)| !still.contains(&(path.as_str(), *at))) {
            return Some(removed(path));
        }
        // Positions were chosen by path and number. What has come back since, or has another number
        // now, may be deleted from by what was left out, or by a number it was not reached with.
        let came_back = |data: &&LiveFile| {
            let last = self.last_sequence_number;
            match self.data.get(&data.file.file_path) {
                Some(then) => then.sequence_number != data.sequence_number,
                None => data.sequence_number.min(data.file_sequence_number) <= last,
            }
        };
        let back = live.data.iter().find(came_back)?;
        Some(format!("{} is live again", back.file.file_path))
    }
}

#[async_trait]
impl Change for Rewriting<'_> {
    /// Why it must be planned again.
    type Stale = String;

    fn snapshot_id(&self) -> i64 {
        self.manifests.snapshot_id
    }

    fn report(&self, tried: u32) -> Report {
        let inputs = || self.removed.iter().map(|entry| &entry.file);
        let bytes = |file: &DataFile| file.file_size_in_bytes;
        let records = |file: &DataFile| file.record_count;
        Report {
            files_in: self.removed.len() as u64,
            files_out: self.outputs().count() as u64,
            bytes_in: inputs().map(bytes).fold(0, u64::saturating_add),
            bytes_out: self.outputs().map(bytes).fold(0, u64::saturating_add),
            snapshot_id: Some(self.manifests.snapshot_id),
            commit_attempts: self.tried + tried,
            deletes: Some(Deletes {
                removed: inputs().map(records).fold(0, u64::saturating_add),
                added: self.outputs().map(records).fold(0, u64::saturating_add),
            }),
            ..Report::default()
        }
    }

    async fn draft(&mut self, base: &Table) -> Result<Drafted<String>, Error> {
        let live = current_files(base).await?;
        if let Some(why) = self.stale(&live) {
            return Ok(Drafted::Stale(why));
        }
        let inputs = self.rewritten.iter().flat_map(|one| &one.inputs);
        let inputs: Vec<String> = inputs.map(|(path, _)| path.clone()).collect();
        let added = self.rewritten.iter().flat_map(|one| {
            let number = one.sequence_number;
            one.outputs.iter().map(move |file| (file.clone(), number))
        });
        let added: Vec<(DataFile, i64)> = added.collect();
        let places = (self.places, false);
        let built = self
            .manifests
            .build(base, &live, &[], (&added, &inputs), places)
            .await?;
        let is_data = |entry: &&Entry| entry.file.content != Content::PositionDeletes;
        if let Some(other) = built.removed.iter().find(is_data) {
            let path = &other.file.file_path;
            return Err(Error::Counts(format!("{path} holds no position deletes")));
        }
        let added: Vec<&DataFile> = self.outputs().collect();
        let summary = summary::of_files(&live, &[], &added, &built.removed);
        let mut landed = self.manifests.landed(&built.manifests);
        landed.extend(added.iter().map(|file| file.file_path.clone()));
        self.removed = built.removed;
        Ok(Drafted::Next(Draft {
            manifests: built.manifests,
            summary,
            new_files: built.new_files,
            landed,
        }))
    }
}
