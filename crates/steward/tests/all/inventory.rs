//! The table cache follows the catalog.

use std::io::Write as _;

use catalog::{Catalog, NewTable, SqlCatalog};
use flate2::Compression;
use flate2::write::GzEncoder;
use maintenance::inventory::{self, Entry, Filter, Outcome, Status};
use metadata::{PartitionSpec, Schema, Update};
use serde_json::json;
use steward::inventory::{Allow, Synced, TablesArgs, sync};
use storage::Storage;
use testkit::Database;
use tokio_postgres::Client;

use crate::shelf::Shelf;

/// A migrated database, and a catalog to follow.
pub(crate) struct Rig {
    pub(crate) pool: pg::Pool,
    pub(crate) client: Client,
    pub(crate) shelf: Shelf,
    pub(crate) database: Database,
}

/// Every table.
pub(crate) fn all() -> Allow {
    Allow::new(&TablesArgs::default())
}

impl Rig {
    pub(crate) async fn new(tables: &[&str]) -> Self {
        let rig = Self::of(&Database::new().await).await;
        for table in tables {
            rig.shelf.put(table, &[]);
        }
        rig
    }

    /// Another view of the same database, with nothing on its shelf.
    pub(crate) async fn of(database: &Database) -> Self {
        Self {
            pool: database.pool().await,
            client: database.client().await,
            shelf: Shelf::default(),
            database: database.clone(),
        }
    }

    pub(crate) async fn sync(&self) -> Synced {
        sync(&self.pool, &self.shelf, &all(), false).await.unwrap()
    }

    pub(crate) async fn status(&self) -> Status {
        inventory::status(&self.client).await.unwrap()
    }

    pub(crate) async fn entries(&self) -> Vec<Entry> {
        let filter = Filter {
            limit: 500,
            ..Filter::default()
        };
        inventory::list(&self.client, &filter).await.unwrap()
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        let entries = self.entries().await;
        let mut names: Vec<String> = entries.iter().map(|entry| entry.table.key()).collect();
        // By their bytes, whatever the database's collation.
        names.sort();
        names
    }

    pub(crate) async fn entry(&self, table: &str) -> Entry {
        let found = inventory::get(&self.client, &table.parse().unwrap()).await;
        found
            .unwrap()
            .unwrap_or_else(|| panic!("{table} is not cached"))
    }

    /// Which transaction wrote each entry.
    async fn written(&self) -> Vec<(String, String)> {
        let sql = "select database_name || '.' || table_name, xmin::text \
                   from snowpack.table_cache_entries order by 1";
        let rows = self.client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }
}

#[tokio::test]
async fn m20_the_cache_becomes_what_the_catalog_holds() {
    let rig = Rig::new(&["a.t", "a.u", "b.inner.t", "\"c.d\".t"]).await;
    assert_eq!(rig.status().await.last_synced_at, None);
    rig.shelf.put(
        "a.t",
        &[
            ("snowpack.maintenance_enabled", "true"),
            ("gc.enabled", "false"),
            ("history.expire.min-snapshots-to-keep", "3"),
            ("commit.manifest.target-size-bytes", "1"),
            ("write.target-file-size-bytes", "7"),
            ("compaction_skip", "false"),
            ("owner", "me"),
            ("write.parquet.compression-codec", "zstd"),
        ],
    );
    let synced = rig.sync().await;
    assert_eq!(synced.outcome, Some(Outcome::Synced));
    assert_eq!((synced.tables, synced.loaded, synced.changed), (4, 4, 4));
    assert_eq!(rig.names().await, ["\"c.d\".t", "a.t", "a.u", "b.inner.t"]);
    let entry = rig.entry("a.t").await;
    assert_eq!(entry.maintenance_enabled, Some(true));
    let content = entry.content;
    assert_eq!(content.table_uuid.as_deref(), Some("uuid of a.t"));
    assert_eq!(content.location.as_deref(), Some("file:///lake/a.t"));
    assert_eq!(
        (content.format_version, content.last_updated_ms),
        (Some(2), Some(1_000))
    );
    assert!(
        content
            .metadata_location
            .unwrap()
            .ends_with(".metadata.json")
    );
    let kept: Vec<&str> = content.properties.keys().map(String::as_str).collect();
    let want = [
        "commit.manifest.target-size-bytes",
        "compaction_skip",
        "gc.enabled",
        "history.expire.min-snapshots-to-keep",
        "snowpack.maintenance_enabled",
        "write.target-file-size-bytes",
    ];
    assert_eq!(kept, want);
    let status = rig.status().await;
    assert_eq!(status.table_count, 4);
    assert_eq!(Some(entry.synced_at), status.last_synced_at);
    assert!(status.age.is_some() && status.elapsed.is_some());
}

