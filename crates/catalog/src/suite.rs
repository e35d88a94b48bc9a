//! The promises every catalog keeps; each catalog's tests call every one of them.
//!
//! A promise makes what it needs in a namespace of its own, so all may share one catalog. New
//! tables must find a place by themselves (a warehouse, or a namespace's location).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use metadata::{
    Field, PartitionField, PartitionSpec, Primitive, Requirement, Schema, StructType, Transform,
    Type, Update,
};
use model::TableName;
use storage::Location;

use crate::{Catalog, Error, NewTable, Table};

/// Writers that race for one swap.
const RACERS: usize = 8;

/// Every promise that needs the catalog alone, one after the other.
pub async fn all(catalog: &dyn Catalog) {
    what_was_created_is_listed(catalog).await;
    a_namespace_keeps_its_own_properties(catalog).await;
    a_listing_says_where_the_metadata_lies(catalog).await;
    a_table_loads_as_it_was_created(catalog).await;
    a_listed_table_loads_as_it_was_listed_or_is_now(catalog).await;
    what_is_not_there_is_told_apart(catalog).await;
    every_table_tells_where_its_files_may_lie(catalog).await;
    a_name_is_given_once(catalog).await;
    odd_names_are_names(catalog).await;
    a_commit_changes_what_it_says_and_nothing_else(catalog).await;
    an_unmet_requirement_changes_nothing(catalog).await;
    a_stale_commit_conflicts(catalog).await;
    nothing_is_visible_before_the_swap(catalog).await;
    a_swap_that_landed_may_be_repeated(catalog).await;
    one_of_many_racing_writers_wins(catalog).await;
}

pub async fn what_was_created_is_listed(catalog: &dyn Catalog) {
    let outer = vec!["suite_list".to_owned()];
    let inner = vec!["suite_list".to_owned(), "inner".to_owned()];
    catalog
        .create_namespace(&outer, &BTreeMap::new())
        .await
        .expect("create a namespace");
    catalog
        .create_namespace(&inner, &properties(&[("owner", "me")]))
        .await
        .expect("create one in it");
    catalog
        .create_namespace(&inner, &BTreeMap::new())
        .await
        .expect("create it again");
    for name in ["b", "a"] {
        make(catalog, &["suite_list", "inner"], name).await;
    }
    let namespaces = catalog.namespaces().await.expect("list namespaces");
    assert!(
        namespaces.contains(&outer) && namespaces.contains(&inner),
        "{namespaces:?}"
    );
    let listed = catalog.tables(&inner).await.expect("list tables");
    let names: Vec<TableName> = listed.into_iter().map(|one| one.name).collect();
    assert_eq!(
        names,
        ["a", "b"].map(|table| name(&["suite_list", "inner"], table))
    );
    assert_eq!(
        catalog.tables(&outer).await.expect("list tables"),
        [],
        "only direct tables are listed"
    );
}

pub async fn a_namespace_keeps_its_own_properties(catalog: &dyn Catalog) {
    let outer = vec!["suite_properties".to_owned()];
    let inner = vec!["suite_properties".to_owned(), "inner".to_owned()];
    let owner = properties(&[("owner", "me"), ("snowpack.priority", "7")]);
    catalog
        .create_namespace(&outer, &owner)
        .await
        .expect("create a namespace");
    make(catalog, &["suite_properties", "inner"], "t").await;
    let found = catalog.namespace_properties(&outer).await;
    let found = found.expect("read the properties");
    for (key, value) in &owner {
        assert_eq!(found.get(key), Some(value), "{key}");
    }
    let found = catalog.namespace_properties(&inner).await;
    let found = found.expect("read the inner one's properties");
    assert_eq!(found.get("owner"), None, "the parent's are not its own");
    let nowhere = vec!["suite_nowhere".to_owned()];
    let error = catalog.namespace_properties(&nowhere).await;
    let error = error.expect_err("read what is not there");
    assert!(matches!(error, Error::NoSuchNamespace(_)), "{error}");
}

pub async fn a_listing_says_where_the_metadata_lies(catalog: &dyn Catalog) {
    let base = make(catalog, &["suite_where"], "t").await;
    let after = catalog
        .commit(&base, vec![], set("a", "1"))
        .await
        .expect("commit");
    let listed = catalog.tables(base.name.namespace()).await;
    let listed = listed.expect("list tables");
    assert_eq!(listed.len(), 1);
    // A catalog that does not know says nothing, never something old.
    if let Some(location) = &listed[0].metadata_location {
        assert_eq!(*location, after.metadata_location);
    }
}

