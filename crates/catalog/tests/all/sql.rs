//! The SQL catalog on Postgres, in both layouts and in one or two databases.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{Args, Catalog, Error, NewTable, SqlCatalog, open, suite};
use metadata::{PartitionSpec, Requirement, Schema, Update};
use model::{Advice, TableName};
use serde_json::json;
use storage::Storage;
use testkit::Database;

/// The layout before views: no column `iceberg_type`.
pub(crate) const V0: &str = "
    create table iceberg_tables (
        catalog_name varchar(255) not null, table_namespace varchar(255) not null,
        table_name varchar(255) not null, metadata_location varchar(1000),
        previous_metadata_location varchar(1000),
        primary key (catalog_name, table_namespace, table_name));
    create table iceberg_namespace_properties (
        catalog_name varchar(255) not null, namespace varchar(255) not null,
        property_key varchar(255) not null, property_value varchar(1000),
        primary key (catalog_name, namespace, property_key))";

struct Lake {
    database: Database,
    pool: pg::Pool,
    catalog: SqlCatalog,
    _warehouse: tempfile::TempDir,
}

async fn lake(before: &str) -> Lake {
    let database = Database::empty().await;
    database.client().await.batch_execute(before).await.unwrap();
    let pool = database.pool().await;
    let warehouse = tempfile::tempdir().unwrap();
    let path = warehouse.path().to_str();
    let catalog = SqlCatalog::open("lake", pool.clone(), Some(&pool), &Storage::local(), path)
        .await
        .unwrap();
    Lake {
        database,
        pool,
        catalog,
        _warehouse: warehouse,
    }
}

fn table(text: &str) -> TableName {
    text.parse().unwrap()
}

pub(crate) fn new() -> NewTable {
    let schema: Schema =
        serde_json::from_value(json!({"type": "struct", "schema-id": 0, "fields": [
        {"id": 1, "name": "id", "required": false, "type": "long"}]}))
        .unwrap();
    NewTable {
        schema,
        spec: PartitionSpec::unpartitioned(),
        properties: BTreeMap::new(),
        location: None,
    }
}

pub(crate) async fn made(catalog: &dyn Catalog, name: &str) -> catalog::Table {
    let name = table(name);
    catalog
        .create_namespace(name.namespace(), &BTreeMap::new())
        .await
        .unwrap();
    catalog.create_table(&name, new()).await.unwrap()
}

pub(crate) fn set(key: &str, value: &str) -> Vec<Update> {
    vec![Update::SetProperties {
        updates: BTreeMap::from([(key.to_owned(), value.to_owned())]),
    }]
}

#[tokio::test]
async fn the_suite_holds_in_layout_v1() {
    let lake = lake("").await;
    suite::all(&lake.catalog).await;
    let mut client = lake.pool.get().await.unwrap();
    suite::a_swap_shares_the_fate_of_its_transaction(&lake.catalog, &mut client).await;
}

#[tokio::test]
async fn the_suite_holds_in_layout_v0() {
    let lake = lake(V0).await;
    suite::all(&lake.catalog).await;
    let mut client = lake.pool.get().await.unwrap();
    suite::a_swap_shares_the_fate_of_its_transaction(&lake.catalog, &mut client).await;
}

#[tokio::test]
async fn a_catalog_in_another_database_never_touches_the_callers_transaction() {
    let (queue, lakes) = (Database::empty().await, Database::empty().await);
    let (queue, warehouse) = (queue.pool().await, tempfile::tempdir().unwrap());
    let catalog = SqlCatalog::open(
        "lake",
        lakes.pool().await,
        Some(&queue),
        &Storage::local(),
        warehouse.path().to_str(),
    )
    .await
    .unwrap();
    assert!(!catalog.swaps_within());
    suite::all(&catalog).await;
    let base = made(&catalog, "db.t").await;
    let location = catalog.next_metadata_location(&base);
    let prepared = catalog
        .prepare(&base, vec![], set("a", "1"), location)
        .await
        .unwrap();
    let mut client = queue.get().await.unwrap();
    let tx = client.transaction().await.unwrap();
    catalog.swap(&prepared, Some(&tx)).await.unwrap();
    tx.rollback().await.unwrap();
    // It is a commit of its own, so it stands.
    assert_eq!(
        catalog
            .load(&base.name)
            .await
            .unwrap()
            .metadata
            .property("a"),
        Some("1")
    );
}

