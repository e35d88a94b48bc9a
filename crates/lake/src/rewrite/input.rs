//! The inputs of a group: all are opened, matched with the output's schema and counted before any
//! row is written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use metadata::{Literal, PartitionSpec};
use planner::Progress;
use planner::rewrite::{self, Group, Place};
use storage::Storage;
use tokio_util::sync::CancellationToken;

use super::layout::{InputRows, Slice};
use crate::Error;
use crate::deletes::{Bounds, DeleteScope, Positions, Wanted, read_positions};
use crate::files::constant::identities;
use crate::files::schema::WriteSchema;
use crate::files::shape::{Matched, Origin, match_column};
use crate::files::source::InputFile;

/// Inputs opened at once.
const OPENS_MAX: usize = 16;

/// One input of a group.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) file: InputFile,
    pub(crate) rows: Arc<InputRows>,
    /// By output column: where its values come from.
    pub(crate) columns: Vec<Origin>,
}

impl Input {
    /// All bytes of a small input; they are kept no longer when these are its last rows.
    pub(crate) async fn whole(
        &self,
        storage: &Storage,
        rows: &Slice,
    ) -> Result<Option<Bytes>, Error> {
        let whole = self.file.whole(storage).await?;
        if rows.ends_the_file() {
            self.file.forget();
        }
        Ok(whole)
    }
}

/// Opens the inputs of groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening<'a> {
    pub(super) storage: &'a Storage,
    /// Of the outputs.
    pub(super) schema: &'a WriteSchema,
    pub(super) specs: &'a [Arc<PartitionSpec>],
    /// Of the action, in bytes.
    pub(super) memory_bytes: u64,
    pub(super) progress: &'a dyn Progress,
    pub(super) stop: &'a CancellationToken,
}

impl Opening<'_> {
    /// The inputs without the rows that position deletes take. Small ones are kept from here on,
    /// `keep` bytes in all, so that one request reads each.
    pub(super) async fn open(&self, group: &Group, mut keep: u64) -> Result<Vec<Input>, Error> {
        let mut positions = self.positions(group).await?;
        let identities: Vec<_> = group.places.iter().map(|at| self.identities(at)).collect();
        let opens = group.inputs.iter().enumerate().map(|(index, input)| {
            let kept = InputFile::is_small(input.bytes) && input.bytes <= keep;
            if kept {
                keep -= input.bytes;
            }
            let deleted = positions.remove(&input.path).unwrap_or_default();
            self.open_one((index, input), deleted, &identities[input.place], kept)
        });
        let opens: Vec<_> = opens.collect();
        stream::iter(opens).buffered(OPENS_MAX).try_collect().await
    }

    async fn open_one(
        &self,
        (index, input): (usize, &rewrite::Input),
        deleted: Vec<u64>,
        identities: &HashMap<i32, Literal>,
        keep: bool,
    ) -> Result<Input, Error> {
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let (bytes, records) = (input.bytes, input.records);
        let file = InputFile::open(self.storage, &input.path, bytes, records, keep).await?;
        self.progress.alive();
        let matched = Matched {
            location: &file.location,
            identities,
        };
        let fields = file.footer.schema().fields();
        let wanted = &self.schema.iceberg.root.fields;
        let columns = wanted.iter().zip(self.schema.arrow.fields());
        let columns = columns
            .map(|(wanted, target)| match_column(wanted, target, fields, matched))
            .collect::<Result<_, _>>()?;
        let rows = InputRows::without(index, bytes, records, deleted);
        Ok(Input {
            file,
            rows: Arc::new(rows),
            columns,
        })
    }

    /// What the inputs of a place need not store themselves.
    fn identities(&self, place: &Place) -> HashMap<i32, Literal> {
        let mut specs = self.specs.iter();
        let spec = specs.find(|spec| spec.spec_id == place.spec_id);
        let identities = spec.map(|spec| identities(spec, &place.partition));
        identities.unwrap_or_default()
    }

    async fn positions(&self, group: &Group) -> Result<Positions, Error> {
        let mut wanted = HashMap::<&str, HashSet<String>>::new();
        for input in &group.inputs {
            for delete in &input.deletes {
                wanted.entry(delete).or_default().insert(input.path.clone());
            }
        }
        let scopes = group.position_deletes.iter().map(|delete| DeleteScope {
            location: delete.path.clone(),
            bytes: delete.bytes,
            records: delete.records,
            wanted: Wanted::These(wanted.remove(delete.path.as_str()).unwrap_or_default()),
        });
        let scopes: Vec<DeleteScope> = scopes.collect();
        if let Some(unknown) = wanted.keys().next() {
            return Err(Error::Refused(format!(
                "{unknown} is not among the group's deletes"
            )));
        }
        let bounds = Bounds::new(self.memory_bytes, self.stop.clone());
        read_positions(self.storage, scopes, &bounds, self.progress).await
    }
}
