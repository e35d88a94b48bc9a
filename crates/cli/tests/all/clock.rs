//! A pod whose clock is wrong: with Postgres only the database's clock counts, without it the
//! command refuses.
//!
//! The clock is shifted for the program alone, by a library loaded before the system's.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Lake, Ran, run};

const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(id, now);
    const char *shift = getenv("CLOCK_SHIFT_SECONDS");
    if (answer == 0 && id == CLOCK_REALTIME && shift) now->tv_sec += atol(shift);
    return answer;
}
"#;
const TEN_DAYS: &str = "864000";
const TEN_DAYS_BACK: &str = "-864000";

/// The library that shifts the clock, in a folder of its own.
struct Clock {
    folder: TempDir,
}

impl Clock {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let source = folder.path().join("shift.c");
        std::fs::write(&source, SHIFT).expect("write the source");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(folder.path().join("shift.so"))
            .arg(&source)
            .arg("-ldl")
            .status();
        assert!(
            built.expect("run cc").success(),
            "the shifted clock was built"
        );
        Self { folder }
    }

    #[track_caller]
    fn run(&self, shift: &str, settings: &[(&str, &str)], words: &[&str]) -> Ran {
        let library = self.folder.path().join("shift.so");
        let shifted = [
            ("LD_PRELOAD", library.to_str().expect("a plain name")),
            ("CLOCK_SHIFT_SECONDS", shift),
        ];
        run(words, &[settings, &shifted].concat())
    }
}

fn outcomes(document: &Value) -> Vec<(&str, &str)> {
    let actions = document["actions"].as_array().expect("a list");
    actions
        .iter()
        .map(|action| {
            let name = action["action"].as_str().expect("a name");
            (name, action["message"].as_str().expect("a text"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_ahead_expires_nothing_early_and_ends_no_grace() {
    let (lake, clock) = (Lake::new().await, Clock::new());
    let rows = lake.make("db.events", 3)["rows"].clone();
    let maintain = ["maintain", "db.events", "--output", "json"];
    let words = [&maintain[..], &["expire_snapshots"]].concat();
    // Snapshots live five days: by the clock of this process they are ten days old.
    let early = clock.run(TEN_DAYS, &lake.settings(), &words).expect(0);
    let early = early.json();
    assert_eq!(early["actions"][0]["result"]["expired"], Value::Null);
    assert!(outcomes(&early)[0].1.contains("nothing to do"), "{early}");
    let all = ["--option", "older_than=2999-01-01T00:00:00Z"];
    lake.run(&[&words[..], &all[..]].concat()).expect(0);
    // The grace of a day is not over by the database's clock.
    let words = [&maintain[..], &["purge_pending"]].concat();
    let purge = clock.run(TEN_DAYS, &lake.settings(), &words).expect(0);
    let purge = purge.json();
    assert!(outcomes(&purge)[0].1.contains("no file is due"), "{purge}");
    assert_eq!(lake.read("db.events")["rows"], rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_behind_changes_nothing() {
    let (lake, clock) = (Lake::new().await, Clock::new());
    let rows = lake.make("db.events", 6)["rows"].clone();
    let words = [
        "maintain",
        "db.events",
        "purge_pending",
        "expire_snapshots",
        "rewrite_data_files",
        "--option",
        "expire_snapshots.older_than=2999-01-01T00:00:00Z",
        "--option",
        "expire_snapshots.deletion-grace-ms=0",
        "--output",
        "json",
    ];
    let done = clock.run(TEN_DAYS_BACK, &lake.settings(), &words).expect(0);
    let done = done.json();
    let order: Vec<&str> = outcomes(&done).iter().map(|(name, _)| *name).collect();
    let canonical = ["expire_snapshots", "rewrite_data_files", "purge_pending"];
    assert_eq!(order, canonical, "{done}");
    assert_eq!(done["actions"][0]["result"]["expired"]["snapshots"], 5);
    assert_eq!(done["actions"][1]["result"]["rows_out"], 600);
    assert!(
        done["actions"][2]["result"]["purge"]["deleted"].as_u64() > Some(0),
        "{done}"
    );
    assert_eq!(lake.read("db.events")["rows"], rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_a_wrong_clock_is_refused() {
    let (lake, clock) = (Lake::new().await, Clock::new());
    let before = lake.make("db.events", 2);
    let words = ["maintain", "db.events", "expire_snapshots"];
    for shift in [TEN_DAYS, TEN_DAYS_BACK] {
        let refused = clock.run(shift, &lake.alone_settings(), &words);
        refused.expect(1).complains(&["clock"]);
    }
    assert_eq!(lake.read("db.events"), before);
}
