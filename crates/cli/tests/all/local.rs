//! `maintain` on the catalog alone: a journal instead of a database, and deletion as a second step.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::program::{Background, Lake};

const FILES: u32 = 6;
const JOURNAL: &str = "events.jsonl";
const LATER: [&str; 6] = [
    "maintain",
    "db.events",
    "--delete-listed",
    JOURNAL,
    "--output",
    "json",
];

fn now_ms() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970").as_millis()
}

/// A table whose rows were rewritten, and all its files.
async fn rewritten() -> (Lake, Value, BTreeSet<PathBuf>) {
    let lake = Lake::new().await;
    let before = lake.make("db.events", FILES);
    let ran = lake.alone(&[
        "maintain",
        "db.events",
        "rewrite_data_files",
        "--output",
        "json",
    ]);
    let document = ran.expect(0).json();
    assert_eq!(
        document["actions"][0]["result"]["rows_out"], 600,
        "{document}"
    );
    assert_eq!(
        document["journal"],
        Value::Null,
        "nothing waits, so nothing is left"
    );
    let files = files(&lake);
    (lake, before["rows"].clone(), files)
}

/// Expires all but the newest snapshot.
#[track_caller]
fn expire(lake: &Lake) -> Value {
    let older_than = format!("older_than={}", now_ms());
    let words = [
        "maintain",
        "db.events",
        "expire_snapshots",
        "--option",
        &older_than,
        "--journal",
        JOURNAL,
        "--output",
        "json",
    ];
    lake.alone(&words).expect(0).json()
}

fn files(lake: &Lake) -> BTreeSet<PathBuf> {
    fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                walk(&entry.path(), found);
            } else {
                found.insert(entry.path());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&lake.folder().join("db"), &mut found);
    found
}

fn lines(lake: &Lake) -> Vec<Value> {
    let text = std::fs::read_to_string(lake.folder().join(JOURNAL)).unwrap();
    let line = |line| serde_json::from_str(line).unwrap();
    text.lines().map(line).collect()
}

fn write(lake: &Lake, lines: &[Value]) {
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(lake.folder().join(JOURNAL), text.join("\n") + "\n").unwrap();
}

/// As if everything in the journal had happened two days earlier.
fn two_days_pass(lake: &Lake) {
    let mut lines = lines(lake);
    let earlier = jiff::Timestamp::from_second(now_ms() as i64 / 1000 - 2 * 86_400).unwrap();
    for line in lines.iter_mut().skip(1) {
        line["at"] = earlier.to_string().into();
    }
    write(lake, &lines);
}

