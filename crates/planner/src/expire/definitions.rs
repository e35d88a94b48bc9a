//! `clean_expired_metadata`: which partition specs and schemas nothing needs any more.

use std::collections::{BTreeSet, HashSet};

use metadata::{Schema, TableMetadata};

use super::Plan;

/// What the manifests of the snapshots that stay need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needed {
    /// Specs they are written under.
    pub specs: HashSet<i32>,
    /// Some track delete files, which may compare columns that only an old schema knows.
    pub delete_files: bool,
}

impl Plan {
    /// Whether `needed` must be found out: there is something to remove, and it was asked for.
    pub fn cleans(&self, metadata: &TableMetadata) -> bool {
        self.options.clean_expired_metadata
            && (metadata.specs().len() > 1 || metadata.schemas().len() > 1)
    }

    /// Adds the specs and schemas to remove. A schema goes only when no snapshot that stays was
    /// written under it and no column that still matters is known to it alone.
    #[must_use]
    pub fn clean(mut self, metadata: &TableMetadata, needed: &Needed) -> Self {
        let default = metadata.default_spec().spec_id;
        let (specs, unneeded): (Vec<_>, Vec<_>) = metadata
            .specs()
            .iter()
            .partition(|spec| spec.spec_id == default || needed.specs.contains(&spec.spec_id));
        self.remove_specs = unneeded.iter().map(|spec| spec.spec_id).collect();

        let expired: HashSet<i64> = self.expire.iter().map(|gone| gone.snapshot_id).collect();
        let stay = || {
            let snapshots = metadata.snapshots().iter();
            snapshots.filter(|snapshot| !expired.contains(&snapshot.snapshot_id))
        };
        // A snapshot that does not say its schema may have been written under any.
        if stay().any(|snapshot| snapshot.schema_id.is_none()) {
            return self;
        }
        let mut schemas: BTreeSet<i32> = stay().filter_map(|snapshot| snapshot.schema_id).collect();
        schemas.insert(metadata.current_schema().schema_id);
        let spec_sources = specs
            .iter()
            .flat_map(|spec| &spec.fields)
            .map(|field| field.source_id);
        let order_sources = metadata
            .sort_orders()
            .iter()
            .flat_map(|order| &order.fields);
        let sources: HashSet<i32> = spec_sources
            .chain(order_sources.map(|field| field.source_id))
            .collect();
        // Newest first, so that the newest schema that knows a column stays.
        for schema in metadata.schemas().iter().rev() {
            let known = |id: i32| {
                let stays = |id: &i32| metadata.schema(*id);
                schemas
                    .iter()
                    .filter_map(stays)
                    .any(|kept| kept.field(id).is_some())
            };
            let matters = |id: i32| needed.delete_files || sources.contains(&id);
            if !schemas.contains(&schema.schema_id)
                && field_ids(schema)
                    .into_iter()
                    .any(|id| matters(id) && !known(id))
            {
                schemas.insert(schema.schema_id);
            }
        }
        let all = metadata.schemas().iter().map(|schema| schema.schema_id);
        self.remove_schemas = all.filter(|id| !schemas.contains(id)).collect();
        self
    }
}

fn field_ids(schema: &Schema) -> Vec<i32> {
    let mut ids = Vec::new();
    schema.walk(&mut |field| ids.push(field.id));
    ids
}
