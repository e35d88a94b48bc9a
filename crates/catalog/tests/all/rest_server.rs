//! The REST catalog against Apache's own server, over files and over S3 with keys it gives out.
//!
//! Four of the suite's promises are kept in other words: the server checks requirements on the
//! table as it is by then and not which metadata file a commit was made for, so what a commit
//! relies on has to be required; and it refuses a path with an encoded slash or per cent sign, whatever the
//! name (how such names are sent is tested in `rest.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{Args, Catalog, Error, Kind, NewTable, suite};
use metadata::{Requirement, Update};
use model::TableName;
use serde_json::json;
use storage::Storage;
use testkit::{RestCatalog, S3};

use crate::sql::{made, new, set};

/// Writers that race for one commit.
const RACERS: usize = 8;

fn args(server: &RestCatalog) -> Args {
    Args {
        catalog_type: Kind::Rest,
        catalog_uri: Some(server.uri()),
        // It takes any, and none.
        catalog_credential: Some("me:hunter2".to_owned()),
        ..Args::sql("lake")
    }
}

struct Lake {
    catalog: Arc<dyn Catalog>,
    _server: RestCatalog,
    _warehouse: tempfile::TempDir,
}

async fn lake() -> Lake {
    let warehouse = tempfile::tempdir().unwrap();
    let root = format!("file://{}", warehouse.path().display());
    let server = RestCatalog::start(&root, None).await;
    let access = storage::Args::at(&root);
    let lake = (&Storage::local(), &access);
    let catalog = catalog::open(&args(&server), None, lake, 1 << 30).await;
    Lake {
        catalog: catalog.unwrap(),
        _server: server,
        _warehouse: warehouse,
    }
}

/// A commit that adds a column, and requires that nobody has.
fn column(base: &catalog::Table, name: &str) -> (Vec<Requirement>, Vec<Update>) {
    let schema = base.metadata.current_schema();
    let (schema_id, last) = (schema.schema_id, base.metadata.last_column_id());
    let mut next = serde_json::to_value(&**schema).unwrap();
    let field = json!({"id": last + 1, "name": name, "required": false, "type": "string"});
    next["fields"].as_array_mut().unwrap().push(field);
    let updates = json!([
        {"action": "add-schema", "schema": next, "last-column-id": last + 1},
        {"action": "set-current-schema", "schema-id": -1},
    ]);
    let required = Requirement::AssertCurrentSchemaId {
        current_schema_id: schema_id,
    };
    (vec![required], serde_json::from_value(updates).unwrap())
}

#[tokio::test]
async fn the_suite_holds_at_a_server_as_far_as_the_protocol_goes() {
    let lake = lake().await;
    let catalog = &*lake.catalog;
    suite::what_was_created_is_listed(catalog).await;
    suite::a_namespace_keeps_its_own_properties(catalog).await;
    suite::a_listing_says_where_the_metadata_lies(catalog).await;
    suite::a_table_loads_as_it_was_created(catalog).await;
    suite::a_listed_table_loads_as_it_was_listed_or_is_now(catalog).await;
    suite::what_is_not_there_is_told_apart(catalog).await;
    suite::every_table_tells_where_its_files_may_lie(catalog).await;
    suite::a_name_is_given_once(catalog).await;
    suite::a_commit_changes_what_it_says_and_nothing_else(catalog).await;
    suite::an_unmet_requirement_changes_nothing(catalog).await;
    suite::nothing_is_visible_before_the_swap(catalog).await;
    assert!(!catalog.swaps_within() && !catalog.swaps_by_location());
}

#[tokio::test]
async fn odd_names_are_names() {
    let lake = lake().await;
    let namespace = vec!["an odd'_ größe \"x\"".to_owned(), "表+&?#=".to_owned()];
    for level in 1..=2 {
        let (levels, none) = (&namespace[..level], BTreeMap::new());
        lake.catalog.create_namespace(levels, &none).await.unwrap();
    }
    for table in ["größe 表", "a.b", "say \"hi\"", "a+b&c", "it's", "x_y"] {
        let name = TableName::new(&namespace, table).unwrap();
        let made = lake.catalog.create_table(&name, new()).await.unwrap();
        let loaded = lake.catalog.load(&name).await.unwrap();
        assert_eq!(loaded.metadata.uuid(), made.metadata.uuid(), "{table}");
    }
    assert_eq!(lake.catalog.tables(&namespace).await.unwrap().len(), 6);
    let namespaces = lake.catalog.namespaces().await.unwrap();
    assert!(namespaces.contains(&namespace), "{namespaces:?}");
    let located = lake.catalog.locations().await.unwrap();
    assert_eq!(located.len(), 6, "{located:?}");
}

