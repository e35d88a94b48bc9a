//! What can be told of a rewrite beyond its plan, before it is made: which way each column would
//! take, found by looking at the pages of the inputs.

use std::sync::Arc;

use catalog::Table;
use planner::Unwatched;
use planner::rewrite::{Group, Plan};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::group::{limits, wanted};
use super::input::Opening;
use super::layout::lay_out;
use super::row_group::{Encoder, Machine};
use super::ways::Way;
use crate::Error;
use crate::files::output::column_writers;
use crate::files::properties::WriteSettings;
use crate::files::schema::WriteSchema;

/// How the first row group of a group's first output would be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// As the plan says it.
    pub partition_path: String,
    /// Rows of the row group.
    pub rows: u64,
    /// In the order of the schema; empty when the group has no row.
    pub columns: Vec<ColumnPreview>,
}

/// Which way a column would take, and why no cheaper one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnPreview {
    pub column: String,
    /// `copied`, `remapped`, `unpacked` or `transcoded`.
    pub way: &'static str,
    pub reason: Option<String>,
}

/// Looks at the inputs of the plan's first `groups`, reading what their first row groups are made
/// of; changes nothing. `None`: the group's rows are looked at one by one, to sort them, to apply
/// equality deletes or to find their partitions, before it is known which of them a row group has.
pub async fn preview(
    table: &Table,
    plan: &Plan,
    groups: usize,
    (cores, memory_bytes): (usize, u64),
) -> Result<Vec<Option<Preview>>, Error> {
    let schema = table.metadata.schema(plan.schema_id);
    let schema =
        schema.ok_or_else(|| Error::Moved(format!("schema {} is gone", plan.schema_id)))?;
    let schema = Arc::new(WriteSchema::new(schema)?);
    let looking = Looking {
        table,
        settings: WriteSettings::new(&table.metadata, &schema)?,
        schema,
        machine: Machine::new(cores, memory_bytes),
        memory_bytes,
    };
    let mut previews = Vec::new();
    for group in plan.groups.iter().take(groups) {
        let unknown = plan.sorting.is_some() || group.moves || !group.equality_deletes.is_empty();
        previews.push(if unknown {
            None
        } else {
            Some(looking.at(group).await?)
        });
    }
    Ok(previews)
}

struct Looking<'a> {
    table: &'a Table,
    schema: Arc<WriteSchema>,
    settings: WriteSettings,
    machine: Machine,
    memory_bytes: u64,
}

impl Looking<'_> {
    async fn at(&self, group: &Group) -> Result<Preview, Error> {
        let stop = CancellationToken::new();
        let opening = Opening {
            storage: &self.table.storage,
            schema: &self.schema,
            specs: self.table.metadata.specs(),
            memory_bytes: self.memory_bytes,
            progress: &Unwatched,
            stop: &stop,
        };
        let inputs = opening.open(group, 0).await?;
        let rows: Vec<_> = inputs.iter().map(|input| Arc::clone(&input.rows)).collect();
        let limits = limits(&self.settings, self.memory_bytes);
        let mut preview = Preview {
            partition_path: group.partition_path.clone(),
            rows: 0,
            columns: Vec::new(),
        };
        let files = lay_out(&rows, group.output_files, limits);
        let Some(first) = files.first().and_then(|file| file.first()) else {
            return Ok(preview);
        };
        let properties = Arc::new(self.settings.writer.clone());
        let encoder = Encoder {
            storage: self.table.storage.clone(),
            factory: column_writers(&self.schema, &properties)?,
            wanted: wanted(&self.schema, &properties),
            schema: Arc::clone(&self.schema),
            inputs: Arc::new(inputs),
            machine: self.machine.clone(),
            turn: Arc::new(Semaphore::new(1)),
            stop,
        };
        preview.rows = first.rows;
        let fields = self.schema.arrow.fields().iter();
        let columns = fields.zip(encoder.ways(first).await?);
        preview.columns = columns
            .map(|(field, way)| ColumnPreview {
                column: field.name().clone(),
                way: way.as_str(),
                reason: match way {
                    Way::Transcode(reason) => Some(reason.to_string()),
                    _ => None,
                },
            })
            .collect();
        Ok(preview)
    }
}
