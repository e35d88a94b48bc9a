//! The port every catalog implements, and what passes through it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use metadata::{PartitionSpec, Requirement, Schema, TableMetadata, Update};
use model::TableName;
use storage::Storage;

use crate::{Error, Territory};

/// A table as loaded: immutable, pinned to one metadata file.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: TableName,
    pub metadata_location: String,
    pub metadata: Arc<TableMetadata>,
    /// How to reach its files (later with the table's own vended credentials).
    pub storage: Storage,
}

/// A table as a listing names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: TableName,
    /// Where its metadata lies, from catalogs that tell it without loading the table.
    pub metadata_location: Option<String>,
}

/// What a new table starts with.
#[derive(Debug, Clone)]
pub struct NewTable {
    pub schema: Schema,
    pub spec: PartitionSpec,
    pub properties: BTreeMap<String, String>,
    /// `None`: below the warehouse.
    pub location: Option<String>,
}

/// A commit that is ready to be swapped in. Nothing of it is visible yet.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub base: Table,
    pub requirements: Vec<Requirement>,
    pub updates: Vec<Update>,
    /// What the table will be, and where its metadata file lies (SQL catalogs write it here).
    pub metadata: Arc<TableMetadata>,
    pub metadata_location: String,
}

#[async_trait]
pub trait Catalog: Send + Sync + fmt::Debug {
    /// The catalog's name, as `SNOWPACK_CATALOG_NAME` gave it.
    fn name(&self) -> &str;

    /// Every namespace, nested ones included, each as its levels.
    async fn namespaces(&self) -> Result<Vec<Vec<String>>, Error>;

    /// The properties of `namespace` itself, not those of its parents.
    async fn namespace_properties(
        &self,
        namespace: &[String],
    ) -> Result<BTreeMap<String, String>, Error>;

    /// The tables directly in `namespace`, sorted by name. One whose name we cannot use is left
    /// out and named in a warning.
    async fn tables(&self, namespace: &[String]) -> Result<Vec<Listed>, Error>;

    async fn load(&self, table: &TableName) -> Result<Table, Error>;

    /// The table as it was listed or as it is now, whichever is had for less: a listing that says
    /// where the metadata lies spares the question.
    async fn load_listed(&self, listed: &Listed) -> Result<Table, Error> {
        self.load(&listed.name).await
    }

    /// What `table` was by an earlier metadata document; `None` when that is gone, cannot be
    /// understood or takes more memory than there is.
    async fn earlier(
        &self,
        table: &Table,
        metadata_location: &str,
    ) -> Result<Option<Arc<TableMetadata>>, Error>;

    /// Creates a namespace; one that exists already is left as it is.
    async fn create_namespace(
        &self,
        namespace: &[String],
        properties: &BTreeMap<String, String>,
    ) -> Result<(), Error>;

    async fn create_table(&self, table: &TableName, new: NewTable) -> Result<Table, Error>;

    /// Where [`Catalog::prepare`] would write the next metadata file of `base`, so that it can
    /// be reserved first; `None` when the catalog's server writes it. Different at every call.
    fn next_metadata_location(&self, base: &Table) -> Option<String>;

    /// Checks `requirements` on `base`, applies `updates` and writes the metadata file to
    /// `location` (from [`Catalog::next_metadata_location`]). Nothing is visible yet.
    async fn prepare(
        &self,
        base: &Table,
        requirements: Vec<Requirement>,
        updates: Vec<Update>,
        location: Option<String>,
    ) -> Result<Prepared, Error>;

    /// Makes it visible if the table still is what `prepare` saw. With `within`, a catalog that
    /// lies in that transaction's database swaps in it: nothing has happened until it commits.
    async fn swap(
        &self,
        prepared: &Prepared,
        within: Option<&pg::Transaction<'_>>,
    ) -> Result<Table, Error>;

    /// Whether [`Catalog::swap`] is part of the transaction it is given: then no swap can land
    /// after its attempt is over.
    fn swaps_within(&self) -> bool;

    /// Whether [`Catalog::swap`] takes effect only on the very metadata file that
    /// [`Catalog::prepare`] saw, so that nothing can land between the two unnoticed. A server that
    /// checks the requirements on the table as it is by then does not.
    fn swaps_by_location(&self) -> bool;

    /// The catalog's own clock in milliseconds since the epoch, when it has one.
    async fn clock_ms(&self) -> Result<Option<i64>, Error>;

    /// Every table with the folder its metadata files lie in or below, as far as that can be told
    /// without loading them. Says which tables share a location or lie in one another's.
    async fn locations(&self) -> Result<Vec<(TableName, String)>, Error>;

    /// Every table with every folder its document names: of all catalogs where several share a database.
    /// One that cannot be loaded is an error. Calls `alive` for each that was.
    async fn territories(&self, alive: &(dyn Fn() + Send + Sync)) -> Result<Vec<Territory>, Error>;

    /// Both steps at once, for whoever has no fence.
    async fn commit(
        &self,
        base: &Table,
        requirements: Vec<Requirement>,
        updates: Vec<Update>,
    ) -> Result<Table, Error> {
        let location = self.next_metadata_location(base);
        let prepared = self.prepare(base, requirements, updates, location).await?;
        self.swap(&prepared, None).await
    }
}
