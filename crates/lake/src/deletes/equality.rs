//! Equality delete files: finds the rows of a group's inputs that they delete.
//!
//! Deleted keys are put into memory as far as the budget goes and looked up in the key columns of
//! the inputs; then the next ones. A budget too small for all keys costs passes over those columns,
//! never memory. Start at [`Equality::deleted_rows`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use metadata::TableMetadata;
use planner::Progress;
use planner::rewrite::Group;
use storage::Storage;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::keys::{Chunk, KeyBatches, Keys, Origins, roots};
use super::merge;
use super::sets::KeySet;
use crate::Error;
use crate::files::constant::identities;
use crate::files::sound::guarded;
use crate::files::source::InputFile;

/// Rows of inputs looked up at once.
const BATCH_ROWS: usize = 16 * 1024;
/// Deleted keys read at once: the budget may be exceeded by as many.
const KEYS_AT_ONCE: usize = 1024;
/// What a deleted key takes in memory beside its values, in bytes.
const BYTES_PER_KEY: u64 = 96;
/// Bytes of values per byte of a delete file.
const DECODED_PER_COMPRESSED: u64 = 4;

/// What applying equality deletes may use.
#[derive(Debug)]
pub(crate) struct Equality<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) table: &'a TableMetadata,
    pub(crate) cores: Arc<Semaphore>,
    pub(crate) cores_count: usize,
    /// Bytes of keys in memory at once.
    pub(crate) budget_bytes: u64,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) stop: CancellationToken,
}

/// Delete files whose keys can lie in one set: same columns, same inputs.
#[derive(Debug, PartialEq, Eq)]
struct Round {
    field_ids: Vec<i32>,
    /// Indices into the group's equality deletes.
    deletes: Vec<usize>,
    /// Indices into the group's inputs: those at least one of the deletes applies to.
    inputs: Vec<usize>,
}

/// Files that apply to the same places may share a set of keys: within a place, whether a delete
/// applies depends on sequence numbers alone, and the set knows those.
fn rounds(group: &Group) -> Vec<Round> {
    let mut places = vec![BTreeSet::new(); group.equality_deletes.len()];
    for input in &group.inputs {
        for delete in &input.equality_deletes {
            places[*delete].insert(input.place);
        }
    }
    let mut together = BTreeMap::<_, Vec<usize>>::new();
    for (index, (delete, places)) in group.equality_deletes.iter().zip(places).enumerate() {
        let key = (delete.field_ids.as_slice(), places);
        together.entry(key).or_default().push(index);
    }
    let rounds = together.into_iter().map(|((field_ids, _), deletes)| {
        let hit = group.inputs.iter().enumerate().filter(|(_, input)| {
            let applying = &input.equality_deletes;
            applying.iter().any(|delete| deletes.contains(delete))
        });
        Round {
            field_ids: field_ids.to_vec(),
            inputs: hit.map(|(index, _)| index).collect(),
            deletes,
        }
    });
    rounds.collect()
}

/// Estimated bytes of all keys a group's deletes hold.
pub(crate) fn needed(group: &Group) -> u64 {
    let deletes = group.equality_deletes.iter();
    let keys = deletes.map(|delete| {
        let slots = delete.records.saturating_mul(BYTES_PER_KEY);
        slots.saturating_add(delete.bytes.saturating_mul(DECODED_PER_COMPRESSED))
    });
    keys.fold(0, u64::saturating_add)
}

/// One input of a round.
#[derive(Debug, Clone)]
struct Target<'a> {
    input: usize,
    file: &'a InputFile,
    origins: Origins,
    sequence_number: i64,
}