#[tokio::test]
async fn the_same_database_is_recognised_under_another_url_and_another_schema_is_not() {
    let database = Database::empty().await;
    let pool = database.pool().await;
    let separator = if database.url().contains('?') {
        '&'
    } else {
        '?'
    };
    for (suffix, want) in [
        ("application_name=x", true),
        ("options=-csearch_path%3Dother", false),
    ] {
        database
            .client()
            .await
            .batch_execute("create schema if not exists other")
            .await
            .unwrap();
        let args = Args {
            catalog_uri: Some(format!("{}{separator}{suffix}", database.url())),
            ..Args::sql("lake")
        };
        let (storage, access) = (Storage::local(), storage::Args::default());
        let opened = open(&args, Some(&pool), (&storage, &access), 1 << 30)
            .await
            .unwrap();
        assert!(
            format!("{opened:?}").contains(&format!("shared: {want}")),
            "{suffix}: {opened:?}"
        );
    }
}

#[tokio::test]
async fn the_database_is_recognised_also_where_the_servers_identity_is_not_told() {
    let database = Database::empty().await;
    let (admin, role) = (database.client().await, database.name());
    let restrict = format!(
        "create role {role} login;
         grant all on schema public to {role};
         revoke execute on function pg_control_system() from public"
    );
    admin.batch_execute(&restrict).await.unwrap();
    let (scheme, rest) = database.url().split_once("://").unwrap();
    let (_, host) = rest.split_once('@').unwrap();
    let url = format!("{scheme}://{role}@{host}");
    let pool = pg::Pool::connect(&url, 2, "test").await.unwrap();
    let denied = pool
        .get()
        .await
        .unwrap()
        .simple_query("select pg_control_system()")
        .await;
    assert!(denied.is_err());
    let again = pg::Pool::connect(&url, 2, "test").await.unwrap();
    let storage = Storage::local();
    let catalog = SqlCatalog::open("lake", pool, Some(&again), &storage, None)
        .await
        .unwrap();
    assert!(catalog.swaps_within());
    drop((catalog, again));
    admin
        .batch_execute(&format!("drop owned by {role}; drop role {role}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn many_may_open_a_new_catalog_at_once() {
    let database = Database::empty().await;
    let pool = database.pool().await;
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                SqlCatalog::open("lake", pool, None, &Storage::local(), None).await
            })
        })
        .collect();
    for one in opening {
        one.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_row_keeps_the_previous_location_and_the_document_its_log() {
    let lake = lake("").await;
    let base = made(&lake.catalog, "db.t").await;
    let after = lake
        .catalog
        .commit(&base, vec![], set("a", "1"))
        .await
        .unwrap();
    let row = lake
        .database
        .client()
        .await
        .query_one("select metadata_location, previous_metadata_location, iceberg_type from iceberg_tables", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), after.metadata_location);
    assert_eq!(row.get::<_, String>(1), base.metadata_location);
    assert_eq!(row.get::<_, String>(2), "TABLE");
    assert!(
        base.metadata_location.contains("/db/t/metadata/00000-"),
        "{}",
        base.metadata_location
    );
    assert!(
        after.metadata_location.contains("/db/t/metadata/00001-"),
        "{}",
        after.metadata_location
    );
    let document: serde_json::Value = serde_json::from_slice(&after.metadata.to_json()).unwrap();
    assert_eq!(
        document["metadata-log"],
        json!([{"timestamp-ms": base.metadata.last_updated_ms(), "metadata-file": base.metadata_location}])
    );
}

#[tokio::test]
async fn views_are_no_tables() {
    let lake = lake("").await;
    let base = made(&lake.catalog, "db.t").await;
    let insert = "insert into iceberg_tables values ('lake', 'db', 'v', 'x', null, 'VIEW'),
        ('lake', 'db', 'old', $1, null, null), ('other', 'db', 'theirs', 'x', null, 'TABLE')";
    lake.database
        .client()
        .await
        .execute(insert, &[&base.metadata_location])
        .await
        .unwrap();
    let listed = lake.catalog.tables(&["db".to_owned()]).await.unwrap();
    let names: Vec<_> = listed.iter().map(|one| one.name.clone()).collect();
    assert_eq!(names, [table("db.old"), table("db.t")]);
    let base = base.metadata_location;
    assert!(
        listed
            .iter()
            .all(|one| one.metadata_location.as_ref() == Some(&base))
    );
    assert!(matches!(
        lake.catalog.load(&table("db.v")).await,
        Err(Error::NoSuchTable(_))
    ));
    lake.catalog.load(&table("db.old")).await.unwrap();
}

