//! Tables made by PyIceberg are looked at, planned and maintained from the terminal.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::program::{Background, Lake};

const FILES: u32 = 6;

#[track_caller]
fn maintain(lake: &Lake, more: &[&str]) -> Value {
    let words = [
        &[
            "maintain",
            "db.events",
            "rewrite_data_files",
            "--output",
            "json",
        ],
        more,
    ]
    .concat();
    lake.run(&words).expect(0).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_maintained_and_every_row_stays() {
    let lake = Lake::new().await;
    let before = lake.make("db.events", FILES);
    let document = maintain(&lake, &[]);
    assert_eq!(document["success"], true, "{document}");
    let action = &document["actions"][0];
    assert_eq!(action["action"], "rewrite_data_files");
    assert_eq!(action["success"], true);
    assert!(
        action["message"].as_str().unwrap().contains("6 files -> 1"),
        "{action}"
    );
    assert!(
        action["elapsed_seconds"].as_f64().unwrap() > 0.0,
        "{action}"
    );
    let result = &action["result"];
    for (key, want) in [
        ("files_in", 6),
        ("files_out", 1),
        ("rows_in", 600),
        ("deletes_applied", 0),
        ("rows_out", 600),
    ] {
        assert_eq!(result[key], want, "{key} of {result}");
    }
    assert!(
        result["bytes_in"].as_u64().unwrap() > result["bytes_out"].as_u64().unwrap(),
        "{result}"
    );
    assert_eq!(result["commit_attempts"], 1);

    let after = lake.read("db.events");
    assert_eq!(after["snapshot_id"], result["snapshot_id"]);
    assert_eq!(after["operation"], "replace");
    assert_eq!(after["files"].as_array().unwrap().len(), 1);
    assert_eq!(
        after["rows"], before["rows"],
        "a row was lost, added or changed"
    );

    let job = lake
        .run(&[
            "job",
            document["job_id"].as_str().unwrap(),
            "--output",
            "json",
        ])
        .expect(0)
        .json();
    assert_eq!(
        (&job["status"], &job["queue"]),
        (&"completed".into(), &Value::Null)
    );
    assert_eq!(job["results"][0]["result"], *result);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_do_is_a_success_that_says_why() {
    let lake = Lake::new().await;
    let before = lake.make("db.events", 2);
    let document = maintain(&lake, &[]);
    let action = &document["actions"][0];
    assert_eq!(
        (&document["success"], &action["success"]),
        (&true.into(), &true.into())
    );
    assert!(!action["skipped"].as_str().unwrap().is_empty(), "{action}");
    assert_eq!(action["result"]["skipped"], action["skipped"]);
    assert_eq!(action["result"]["files_in"], 0);
    assert_eq!(lake.read("db.events"), before, "the table is as it was");
    let text = lake
        .run(&["maintain", "db.events", "rewrite_data_files"])
        .expect(0)
        .stdout;
    assert!(text.contains("nothing_to_do"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_reach_the_plan() {
    let lake = Lake::new().await;
    lake.make("db.events", 2);
    let document = maintain(&lake, &["--option", "rewrite_data_files.min-input-files=2"]);
    assert_eq!(
        document["actions"][0]["result"]["files_in"], 2,
        "{document}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let lake = Lake::new().await;
    let before = lake.make("db.events", FILES);
    let document = maintain(&lake, &["--dry-run"]);
    assert_eq!(
        (&document["dry_run"], &document["success"]),
        (&true.into(), &true.into())
    );
    let plan = &document["actions"][0]["plan"];
    assert_eq!(
        plan["groups"][0]["inputs"].as_array().unwrap().len(),
        FILES as usize,
        "{plan}"
    );
    assert_eq!(lake.read("db.events"), before);
    let planned = lake
        .run(&[
            "plan",
            "db.events",
            "rewrite_data_files",
            "--output",
            "json",
        ])
        .expect(0)
        .json();
    assert_eq!(planned["snapshot_id"], before["snapshot_id"]);
    assert_eq!(planned["groups"], plan["groups"]);
    let text = lake
        .run(&["plan", "db.events", "rewrite_data_files"])
        .expect(0)
        .stdout;
    assert!(text.contains("6 files") && text.contains("WHY"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_which_way_each_column_would_be_made_and_why() {
    let lake = Lake::new().await;
    let before = lake.make("db.events", FILES);
    let words = ["plan", "db.events", "rewrite_data_files", "--columns"];
    let planned = lake.run(&[&words[..], &["--output", "json"]].concat());
    let planned = planned.expect(0).json();
    let looked_at = &planned["columns"];
    assert_eq!(looked_at.as_array().unwrap().len(), 1, "{planned:#}");
    assert_eq!(looked_at[0]["rows"], 600);
    let text = lake.run(&words).expect(0).stdout;
    let columns = looked_at[0]["columns"].as_array().unwrap();
    assert!(!columns.is_empty(), "{planned:#}");
    let mut made = std::collections::BTreeMap::<&str, u64>::new();
    for column in columns {
        let (name, way) = (
            column["column"].as_str().unwrap(),
            column["way"].as_str().unwrap(),
        );
        let row = |line: &&str| line.split_whitespace().any(|word| word == name);
        let row = text
            .lines()
            .find(row)
            .unwrap_or_else(|| panic!("{name} in {text}"));
        assert!(row.contains(way), "{row}");
        assert_eq!(column["reason"].is_null(), way != "transcoded", "{column}");
        *made.entry(way).or_default() += 1;
    }
    assert_eq!(lake.read("db.events"), before, "a plan changed the table");
    // What was foretold is what is done; where a dictionary was the page, nothing is unpacked.
    let result = &maintain(&lake, &[])["actions"][0]["result"]["column_chunks"];
    for (way, columns) in made {
        let count = |way: &str| result[way].as_u64().unwrap_or(0);
        let found = match way {
            "unpacked" => count("unpacked") + count("transplanted"),
            way => count(way),
        };
        assert_eq!(found, columns, "{way} in {result}");
    }
    let expiry = ["plan", "db.events", "expire_snapshots", "--columns"];
    lake.run(&expiry)
        .expect(2)
        .complains(&["--columns", "rewrite_data_files"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_held_by_a_job_is_left_alone_and_the_job_named() {
    let lake = Lake::new().await;
    let before = lake.make("db.events", FILES);
    let holder = lake
        .run(&["submit", "db.events", "rewrite_data_files"])
        .expect(0)
        .stdout;
    let holder = holder.trim();
    let cancel = format!("snowpack cancel {holder}");
    let words = [
        "maintain",
        "db.events",
        "rewrite_data_files",
        "--output",
        "json",
    ];
    let ran = lake
        .run(&words)
        .expect(1)
        .complains(&["db.events", &cancel]);
    assert_eq!(ran.json()["success"], false);
    assert!(
        ran.json()["message"].as_str().unwrap().contains(&cancel),
        "{ran:?}"
    );
    assert_eq!(lake.read("db.events"), before);
    lake.run(&["cancel", holder]).expect(0);
    lake.run(&words).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_there_is_named_and_leaves_no_job() {
    let lake = Lake::new().await;
    for words in [
        &["maintain", "db.events", "rewrite_data_files"][..],
        &["plan", "db.events", "rewrite_data_files"],
    ] {
        lake.run(words)
            .expect(1)
            .complains(&["db.events", "does not exist"]);
    }
    assert_eq!(
        lake.run(&["jobs", "--output", "json"]).json()["jobs"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_listed_with_their_facts() {
    let lake = Lake::new().await;
    assert!(lake.run(&["tables"]).expect(0).stdout.contains("no tables"));
    lake.make("db.events", FILES);
    lake.make("other.small", 1);
    let listed = lake.run(&["tables", "--output", "json"]).expect(0).json();
    assert_eq!(listed["catalog"], "lake");
    let events = &listed["tables"][0];
    assert_eq!(events["table"], "db.events");
    for (key, want) in [
        ("data_files", 6),
        ("small_files", 6),
        ("records", 600),
        ("delete_files", 0),
        ("snapshots", 6),
    ] {
        assert_eq!(events[key], want, "{key} of {events}");
    }
    assert_eq!(events["small_file_share"], 1.0);
    let one = lake
        .run(&["tables", "--namespace", "other", "--output", "json"])
        .expect(0)
        .json();
    assert_eq!(one["tables"].as_array().unwrap().len(), 1);
    lake.run(&["tables", "--namespace", "absent"])
        .expect(1)
        .complains(&["absent"]);
    let text = lake.run(&["tables"]).expect(0).stdout;
    assert!(
        text.contains("db.events") && text.contains("100.0%"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_data_file_fails_naming_it_and_the_table_stays() {
    let lake = Lake::new().await;
    let before = lake.make("db.events", FILES);
    let gone = before["files"][0].as_str().unwrap();
    std::fs::remove_file(gone.trim_start_matches("file://")).unwrap();
    let ran = lake
        .run(&[
            "maintain",
            "db.events",
            "rewrite_data_files",
            "--output",
            "json",
        ])
        .expect(1);
    let name = gone.rsplit('/').next().unwrap();
    let document = ran.json();
    assert_eq!(
        (&document["success"], &document["actions"][0]["success"]),
        (&false.into(), &false.into())
    );
    assert!(
        document["actions"][0]["message"]
            .as_str()
            .unwrap()
            .contains(name),
        "{document}"
    );
    let job = lake
        .run(&[
            "job",
            document["job_id"].as_str().unwrap(),
            "--output",
            "json",
        ])
        .expect(0)
        .json();
    assert_eq!(job["status"], "failed");
    let tables = lake.run(&["tables", "--output", "json"]).expect(0).json();
    assert_eq!(tables["tables"][0]["data_files"], FILES, "{tables}");
}

/// Puts a pipe nobody writes to in the place of a data file: whoever reads it waits for ever.
fn block(table: &Value) -> Blocked {
    let location = table["files"][0].as_str().unwrap();
    let path = PathBuf::from(location.trim_start_matches("file://"));
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    Blocked { path, aside }
}

struct Blocked {
    path: PathBuf,
    aside: PathBuf,
}

impl Blocked {
    fn restore(self) {
        std::fs::rename(self.aside, self.path).unwrap();
    }
}

async fn running(lake: &Lake) -> String {
    let mut id = None;
    testkit::until("the job runs", async || {
        let jobs = lake
            .run(&["jobs", "--status", "running", "--output", "json"])
            .json();
        id = jobs["jobs"][0]["job_id"].as_str().map(str::to_owned);
        id.is_some()
    })
    .await;
    id.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn m16_ctrl_c_ends_the_job_cancelled_and_frees_the_table() {
    let lake = Lake::new().await;
    let before = lake.make("db.events", FILES);
    let blocked = block(&before);
    let words = [
        "maintain",
        "db.events",
        "rewrite_data_files",
        "--output",
        "json",
    ];
    let program = Background::start(&words, &lake.settings());
    let job = running(&lake).await;
    program.signal("INT");
    let ran = program
        .ended()
        .await
        .expect(1)
        .complains(&[&job, "cancelled"]);
    assert_eq!(
        (&ran.json()["success"], &ran.json()["job_id"]),
        (&false.into(), &job.as_str().into())
    );
    let job = lake
        .run(&["job", &job, "--output", "json"])
        .expect(0)
        .json();
    assert_eq!(
        (&job["status"], &job["reason"]),
        (&"cancelled".into(), &"cancelled".into())
    );
    blocked.restore();
    assert_eq!(lake.read("db.events"), before);
    lake.run(&words).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn m17_a_killed_run_frees_its_table_after_one_lease() {
    let lake = Lake::new().await;
    let before = lake.make("db.events", FILES);
    let blocked = block(&before);
    let words = [
        "maintain",
        "db.events",
        "rewrite_data_files",
        "--lease-seconds",
        "2",
        "--output",
        "json",
    ];
    let program = Background::start(&words, &lake.settings());
    let job = running(&lake).await;
    program.signal("KILL");
    program.ended().await.expect(-1);
    blocked.restore();
    let mut last = None;
    testkit::until("the table is free", async || {
        let ran = lake.run(&words);
        let free = ran.code == 0;
        if !free {
            assert!(ran.stderr.contains(&job), "{ran:?}");
        }
        last = Some(ran);
        free
    })
    .await;
    assert_eq!(
        last.unwrap().json()["actions"][0]["result"]["rows_out"],
        600
    );
    assert_eq!(lake.read("db.events")["rows"], before["rows"]);
    let job = lake
        .run(&["job", &job, "--output", "json"])
        .expect(0)
        .json();
    assert_eq!(
        (&job["status"], &job["reason"]),
        (&"failed".into(), &"exhausted".into())
    );
}