#[tokio::test]
async fn a_commit_on_what_is_no_longer_so_conflicts_and_one_on_other_things_does_not() {
    let lake = lake().await;
    let base = made(&*lake.catalog, "db.t").await;
    let (required, updates) = column(&base, "a");
    let first = lake.catalog.commit(&base, required, updates).await;
    first.unwrap();
    let (required, updates) = column(&base, "b");
    let error = lake.catalog.commit(&base, required, updates).await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, Error::Conflict { table, .. } if *table == base.name),
        "{error}"
    );
    let after = lake.catalog.commit(&base, vec![], set("a", "1")).await;
    let after = after.unwrap().metadata;
    assert_eq!(after.property("a"), Some("1"));
    assert_eq!(after.current_schema().root.fields.len(), 2);
}

#[tokio::test]
async fn a_commit_that_landed_is_not_made_twice() {
    let lake = lake().await;
    let base = made(&*lake.catalog, "db.t").await;
    let (required, updates) = column(&base, "a");
    let prepared = lake.catalog.prepare(&base, required, updates, None).await;
    let prepared = prepared.unwrap();
    let first = lake.catalog.swap(&prepared, None).await.unwrap();
    let error = lake.catalog.swap(&prepared, None).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    let now = lake.catalog.load(&base.name).await.unwrap();
    assert_eq!(now.metadata_location, first.metadata_location);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_racing_writers_wins() {
    let lake = lake().await;
    let base = made(&*lake.catalog, "db.t").await;
    let mut racing = Vec::new();
    for racer in 0..RACERS {
        let (required, updates) = column(&base, &format!("racer_{racer}"));
        let prepared = lake.catalog.prepare(&base, required, updates, None).await;
        let (catalog, prepared) = (Arc::clone(&lake.catalog), prepared.unwrap());
        racing.push(tokio::spawn(
            async move { catalog.swap(&prepared, None).await },
        ));
    }
    let mut won = Vec::new();
    for racer in racing {
        match racer.await.unwrap() {
            Ok(table) => won.push(table),
            Err(error) => assert!(matches!(error, Error::Conflict { .. }), "{error}"),
        }
    }
    assert_eq!(won.len(), 1, "exactly one writer wins");
    let now = lake.catalog.load(&base.name).await.unwrap();
    assert_eq!(now.metadata_location, won[0].metadata_location);
    assert_eq!(now.metadata, won[0].metadata);
}

#[tokio::test]
async fn a_table_is_placed_where_it_is_told_and_nowhere_it_cannot_lie() {
    let lake = lake().await;
    made(&*lake.catalog, "db.t").await;
    let elsewhere = tempfile::tempdir().unwrap();
    let location = format!("file://{}/u", elsewhere.path().display());
    let at = |location: &str| NewTable {
        location: Some(location.to_owned()),
        ..new()
    };
    let name: TableName = "db.u".parse().unwrap();
    let made = lake.catalog.create_table(&name, at(&location)).await;
    assert_eq!(made.unwrap().metadata.location(), location);
    let name: TableName = "db.v".parse().unwrap();
    let error = lake.catalog.create_table(&name, at("relative")).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
}

#[tokio::test]
async fn tables_are_read_and_written_with_the_keys_the_server_gives_out() {
    let s3 = S3::start().await;
    let root = format!("s3://{}/lake", S3::BUCKET);
    let server = RestCatalog::start(&root, Some(&s3)).await;
    let access = storage::Args {
        s3_endpoint: Some(s3.endpoint()),
        s3_access_key_id: Some(S3::ACCESS_KEY_ID.to_owned()),
        s3_secret_access_key: Some("wrong".to_owned()),
        ..storage::Args::default()
    };
    let own = Storage::new(&access).unwrap();
    let catalog = catalog::open(&args(&server), None, (&own, &access), 1 << 30).await;
    let catalog = catalog.unwrap();
    let base = made(&*catalog, "db.t").await;
    let place = &base.metadata_location;
    assert!(base.metadata_location.starts_with(&root), "{place}");
    own.read(place).await.unwrap_err();
    let earlier = catalog.earlier(&base, place).await.unwrap();
    assert_eq!(earlier, Some(base.metadata.clone()));
    let loaded = catalog.load(&base.name).await.unwrap();
    let file = format!("{}/data/a", loaded.metadata.location());
    let written = loaded.storage.write_new(&file, "abc".into()).await;
    written.unwrap();
    assert_eq!(base.storage.read(&file).await.unwrap(), "abc");
}
