//! Why tables are maintained or not, from the terminal: explain, orchestrate, runs.

use crate::program::Lake;

/// Two tables that want a rewrite; one of them must not be touched.
async fn lake() -> Lake {
    let lake = Lake::new().await;
    let client = lake.database.client().await;
    let sql = "insert into snowpack.table_cache_entries (database_name, table_name, payload) values \
               ('db', 'events', '{\"table_uuid\": \"e\", \"rule\": \"include db.*\", \"properties\": \
               {\"snowpack.min_input_files\": \"many\"}}'), \
               ('db', 'held', '{\"table_uuid\": \"h\", \"properties\": {\"compaction_skip\": \"true\"}}'); \
               insert into snowpack.table_health (database_name, table_name, assessed_at, payload) \
               select 'db', name, now(), jsonb_build_object('table_uuid', left(name, 1), \
               'metadata_location', 'm', 'format_version', 2, 'file_stats', jsonb_build_object( \
               'total_data_files', 100, 'small_file_count', 90, 'compactable_file_count', 90)) \
               from unnest(array['events', 'held']) name; \
               update snowpack.table_cache_meta set last_synced_at = now()";
    client.batch_execute(sql).await.expect("fill the cache");
    lake
}

#[tokio::test(flavor = "multi_thread")]
async fn m28_a_dry_run_shows_its_decisions_a_run_submits_and_both_are_listed() {
    let lake = lake().await;
    assert!(lake.run(&["runs"]).expect(0).stdout.contains("no runs"));
    let enrolled = ["--enrolment", "opt-out"];
    let dry = lake.run(&[&["orchestrate", "--dry-run"], &enrolled[..]].concat());
    let dry = dry.expect(0).stdout;
    for line in [
        "dry run 1 completed",
        "due        1, none submitted",
        "would submit",
        "skip_flag",
    ] {
        assert!(dry.contains(line), "{line}:\n{dry}");
    }
    assert!(lake.run(&["jobs"]).expect(0).stdout.contains("no jobs"));
    let words = ["orchestrate", "--output", "json", "--enrolment", "opt-out"];
    let run = lake.run(&words).expect(0).json();
    assert_eq!(run["run"]["jobs_submitted"], 1);
    assert_eq!(run["decisions"][0]["decision"], "submit");
    assert_eq!(run["decisions"][1]["reason"], "skip_flag");
    let listed = lake.run(&["runs", "--output", "json"]).expect(0).json();
    assert_eq!(listed["runs"][0]["run_id"], 2);
    assert_eq!(listed["runs"][1]["dry_run"], true);
    let one = lake.run(&["runs", "2", "--reason", "skip_flag", "--output", "json"]);
    let one = one.expect(0).json();
    assert_eq!(one["decisions"].as_array().expect("a list").len(), 1);
    let job = run["decisions"][0]["job_id"].as_str().expect("a job");
    assert!(lake.run(&["runs", "2"]).expect(0).stdout.contains(job));
    lake.run(&["runs", "77"])
        .expect(1)
        .complains(&["no run 77"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn m25_a_table_is_explained_to_people_and_to_programs() {
    let lake = lake().await;
    let told = lake.run(&["explain", "db.events", "--enrolment", "opt-out"]);
    let told = told.expect(0).stdout;
    for part in [
        "db.events is due now",
        "let in by  include db.*",
        "enrolled   yes: enrolment is opt-out and nobody opted out",
        "snowpack.maintenance_cadence_hours",
        "! snowpack.min_input_files = `many` (table) cannot be read",
        "no run has decided about it",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    let told = lake
        .run(&["explain", "db.events", "--output", "json"])
        .expect(0)
        .json();
    assert_eq!(
        told["decision"]["reason"], "opted_out",
        "by default nobody is enrolled"
    );
    assert_eq!(told["policy"]["min_input_files"]["source"], "default");
    let held = lake.run(&["explain", "db.held"]).expect(0).stdout;
    assert!(
        held.starts_with("db.held is left alone: skip_flag"),
        "{held}"
    );
    let none = lake
        .run(&["explain", "db.none", "--output", "json"])
        .expect(0)
        .json();
    assert_eq!(none["decision"]["reason"], "unknown");
}
