//! `snowpack health`: with and without a database, of one table and of all.

use serde_json::{Value, json};

use crate::program::Lake;

const FILES: u32 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn m34_health_needs_no_database_and_says_what_to_do() {
    let lake = Lake::new().await;
    lake.make("db.events", FILES);
    let found = lake
        .alone(&["health", "db.events", "--output", "json"])
        .expect(0)
        .json();
    assert_eq!(found["table"], "db.events");
    assert_eq!(found["file_stats"]["total_data_files"], FILES);
    assert_eq!(found["file_stats"]["small_file_count"], FILES);
    assert_eq!(found["recommended_actions"], json!(["rewrite_data_files"]));
    assert_eq!(found["policy"]["min_input_files"]["source"], "default");
    assert_eq!(found["health_snapshot_id"], Value::Null);

    let shown = lake.alone(&["health", "db.events"]).expect(0).stdout;
    let score = found["assessment"]["score"].as_f64().unwrap();
    let first = format!("db.events: {score:.1} of 100, needs maintenance");
    assert!(shown.starts_with(&first), "{shown}");
    for line in [
        "6 of 6 data files could be combined",
        "not stored: no database was given",
        "snowpack maintain db.events rewrite_data_files",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }

    lake.alone(&["maintain", "db.events", "rewrite_data_files"])
        .expect(0);
    let after = lake
        .alone(&["health", "db.events", "--output", "json"])
        .expect(0)
        .json();
    assert_eq!(after["needs_maintenance"], false, "{after}");
    assert!(score < after["assessment"]["score"].as_f64().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn m34_with_a_database_health_is_stored_and_listed_worst_first() {
    let lake = Lake::new().await;
    lake.make("db.events", FILES);
    lake.make("db.calm", 1);
    let looked = lake
        .run(&["health", "db.events", "--output", "json"])
        .expect(0)
        .json();
    assert!(looked["health_snapshot_id"].as_i64().is_some(), "{looked}");
    let again = lake.run(&["health", "db.events"]).expect(0).stdout;
    assert!(again.contains("as it was stored before"), "{again}");
    lake.run(&["health", "db.calm"]).expect(0);

    let none = lake.run(&["health"]).expect(0).stdout;
    assert_eq!(none, "no tables in the inventory\n");
    let client = lake.database.client().await;
    let know = "insert into snowpack.table_cache_entries (database_name, table_name) \
                values ('db', 'calm'), ('db', 'events'), ('db', 'unseen'), ('other', 'one')";
    client.batch_execute(know).await.unwrap();
    let words = ["health", "--namespace", "db", "--output", "json"];
    let listed = lake.run(&words).expect(0).json();
    let names: Vec<&str> = listed["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| table["table"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["db.events", "db.calm", "db.unseen"]);
    assert_eq!(listed["tables"][0]["score"], looked["assessment"]["score"]);
    assert_eq!(listed["tables"][2]["checked_at"], Value::Null);
    let shown = lake.run(&["health"]).expect(0).stdout;
    assert!(shown.contains("never"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn m34_what_health_cannot_look_at_is_said() {
    let lake = Lake::new().await;
    let missing = lake.run(&["health", "db.nothing"]).expect(1);
    missing.complains(&["assess db.nothing", "does not exist"]);
    let alone = lake.alone(&["health"]).expect(2);
    alone.complains(&["missing: TABLE, or SNOWPACK_DATABASE_URL"]);
}
