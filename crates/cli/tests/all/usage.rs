//! What was typed wrong is named, nothing is tried, and the code is 2.

use crate::program::{Lake, run};

/// Nothing listens on port 1.
const NOWHERE: (&str, &str) = (
    "SNOWPACK_DATABASE_URL",
    "postgres://u:hunter2@127.0.0.1:1/nothing",
);

#[track_caller]
fn refused(words: &str, named: &[&str]) {
    let words: Vec<&str> = words.split(' ').collect();
    let ran = run(&words, &[NOWHERE]).expect(2).complains(named);
    assert!(
        !ran.stderr.contains("hunter2"),
        "the password is shown: {ran:?}"
    );
}

#[test]
fn bad_words_are_refused_naming_them() {
    refused(
        "maintain events rewrite_data_files",
        &["`events`", "no namespace"],
    );
    refused(
        "maintain db..events rewrite_data_files",
        &["`db..events`", "empty"],
    );
    refused(
        "maintain db.events vacuum",
        &["`vacuum`", "rewrite_data_files"],
    );
    refused("maintain db.events", &["ACTION"]);
    refused("frobnicate", &["frobnicate"]);
    refused("jobs --status done", &["`done`", "completed"]);
    refused("job nonsense", &["nonsense", "not a job id"]);
    refused(
        "submit db.events rewrite_data_files --priority 9",
        &["9", "-3..=3"],
    );
    refused("pause dag", &["dag", "snowpack"]);
    refused("pending db.events --state eaten", &["`eaten`", "kept"]);
    refused("pending events", &["`events`", "no namespace"]);
    refused(
        "maintain db.events expire_snapshots --option older_than=yesterday",
        &["older_than", "yesterday"],
    );
    refused(
        "maintain db.events expire_snapshots --option keep=3",
        &["`keep`", "retain_last"],
    );
    refused("completions tcsh", &["tcsh", "bash"]);
    refused("check --timeout 3601", &["3601", "from 0 to 3600"]);
}

#[test]
fn bad_options_are_refused_before_postgres_is_asked() {
    for command in ["maintain", "submit", "plan"] {
        let with =
            |option: &str| format!("{command} db.events rewrite_data_files --option {option}");
        refused(
            &with("no-such-option=1"),
            &["no-such-option", "min-input-files"],
        );
        refused(&with("min-input-files=many"), &["min-input-files", "many"]);
        refused(&with("min-input-files"), &["KEY=VALUE"]);
        refused(&with("rewrite_manifests.a=1"), &["rewrite_manifests"]);
    }
}

#[test]
fn bad_settings_are_refused_naming_the_variable() {
    let words = ["maintain", "db.events", "rewrite_data_files"];
    run(&words, &[])
        .expect(2)
        .complains(&["SNOWPACK_DATABASE_URL"]);
    run(&words, &[NOWHERE, ("SNOWPACK_LEASE_SECONDS", "1")])
        .expect(2)
        .complains(&["SNOWPACK_LEASE_SECONDS", "2..=600"]);
    run(&words, &[NOWHERE, ("SNOWPACK_LEASE_SECS", "60")])
        .expect(2)
        .complains(&["SNOWPACK_LEASE_SECS", "SNOWPACK_LEASE_SECONDS"]);
    run(&words, &[("SNOWPACK_DATABASE_URL", "mysql//x")])
        .expect(2)
        .complains(&["postgres://"]);
    run(&["tables"], &[])
        .expect(2)
        .complains(&["SNOWPACK_DATABASE_URL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_by_halves_is_refused_with_the_reason() {
    let lake = Lake::new().await;
    let with =
        |name: &'static str, value: &'static str| [&lake.settings()[..], &[(name, value)]].concat();
    run(&["tables"], &with("SNOWPACK_CATALOG_TYPE", "rest"))
        .expect(2)
        .complains(&["SNOWPACK_CATALOG_URI"]);
    run(&["tables"], &with("SNOWPACK_S3_SECRET_ACCESS_KEY", "alone"))
        .expect(2)
        .complains(&["SNOWPACK_S3_ACCESS_KEY_ID"]);
}

#[test]
fn an_absent_postgres_is_named_without_the_password() {
    for words in [
        &["migrate"][..],
        &["jobs"],
        &["maintain", "db.events", "rewrite_data_files"],
        &["tables"],
    ] {
        let ran = run(words, &[NOWHERE])
            .expect(1)
            .complains(&["127.0.0.1:1", "nothing"]);
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    }
    let ran = run(&["jobs", "--output", "json"], &[NOWHERE]).expect(1);
    assert_eq!(ran.json()["success"], false);
    assert!(
        ran.json()["message"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1:1"),
        "{ran:?}"
    );
}

#[test]
fn help_shows_examples_and_is_no_failure() {
    for words in [
        &["--help"][..],
        &["maintain", "--help"],
        &["demo", "--help"],
        &["jobs", "--help"],
        &["pending", "--help"],
        &["check", "--help"],
    ] {
        let ran = run(words, &[]).expect(0);
        assert!(ran.stdout.contains("xample"), "{words:?}: {}", ran.stdout);
    }
    assert!(
        run(&["--version"], &[])
            .expect(0)
            .stdout
            .starts_with("snowpack ")
    );
}

#[test]
fn completions_name_every_command_in_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell], &[]).expect(0).stdout;
        for command in [
            "demo", "migrate", "tables", "plan", "maintain", "submit", "jobs", "cancel", "pending",
            "pause", "resume",
        ] {
            assert!(
                script.contains(command),
                "{command} is missing in {shell}'s completions"
            );
        }
    }
}
