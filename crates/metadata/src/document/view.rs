//! Reads the typed views of a document, and checks what every reader relies on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::log::{LogEntry, SnapshotLogEntry, StatisticsFile, listed};
use super::snapshot::read_strings;
use super::{MAIN, Places, Ref, Snapshot, SortOrder};
use crate::json::{At, optional};
use crate::spec::FIRST_PARTITION_FIELD_ID;
use crate::{Error, PartitionSpec, Schema};

/// Format versions read; writers refuse what they cannot write.
const FORMAT_VERSION_MAX: i32 = 3;

#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) format_version: u8,
    pub(super) uuid: String,
    pub(super) location: String,
    pub(super) last_sequence_number: i64,
    pub(super) last_updated_ms: i64,
    pub(super) last_column_id: i32,
    pub(super) last_partition_id: i32,
    pub(super) schemas: Vec<Arc<Schema>>,
    /// Place of the current schema in `schemas`.
    pub(super) current_schema: usize,
    pub(super) specs: Vec<Arc<PartitionSpec>>,
    /// Place of the default spec in `specs`.
    pub(super) default_spec: usize,
    pub(super) sort_orders: Vec<SortOrder>,
    pub(super) default_sort_order_id: i32,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) snapshot_at: Places,
    pub(super) refs: BTreeMap<String, Ref>,
    pub(super) next_row_id: Option<i64>,
    pub(super) statistics: Vec<StatisticsFile>,
    pub(super) partition_statistics: Vec<StatisticsFile>,
    pub(super) metadata_log: Vec<LogEntry>,
    pub(super) snapshot_log: Vec<SnapshotLogEntry>,
}

impl View {
    pub(super) fn read(at: At<'_>) -> Result<Self, Error> {
        let version = at.require("format-version")?.i32()?;
        if version > FORMAT_VERSION_MAX {
            return Err(Error::Unsupported(format!(
                "table metadata: format version {version} is newer than {FORMAT_VERSION_MAX}"
            )));
        }
        if version < 1 {
            return Err(at.error(format!("there is no format version {version}")));
        }
        let (schemas, current_schema) = read_schemas(at, version)?;
        let (specs, default_spec, last_partition_id) = read_specs(at, version)?;
        let (snapshots, snapshot_at) = read_snapshots(at, version)?;
        let view = Self {
            format_version: version as u8,
            uuid: match version {
                1 => optional!(at, "table-uuid", str)
                    .unwrap_or_default()
                    .to_owned(),
                _ => at.require("table-uuid")?.str()?.to_owned(),
            },
            location: at.require("location")?.str()?.to_owned(),
            last_sequence_number: match version {
                1 => 0,
                _ => at.require("last-sequence-number")?.i64()?,
            },
            last_updated_ms: at.require("last-updated-ms")?.i64()?,
            last_column_id: at.require("last-column-id")?.i32()?,
            last_partition_id,
            schemas,
            current_schema,
            specs,
            default_spec,
            sort_orders: match at.get("sort-orders")? {
                Some(orders) => orders.each(SortOrder::read)?,
                None => vec![SortOrder {
                    order_id: 0,
                    fields: Vec::new(),
                }],
            },
            default_sort_order_id: optional!(at, "default-sort-order-id", i32).unwrap_or(0),
            properties: match at.get("properties")? {
                Some(properties) => read_strings(properties)?,
                None => BTreeMap::new(),
            },
            refs: read_refs(at, &snapshot_at)?,
            snapshots,
            snapshot_at,
            next_row_id: optional!(at, "next-row-id", i64),
            statistics: listed(at, "statistics", StatisticsFile::read)?,
            partition_statistics: listed(at, "partition-statistics", StatisticsFile::read)?,
            metadata_log: listed(at, "metadata-log", LogEntry::read)?,
            snapshot_log: listed(at, "snapshot-log", SnapshotLogEntry::read)?,
        };
        view.check(at)?;
        Ok(view)
    }

    /// What Java checks when it builds the document.
    fn check(&self, at: At<'_>) -> Result<(), Error> {
        let last = self.last_sequence_number;
        if let Some(late) = self
            .snapshots
            .iter()
            .find(|snapshot| snapshot.sequence_number > last)
            && self.format_version > 1
        {
            return Err(at.error(format!(
                "snapshot {} has sequence number {}, beyond last-sequence-number {last}",
                late.snapshot_id, late.sequence_number
            )));
        }
        let order = self.default_sort_order_id;
        if !self.sort_orders.iter().any(|known| known.order_id == order) {
            return Err(at.error(format!("default-sort-order-id {order} is in no sort order")));
        }
        if self.format_version > 2 && self.next_row_id.is_none() {
            return Err(at.error("field `next-row-id` is missing"));
        }
        Ok(())
    }
}

