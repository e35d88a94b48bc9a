//! Changes to a document, in the form of the REST specification: what must hold, and what to do.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use crate::document::MAIN;
use crate::{PartitionSpec, Ref, Schema, Snapshot, SortOrder, TableMetadata};

mod apply;

/// One change. Ids of -1 in `set-` updates mean the one added last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "action",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Update {
    AssignUuid {
        uuid: String,
    },
    UpgradeFormatVersion {
        format_version: u8,
    },
    AddSchema {
        schema: Schema,
    },
    SetCurrentSchema {
        schema_id: i32,
    },
    AddSpec {
        spec: PartitionSpec,
    },
    SetDefaultSpec {
        spec_id: i32,
    },
    AddSortOrder {
        sort_order: SortOrder,
    },
    SetDefaultSortOrder {
        sort_order_id: i32,
    },
    AddSnapshot {
        snapshot: Snapshot,
    },
    SetSnapshotRef {
        ref_name: String,
        #[serde(flatten)]
        reference: Ref,
    },
    RemoveSnapshots {
        snapshot_ids: Vec<i64>,
    },
    RemoveSnapshotRef {
        ref_name: String,
    },
    SetLocation {
        location: String,
    },
    SetProperties {
        updates: BTreeMap<String, String>,
    },
    RemoveProperties {
        removals: Vec<String>,
    },
    /// The statistics file's entry, kept as it is.
    SetStatistics {
        statistics: Value,
    },
    RemoveStatistics {
        snapshot_id: i64,
    },
    /// The partition statistics file's entry, kept as it is.
    SetPartitionStatistics {
        partition_statistics: Value,
    },
    RemovePartitionStatistics {
        snapshot_id: i64,
    },
    RemovePartitionSpecs {
        spec_ids: Vec<i32>,
    },
    RemoveSchemas {
        schema_ids: Vec<i32>,
    },
}

/// What must hold at the table for a commit to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Requirement {
    /// There is no such table.
    AssertCreate,
    AssertTableUuid {
        uuid: String,
    },
    /// The ref names this snapshot; `None`: there is no such ref.
    AssertRefSnapshotId {
        r#ref: String,
        snapshot_id: Option<i64>,
    },
    AssertLastAssignedFieldId {
        last_assigned_field_id: i32,
    },
    AssertCurrentSchemaId {
        current_schema_id: i32,
    },
    AssertLastAssignedPartitionId {
        last_assigned_partition_id: i32,
    },
    AssertDefaultSpecId {
        default_spec_id: i32,
    },
    AssertDefaultSortOrderId {
        default_sort_order_id: i32,
    },
}

impl Requirement {
    /// Whether it holds at `table` (`None`: no such table); else why not.
    pub fn check(&self, table: Option<&TableMetadata>) -> Result<(), String> {
        let Some(table) = table else {
            return match self {
                Self::AssertCreate => Ok(()),
                _ => Err("the table does not exist".to_owned()),
            };
        };
        match self {
            Self::AssertCreate => Err("the table exists already".to_owned()),
            Self::AssertTableUuid { uuid } => {
                if uuid.eq_ignore_ascii_case(table.uuid()) {
                    Ok(())
                } else {
                    Err(format!("the table's uuid is {}, not {uuid}", table.uuid()))
                }
            }
            Self::AssertRefSnapshotId {
                r#ref: name,
                snapshot_id,
            } => {
                let kind = if name == MAIN { "branch" } else { "ref" };
                match (
                    table.refs().get(name).map(|named| named.snapshot_id),
                    snapshot_id,
                ) {
                    (found, want) if found == *want => Ok(()),
                    (Some(found), Some(want)) => {
                        Err(format!("{kind} {name} is at snapshot {found}, not {want}"))
                    }
                    (Some(found), None) => {
                        Err(format!("{kind} {name} exists, at snapshot {found}"))
                    }
                    (None, _) => Err(format!("{kind} {name} does not exist")),
                }
            }
            Self::AssertLastAssignedFieldId {
                last_assigned_field_id: want,
            } => same("last column id", table.last_column_id(), *want),
            Self::AssertCurrentSchemaId {
                current_schema_id: want,
            } => same("current schema id", table.current_schema().schema_id, *want),
            Self::AssertLastAssignedPartitionId {
                last_assigned_partition_id: want,
            } => same("last partition field id", table.last_partition_id(), *want),
            Self::AssertDefaultSpecId {
                default_spec_id: want,
            } => same("default spec id", table.default_spec().spec_id, *want),
            Self::AssertDefaultSortOrderId {
                default_sort_order_id: want,
            } => same(
                "default sort order id",
                table.default_sort_order_id(),
                *want,
            ),
        }
    }
}

fn same(what: &str, found: i32, want: i32) -> Result<(), String> {
    if found == want {
        Ok(())
    } else {
        Err(format!("the {what} is {found}, not {want}"))
    }
}
