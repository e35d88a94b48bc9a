//! A catalog that behaves as a REST server does, and lets something happen between two of its loads.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use catalog::{Catalog, Error, Listed, NewTable, Prepared, SqlCatalog, Table, Territory};
use futures::future::BoxFuture;
use metadata::{Requirement, TableMetadata, Update};
use model::TableName;

/// As a REST server: it writes the metadata itself, checks the requirements on the table as it is
/// by then, and drops the refs of the snapshots it removes, as Java's builder does.
pub(crate) struct RestLike {
    inner: Arc<SqlCatalog>,
    before_load: Mutex<Option<(u32, Pending)>>,
}

type Pending = BoxFuture<'static, ()>;

impl RestLike {
    pub(crate) fn new(inner: Arc<SqlCatalog>) -> Self {
        let before_load = Mutex::new(None);
        Self { inner, before_load }
    }

    /// Something else happens just before the load of this number, the first being 1.
    pub(crate) fn before_load(self, number: u32, happens: Pending) -> Self {
        *self.before_load.lock().unwrap() = Some((number, happens));
        self
    }
}

impl fmt::Debug for RestLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RestLike").field(&self.inner).finish()
    }
}

#[async_trait]
impl Catalog for RestLike {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn namespaces(&self) -> Result<Vec<Vec<String>>, Error> {
        self.inner.namespaces().await
    }

    async fn namespace_properties(
        &self,
        namespace: &[String],
    ) -> Result<BTreeMap<String, String>, Error> {
        self.inner.namespace_properties(namespace).await
    }

    async fn tables(&self, namespace: &[String]) -> Result<Vec<Listed>, Error> {
        self.inner.tables(namespace).await
    }

    async fn load(&self, table: &TableName) -> Result<Table, Error> {
        let due = {
            let mut before = self.before_load.lock().unwrap();
            match before.take() {
                Some((1, happens)) => Some(happens),
                Some((number, happens)) => {
                    *before = Some((number - 1, happens));
                    None
                }
                None => None,
            }
        };
        if let Some(happens) = due {
            happens.await;
        }
        self.inner.load(table).await
    }

    async fn earlier(
        &self,
        table: &Table,
        metadata_location: &str,
    ) -> Result<Option<Arc<TableMetadata>>, Error> {
        self.inner.earlier(table, metadata_location).await
    }

    async fn create_namespace(
        &self,
        namespace: &[String],
        properties: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        self.inner.create_namespace(namespace, properties).await
    }

    async fn create_table(&self, table: &TableName, new: NewTable) -> Result<Table, Error> {
        self.inner.create_table(table, new).await
    }

    fn next_metadata_location(&self, _: &Table) -> Option<String> {
        None
    }

    async fn prepare(
        &self,
        base: &Table,
        requirements: Vec<Requirement>,
        updates: Vec<Update>,
        _: Option<String>,
    ) -> Result<Prepared, Error> {
        Ok(Prepared {
            base: base.clone(),
            requirements,
            updates,
            metadata: base.metadata.clone(),
            metadata_location: String::new(),
        })
    }

    async fn swap(
        &self,
        prepared: &Prepared,
        _: Option<&pg::Transaction<'_>>,
    ) -> Result<Table, Error> {
        let latest = self.inner.load(&prepared.base.name).await?;
        for requirement in &prepared.requirements {
            let met = requirement.check(Some(&latest.metadata));
            met.map_err(|why| Error::Conflict {
                table: latest.name.clone(),
                why,
            })?;
        }
        let removed = prepared.updates.iter().filter_map(|update| match update {
            Update::RemoveSnapshots { snapshot_ids } => Some(snapshot_ids),
            _ => None,
        });
        let removed: HashSet<i64> = removed.flatten().copied().collect();
        let refs = latest.metadata.refs().iter();
        let dropped = refs.filter(|(_, reference)| removed.contains(&reference.snapshot_id));
        let mut updates: Vec<Update> = dropped
            .map(|(name, _)| Update::RemoveSnapshotRef {
                ref_name: name.clone(),
            })
            .collect();
        updates.extend(prepared.updates.iter().cloned());
        self.inner.commit(&latest, Vec::new(), updates).await
    }

    fn swaps_within(&self) -> bool {
        false
    }

    fn swaps_by_location(&self) -> bool {
        false
    }

    async fn clock_ms(&self) -> Result<Option<i64>, Error> {
        self.inner.clock_ms().await
    }

    async fn locations(&self) -> Result<Vec<(TableName, String)>, Error> {
        self.inner.locations().await
    }

    async fn territories(&self, alive: &(dyn Fn() + Send + Sync)) -> Result<Vec<Territory>, Error> {
        self.inner.territories(alive).await
    }
}
