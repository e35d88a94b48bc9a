//! A catalog whose loads a test counts, holds up and makes fail.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use catalog::{Catalog, Error, Listed, NewTable, Prepared, SqlCatalog, Table, Territory};
use futures::future::BoxFuture;
use metadata::{Requirement, TableMetadata, Update};
use model::{Advice, TableName};

type Hook = Box<dyn Fn(usize, TableName) -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

pub(crate) struct Watched {
    pub(crate) inner: Arc<SqlCatalog>,
    /// Asked before each load, with how many there were before.
    hook: Hook,
    loads: Mutex<Vec<TableName>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

/// As a server that does not answer.
pub(crate) fn down() -> Error {
    Error::Failed {
        doing: "load a table".to_owned(),
        advice: Advice::RetryLater,
        source: "connection refused".into(),
    }
}

impl Watched {
    pub(crate) fn new(
        inner: &Arc<SqlCatalog>,
        hook: impl Fn(usize, TableName) -> BoxFuture<'static, Result<(), Error>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            hook: Box::new(hook),
            loads: Mutex::default(),
            now: AtomicUsize::default(),
            most: AtomicUsize::default(),
        })
    }

    /// The tables loaded, in order.
    pub(crate) fn loads(&self) -> Vec<TableName> {
        self.loads.lock().unwrap().clone()
    }

    /// The most loads side by side.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Catalog for Watched {
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
        let before = {
            let mut loads = self.loads.lock().unwrap();
            loads.push(table.clone());
            loads.len() - 1
        };
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let let_through = (self.hook)(before, table.clone()).await;
        let loaded = match let_through {
            Ok(()) => self.inner.load(table).await,
            Err(error) => Err(error),
        };
        self.now.fetch_sub(1, Ordering::SeqCst);
        loaded
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

    fn next_metadata_location(&self, base: &Table) -> Option<String> {
        self.inner.next_metadata_location(base)
    }

    async fn prepare(
        &self,
        base: &Table,
        requirements: Vec<Requirement>,
        updates: Vec<Update>,
        location: Option<String>,
    ) -> Result<Prepared, Error> {
        self.inner
            .prepare(base, requirements, updates, location)
            .await
    }

    async fn swap(
        &self,
        prepared: &Prepared,
        within: Option<&pg::Transaction<'_>>,
    ) -> Result<Table, Error> {
        self.inner.swap(prepared, within).await
    }

    fn swaps_within(&self) -> bool {
        self.inner.swaps_within()
    }

    fn swaps_by_location(&self) -> bool {
        self.inner.swaps_by_location()
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