impl Equality<'_> {
    /// The deleted positions of each input, ascending, each once. `files` are the group's inputs.
    pub(crate) async fn deleted_rows(
        &self,
        group: &Group,
        files: &[&InputFile],
    ) -> Result<Vec<Vec<u64>>, Error> {
        let mut deleted = vec![Vec::new(); files.len()];
        for round in rounds(group) {
            self.round(group, files, &round, &mut deleted).await?;
        }
        Ok(deleted)
    }

    async fn round(
        &self,
        group: &Group,
        files: &[&InputFile],
        round: &Round,
        deleted: &mut [Vec<u64>],
    ) -> Result<(), Error> {
        let keys = Arc::new(Keys::new(self.table, &round.field_ids)?);
        let targets = self.targets(group, files, round, &keys)?;
        let mut set = KeySet::default();
        for delete in round.deletes.iter().map(|at| &group.equality_deletes[*at]) {
            let file = InputFile::open(
                self.storage,
                &delete.path,
                delete.bytes,
                delete.records,
                true,
            )
            .await?;
            let origins = keys.of_delete(&file)?;
            for row_group in 0..file.footer.metadata().num_row_groups() {
                let chunk = self.chunk(&file, &origins, row_group).await?;
                let mut reading = Reading {
                    batches: KeyBatches::open(Arc::clone(&keys), chunk, KEYS_AT_ONCE)?,
                    set: std::mem::take(&mut set),
                    sequence_number: delete.sequence_number,
                    ended: false,
                };
                loop {
                    reading = self.read(reading).await?;
                    if reading.ended {
                        set = reading.set;
                        break;
                    }
                    let full = std::mem::take(&mut reading.set);
                    self.look_up(full, &keys, &targets, deleted).await?;
                }
            }
        }
        self.look_up(set, &keys, &targets, deleted).await
    }

    fn targets<'f>(
        &self,
        group: &Group,
        files: &[&'f InputFile],
        round: &Round,
        keys: &Keys,
    ) -> Result<Vec<Target<'f>>, Error> {
        let target = |index: &usize| {
            let input = &group.inputs[*index];
            let place = group.place(input);
            let spec = self.table.spec(place.spec_id);
            let identities = spec.map(|spec| identities(spec, &place.partition));
            Ok(Target {
                input: *index,
                file: files[*index],
                origins: keys.of_data(files[*index], &identities.unwrap_or_default())?,
                sequence_number: input.sequence_number,
            })
        };
        round.inputs.iter().map(target).collect()
    }

    async fn chunk(
        &self,
        file: &InputFile,
        origins: &Origins,
        row_group: usize,
    ) -> Result<Chunk, Error> {
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let fetched = file
            .fetch_columns(self.storage, &roots(origins), &[row_group])
            .await?;
        self.progress.alive();
        Ok(Chunk {
            location: file.location.clone(),
            fetched,
            footer: file.footer.clone(),
            row_group,
            origins: Arc::clone(origins),
        })
    }

    /// Reads on until the set is full or the row group ends.
    async fn read(&self, mut reading: Reading) -> Result<Reading, Error> {
        let (budget, stop) = (self.budget_bytes, self.stop.clone());
        let location = reading.batches.location.clone();
        self.on_a_core(location, move || {
            reading.fill(budget, &stop)?;
            Ok(reading)
        })
        .await
    }

    /// Adds to `deleted` the rows of `targets` whose keys are in the set.
    async fn look_up(
        &self,
        set: KeySet,
        keys: &Arc<Keys>,
        targets: &[Target<'_>],
        deleted: &mut [Vec<u64>],
    ) -> Result<(), Error> {
        if set.is_empty() {
            return Ok(());
        }
        let set = Arc::new(set);
        let mut work = Vec::new();
        for target in targets {
            let mut first_row = 0;
            for (row_group, rows) in target
                .file
                .footer
                .metadata()
                .row_groups()
                .iter()
                .enumerate()
            {
                work.push(self.look_up_chunk(&set, keys, target, (row_group, first_row)));
                first_row += rows.num_rows() as u64;
            }
        }
        let mut found = stream::iter(work).buffer_unordered(self.cores_count);
        while let Some((input, rows)) = found.try_next().await? {
            merge(&mut deleted[input], rows);
            self.progress.alive();
        }
        Ok(())
    }

    async fn look_up_chunk(
        &self,
        set: &Arc<KeySet>,
        keys: &Arc<Keys>,
        target: &Target<'_>,
        (row_group, first_row): (usize, u64),
    ) -> Result<(usize, Vec<u64>), Error> {
        let chunk = self.chunk(target.file, &target.origins, row_group).await?;
        let (set, keys, stop) = (Arc::clone(set), Arc::clone(keys), self.stop.clone());
        let sequence_number = target.sequence_number;
        let found = self.on_a_core(chunk.location.clone(), move || {
            let mut found = Vec::new();
            let mut row = first_row;
            for batch in KeyBatches::open(keys, chunk, BATCH_ROWS)? {
                if stop.is_cancelled() {
                    return Err(Error::Stopped);
                }
                for key in &batch? {
                    if set.deletes(key.as_ref(), sequence_number) {
                        found.push(row);
                    }
                    row += 1;
                }
            }
            Ok(found)
        });
        Ok((target.input, found.await?))
    }

    /// Decodes the file at `location` on a thread that may block.
    async fn on_a_core<T: Send + 'static>(
        &self,
        location: String,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let core = Arc::clone(&self.cores).acquire_owned().await;
        let core = core.expect("the semaphore is never closed");
        let run = tokio::task::spawn_blocking(move || {
            let _core = core;
            guarded(&location, work)
        });
        run.await.map_err(|lost| Error::Lost(lost.to_string()))?
    }
}

/// A row group of a delete file, read so far.
struct Reading {
    batches: KeyBatches,
    set: KeySet,
    sequence_number: i64,
    ended: bool,
}

impl Reading {
    fn fill(&mut self, budget_bytes: u64, stop: &CancellationToken) -> Result<(), Error> {
        for batch in &mut self.batches {
            if stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            for key in &batch? {
                self.set.insert(key.as_ref(), self.sequence_number);
            }
            if self.set.bytes() >= budget_bytes {
                return Ok(());
            }
        }
        self.ended = true;
        Ok(())
    }
}