fn read_schemas(at: At<'_>, version: i32) -> Result<(Vec<Arc<Schema>>, usize), Error> {
    let listed = match at.get("schemas")? {
        Some(list) => Some(list.each(|schema| Schema::read(schema).map(Arc::new))?),
        None => None,
    };
    let (schemas, current) = match listed {
        Some(schemas) => (schemas, at.require("current-schema-id")?.i32()?),
        None if version == 1 => {
            let only = Schema::read(at.require("schema")?)?;
            let id = only.schema_id;
            (vec![Arc::new(only)], id)
        }
        None => return Err(at.error("field `schemas` is missing")),
    };
    let place = schemas
        .iter()
        .position(|schema| schema.schema_id == current);
    let place =
        place.ok_or_else(|| at.error(format!("current-schema-id {current} is in no schema")))?;
    Ok((schemas, place))
}

fn read_specs(at: At<'_>, version: i32) -> Result<(Vec<Arc<PartitionSpec>>, usize, i32), Error> {
    let listed = match at.get("partition-specs")? {
        Some(list) => Some(list.each(PartitionSpec::read)?),
        None => None,
    };
    let (mut specs, default) = match listed {
        Some(specs) => (specs, at.require("default-spec-id")?.i32()?),
        None if version == 1 => (vec![PartitionSpec::read(at.require("partition-spec")?)?], 0),
        None => return Err(at.error("field `partition-specs` is missing")),
    };
    // Old v1 documents have no partition field ids: they count from 1000 in every spec.
    for spec in &mut specs {
        spec.assign_ids(FIRST_PARTITION_FIELD_ID - 1);
    }
    let highest = specs
        .iter()
        .flat_map(|spec| &spec.fields)
        .map(|field| field.field_id)
        .max();
    let highest = highest.unwrap_or(FIRST_PARTITION_FIELD_ID - 1);
    let last = match optional!(at, "last-partition-id", i32) {
        Some(last) => last,
        None if version == 1 => highest,
        None => return Err(at.error("field `last-partition-id` is missing")),
    };
    let place = specs.iter().position(|spec| spec.spec_id == default);
    let place =
        place.ok_or_else(|| at.error(format!("default-spec-id {default} is in no spec")))?;
    Ok((specs.into_iter().map(Arc::new).collect(), place, last))
}

fn read_snapshots(at: At<'_>, version: i32) -> Result<(Vec<Snapshot>, Places), Error> {
    let mut snapshots = listed(at, "snapshots", Snapshot::read)?;
    if version == 1 {
        // Whatever a writer noted, format v1 has no order but time.
        for snapshot in &mut snapshots {
            snapshot.sequence_number = 0;
        }
    }
    let mut places = Places::with_capacity(snapshots.len());
    for (place, snapshot) in snapshots.iter().enumerate() {
        if places.insert(snapshot.snapshot_id, place).is_some() {
            return Err(at.error(format!("snapshot {} stands twice", snapshot.snapshot_id)));
        }
    }
    Ok((snapshots, places))
}

fn read_refs(at: At<'_>, snapshots: &Places) -> Result<BTreeMap<String, Ref>, Error> {
    let mut refs: BTreeMap<String, Ref> = match at.get("refs")? {
        Some(refs) => refs
            .entries(|name, entry| Ok((name.to_owned(), Ref::read(entry)?)))?
            .into_iter()
            .collect(),
        None => BTreeMap::new(),
    };
    // -1 is how older writers say "none".
    let current = optional!(at, "current-snapshot-id", i64).filter(|id| *id != -1);
    match (current, refs.get(MAIN)) {
        (Some(current), None) => drop(refs.insert(MAIN.to_owned(), Ref::branch(current))),
        (Some(current), Some(main)) if main.snapshot_id != current => {
            return Err(at.error(format!(
                "current-snapshot-id {current} is not the head of main, {}",
                main.snapshot_id
            )));
        }
        _ => {}
    }
    match refs
        .iter()
        .find(|(_, named)| !snapshots.contains_key(&named.snapshot_id))
    {
        Some((name, lost)) => Err(at.error(format!(
            "ref `{name}` names snapshot {}, which is not there",
            lost.snapshot_id
        ))),
        None => Ok(refs),
    }
}
