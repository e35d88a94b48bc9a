//! A job whose first action is refused: the rest is marked skipped, and nothing changed.

use serde_json::json;

use crate::program::Lake;

#[tokio::test(flavor = "multi_thread")]
async fn m12_m13_m14_a_refused_expiry_ends_the_job_and_the_rest_is_skipped() {
    let lake = Lake::new().await;
    let before = lake.make_with("db.events", 6, &json!({ "gc.enabled": "false" }));
    let words = [
        "maintain",
        "db.events",
        "purge_pending",
        "rewrite_data_files",
        "expire_snapshots",
        "--output",
        "json",
    ];
    let ran = lake.run(&words).expect(1);
    let document = ran.json();
    let row = |at: usize| {
        let action = &document["actions"][at];
        let text = |key: &str| action[key].as_str().unwrap_or_default().to_owned();
        (text("action"), action["success"] == true, text("message"))
    };
    let (action, success, message) = row(0);
    assert_eq!((action.as_str(), success), ("expire_snapshots", false));
    assert!(message.contains("gc.enabled"), "{message}");
    let skipped = "not run: expire_snapshots failed".to_owned();
    for (at, behind) in [(1, "rewrite_data_files"), (2, "purge_pending")] {
        assert_eq!(row(at), (behind.to_owned(), false, skipped.clone()));
    }
    ran.complains(&["gc.enabled"]);
    let job = document["job_id"].as_str().unwrap();
    let stored = "select string_agg(action || ' ' || outcome, ', ' order by created_at, action)
        from snowpack.job_actions where job_id = $1";
    let client = lake.database.client().await;
    let stored: String = client.query_one(stored, &[&job]).await.unwrap().get(0);
    assert_eq!(stored.matches("skipped").count(), 2, "{stored}");
    assert_eq!(stored.matches("failed").count(), 1, "{stored}");
    assert_eq!(lake.read("db.events"), before);
}
