//! Where the rows of a group go: to the inputs' own partition, or each to the one it has under
//! another spec.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use metadata::PartitionSpec;
use planner::rewrite::{Group, spread};
use tokio_util::sync::CancellationToken;

use super::group::Rewriter;
use super::input::Input;
use super::layout::InputRows;
use super::partition::{PARTITIONS_MAX, Partition, Partitioning, Splitter};
use crate::Error;

/// One partition that outputs are written to.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) spec_id: i32,
    pub(super) partition: Partition,
    /// The partition as paths show it.
    pub(super) path: String,
    pub(super) rows: Vec<Arc<InputRows>>,
    /// How many files they become.
    pub(super) files: usize,
}

impl Rewriter<'_> {
    /// Nothing is written to find this out.
    pub(super) async fn destinations(
        &self,
        group: &Group,
        inputs: &[Input],
        stop: &CancellationToken,
    ) -> Result<Vec<Destination>, Error> {
        if let Some(place) = group.output_place() {
            return Ok(vec![Destination {
                spec_id: place.spec_id,
                partition: place.partition.clone(),
                path: group.partition_path.clone(),
                rows: inputs.iter().map(|input| Arc::clone(&input.rows)).collect(),
                files: group.output_files,
            }]);
        }
        let spec_id = self.plan.output_spec_id;
        let Some(spec) = self.specs.iter().find(|spec| spec.spec_id == spec_id) else {
            return Err(Error::Moved(format!("partition spec {spec_id} is gone")));
        };
        let partitions = self.split(spec, inputs, stop).await?;
        let bytes: Vec<u64> = partitions
            .values()
            .map(|rows| rows.iter().map(|rows| rows.live_bytes()).sum())
            .collect();
        let files = spread(self.plan, group, &bytes).map_err(Error::NotWorth)?;
        let to = partitions.into_iter().zip(files);
        let to = to.map(|((partition, rows), files)| Destination {
            spec_id,
            path: spec.path(&partition),
            partition,
            rows,
            files,
        });
        Ok(to.collect())
    }

    /// The live rows of all inputs by partition.
    async fn split(
        &self,
        spec: &PartitionSpec,
        inputs: &[Input],
        stop: &CancellationToken,
    ) -> Result<BTreeMap<Partition, Vec<Arc<InputRows>>>, Error> {
        let splitter = Splitter {
            partitioning: Arc::new(Partitioning::new(spec, &self.schema.iceberg)?),
            schema: Arc::clone(&self.schema),
            storage: self.storage.clone(),
            machine: self.machine.clone(),
            stop: stop.clone(),
        };
        let splits: Vec<_> = inputs.iter().map(|input| splitter.split(input)).collect();
        let at_once = usize::try_from(self.machine.cores_count).unwrap_or(1);
        let mut splits = stream::iter(splits).buffered(at_once.max(1));
        let mut partitions = BTreeMap::<Partition, Vec<Arc<InputRows>>>::new();
        while let Some(split) = splits.try_next().await? {
            self.attempt.progress.alive();
            for (partition, rows) in split {
                partitions
                    .entry(partition)
                    .or_default()
                    .push(Arc::new(rows));
            }
            if partitions.len() > PARTITIONS_MAX {
                return Err(splitter.partitioning.too_many());
            }
        }
        Ok(partitions)
    }
}
