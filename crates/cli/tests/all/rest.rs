//! A table behind a REST server is listed, planned and maintained as any other.

use testkit::RestCatalog;

use crate::program::{Lake, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_behind_a_rest_server_is_maintained_as_any_other() {
    let lake = Lake::named(RestCatalog::CATALOG).await;
    let rows = lake.make("db.events", 6)["rows"].clone();
    let warehouse = format!("file://{}", lake.folder().display());
    let server = RestCatalog::on(&lake.database, &warehouse, None).await;
    let uri = server.uri();
    let mut settings = lake.settings().to_vec();
    settings.extend([
        ("SNOWPACK_CATALOG_TYPE", "rest"),
        ("SNOWPACK_CATALOG_URI", uri.as_str()),
        ("SNOWPACK_CATALOG_CREDENTIAL", "me:hunter2"),
    ]);
    let listed = run(&["tables"], &settings).expect(0).stdout;
    assert!(listed.contains("db.events"), "{listed}");
    let stray = lake.stray("db.events", "stray.parquet");
    let done = run(
        &[
            "maintain",
            "db.events",
            "rewrite_data_files",
            "remove_orphan_files",
        ],
        &settings,
    );
    let done = done.expect(0).stdout;
    assert!(done.contains("6 files -> 1"), "{done}");
    assert!(
        done.contains("1 orphan file (10 B) to be deleted"),
        "{done}"
    );
    let expire = [
        "maintain",
        "db.events",
        "expire_snapshots",
        "--option",
        "older_than=2999-01-01T00:00:00Z",
    ];
    let done = run(&expire, &settings).expect(0).stdout;
    assert!(done.contains("6 snapshots expired"), "{done}");
    let sql = "update snowpack.pending_deletions set delete_after = now()";
    let client = lake.database.client().await;
    client.execute(sql, &[]).await.unwrap();
    let done = run(&["maintain", "db.events", "purge_pending"], &settings);
    let done = done.expect(0).stdout;
    assert!(done.contains("files deleted"), "{done}");
    assert!(!stray.exists());
    assert_eq!(lake.read("db.events")["rows"], rows);
    // With the server gone, it is the server that is named.
    drop(server);
    let refused = run(&["tables"], &settings);
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("SNOWPACK_CATALOG_URI"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("hunter2"));
}