#[tokio::test]
async fn m20_names_we_cannot_use_hide_nobody_else() {
    let lake = lake("").await;
    made(&lake.catalog, "db.t").await;
    let long = "x".repeat(255);
    let insert =
        "insert into iceberg_tables values ('lake', 'db', E'bad\nname', 'x', null, 'TABLE'),
        ('lake', 'a..b', 't', 'x', null, 'TABLE'), ('lake', '', 't', 'x', null, 'TABLE'),
        ('lake', E'c\td', 't', 'x', null, 'TABLE'), ('lake', 'db', $1, null, null, 'TABLE')";
    let client = lake.database.client().await;
    client.execute(insert, &[&long]).await.unwrap();
    let namespaces = lake.catalog.namespaces().await.unwrap();
    assert_eq!(namespaces, [["db".to_owned()]]);
    let listed = lake.catalog.tables(&namespaces[0]).await.unwrap();
    let found: Vec<_> = listed
        .iter()
        .map(|one| (one.name.table(), one.metadata_location.is_some()))
        .collect();
    assert_eq!(found, [("t", true), (long.as_str(), false)]);
}

#[tokio::test]
async fn metadata_is_written_where_and_how_the_table_says() {
    let lake = lake("").await;
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = format!("file://{}/meta", elsewhere.path().display());
    let base = made(&lake.catalog, "db.t").await;
    let updates = BTreeMap::from([
        ("write.metadata.path".to_owned(), folder.clone()),
        (
            "write.metadata.compression-codec".to_owned(),
            "gzip".to_owned(),
        ),
    ]);
    let base = lake
        .catalog
        .commit(&base, vec![], vec![Update::SetProperties { updates }])
        .await
        .unwrap();
    let after = lake
        .catalog
        .commit(&base, vec![], set("a", "1"))
        .await
        .unwrap();
    let location = &after.metadata_location;
    assert!(
        location.starts_with(&format!("{folder}/00002-")),
        "{location}"
    );
    assert!(location.ends_with(".gz.metadata.json"), "{location}");
    let bytes = std::fs::read(location.strip_prefix("file://").unwrap()).unwrap();
    assert_eq!(bytes[..2], [0x1f, 0x8b]);
    assert_eq!(
        lake.catalog.load(&base.name).await.unwrap().metadata,
        after.metadata
    );
}

#[tokio::test]
async fn a_namespaces_location_is_where_its_tables_go() {
    let lake = lake("").await;
    let elsewhere = tempfile::tempdir().unwrap();
    let root = elsewhere.path().to_str().unwrap().to_owned();
    let properties = BTreeMap::from([("location".to_owned(), format!("{root}/"))]);
    lake.catalog
        .create_namespace(&["db".to_owned()], &properties)
        .await
        .unwrap();
    let made = lake
        .catalog
        .create_table(&table("db.t"), new())
        .await
        .unwrap();
    assert_eq!(made.metadata.location(), format!("{root}/t"));
}

#[tokio::test]
async fn a_table_without_a_place_is_refused_with_the_way_out() {
    let database = Database::empty().await;
    let pool = database.pool().await;
    let catalog = SqlCatalog::open("lake", pool, None, &Storage::local(), None)
        .await
        .unwrap();
    catalog
        .create_namespace(&["db".to_owned()], &BTreeMap::new())
        .await
        .unwrap();
    let error = catalog
        .create_table(&table("db.t"), new())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("SNOWPACK_WAREHOUSE"), "{error}");
    let dotted = catalog
        .load(&table("\"a.b\".t"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        dotted.contains("a.b") && dotted.contains("dots"),
        "{dotted}"
    );
}

#[tokio::test]
async fn a_table_with_an_unusable_name_still_owns_its_folder() {
    let lake = lake("").await;
    let base = made(&lake.catalog, "db.t").await;
    let client = lake.database.client().await;
    let insert = "insert into iceberg_tables
            (catalog_name, table_namespace, table_name, metadata_location)
        values ('lake', $1, $2, $3)";
    for (namespace, name, folder) in [("a..b", "t", "/w/one"), ("db", "", "/w/two")] {
        let file = format!("{folder}/metadata/00000-x.metadata.json");
        let row = client.execute(insert, &[&namespace, &name, &file]).await;
        assert_eq!(row.unwrap(), 1);
    }
    let located = lake.catalog.locations().await.unwrap();
    let mut folders: Vec<&str> = located.iter().map(|(_, folder)| &**folder).collect();
    folders.sort_unstable();
    let mut want = vec!["/w/one", "/w/two", base.metadata.location()];
    want.sort_unstable();
    assert_eq!(folders, want);
    // Nobody's own folder: no table can be loaded under the name they are given.
    let unusable = located.iter().filter(|(name, _)| *name != base.name);
    for (name, _) in unusable {
        let error = lake.catalog.load(name).await.unwrap_err();
        assert!(matches!(error, Error::NoSuchTable(_)), "{name}: {error}");
    }
}

#[tokio::test]
async fn metadata_that_cannot_be_read_is_named() {
    let lake = lake("").await;
    let base = made(&lake.catalog, "db.t").await;
    std::fs::write(&base.metadata_location, "{\"format-version\": 2}").unwrap();
    let error = lake.catalog.load(&base.name).await.unwrap_err();
    assert!(
        error.to_string().contains(&base.metadata_location),
        "{error}"
    );
    assert_eq!(error.advice(), Advice::GiveUp);
    std::fs::remove_file(&base.metadata_location).unwrap();
    let error = lake.catalog.load(&base.name).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("does not exist") && source.contains(&base.metadata_location),
        "{source}"
    );
}