pub async fn a_table_loads_as_it_was_created(catalog: &dyn Catalog) {
    let made = make(catalog, &["suite_load"], "t").await;
    let loaded = catalog.load(&made.name).await.expect("load the table");
    assert_eq!(loaded.metadata_location, made.metadata_location);
    assert_eq!(loaded.metadata, made.metadata);
    assert_eq!(loaded.name, made.name);
    let metadata = &loaded.metadata;
    assert_eq!(metadata.format_version(), 2);
    assert_eq!(metadata.current_schema().root.fields.len(), 2);
    assert_eq!(
        metadata.default_spec().fields[0].transform,
        Transform::Bucket(4)
    );
    assert_eq!(metadata.property("owner"), Some("me"));
    assert!(metadata.current_snapshot().is_none());
    assert!(metadata.last_updated_ms() > 0);
}

pub async fn a_listed_table_loads_as_it_was_listed_or_is_now(catalog: &dyn Catalog) {
    let base = make(catalog, &["suite_listed"], "t").await;
    let listed = catalog.tables(base.name.namespace()).await;
    let listed = listed.expect("list tables").remove(0);
    let loaded = catalog.load_listed(&listed).await.expect("load it");
    assert_eq!(loaded.metadata_location, base.metadata_location);
    assert_eq!(
        (&loaded.name, &loaded.metadata),
        (&base.name, &base.metadata)
    );
    let after = catalog
        .commit(&base, vec![], set("a", "1"))
        .await
        .expect("commit");
    let loaded = catalog.load_listed(&listed).await.expect("load it again");
    let (before, now) = (&base.metadata_location, &after.metadata_location);
    assert!(
        [before, now].contains(&&loaded.metadata_location),
        "{}",
        loaded.metadata_location
    );
}

pub async fn what_is_not_there_is_told_apart(catalog: &dyn Catalog) {
    let made = make(catalog, &["suite_absent"], "t").await;
    let absent = name(&["suite_absent"], "no");
    let error = catalog
        .load(&absent)
        .await
        .expect_err("load what is not there");
    assert!(
        matches!(&error, Error::NoSuchTable(table) if *table == absent),
        "{error}"
    );
    let nowhere = vec!["suite_nowhere".to_owned()];
    let error = catalog
        .tables(&nowhere)
        .await
        .expect_err("list what is not there");
    assert!(matches!(error, Error::NoSuchNamespace(_)), "{error}");
    let error = catalog
        .create_table(&name(&["suite_nowhere"], "t"), new())
        .await
        .expect_err("create nowhere");
    assert!(matches!(error, Error::NoSuchNamespace(_)), "{error}");
    // A table of another name with this one's metadata: as if it was dropped under us.
    let gone = Table {
        name: absent.clone(),
        ..made
    };
    let error = catalog
        .commit(&gone, vec![], set("a", "1"))
        .await
        .expect_err("commit to what is not there");
    assert!(
        matches!(&error, Error::NoSuchTable(table) if *table == absent),
        "{error}"
    );
}

pub async fn every_table_tells_where_its_files_may_lie(catalog: &dyn Catalog) {
    let (plain, apart) = (
        make(catalog, &["suite_places"], "plain").await,
        make(catalog, &["suite_places"], "apart").await,
    );
    let data = format!("{}/data", plain.metadata.location());
    let update = set("write.data.path", &data);
    let apart = catalog.commit(&apart, Vec::new(), update).await;
    let apart = apart.expect("set a property");
    let loaded = AtomicUsize::new(0);
    let alive = || {
        loaded.fetch_add(1, Ordering::Relaxed);
    };
    let territories = catalog.territories(&alive).await.expect("tell");
    assert!(loaded.into_inner() >= 2);
    let located = catalog.locations().await.expect("locate");
    for table in [plain, apart] {
        let own = parsed(table.metadata.location());
        let found = territories.iter().find(|one| one.name == table.name);
        let found = found.expect("every table is told of");
        assert_eq!(found.table_uuid, table.metadata.uuid());
        let folders: Vec<Location> = found.folders.iter().map(|text| parsed(text)).collect();
        let metadata = own.join("metadata").expect("a folder");
        assert!(folders.contains(&own), "{found:?}");
        assert!(folders.contains(&metadata), "{found:?}");
        let elsewhere = folders.contains(&parsed(&data));
        assert_eq!(elsewhere, table.name.table() == "apart", "{found:?}");
        let mut located = located.iter();
        assert!(located.any(|(name, folder)| *name == table.name && parsed(folder) == own));
    }
}

