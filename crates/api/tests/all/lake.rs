//! What needs a catalog: the sync of the table cache, and dry runs.

use std::collections::BTreeMap;

use catalog::{Catalog, NewTable, SqlCatalog};
use metadata::{PartitionSpec, Schema};
use serde_json::{Value, json};
use storage::Storage;
use testkit::{Database, until};

use crate::server::{OPEN, Server, cache, submit};

pub(crate) const CATALOG: &str = "lake";

/// An empty table in a catalog that lies in the same database.
pub(crate) async fn table(database: &Database, folder: &tempfile::TempDir, name: &str) -> String {
    let pool = database.pool().await;
    let warehouse = folder.path().to_str();
    let storage = Storage::new(&storage::Args::default()).unwrap();
    let catalog = SqlCatalog::open(CATALOG, pool.clone(), Some(&pool), &storage, warehouse);
    let catalog = catalog.await.unwrap();
    let schema: Schema = serde_json::from_value(json!({"type": "struct", "schema-id": 0, "fields":
        [{"id": 1, "name": "id", "required": false, "type": "long"}]}))
    .unwrap();
    let name: model::TableName = name.parse().unwrap();
    let none = BTreeMap::new();
    // Another table of the same namespace may have made it.
    let _ = catalog.create_namespace(name.namespace(), &none).await;
    let new = NewTable {
        schema,
        spec: PartitionSpec::unpartitioned(),
        properties: none,
        location: None,
    };
    let made = catalog.create_table(&name, new).await.unwrap();
    made.metadata_location
}

pub(crate) async fn server(database: &Database, more: &[(&str, &str)]) -> Server {
    let own = [
        ("SNOWPACK_AUTH", "none"),
        ("SNOWPACK_CATALOG_NAME", CATALOG),
    ];
    Server::with(database.url(), &[&own, more].concat()).await
}

#[tokio::test]
async fn m06_a_dry_run_is_done_at_once_changes_nothing_and_shows_its_plan() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let location = table(&database, &folder, "db.events").await;
    cache(&database, &["events", "gone"]).await;
    // A job holds the table: looking is allowed all the same.
    submit(&database, "events").await;
    let server = server(&database, &[]).await;
    let asked = json!({
        "actions": ["rewrite_data_files", "expire_snapshots"], "dry_run": true,
        "idempotency_key": "look",
    });
    let route = "/tables/db/events/maintenance";
    let answer = server.send("POST", route, &asked).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(
        answer.headers.get("retry-after"),
        None,
        "there is nothing to wait for"
    );
    let job = answer.json();
    assert_eq!(
        (&job["status"], &job["dry_run"]),
        (&json!("completed"), &json!(true))
    );
    assert_eq!(job["queue"], Value::Null);
    for action in ["rewrite_data_files", "expire_snapshots"] {
        assert!(job["plan"][action].is_object(), "{job}");
    }
    assert_eq!(job["results"].as_array().unwrap().len(), 2, "{job}");
    let read = server.get(answer.header("location")).await.json();
    assert_eq!(read, job);
    let again = server.send("POST", route, &asked).await.json();
    assert_eq!(again["job_id"], job["job_id"]);

    let now = "select metadata_location from iceberg_tables where table_name = 'events'";
    let row = database.client().await.query_one(now, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), location);
    let gone = server
        .send("POST", "/tables/db/gone/maintenance", &asked)
        .await;
    gone.problem(422, "idempotency_key_reused");
    let asked = json!({"actions": ["rewrite_data_files"], "dry_run": true});
    let gone = server
        .send("POST", "/tables/db/gone/maintenance", &asked)
        .await;
    gone.problem(404, "no_such_table");
    server.stop(&[OPEN]).await;
}

#[tokio::test]
async fn m21_the_cache_follows_the_catalog_and_makes_it_ready() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    table(&database, &folder, "db.events").await;
    table(&database, &folder, "db.scratch").await;
    let more = [
        ("SNOWPACK_CACHE_SYNC_SECONDS", "1"),
        ("SNOWPACK_CACHE_AGE_MAX_SECONDS", "600"),
        ("SNOWPACK_TABLES_EXCLUDE", "*.scratch"),
    ];
    let server = server(&database, &more).await;
    until("it is ready", async || {
        server.get("/readyz").await.status == 200
    })
    .await;
    let asked = json!({"actions": ["rewrite_data_files"]});
    let known = server
        .send("POST", "/tables/db/events/maintenance", &asked)
        .await;
    assert_eq!(known.status, 202, "{}", known.text);
    let left_out = server
        .send("POST", "/tables/db/scratch/maintenance", &asked)
        .await;
    left_out.problem(404, "no_such_table");
    table(&database, &folder, "db.later").await;
    let route = "/tables/db/later/maintenance";
    until("a new table is known", async || {
        server.send("POST", route, &asked).await.status != 404
    })
    .await;
    let loops = server.get("/loops").await.json();
    let passes = loops["loops"].as_array().unwrap();
    assert!(
        passes.iter().any(|pass| pass["name"] == "table_cache_sync"),
        "{loops}"
    );
    server.stop(&[OPEN]).await;
}