#[tokio::test]
async fn a_listed_table_whose_metadata_is_gone_since_loads_as_it_is_now() {
    let lake = lake("").await;
    let base = made(&lake.catalog, "db.t").await;
    let namespace = base.name.namespace();
    let listed = lake.catalog.tables(namespace).await.unwrap().remove(0);
    let after = lake.catalog.commit(&base, vec![], set("a", "1")).await;
    let after = after.unwrap().metadata_location;
    std::fs::remove_file(&base.metadata_location).unwrap();
    let loaded = lake.catalog.load_listed(&listed).await.unwrap();
    assert_eq!(loaded.metadata_location, after);
    std::fs::remove_file(&after).unwrap();
    let error = lake.catalog.load_listed(&listed).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains(&after), "{source}");
    let client = lake.database.client().await;
    client
        .batch_execute("delete from iceberg_tables")
        .await
        .unwrap();
    let error = lake.catalog.load_listed(&listed).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchTable(_)), "{error}");
}

#[tokio::test]
async fn a_connection_lost_in_the_swap_leaves_the_outcome_unknown() {
    let lake = lake("").await;
    let base = made(&lake.catalog, "db.t").await;
    let location = lake.catalog.next_metadata_location(&base);
    let prepared = lake
        .catalog
        .prepare(&base, vec![], set("a", "1"), location)
        .await
        .unwrap();
    // Hold the row, so that the swap waits, then end the swap's connection.
    let mut blocker = lake.database.client().await;
    let tx = blocker.transaction().await.unwrap();
    tx.execute("select 1 from iceberg_tables for update", &[])
        .await
        .unwrap();
    let catalog: Arc<dyn Catalog> = Arc::new(lake.catalog);
    let swapping = tokio::spawn({
        let catalog = catalog.clone();
        async move { catalog.swap(&prepared, None).await }
    });
    let admin = lake.database.client().await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like '%update iceberg_tables%'";
    testkit::until("the swap waits and is ended", async || {
        admin.execute(end, &[]).await.unwrap() > 0
    })
    .await;
    let error = swapping.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    assert_eq!(error.advice(), Advice::FindOut);
    drop(tx);
    let uuid = base.metadata.uuid().to_owned();
    catalog
        .commit(
            &base,
            vec![Requirement::AssertTableUuid { uuid }],
            set("b", "1"),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_swap_that_waits_for_a_stranger_is_refused_and_did_not_happen() {
    let lake = lake("").await;
    let base = made(&lake.catalog, "db.t").await;
    let location = lake.catalog.next_metadata_location(&base);
    let prepared = lake
        .catalog
        .prepare(&base, vec![], set("a", "1"), location)
        .await
        .unwrap();
    let mut stranger = lake.database.client().await;
    let tx = stranger.transaction().await.unwrap();
    tx.execute("select 1 from iceberg_tables for update", &[])
        .await
        .unwrap();
    let swap = lake.catalog.swap(&prepared, None);
    let refused = tokio::time::timeout(testkit::WAIT_MAX, swap).await;
    let error = refused.expect("the server says no").unwrap_err();
    assert_eq!(error.advice(), Advice::RetryLater, "{error:?}");
    drop(tx);
    let now = lake.catalog.load(&base.name).await.unwrap();
    assert_eq!(now.metadata_location, base.metadata_location);
    lake.catalog.swap(&prepared, None).await.unwrap();
}

#[tokio::test]
async fn an_earlier_document_is_read_when_it_is_there_and_fits() {
    let lake = lake("").await;
    let catalog = lake.catalog.within(8 << 20);
    let base = made(&catalog, "db.t").await;
    let now = catalog.commit(&base, vec![], set("a", "1")).await.unwrap();
    let earlier = async || {
        let read = catalog.earlier(&now, &base.metadata_location).await;
        read.unwrap()
    };
    assert_eq!(earlier().await, Some(Arc::clone(&base.metadata)));
    let path = base.metadata_location.trim_start_matches("file://");
    let whole = std::fs::read_to_string(path).unwrap();
    let long = "x".repeat(16 << 20);
    for wrong in [
        whole[..whole.len() / 2].to_owned(),
        whole.replacen('{', &format!("{{\"long\":\"{long}\","), 1),
    ] {
        std::fs::write(path, wrong).unwrap();
        assert_eq!(earlier().await, None);
    }
    std::fs::remove_file(path).unwrap();
    assert_eq!(earlier().await, None);
}