fn parsed(text: &str) -> Location {
    Location::parse(text).expect("a location")
}

pub async fn a_name_is_given_once(catalog: &dyn Catalog) {
    let made = make(catalog, &["suite_once"], "t").await;
    let error = catalog
        .create_table(&made.name, new())
        .await
        .expect_err("create it twice");
    assert!(
        matches!(&error, Error::TableExists(table) if *table == made.name),
        "{error}"
    );
    let loaded = catalog.load(&made.name).await.expect("load the table");
    assert_eq!(loaded.metadata.uuid(), made.metadata.uuid());
}

pub async fn odd_names_are_names(catalog: &dyn Catalog) {
    for table in ["größe 表", "a.b", "say \"hi\"", "per%2Fcent", "it's", "x_y"] {
        let made = make(catalog, &["suite_odd'%_"], table).await;
        let loaded = catalog.load(&made.name).await.expect("load the table");
        assert_eq!(loaded.metadata.uuid(), made.metadata.uuid(), "{table}");
    }
    let listed = catalog
        .tables(&["suite_odd'%_".to_owned()])
        .await
        .expect("list tables");
    assert_eq!(listed.len(), 6);
}

pub async fn a_commit_changes_what_it_says_and_nothing_else(catalog: &dyn Catalog) {
    let base = make(catalog, &["suite_commit"], "t").await;
    let uuid = base.metadata.uuid().to_owned();
    let requirements = vec![
        Requirement::AssertTableUuid { uuid },
        Requirement::AssertRefSnapshotId {
            r#ref: "main".to_owned(),
            snapshot_id: None,
        },
    ];
    let after = catalog
        .commit(&base, requirements, set("a", "1"))
        .await
        .expect("commit");
    let loaded = catalog.load(&base.name).await.expect("load the table");
    assert_eq!(loaded.metadata_location, after.metadata_location);
    assert_eq!(loaded.metadata, after.metadata);
    assert_ne!(after.metadata_location, base.metadata_location);
    assert_eq!(loaded.metadata.property("a"), Some("1"));
    assert_eq!(loaded.metadata.property("owner"), Some("me"));
    assert_eq!(loaded.metadata.uuid(), base.metadata.uuid());
    assert!(loaded.metadata.last_updated_ms() >= base.metadata.last_updated_ms());
}

pub async fn an_unmet_requirement_changes_nothing(catalog: &dyn Catalog) {
    let base = make(catalog, &["suite_require"], "t").await;
    let unmet = Requirement::AssertRefSnapshotId {
        r#ref: "main".to_owned(),
        snapshot_id: Some(1),
    };
    let error = catalog
        .commit(&base, vec![unmet], set("a", "1"))
        .await
        .expect_err("commit");
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    unchanged(catalog, &base).await;
}

pub async fn a_stale_commit_conflicts(catalog: &dyn Catalog) {
    let base = make(catalog, &["suite_stale"], "t").await;
    let first = catalog
        .commit(&base, vec![], set("a", "1"))
        .await
        .expect("commit");
    let error = catalog
        .commit(&base, vec![], set("a", "2"))
        .await
        .expect_err("commit on an old base");
    assert!(
        matches!(&error, Error::Conflict { table, .. } if *table == base.name),
        "{error}"
    );
    unchanged(catalog, &first).await;
}

pub async fn nothing_is_visible_before_the_swap(catalog: &dyn Catalog) {
    let base = make(catalog, &["suite_prepare"], "t").await;
    let location = catalog.next_metadata_location(&base);
    assert!(
        location.is_none() || location != catalog.next_metadata_location(&base),
        "each is given once"
    );
    let prepared = catalog
        .prepare(&base, vec![], set("a", "1"), location)
        .await
        .expect("prepare");
    unchanged(catalog, &base).await;
    let after = catalog.swap(&prepared, None).await.expect("swap");
    assert_eq!(after.metadata.property("a"), Some("1"));
}

pub async fn a_swap_that_landed_may_be_repeated(catalog: &dyn Catalog) {
    let base = make(catalog, &["suite_repeat"], "t").await;
    let location = catalog.next_metadata_location(&base);
    let prepared = catalog
        .prepare(&base, vec![], set("a", "1"), location)
        .await
        .expect("prepare");
    let first = catalog.swap(&prepared, None).await.expect("swap");
    let again = catalog
        .swap(&prepared, None)
        .await
        .expect("swap what landed already");
    assert_eq!(again.metadata_location, first.metadata_location);
}

