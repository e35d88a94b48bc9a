//! Dry runs, retries and drains from the terminal, with a database and no worker.

use serde_json::{Value, json};

use crate::program::Lake;

const JSON: [&str; 2] = ["--output", "json"];

/// What the table is: its rows by PyIceberg, its metadata file, every file below it.
fn whole(lake: &Lake) -> (Value, Vec<String>) {
    let mut paths = Vec::new();
    let mut folders = vec![lake.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                paths.push(path.display().to_string());
            }
        }
    }
    paths.sort();
    (lake.read("db.events"), paths)
}

#[track_caller]
fn run(lake: &Lake, words: &[&str]) -> Value {
    lake.run(&[words, &JSON[..]].concat()).expect(0).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn m06_a_dry_run_plans_without_a_worker_and_changes_nothing() {
    let lake = Lake::new().await;
    lake.make("db.events", 6);
    let before = whole(&lake);
    let words = [
        "db.events",
        "rewrite_data_files",
        "expire_snapshots",
        "--dry-run",
    ];
    for command in ["submit", "maintain"] {
        let document = run(&lake, &[&[command], &words[..]].concat());
        assert_eq!(document["success"], true, "{document}");
        let id = document["job_id"].as_str().unwrap();
        let job = run(&lake, &["job", id]);
        let ended = (&job["status"], &job["dry_run"], &job["queue"]);
        assert_eq!(ended, (&json!("completed"), &json!(true), &json!(null)));
        let inputs = &job["plan"]["rewrite_data_files"]["groups"][0]["inputs"];
        assert_eq!(inputs.as_array().unwrap().len(), 6, "{job}");
        assert_eq!(job["plan"], plans(&document));
        let outcome = |result: &Value| result["outcome"].as_str().unwrap().to_owned();
        let results: Vec<String> = job["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(outcome)
            .collect();
        assert_eq!(results, ["nothing_to_do", "done"]);
        let said = job["results"][1]["message"].as_str().unwrap();
        assert!(said.starts_with("would rewrite 6 files"), "{said}");
    }
    assert_eq!(whole(&lake), before);
    let queued = "select count(*) from snowpack.job_queue";
    let client = lake.database.client().await;
    assert_eq!(
        client
            .query_one(queued, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        0
    );
}

fn plans(document: &Value) -> Value {
    let actions = document["actions"].as_array().unwrap().iter();
    let plan = |action: &Value| {
        let name = action["action"].as_str().unwrap().to_owned();
        (name, action["plan"].clone())
    };
    Value::Object(actions.map(plan).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn m06_a_table_that_a_job_holds_can_be_planned() {
    let lake = Lake::new().await;
    lake.make("db.events", 6);
    let holder = run(&lake, &["submit", "db.events", "rewrite_data_files"]);
    let words = ["submit", "db.events", "rewrite_data_files", "--dry-run"];
    let keyed = [&words[..], &["--idempotency-key", "once"]].concat();
    let planned = run(&lake, &keyed);
    assert_ne!(planned["job_id"], holder["job_id"]);
    assert_eq!(run(&lake, &keyed)["job_id"], planned["job_id"]);
    let job = run(&lake, &["job", holder["job_id"].as_str().unwrap()]);
    assert_eq!(job["status"], "pending");
    let text = lake.run(&words).expect(0).stdout;
    assert!(
        text.contains("6 files") && text.contains("is completed"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn m06_a_refused_plan_fails_the_dry_run_and_leaves_out_what_follows() {
    let lake = Lake::new().await;
    lake.make_with("db.events", 6, &json!({ "gc.enabled": "false" }));
    let words = [
        "submit",
        "db.events",
        "rewrite_data_files",
        "expire_snapshots",
        "--dry-run",
    ];
    let ran = lake.run(&[&words[..], &JSON].concat()).expect(1);
    let ran = ran.complains(&["expire_snapshots", "gc.enabled"]);
    let document = ran.json();
    let job = run(&lake, &["job", document["job_id"].as_str().unwrap()]);
    assert_eq!(
        (&job["status"], &job["reason"]),
        (&json!("failed"), &json!("action_failed"))
    );
    assert_eq!(job["results"][0]["outcome"], "failed");
    assert_eq!(job["results"][1]["outcome"], "skipped");
    // A dry run is not tried again: there is nothing to do over.
    let retried = lake.run(&["retry", document["job_id"].as_str().unwrap()]);
    retried.expect(1).complains(&["was a dry run"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn m06_a_dry_run_of_a_table_that_is_not_there_makes_no_job() {
    let lake = Lake::new().await;
    let words = ["submit", "db.gone", "rewrite_data_files", "--dry-run"];
    lake.run(&words).expect(1).complains(&["db.gone"]);
    assert_eq!(run(&lake, &["jobs"])["jobs"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn m06_a_check_plans_the_first_table_of_the_cache_and_reads_that_back() {
    let lake = Lake::new().await;
    let never = lake.run(&["check", "--timeout", "0"]).expect(1);
    never.complains(&["not filled within 0 s", "no API tried"]);
    let client = lake.database.client().await;
    let synced = "update snowpack.table_cache_meta set last_synced_at = now()";
    client.batch_execute(synced).await.unwrap();
    let none = lake.run(&["check"]).expect(0).stdout;
    assert_eq!(none, "the catalog holds no table to plan\n");

    lake.make("db.events", 6);
    let known = "insert into snowpack.table_cache_entries (database_name, table_name) \
                 values ('db', 'events'), ('db', 'gone')";
    client.batch_execute(known).await.unwrap();
    let before = whole(&lake);
    let checked = run(&lake, &["check"]);
    assert_eq!(checked["table"], "db.events");
    let job = run(&lake, &["job", checked["job_id"].as_str().unwrap()]);
    let ended = (&job["status"], &job["dry_run"]);
    assert_eq!(ended, (&json!("completed"), &json!(true)));
    assert_eq!(whole(&lake), before);
    let text = lake.run(&["check", "db.events"]).expect(0).stdout;
    assert!(
        text.contains("of db.events was planned and read back: completed"),
        "{text}"
    );
    lake.run(&["check", "db.gone"])
        .expect(1)
        .complains(&["db.gone"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn m05_a_drain_refuses_new_jobs_dry_runs_and_retries_until_it_is_off() {
    let lake = Lake::new().await;
    lake.make("db.events", 2);
    assert_eq!(run(&lake, &["drain"])["drained"], false);
    let job = run(&lake, &["submit", "db.events", "rewrite_data_files"]);
    let job = job["job_id"].as_str().unwrap();
    run(&lake, &["cancel", job]);
    let drained = run(&lake, &["drain", "on", "--reason", "upgrade"]);
    assert_eq!(
        (&drained["drained"], &drained["reason"]),
        (&json!(true), &json!("upgrade"))
    );
    for words in [
        &["submit", "db.events", "rewrite_data_files"][..],
        &["submit", "db.events", "rewrite_data_files", "--dry-run"],
        &["retry", job],
    ] {
        lake.run(words)
            .expect(1)
            .complains(&["drained by cli:", "upgrade"]);
    }
    let text = lake.run(&["drain", "status"]).expect(0).stdout;
    assert!(
        text.contains("are refused since") && text.contains("(upgrade)"),
        "{text}"
    );
    lake.run(&["drain", "off", "--reason", "over"])
        .expect(2)
        .complains(&["drain on"]);
    assert_eq!(run(&lake, &["drain", "off"])["drained"], false);

    let retried = run(&lake, &["retry", job]);
    assert_eq!(retried["retry_of"], job);
    let id = retried["job_id"].as_str().unwrap();
    assert_eq!(run(&lake, &["job", id])["retry_of"], job);
    let text = lake.run(&["job", id]).expect(0).stdout;
    assert!(text.contains(&format!("retry of   {job}")), "{text}");
    lake.run(&["retry", id])
        .expect(1)
        .complains(&["is pending"]);
    lake.run(&["retry", "0199d7a2-5b1e-7c3a-9f00-3c1f6a7d9e21"])
        .expect(1)
        .complains(&["no job"]);
}
