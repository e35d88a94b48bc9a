//! A database, a warehouse, tables in it, and an inventory that knows them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, NewTable, SqlCatalog};
use futures::FutureExt;
use maintenance::health::Latest;
use metadata::{Field, PartitionSpec, Primitive, Schema, StructType, Type};
use model::TableName;
use pg::Pool;
use policy::Defaults;
use runner::Memory;
use runtime::Shutdown;
use serde_json::json;
use steward::health::{Synced, Syncing, sync};
use storage::Storage;
use tempfile::TempDir;
use testkit::Database;

use crate::watched::Watched;

pub(crate) const CATALOG: &str = "snowpack";
/// Small files of [`World::written`].
pub(crate) const FILES: u64 = 6;

pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) pool: Pool,
    pub(crate) catalog: Arc<SqlCatalog>,
    warehouse: TempDir,
}

pub(crate) fn syncing(concurrency: usize) -> Syncing {
    Syncing {
        concurrency,
        memory: Memory::new(8 << 30),
        table_timeout: Duration::from_mins(1),
        deadline: None,
        holder: "test".to_owned(),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = Database::new().await;
        let pool = database.pool().await;
        Self::on(database, pool).await
    }

    /// With connections of its own.
    pub(crate) async fn on(database: Database, pool: Pool) -> Self {
        let warehouse = tempfile::tempdir().unwrap();
        let at = format!("file://{}", warehouse.path().display());
        let storage = Storage::local();
        let opened = SqlCatalog::open(CATALOG, pool.clone(), Some(&pool), &storage, Some(&at));
        let catalog = Arc::new(opened.await.unwrap());
        Self {
            database,
            pool,
            catalog,
            warehouse,
        }
    }

    pub(crate) fn warehouse(&self) -> String {
        format!("file://{}", self.warehouse.path().display())
    }

    /// The inventory knows it from now on.
    pub(crate) async fn know(&self, table: &TableName) {
        let sql = "insert into snowpack.table_cache_entries (database_name, table_name, payload) \
                   values ($1, $2, '{}')";
        let client = self.pool.get().await.unwrap();
        let names = (table.database(), table.table());
        client.execute(sql, &[&names.0, &names.1]).await.unwrap();
    }

    /// `count` tables that hold nothing yet, known to the inventory.
    pub(crate) async fn tables(&self, count: usize) -> Vec<TableName> {
        let namespace = vec!["db".to_owned()];
        let none = BTreeMap::new();
        self.catalog
            .create_namespace(&namespace, &none)
            .await
            .unwrap();
        let mut tables = Vec::new();
        for number in 0..count {
            let table: TableName = format!("db.t{number:03}").parse().unwrap();
            let new = NewTable {
                schema: schema(),
                spec: PartitionSpec::unpartitioned(),
                properties: BTreeMap::new(),
                location: None,
            };
            self.catalog.create_table(&table, new).await.unwrap();
            self.know(&table).await;
            tables.push(table);
        }
        tables
    }

    /// A table PyIceberg wrote, of [`FILES`] small files in as many snapshots.
    pub(crate) async fn written(&self, name: &str) -> TableName {
        let asked = json!({
            "op": "create", "uri": self.database.url(), "catalog": CATALOG,
            "warehouse": self.warehouse(), "table": name, "files": FILES, "rows_per_file": 10,
        });
        let run = move || testkit::oracle("small_table", &asked);
        tokio::task::spawn_blocking(run).await.unwrap();
        let table = name.parse().unwrap();
        self.know(&table).await;
        table
    }

    /// Every file of the warehouse whose name ends so.
    pub(crate) fn files(&self, end: &str) -> Vec<PathBuf> {
        fn walk(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() {
                    walk(&entry.path(), end, found);
                } else if entry.path().to_string_lossy().ends_with(end) {
                    found.push(entry.path());
                }
            }
        }
        let mut found = Vec::new();
        walk(self.warehouse.path(), end, &mut found);
        found
    }

    /// Where the table's metadata file lies.
    pub(crate) async fn metadata(&self, table: &TableName) -> PathBuf {
        let loaded = self.catalog.load(table).await.unwrap();
        let location = loaded.metadata_location;
        PathBuf::from(location.trim_start_matches("file://"))
    }

    pub(crate) fn watched(&self) -> Arc<Watched> {
        Watched::new(&self.catalog, |_, _| async { Ok(()) }.boxed())
    }

    pub(crate) async fn sync(&self, catalog: &Arc<Watched>, syncing: &Syncing) -> Synced {
        self.sync_until(catalog, syncing, &Shutdown::default())
            .await
    }

    pub(crate) async fn sync_until(
        &self,
        catalog: &Arc<Watched>,
        syncing: &Syncing,
        shutdown: &Shutdown,
    ) -> Synced {
        let catalog: Arc<dyn Catalog> = catalog.clone();
        let defaults = Defaults::default();
        sync(&self.pool, catalog, &defaults, syncing, shutdown)
            .await
            .unwrap()
    }

    pub(crate) async fn latest(&self, table: &TableName) -> Option<Latest> {
        let client = self.pool.get().await.unwrap();
        maintenance::health::latest(&**client, table).await.unwrap()
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let client = self.pool.get().await.unwrap();
        client.query_one(sql, &[]).await.unwrap().get(0)
    }
}

fn schema() -> Schema {
    Schema {
        schema_id: 0,
        identifier_field_ids: Vec::new(),
        root: StructType {
            fields: vec![Field {
                id: 1,
                name: "id".to_owned(),
                required: false,
                ty: Type::Primitive(Primitive::Long),
                doc: None,
                initial_default: None,
                write_default: None,
            }],
        },
    }
}