#[track_caller]
fn unchanged(lake: &Lake, rows: &Value) {
    assert_eq!(
        lake.read("db.events")["rows"],
        *rows,
        "a row was lost, added or changed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn m34_without_a_database_expiry_lists_and_a_later_command_deletes() {
    let (lake, rows, before) = rewritten().await;
    let document = expire(&lake);
    assert_eq!(document["success"], true, "{document}");
    let expired = &document["actions"][0]["result"]["expired"];
    assert_eq!(expired["snapshots"], FILES, "{document}");
    let waiting = document["waiting"]["files"].as_u64().unwrap();
    assert_eq!(expired["files"], waiting);
    assert!(files(&lake).is_superset(&before), "expiry deletes nothing");
    unchanged(&lake, &rows);

    let early = lake.alone(&LATER).expect(1);
    let early = early.complains(&["may be deleted from", "nothing is deleted"]);
    assert_eq!(early.json()["success"], false);
    assert!(files(&lake).is_superset(&before), "the grace is not over");

    two_days_pass(&lake);
    let listed = lake
        .alone(&[&LATER[..], &["--dry-run"]].concat())
        .expect(0)
        .json();
    assert_eq!(listed["files"].as_array().unwrap().len() as u64, waiting);
    assert_eq!(listed["files"][0]["due"], true);
    assert!(
        files(&lake).is_superset(&before),
        "a dry run deletes nothing"
    );

    let deleted = lake.alone(&LATER).expect(0).json();
    let purge = &deleted["actions"][0]["result"]["purge"];
    assert_eq!(
        (&purge["deleted"], &purge["kept"]),
        (&waiting.into(), &0.into()),
        "{deleted}"
    );
    assert_eq!(deleted["waiting"]["files"], 0);
    let gone = before.difference(&files(&lake)).count() as u64;
    assert_eq!(gone, waiting, "exactly what was listed is gone");
    unchanged(&lake, &rows);

    let again = lake.alone(&LATER).expect(0).json();
    assert!(
        again["skipped"].as_str().unwrap().contains("nothing"),
        "{again}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_killed_before_it_settled_is_settled_by_the_deletion() {
    let (lake, rows, before) = rewritten().await;
    let waiting = expire(&lake)["waiting"]["files"].clone();
    let lines = lines(&lake);
    let at = |what: &str| lines.iter().position(|line| line["entry"] == what).unwrap();
    let (intended, listed, settled) = (at("intended"), at("listed"), at("settled"));
    assert!(intended < listed && listed < settled, "{lines:?}");

    // Killed after its swap and before the list was whole: nothing is due yet, but found again.
    write(&lake, &lines[..listed]);
    two_days_pass(&lake);
    let found = lake.alone(&LATER).expect(0).json();
    assert_eq!(found["waiting"]["open_intents"], 0, "{found}");
    assert_eq!(found["waiting"]["files"], waiting, "{found}");
    assert!(
        files(&lake).is_superset(&before),
        "the grace begins when they are listed"
    );

    // Killed between the list and the settling: the same files are found once more.
    write(&lake, &lines[..settled]);
    two_days_pass(&lake);
    lake.alone(&LATER).expect(0);
    let gone = before.difference(&files(&lake)).count();
    assert_eq!(waiting, gone, "exactly what was listed is gone");
    unchanged(&lake, &rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_cut_by_a_crash_goes_on_and_a_strange_one_is_refused() {
    let (lake, rows, before) = rewritten().await;
    expire(&lake);
    let whole = lines(&lake);
    let journal = lake.folder().join(JOURNAL);
    let refused = |header: &str, value: &str, why: &[&str]| {
        let mut changed = whole.clone();
        changed[0][header] = value.into();
        write(&lake, &changed);
        two_days_pass(&lake);
        lake.alone(&LATER).expect(1).complains(why);
    };
    refused("table", "db.other", &["db.other", "nothing is deleted"]);
    refused("catalog", "elsewhere", &["elsewhere", "nothing is deleted"]);
    refused("table_uuid", "f00", &["f00", "gone", "nothing is deleted"]);

    write(&lake, &whole);
    let text = std::fs::read_to_string(&journal).unwrap();
    let strange = text.replacen("\"intended\"", "\"imagined\"", 1);
    std::fs::write(&journal, strange).unwrap();
    let line = whole
        .iter()
        .position(|line| line["entry"] == "intended")
        .unwrap()
        + 1;
    lake.alone(&LATER)
        .expect(1)
        .complains(&[&format!("line {line}"), "imagined"]);
    assert!(files(&lake).is_superset(&before));

    write(&lake, &whole);
    two_days_pass(&lake);
    let mut text = std::fs::read_to_string(&journal).unwrap();
    text.push_str("{\"at\":\"20");
    std::fs::write(&journal, text).unwrap();
    let ran = lake.alone(&LATER).expect(0).complains(&["cut short"]);
    assert_ne!(
        ran.json()["actions"][0]["result"]["purge"]["deleted"],
        0,
        "{ran:?}"
    );
    unchanged(&lake, &rows);
    assert!(lines(&lake).iter().any(|line| line["entry"] == "purged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_without_a_database_stops_and_notes_what_was_written() {
    let lake = Lake::new().await;
    let before = lake.make("db.events", FILES);
    let location = before["files"][0].as_str().unwrap();
    let path = PathBuf::from(location.trim_start_matches("file://"));
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    // Whoever reads it waits for ever.
    let pipe = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(pipe.unwrap().success());
    let journal = lake.folder().join(JOURNAL);
    let words = [
        "maintain",
        "db.events",
        "rewrite_data_files",
        "--output",
        "json",
        "--journal",
        journal.to_str().unwrap(),
    ];
    let program = Background::start(&words, &lake.alone_settings());
    testkit::until("it works", async || {
        journal.exists() && lines(&lake).len() > 1
    })
    .await;
    program.signal("INT");
    let ran = program.ended().await.expect(1).complains(&["cancelled"]);
    assert_eq!(ran.json()["success"], false);
    std::fs::rename(&aside, &path).unwrap();
    assert_eq!(lake.read("db.events"), before);
    let taken = lake.alone(&words).expect(1);
    taken.complains(&["exists"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_database_says_so() {
    let lake = Lake::new().await;
    lake.make("db.events", 1);
    let purge = lake
        .alone(&["maintain", "db.events", "purge_pending"])
        .expect(2);
    purge.complains(&["SNOWPACK_DATABASE_URL", "--delete-listed"]);
    for words in [
        &["jobs"][..],
        &["pending"],
        &["submit", "db.events", "rewrite_data_files"],
    ] {
        lake.alone(words)
            .expect(2)
            .complains(&["SNOWPACK_DATABASE_URL"]);
    }
    let words = [
        "maintain",
        "db.events",
        "rewrite_data_files",
        "--journal",
        "x",
    ];
    lake.run(&words)
        .expect(2)
        .complains(&["--journal", "without a database"]);
    let words = [
        "maintain",
        "db.events",
        "rewrite_data_files",
        "--delete-listed",
        "x",
    ];
    lake.alone(&words).expect(2).complains(&["--delete-listed"]);
    let words = ["maintain", "db.events", "--delete-listed", "absent.jsonl"];
    lake.alone(&words).expect(1).complains(&["absent.jsonl"]);
}

#[tokio::test]
async fn orphans_are_shown_and_never_removed() {
    let lake = Lake::new().await;
    lake.make("db.events", 1);
    let stray = lake.stray("db.events", "stray.parquet");
    let words = ["maintain", "db.events", "remove_orphan_files"];
    lake.alone(&words)
        .expect(2)
        .complains(&["SNOWPACK_DATABASE_URL", "--dry-run"]);
    let planned = lake.alone(&["plan", "db.events", "remove_orphan_files"]);
    let shown = planned.expect(0).stdout;
    assert!(shown.contains("1 file (10 B) wait"), "{shown}");
    assert!(shown.contains(stray.to_str().unwrap()), "{shown}");
    assert!(shown.contains("written after older_than"), "{shown}");
    let dry = lake.alone(&[&words[..], &["--dry-run", "--output", "json"]].concat());
    let document = dry.expect(0).json();
    assert_eq!(document["actions"][0]["plan"]["orphans"], 1, "{document}");
    assert!(stray.exists());
}
