//! The SQL catalog in the JDBC layout that PyIceberg and Java share, on Postgres.
//!
//! A row of `iceberg_tables` names a table's metadata file; a commit is a compare-and-swap of
//! that column. Works with and without the column `iceberg_type` (layouts V1 and V0).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use metadata::{Requirement, TableMetadata, Update};
use model::TableName;
use storage::Storage;
use uuid::Uuid;

use crate::documents::{self, Documents};
use crate::{Catalog, Error, Listed, NewTable, Prepared, Table, Territory, place};

mod rows;

use rows::{Entry, Rows};

/// Tables loaded at once, when all are.
const LOADS_AT_ONCE: usize = 8;

/// A catalog of Postgres rows.
pub struct SqlCatalog {
    rows: Rows,
    storage: Storage,
    warehouse: Option<String>,
    /// Whether the caller's transactions reach our rows.
    shared: bool,
    documents: Documents,
}

impl SqlCatalog {
    /// Opens the catalog `name` in `pool`'s database and makes its tables if there are none.
    pub async fn open(
        name: &str,
        pool: pg::Pool,
        database: Option<&pg::Pool>,
        storage: &Storage,
        warehouse: Option<&str>,
    ) -> Result<Self, Error> {
        if let Some(warehouse) = warehouse {
            place::check(warehouse)?;
        }
        let rows = Rows::new(name, pool);
        rows.create_tables().await?;
        let shared = match database {
            Some(database) => rows.lie_in(database).await?,
            None => false,
        };
        tracing::debug!(
            catalog = name,
            place = rows.place(),
            shared,
            "catalog opened"
        );
        let warehouse = warehouse.map(str::to_owned);
        Ok(Self {
            rows,
            storage: storage.clone(),
            warehouse,
            shared,
            documents: Documents::default(),
        })
    }

    /// Documents of tables are read in so much memory: all at once, and each by itself.
    #[must_use]
    pub fn within(mut self, memory_bytes: u64) -> Self {
        self.documents = Documents::within(memory_bytes);
        self
    }

    async fn table_at(&self, name: &TableName, metadata_location: String) -> Result<Table, Error> {
        let read = self.documents.read(&self.storage, &metadata_location);
        let metadata = read.await.map_err(|source| Error::Failed {
            doing: match source {
                documents::Error::Metadata(_) => {
                    format!("understand the metadata of {name} at {metadata_location}")
                }
                _ => format!("read the metadata of {name}"),
            },
            advice: source.advice(),
            source: source.into(),
        })?;
        let (name, storage) = (name.clone(), self.storage.clone());
        Ok(Table {
            name,
            metadata_location,
            metadata,
            storage,
        })
    }

    async fn territory(&self, entry: &Entry) -> Result<Territory, Error> {
        let (name, location) = (entry.name()?, entry.metadata_location.clone());
        Ok(Territory::of(&self.table_at(&name, location).await?))
    }

    async fn write(
        &self,
        table: &TableName,
        metadata: &TableMetadata,
        location: &str,
    ) -> Result<(), Error> {
        let bytes = place::file_bytes(metadata, location);
        self.storage
            .write_new(location, bytes.into())
            .await
            .map_err(|source| Error::Failed {
                doing: format!("write the metadata of {table}"),
                advice: source.advice(),
                source: source.into(),
            })
    }

    /// Where a table without a location of its own goes.
    async fn default_location(&self, table: &TableName) -> Result<String, Error> {
        let namespace = rows::namespace_key(table.namespace())?;
        if let Some(location) = self.rows.namespace_location(&namespace).await? {
            return place::below(&location, None, table);
        }
        match &self.warehouse {
            Some(warehouse) => place::below(warehouse, Some(&namespace), table),
            None => Err(Error::Unsupported(format!(
                "{table} has no place: set SNOWPACK_WAREHOUSE or give it a location"
            ))),
        }
    }
}

