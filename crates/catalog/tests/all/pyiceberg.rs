//! PyIceberg and we use one catalog, each reading what the other made.

use std::collections::BTreeMap;

use catalog::{Catalog, NewTable, SqlCatalog};
use metadata::{PartitionSpec, Schema, Update};
use model::TableName;
use serde_json::{Value, json};
use storage::Storage;
use testkit::{Database, oracle};

use crate::sql::V0;

struct Lake {
    catalog: SqlCatalog,
    task: Value,
    _warehouse: tempfile::TempDir,
}

impl Lake {
    fn ask(&self, what: &str, table: &str) -> Value {
        let mut task = self.task.clone();
        task["do"] = what.into();
        task["table"] = table.into();
        oracle("catalog_tables", &task)
    }

    /// PyIceberg sees in our table exactly our document.
    async fn agree(&self, table: &str) {
        let loaded = self.catalog.load(&table.parse().unwrap()).await.unwrap();
        let theirs = self.ask("look", table);
        assert_eq!(
            theirs["metadata_location"],
            loaded.metadata_location.as_str()
        );
        assert_eq!(theirs["uuid"], loaded.metadata.uuid());
        assert_eq!(theirs["location"], loaded.metadata.location());
        assert_eq!(theirs["properties"], json!(loaded.metadata.properties()));
        assert_eq!(
            theirs["columns"],
            json!(columns(loaded.metadata.current_schema()))
        );
    }
}

fn columns(schema: &Schema) -> Vec<String> {
    schema
        .root
        .fields
        .iter()
        .map(|field| field.name.clone())
        .collect()
}

async fn lake(before: &str) -> Lake {
    let database = Database::empty().await;
    database.client().await.batch_execute(before).await.unwrap();
    let warehouse = tempfile::tempdir().unwrap();
    let root = format!("file://{}", warehouse.path().display());
    let task = json!({"uri": database.url(), "catalog": "lake", "warehouse": root});
    let pool = database.pool().await;
    let catalog = SqlCatalog::open("lake", pool, None, &Storage::local(), Some(&root))
        .await
        .unwrap();
    Lake {
        catalog,
        task,
        _warehouse: warehouse,
    }
}

fn new() -> NewTable {
    let schema: Schema =
        serde_json::from_value(json!({"type": "struct", "schema-id": 0, "fields": [
        {"id": 1, "name": "id", "required": false, "type": "long"},
        {"id": 2, "name": "name", "required": false, "type": "string"}]}))
        .unwrap();
    let properties = BTreeMap::from([("owner".to_owned(), "größe".to_owned())]);
    NewTable {
        schema,
        spec: PartitionSpec::unpartitioned(),
        properties,
        location: None,
    }
}

#[tokio::test]
async fn a_table_of_ours_is_read_and_written_by_pyiceberg_and_read_back() {
    shared(&lake("").await).await;
}

#[tokio::test]
async fn and_so_it_is_in_layout_v0() {
    shared(&lake(V0).await).await;
}

async fn shared(lake: &Lake) {
    let name: TableName = "a.b.t".parse().unwrap();
    lake.catalog
        .create_namespace(name.namespace(), &BTreeMap::new())
        .await
        .unwrap();
    let base = lake.catalog.create_table(&name, new()).await.unwrap();
    lake.agree("a.b.t").await;
    let gzip = BTreeMap::from([(
        "write.metadata.compression-codec".to_owned(),
        "gzip".to_owned(),
    )]);
    let base = lake
        .catalog
        .commit(&base, vec![], vec![Update::SetProperties { updates: gzip }])
        .await
        .unwrap();
    let updates = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    let packed = lake
        .catalog
        .commit(&base, vec![], vec![Update::SetProperties { updates }])
        .await
        .unwrap();
    assert!(packed.metadata_location.ends_with(".gz.metadata.json"));
    lake.agree("a.b.t").await;
    let rows = lake.ask("append", "a.b.t");
    assert_eq!(rows, json!({"rows": 2}));
    lake.agree("a.b.t").await;
    let loaded = lake.catalog.load(&name).await.unwrap();
    assert_eq!(
        loaded.metadata.current_snapshot().unwrap().summary["total-records"],
        "2"
    );
    assert_eq!(loaded.metadata.property("owner"), Some("größe"));
}

#[tokio::test]
async fn a_table_of_pyicebergs_is_listed_loaded_and_committed_to() {
    let lake = lake("").await;
    lake.ask("create", "theirs.t");
    assert_eq!(
        lake.catalog.namespaces().await.unwrap(),
        [["theirs".to_owned()]]
    );
    let name: TableName = "theirs.t".parse().unwrap();
    let listed = lake.catalog.tables(name.namespace()).await.unwrap();
    let names: Vec<_> = listed.iter().map(|one| &one.name).collect();
    assert_eq!(names, [&name]);
    let base = lake.catalog.load(&name).await.unwrap();
    lake.agree("theirs.t").await;
    let updates = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    lake.catalog
        .commit(&base, vec![], vec![Update::SetProperties { updates }])
        .await
        .unwrap();
    lake.agree("theirs.t").await;
    lake.ask("append", "theirs.t");
    lake.agree("theirs.t").await;
}