#[tokio::test]
async fn m20_only_what_changed_is_read_and_written() {
    let rig = Rig::new(&["a.same", "a.moved", "a.dropped", "b.t"]).await;
    rig.sync().await;
    let (before, synced_at) = (rig.written().await, rig.status().await.last_synced_at);
    rig.shelf.loaded();

    let synced = rig.sync().await;
    assert_eq!((synced.loaded, synced.changed, synced.gone), (0, 0, 0));
    assert_eq!(rig.shelf.loaded(), [""; 0]);
    assert_eq!(rig.written().await, before, "nothing is written again");
    let status = rig.status().await;
    assert!(status.last_synced_at > synced_at, "but it was looked at");

    rig.shelf.put("a.moved", &[("snowpack.priority", "1")]);
    rig.shelf.put("a.new", &[]);
    rig.shelf.drop_table("a.dropped");
    let synced = rig.sync().await;
    assert_eq!((synced.loaded, synced.changed, synced.gone), (2, 2, 1));
    assert_eq!(rig.shelf.loaded(), ["a.moved", "a.new"]);
    assert_eq!(rig.names().await, ["a.moved", "a.new", "a.same", "b.t"]);
    let after = rig.written().await;
    assert_eq!((&after[2], &after[3]), (&before[2], &before[3]));
}

#[tokio::test]
async fn m20_a_catalog_that_does_not_say_where_metadata_lies_is_read_and_nothing_is_rewritten() {
    let rig = Rig::new(&["a.t", "b.t"]).await;
    rig.shelf.silent();
    rig.sync().await;
    let before = rig.written().await;
    let synced = rig.sync().await;
    assert_eq!((synced.loaded, synced.changed), (2, 0));
    assert_eq!(rig.written().await, before);
}

#[tokio::test]
async fn m20_a_databases_policy_reaches_its_tables_without_reading_them() {
    let rig = Rig::new(&["a.t", "b.t"]).await;
    rig.sync().await;
    rig.shelf.loaded();
    let policy = [("snowpack.maintenance_enabled", "true"), ("owner", "me")];
    rig.shelf.properties("a", &policy);
    let synced = rig.sync().await;
    assert_eq!((synced.loaded, synced.changed), (0, 1));
    let entry = rig.entry("a.t").await;
    let kept: Vec<&String> = entry.content.database_properties.keys().collect();
    assert_eq!(kept, ["snowpack.maintenance_enabled"]);
    assert_eq!(entry.maintenance_enabled, Some(true));
    assert_eq!(rig.entry("b.t").await.maintenance_enabled, None);
}

#[tokio::test]
async fn m26_the_three_states_of_enrolment_are_kept_apart() {
    let rig = Rig::new(&[]).await;
    let cases = [
        ("", "", None),
        ("true", "", Some(true)),
        ("FALSE", "", Some(false)),
        ("", "false", Some(false)),
        ("true", "false", Some(true)),
        ("perhaps", "", None),
        // Unreadable is never read as what the database says.
        ("perhaps", "true", None),
    ];
    let said = |value| match value {
        "" => vec![],
        value => vec![("snowpack.maintenance_enabled", value)],
    };
    for (number, (table, database, _)) in cases.iter().enumerate() {
        rig.shelf.put(&format!("d{number}.t"), &said(table));
        rig.shelf.properties(&format!("d{number}"), &said(database));
    }
    rig.sync().await;
    for (number, (table, database, want)) in cases.iter().enumerate() {
        let entry = rig.entry(&format!("d{number}.t")).await;
        assert_eq!(
            entry.maintenance_enabled, *want,
            "table `{table}`, database `{database}`"
        );
    }
}

#[tokio::test]
async fn m20_rules_decide_what_is_cached_and_are_named_in_the_entry() {
    let rig = Rig::new(&["a.t", "a.tmp_1", "b.t", "c.t"]).await;
    let rules = |include: &str, exclude: &str| {
        Allow::new(&TablesArgs {
            tables_include: Some(include.parse().unwrap()),
            tables_exclude: Some(exclude.parse().unwrap()),
        })
    };
    let allow = rules("a.*,b.*", "*.tmp_*");
    let synced = sync(&rig.pool, &rig.shelf, &allow, false).await.unwrap();
    assert_eq!((synced.tables, synced.left_out), (2, 2));
    assert_eq!(rig.names().await, ["a.t", "b.t"]);
    assert_eq!(
        rig.entry("a.t").await.content.rule,
        "SNOWPACK_TABLES_INCLUDE: a.*"
    );
    assert_eq!(
        rig.shelf.loaded(),
        ["a.t", "b.t"],
        "the others are none of ours"
    );

    // Most of the tables go, but by a rule: that is no loss to guard against.
    rig.sync().await;
    assert_eq!(rig.names().await.len(), 4);
    let allow = rules("c.*", "nothing");
    let synced = sync(&rig.pool, &rig.shelf, &allow, false).await.unwrap();
    assert_eq!((synced.outcome, synced.gone), (Some(Outcome::Synced), 3));
    assert_eq!(rig.names().await, ["c.t"]);
}