impl fmt::Debug for SqlCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlCatalog")
            .field("name", &self.rows.catalog())
            .field("place", &self.rows.place())
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Catalog for SqlCatalog {
    fn name(&self) -> &str {
        self.rows.catalog()
    }

    async fn namespaces(&self) -> Result<Vec<Vec<String>>, Error> {
        let mut all = BTreeSet::new();
        for namespace in self.rows.namespaces().await? {
            let levels: Vec<String> = namespace.split('.').map(str::to_owned).collect();
            if let Err(error) = TableName::new(&levels, "t") {
                let (catalog, why) = (self.name(), error.why);
                tracing::warn!(catalog, namespace, why, "namespace left out of the list");
                continue;
            }
            // A namespace's parents exist with it, also when they hold nothing themselves.
            for depth in 1..=levels.len() {
                all.insert(levels[..depth].to_vec());
            }
        }
        Ok(all.into_iter().collect())
    }

    async fn namespace_properties(
        &self,
        namespace: &[String],
    ) -> Result<BTreeMap<String, String>, Error> {
        let key = rows::namespace_key(namespace)?;
        let properties = self.rows.namespace_properties(&key).await?;
        if properties.is_empty() && !self.rows.namespace_exists(&key).await? {
            return Err(Error::NoSuchNamespace(key));
        }
        Ok(properties)
    }

    async fn tables(&self, namespace: &[String]) -> Result<Vec<Listed>, Error> {
        let key = rows::namespace_key(namespace)?;
        let found = self.rows.tables(&key).await?;
        if found.is_empty() && !self.rows.namespace_exists(&key).await? {
            return Err(Error::NoSuchNamespace(key));
        }
        let usable = |(table, metadata_location)| match TableName::new(namespace, table) {
            Ok(name) => Some(Listed {
                name,
                metadata_location,
            }),
            Err(error) => {
                tracing::warn!(catalog = self.name(), %error, "table left out of the list");
                None
            }
        };
        let mut listed: Vec<Listed> = found.into_iter().filter_map(usable).collect();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }

    async fn load(&self, table: &TableName) -> Result<Table, Error> {
        let location = self.rows.metadata_location(table).await?;
        self.table_at(
            table,
            location.ok_or_else(|| Error::NoSuchTable(table.clone()))?,
        )
        .await
    }

    async fn load_listed(&self, listed: &Listed) -> Result<Table, Error> {
        if let Some(location) = &listed.metadata_location
            && let Ok(table) = self.table_at(&listed.name, location.clone()).await
        {
            return Ok(table);
        }
        // It may have moved on, and the file it was listed with be gone.
        self.load(&listed.name).await
    }

    async fn earlier(
        &self,
        table: &Table,
        metadata_location: &str,
    ) -> Result<Option<Arc<TableMetadata>>, Error> {
        let read = self
            .documents
            .read_earlier(&table.storage, metadata_location);
        read.await.map_err(|source| Error::Failed {
            doing: format!("read an earlier metadata file of {}", table.name),
            advice: source.advice(),
            source: source.into(),
        })
    }

    async fn create_namespace(
        &self,
        namespace: &[String],
        properties: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        self.rows
            .insert_namespace(&rows::namespace_key(namespace)?, properties)
            .await
    }

    async fn create_table(&self, table: &TableName, new: NewTable) -> Result<Table, Error> {
        let namespace = rows::namespace_key(table.namespace())?;
        if !self.rows.namespace_exists(&namespace).await? {
            return Err(Error::NoSuchNamespace(namespace));
        }
        // The insert decides; this only spares the file of a table that cannot be made.
        if self.rows.metadata_location(table).await?.is_some() {
            return Err(Error::TableExists(table.clone()));
        }
        let location = match &new.location {
            Some(location) => {
                place::check(location)?;
                location.trim_end_matches('/').to_owned()
            }
            None => self.default_location(table).await?,
        };
        let now_ms = self.rows.now_ms().await?;
        let uuid = Uuid::new_v4().to_string();
        let metadata = TableMetadata::new(
            &uuid,
            &location,
            &new.schema,
            &new.spec,
            new.properties,
            now_ms,
        )
        .map_err(|source| Error::Failed {
            doing: format!("make the metadata of {table}"),
            advice: source.advice(),
            source: source.into(),
        })?;
        let metadata_location = place::metadata_location(&metadata, 0);
        self.write(table, &metadata, &metadata_location).await?;
        self.rows.insert_table(table, &metadata_location).await?;
        let (name, storage) = (table.clone(), self.storage.clone());
        Ok(Table {
            name,
            metadata_location,
            metadata: Arc::new(metadata),
            storage,
        })
    }

    fn next_metadata_location(&self, base: &Table) -> Option<String> {
        let version = place::next_version(&base.metadata_location);
        Some(place::metadata_location(&base.metadata, version))
    }

    async fn prepare(
        &self,
        base: &Table,
        requirements: Vec<Requirement>,
        updates: Vec<Update>,
        location: Option<String>,
    ) -> Result<Prepared, Error> {
        for requirement in &requirements {
            requirement
                .check(Some(&base.metadata))
                .map_err(|why| Error::Conflict {
                    table: base.name.clone(),
                    why,
                })?;
        }
        let now_ms = self.rows.now_ms().await?;
        let metadata = base
            .metadata
            .apply(&updates, now_ms)
            .map_err(|source| Error::Failed {
                doing: format!("apply the updates to {}", base.name),
                advice: source.advice(),
                source: source.into(),
            })?
            .with_metadata_log(&base.metadata_location, base.metadata.last_updated_ms());
        let location = location
            .or_else(|| self.next_metadata_location(base))
            .unwrap_or_default();
        self.write(&base.name, &metadata, &location).await?;
        let metadata = Arc::new(metadata);
        Ok(Prepared {
            base: base.clone(),
            requirements,
            updates,
            metadata,
            metadata_location: location,
        })
    }

    fn swaps_within(&self) -> bool {
        self.shared
    }

    fn swaps_by_location(&self) -> bool {
        true
    }

    async fn clock_ms(&self) -> Result<Option<i64>, Error> {
        self.rows.now_ms().await.map(Some)
    }

    async fn locations(&self) -> Result<Vec<(TableName, String)>, Error> {
        // A table whose name we cannot use owns its folder all the same.
        let entries = self.rows.entries().await?;
        let located = |entry: &Entry| Ok((entry.name()?, place::folder(&entry.metadata_location)));
        entries.iter().map(located).collect()
    }

    async fn territories(&self, alive: &(dyn Fn() + Send + Sync)) -> Result<Vec<Territory>, Error> {
        let (mut known, mut trouble) = (HashMap::new(), HashMap::new());
        loop {
            let entries = self.rows.entries().await?;
            let unknown = entries.iter().filter(|it| !known.contains_key(&it.key));
            let unknown: Vec<Entry> = unknown.cloned().collect();
            if unknown.is_empty() {
                let listed = entries.iter().filter_map(|it| known.remove(&it.key));
                return Ok(listed.collect());
            }
            // What could not be read and still is where it was; what moved on or went is no trouble.
            let still = unknown
                .iter()
                .find_map(|it| trouble.remove(&it.metadata_location));
            if let Some(error) = still {
                return Err(error);
            }
            let reads = unknown.into_iter().map(|entry| async {
                let read = self.territory(&entry).await;
                (entry, read)
            });
            let reads: Vec<_> = reads.collect();
            let mut reads = std::pin::pin!(stream::iter(reads).buffer_unordered(LOADS_AT_ONCE));
            while let Some((entry, read)) = reads.next().await {
                alive();
                match read {
                    Ok(territory) => drop(known.insert(entry.key, territory)),
                    Err(error) => drop(trouble.insert(entry.metadata_location, error)),
                }
            }
        }
    }

    async fn swap(
        &self,
        prepared: &Prepared,
        within: Option<&pg::Transaction<'_>>,
    ) -> Result<Table, Error> {
        self.rows
            .swap(prepared, within.filter(|_| self.shared))
            .await?;
        Ok(Table {
            name: prepared.base.name.clone(),
            metadata_location: prepared.metadata_location.clone(),
            metadata: prepared.metadata.clone(),
            storage: self.storage.clone(),
        })
    }
}
