//! A catalog in memory that fails when told to, and counts what is asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use catalog::{Catalog, Error, Listed, NewTable, Prepared, Table, Territory};
use metadata::{PartitionSpec, Requirement, Schema, TableMetadata, Update};
use model::{Advice, TableName};
use serde_json::json;
use storage::Storage;

#[derive(Debug, Default)]
struct Contents {
    namespaces: BTreeMap<Vec<String>, BTreeMap<String, String>>,
    tables: BTreeMap<TableName, (String, Arc<TableMetadata>)>,
    /// Written so often: gives every metadata file its own name.
    written: u64,
    down: bool,
    /// Namespaces whose listing fails.
    broken: BTreeSet<Vec<String>>,
    /// Tables whose metadata cannot be read.
    unreadable: BTreeSet<TableName>,
    /// Tables that are listed but gone when they are loaded.
    vanishing: BTreeSet<TableName>,
    /// Whether listings tell where the metadata lies.
    silent: bool,
    loaded: Vec<TableName>,
}

/// Tables by name, each with its metadata.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Contents>>);

fn table(name: &str) -> TableName {
    name.parse().unwrap()
}

fn namespace(name: &str) -> Vec<String> {
    table(&format!("{name}.t")).namespace().to_vec()
}

fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

impl Shelf {
    fn with<T>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// Puts a table there, or another version of it with a new metadata file.
    pub(crate) fn put(&self, name: &str, properties: &[(&str, &str)]) {
        let name = table(name);
        let schema: Schema = serde_json::from_value(json!({
            "type": "struct", "schema-id": 0,
            "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]
        }))
        .unwrap();
        let location = format!("file:///lake/{}", name.key());
        let spec = PartitionSpec::unpartitioned();
        let uuid = format!("uuid of {name}");
        let properties = strings(properties);
        let metadata =
            TableMetadata::new(&uuid, &location, &schema, &spec, properties, 1_000).unwrap();
        self.with(|shelf| {
            shelf.written += 1;
            let file = format!("{location}/metadata/{}.metadata.json", shelf.written);
            shelf
                .namespaces
                .entry(name.namespace().to_vec())
                .or_default();
            shelf.tables.insert(name, (file, Arc::new(metadata)));
        });
    }

    pub(crate) fn drop_table(&self, name: &str) {
        self.with(|shelf| shelf.tables.remove(&table(name)).unwrap());
    }

    /// With everything in it.
    pub(crate) fn drop_namespace(&self, name: &str) {
        let name = namespace(name);
        self.with(|shelf| {
            shelf.namespaces.remove(&name).unwrap();
            shelf.tables.retain(|table, _| table.namespace() != name);
        });
    }

    pub(crate) fn properties(&self, name: &str, properties: &[(&str, &str)]) {
        let properties = strings(properties);
        self.with(|shelf| shelf.namespaces.insert(namespace(name), properties));
    }

    pub(crate) fn down(&self, down: bool) {
        self.with(|shelf| shelf.down = down);
    }

    pub(crate) fn silent(&self) {
        self.with(|shelf| shelf.silent = true);
    }

    pub(crate) fn broken(&self, names: &[&str]) {
        self.with(|shelf| shelf.broken = names.iter().map(|name| namespace(name)).collect());
    }

    pub(crate) fn unreadable(&self, names: &[&str]) {
        self.with(|shelf| shelf.unreadable = names.iter().map(|name| table(name)).collect());
    }

    pub(crate) fn vanishing(&self, names: &[&str]) {
        self.with(|shelf| shelf.vanishing = names.iter().map(|name| table(name)).collect());
    }

    /// What was loaded since the last call, sorted.
    pub(crate) fn loaded(&self) -> Vec<String> {
        let mut loaded = self.with(|shelf| std::mem::take(&mut shelf.loaded));
        loaded.sort();
        loaded.iter().map(TableName::key).collect()
    }

    fn unsupported<T>() -> Result<T, Error> {
        Err(Error::Unsupported("the shelf is only read".to_owned()))
    }
}

fn failed(doing: &str, advice: Advice) -> Error {
    Error::Failed {
        doing: doing.to_owned(),
        advice,
        source: "told to fail \0".into(),
    }
}

#[async_trait]
impl Catalog for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }

    async fn namespaces(&self) -> Result<Vec<Vec<String>>, Error> {
        // A real one would wait for its server here.
        tokio::task::yield_now().await;
        self.with(|shelf| {
            if shelf.down {
                return Err(failed("list namespaces", Advice::RetryLater));
            }
            Ok(shelf.namespaces.keys().cloned().collect())
        })
    }

    async fn namespace_properties(
        &self,
        namespace: &[String],
    ) -> Result<BTreeMap<String, String>, Error> {
        tokio::task::yield_now().await;
        self.with(|shelf| {
            let found = shelf.namespaces.get(namespace).cloned();
            found.ok_or_else(|| Error::NoSuchNamespace(namespace.join(".")))
        })
    }

    async fn tables(&self, namespace: &[String]) -> Result<Vec<Listed>, Error> {
        tokio::task::yield_now().await;
        self.with(|shelf| {
            if shelf.broken.contains(namespace) {
                return Err(failed("list tables", Advice::RetryLater));
            }
            let within = |name: &TableName| name.namespace() == namespace;
            let found = shelf.tables.iter().filter(|(name, _)| within(name));
            let listed = found.map(|(name, (location, _))| Listed {
                name: name.clone(),
                metadata_location: (!shelf.silent).then(|| location.clone()),
            });
            Ok(listed.collect())
        })
    }

    async fn load(&self, name: &TableName) -> Result<Table, Error> {
        tokio::task::yield_now().await;
        self.with(|shelf| {
            shelf.loaded.push(name.clone());
            if shelf.unreadable.contains(name) {
                return Err(failed("read the metadata", Advice::GiveUp));
            }
            let found = shelf.tables.get(name);
            match found.filter(|_| !shelf.vanishing.contains(name)) {
                None => Err(Error::NoSuchTable(name.clone())),
                Some((location, metadata)) => Ok(Table {
                    name: name.clone(),
                    metadata_location: location.clone(),
                    metadata: metadata.clone(),
                    storage: Storage::local(),
                }),
            }
        })
    }

    async fn earlier(&self, _: &Table, _: &str) -> Result<Option<Arc<TableMetadata>>, Error> {
        Self::unsupported()
    }

    async fn create_namespace(
        &self,
        _: &[String],
        _: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        Self::unsupported()
    }

    async fn create_table(&self, _: &TableName, _: NewTable) -> Result<Table, Error> {
        Self::unsupported()
    }

    fn next_metadata_location(&self, _: &Table) -> Option<String> {
        None
    }

    async fn prepare(
        &self,
        _: &Table,
        _: Vec<Requirement>,
        _: Vec<Update>,
        _: Option<String>,
    ) -> Result<Prepared, Error> {
        Self::unsupported()
    }

    async fn swap(&self, _: &Prepared, _: Option<&pg::Transaction<'_>>) -> Result<Table, Error> {
        Self::unsupported()
    }

    fn swaps_within(&self) -> bool {
        false
    }

    fn swaps_by_location(&self) -> bool {
        false
    }

    async fn clock_ms(&self) -> Result<Option<i64>, Error> {
        Ok(None)
    }

    async fn locations(&self) -> Result<Vec<(TableName, String)>, Error> {
        Ok(Vec::new())
    }

    async fn territories(&self, _: &(dyn Fn() + Send + Sync)) -> Result<Vec<Territory>, Error> {
        Self::unsupported()
    }
}