/// A document of many values in few bytes, which unpacks to more than the memory there is.
#[tokio::test]
async fn m20_a_table_whose_document_unpacks_beyond_the_memory_is_unreadable_and_no_other() {
    let rig = Rig::new(&[]).await;
    let warehouse = tempfile::tempdir().unwrap();
    let (storage, pool) = (Storage::local(), rig.database.pool().await);
    let place = warehouse.path().to_str();
    let catalog = SqlCatalog::open("lake", pool, Some(&rig.pool), &storage, place);
    let catalog = catalog.await.unwrap().within(64 << 20);
    let namespace = ["db".to_owned()];
    catalog
        .create_namespace(&namespace, &[].into())
        .await
        .unwrap();
    let mut swollen = None;
    for name in ["db.a", "db.b", "db.c"] {
        let new = NewTable {
            schema: one_column(),
            spec: PartitionSpec::unpartitioned(),
            properties: [].into(),
            location: None,
        };
        let made = catalog
            .create_table(&name.parse().unwrap(), new)
            .await
            .unwrap();
        if name == "db.b" {
            swollen = Some(made);
        }
    }
    let made = swollen.unwrap();
    for (key, text, times) in [("long", "x", 9 << 20), ("many", "[],", 400_000)] {
        let whole = String::from_utf8(made.metadata.to_json()).unwrap();
        let more = text.repeat(times);
        let more = match key {
            "many" => format!("[{more}[]]"),
            _ => format!("\"{more}\""),
        };
        let text = whole.replacen('{', &format!("{{\"{key}\":{more},"), 1);
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(text.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        assert!(packed.len() < 16 << 10, "{}", packed.len());
        let at = warehouse.path().join(format!("{key}.gz.metadata.json"));
        std::fs::write(&at, packed).unwrap();
        let moved = "update iceberg_tables set metadata_location = $1 where table_name = 'b'";
        let at = at.display().to_string();
        rig.client.execute(moved, &[&at]).await.unwrap();
        let synced = sync(&rig.pool, &catalog, &all(), false).await.unwrap();
        assert_eq!(synced.outcome, Some(Outcome::Synced), "{synced:?}");
        assert_eq!((synced.tables, synced.unreadable), (3, 1), "{synced:?}");
        for sound in ["db.a", "db.c"] {
            let content = rig.entry(sound).await.content;
            assert_eq!(content.error, None, "{sound}");
            assert!(content.metadata_location.is_some(), "{sound}");
        }
        let why = rig.entry("db.b").await.content.error.unwrap();
        for part in [at.as_str(), "unpacks", "67108864 are there"] {
            assert!(why.contains(part), "{part} is not in {why}");
        }
    }
}

fn one_column() -> Schema {
    serde_json::from_value(json!({
        "type": "struct", "schema-id": 0,
        "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]
    }))
    .unwrap()
}

#[tokio::test]
async fn m20_the_sql_catalogs_tables_are_followed_to_their_newest_metadata() {
    let rig = Rig::new(&[]).await;
    let warehouse = tempfile::tempdir().unwrap();
    let place = warehouse.path().to_str();
    let storage = Storage::local();
    let pool = rig.database.pool().await;
    let catalog = SqlCatalog::open("lake", pool, Some(&rig.pool), &storage, place)
        .await
        .unwrap();
    let policy = [("snowpack.priority".to_owned(), "-1".to_owned())];
    let policy = policy.into_iter().collect();
    catalog
        .create_namespace(&["db".to_owned()], &policy)
        .await
        .unwrap();
    let new = NewTable {
        schema: one_column(),
        spec: PartitionSpec::unpartitioned(),
        properties: [].into(),
        location: None,
    };
    let made = catalog
        .create_table(&"db.t".parse().unwrap(), new)
        .await
        .unwrap();
    let synced = sync(&rig.pool, &catalog, &all(), false).await.unwrap();
    assert_eq!((synced.tables, synced.loaded), (1, 1));
    let synced = sync(&rig.pool, &catalog, &all(), false).await.unwrap();
    assert_eq!((synced.loaded, synced.changed), (0, 0));
    let updates = [("snowpack.priority".to_owned(), "2".to_owned())].into();
    let updates = vec![Update::SetProperties { updates }];
    let after = catalog.commit(&made, vec![], updates).await.unwrap();
    let synced = sync(&rig.pool, &catalog, &all(), false).await.unwrap();
    assert_eq!((synced.loaded, synced.changed), (1, 1));
    let content = rig.entry("db.t").await.content;
    assert_eq!(content.metadata_location, Some(after.metadata_location));
    assert_eq!(content.properties["snowpack.priority"], "2");
    assert_eq!(content.database_properties["snowpack.priority"], "-1");
}