pub async fn one_of_many_racing_writers_wins(catalog: &dyn Catalog) {
    let base = make(catalog, &["suite_race"], "t").await;
    let mut prepared = Vec::new();
    for racer in 0..RACERS {
        let location = catalog.next_metadata_location(&base);
        let updates = set("winner", &racer.to_string());
        prepared.push(
            catalog
                .prepare(&base, vec![], updates, location)
                .await
                .expect("prepare"),
        );
    }
    // All are polled together, so their statements are under way at the same time.
    let mut racing: Vec<_> = prepared.iter().map(|one| catalog.swap(one, None)).collect();
    let mut ended = Vec::new();
    std::future::poll_fn(|context| {
        racing.retain_mut(|swap| match swap.as_mut().poll(context) {
            std::task::Poll::Ready(outcome) => {
                ended.push(outcome);
                false
            }
            std::task::Poll::Pending => true,
        });
        if racing.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    let mut won = Vec::new();
    for outcome in ended {
        match outcome {
            Ok(table) => won.push(table),
            Err(error) => assert!(matches!(error, Error::Conflict { .. }), "{error}"),
        }
    }
    assert_eq!(won.len(), 1, "exactly one writer wins");
    unchanged(catalog, &won[0]).await;
}

/// For a catalog that swaps in the caller's transaction: it happens with that transaction or not at all.
pub async fn a_swap_shares_the_fate_of_its_transaction(
    catalog: &dyn Catalog,
    client: &mut pg::Client,
) {
    let base = make(catalog, &["suite_within"], "t").await;
    let location = catalog.next_metadata_location(&base);
    let prepared = catalog
        .prepare(&base, vec![], set("a", "1"), location)
        .await
        .expect("prepare");
    let tx = client.transaction().await.expect("begin");
    catalog.swap(&prepared, Some(&tx)).await.expect("swap");
    unchanged(catalog, &base).await;
    tx.rollback().await.expect("roll back");
    unchanged(catalog, &base).await;

    let tx = client.transaction().await.expect("begin");
    let after = catalog.swap(&prepared, Some(&tx)).await.expect("swap");
    tx.commit().await.expect("commit");
    unchanged(catalog, &after).await;

    let location = catalog.next_metadata_location(&base);
    let stale = catalog
        .prepare(&base, vec![], set("a", "2"), location)
        .await
        .expect("prepare");
    let tx = client.transaction().await.expect("begin");
    let error = catalog
        .swap(&stale, Some(&tx))
        .await
        .expect_err("swap on an old base");
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    tx.commit()
        .await
        .expect("a conflict leaves the transaction usable");
    unchanged(catalog, &after).await;
}

async fn unchanged(catalog: &dyn Catalog, table: &Table) {
    let loaded = catalog.load(&table.name).await.expect("load the table");
    assert_eq!(loaded.metadata_location, table.metadata_location);
    assert_eq!(loaded.metadata, table.metadata);
}

/// A table of two columns in a namespace made for it.
async fn make(catalog: &dyn Catalog, namespace: &[&str], table: &str) -> Table {
    let name = name(namespace, table);
    catalog
        .create_namespace(name.namespace(), &BTreeMap::new())
        .await
        .expect("create a namespace");
    catalog
        .create_table(&name, new())
        .await
        .expect("create a table")
}

fn new() -> NewTable {
    let field = |id, name: &str, required, ty| Field::new(id, name, required, Type::Primitive(ty));
    let fields = vec![
        field(1, "id", true, Primitive::Long),
        field(2, "name", false, Primitive::String),
    ];
    let bucket = PartitionField {
        source_id: 1,
        field_id: 1000,
        name: "id_bucket".to_owned(),
        transform: Transform::Bucket(4),
    };
    NewTable {
        schema: Schema {
            schema_id: 0,
            root: StructType { fields },
            identifier_field_ids: Vec::new(),
        },
        spec: PartitionSpec {
            spec_id: 0,
            fields: vec![bucket],
        },
        properties: properties(&[("owner", "me")]),
        location: None,
    }
}

fn name(namespace: &[&str], table: &str) -> TableName {
    TableName::new(namespace.iter().copied(), table).expect("the suite's names are names")
}

fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn set(key: &str, value: &str) -> Vec<Update> {
    vec![Update::SetProperties {
        updates: properties(&[(key, value)]),
    }]
}
