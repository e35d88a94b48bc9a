//! A lakehouse that runs by itself: `snowpack demo --fleet 20`, once for all tests of this file.
//!
//! The demo has promises of its own and fails when one is broken; here what it did is read from
//! its document and judged again, decision by decision.

use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

const TABLES: usize = 20;
/// Lines above INFO that broken tables cause.
const ANNOUNCED: &[&str] = &[
    "no authentication: whoever reaches this address",
    "shop.corrupt_metadata_",
    "/shop/broken_file_",
];

/// What the demo said of its run.
fn told() -> &'static Value {
    static TOLD: OnceLock<Value> = OnceLock::new();
    TOLD.get_or_init(|| {
        let output = Command::new(testkit::binary("snowpack"))
            .args(["demo", "--output", "json", "--fleet"])
            .arg(TABLES.to_string())
            .env_remove("SNOWPACK_DATABASE_URL")
            .env_remove("SNOWPACK_TEST_DATABASE_URL")
            .env_remove("SNOWPACK_TEST_PYTHON")
            .output()
            .expect("run the demo");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}\n{said}");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    })
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("{key} is no list in {value}"))
}

/// The tables of a kind; there is one at least.
fn of_kind(kind: &str) -> Vec<&'static Value> {
    let tables = list(told(), "tables").iter();
    let found: Vec<_> = tables.filter(|table| table["kind"] == kind).collect();
    assert!(!found.is_empty(), "no table is {kind}: {}", told());
    found
}

/// Each run's words about a table: the reason, and the actions submitted.
fn decisions(table: &Value) -> Vec<(&str, Vec<&str>)> {
    let decided = list(table, "decisions").iter().map(|one| {
        let actions = list(one, "actions").iter();
        let actions = actions.filter(|_| one["job_id"].is_string());
        let reason = one["reason"].as_str().expect("a reason is a word");
        (reason, actions.filter_map(Value::as_str).collect())
    });
    let decided: Vec<_> = decided.collect();
    assert_eq!(decided.len(), list(told(), "rounds").len(), "{table}");
    decided
}

fn rewrites(table: &Value) -> usize {
    let decisions = decisions(table);
    let rewrite = |(_, actions): &&(&str, Vec<&str>)| actions.contains(&"rewrite_data_files");
    decisions.iter().filter(rewrite).count()
}

fn maintained() -> Vec<&'static Value> {
    let tables = list(told(), "tables").iter();
    tables
        .filter(|table| table["expected"] == "maintained")
        .collect()
}

#[test]
fn m25_a_neglected_lakehouse_becomes_healthy_by_itself_and_jobs_go_to_unhealthy_tables_alone() {
    let told = told();
    assert_eq!(list(told, "tables").len(), TABLES, "{told}");
    assert!(TABLES / 2 <= maintained().len(), "{told}");
    let min = told["healthy_score_min"].as_f64().expect("a number");
    for table in maintained() {
        let score = |side: &str| table[side]["score"].as_f64().expect("it was measured");
        assert!(score("before") < min, "it was not neglected: {table}");
        assert!(min <= score("after"), "{table}");
        assert_eq!(table["after"]["needs_maintenance"], false, "{table}");
        for one in list(table, "decisions") {
            let job = &one["job_status"];
            assert!(job.is_null() || job == "completed", "{table}");
        }
    }
    for table in of_kind("fresh") {
        for (reason, actions) in decisions(table) {
            assert_eq!((reason, actions.len()), ("healthy", 0), "{table}");
        }
    }
}

#[test]
fn no_row_of_the_lakehouse_is_lost_resurrected_or_changed() {
    for table in list(told(), "tables") {
        assert_ne!(table["rows_written"], 0, "{table}");
        assert_eq!(table["rows_written"], table["rows_read"], "{table}");
        assert_eq!(
            table["fingerprint_written"], table["fingerprint_read"],
            "{table}"
        );
    }
}

#[test]
fn m26_tables_that_said_no_or_nothing_or_hold_the_skip_flag_are_not_touched() {
    for (kind, reason) in [
        ("opted_out", "opted_out"),
        ("nobody_said", "opted_out"),
        ("skip_flag", "skip_flag"),
    ] {
        for table in of_kind(kind) {
            assert_eq!(table["untouched"], true, "{table}");
            assert_eq!(table["before"]["needs_maintenance"], true, "{table}");
            for (said, actions) in decisions(table) {
                assert_eq!((said, actions.len()), (reason, 0), "{table}");
            }
        }
    }
}

#[test]
fn m27_a_tables_own_cadence_target_and_snapshot_age_win_over_the_defaults() {
    for table in of_kind("streaming") {
        assert!(1 < rewrites(table), "its database's cadence is 0: {table}");
    }
    for table in of_kind("own_cadence") {
        let decisions = decisions(table);
        assert_eq!(decisions[0].0, "due", "{table}");
        for (reason, actions) in &decisions[1..] {
            assert_eq!((*reason, actions.len()), ("not_due_yet", 0), "{table}");
        }
    }
    for table in of_kind("own_limits") {
        assert_eq!(table["untouched"], true, "{table}");
        assert_eq!(table["before"]["needs_maintenance"], false, "{table}");
    }
    for table in of_kind("unreadable_cadence") {
        let said = table["unreadable_property"].as_str().unwrap_or_default();
        assert!(said.contains("soon") && said.contains("allowed"), "{table}");
        assert!(
            1 < decisions(table).iter().filter(|one| one.0 == "due").count(),
            "{table}"
        );
    }
}

#[test]
fn m25_hostile_tables_are_reported_and_hinder_nobody() {
    for table in of_kind("corrupt_metadata") {
        assert!(table["after"]["error"].is_string(), "{table}");
        for (reason, actions) in decisions(table) {
            assert_eq!((reason, actions.len()), ("unreadable", 0), "{table}");
        }
    }
    for table in of_kind("broken_file") {
        let failed = list(table, "decisions").iter();
        let failed = failed.filter(|one| one["job_status"] == "failed").count();
        assert_eq!(failed, 2, "{table}");
        assert_eq!(decisions(table).last().unwrap().0, "quarantined", "{table}");
    }
}

#[test]
fn m28_every_run_is_recorded_with_counters_that_add_up() {
    let rounds = list(told(), "rounds");
    assert!(2 < rounds.len(), "{}", told());
    for round in rounds {
        let run = &round["run"];
        assert_eq!(run["status"], "completed", "{round}");
        assert!(run["completed_at"].is_string(), "{round}");
        let reasons = round["reasons"].as_object().expect("reasons are counted");
        let decided: u64 = reasons.values().filter_map(Value::as_u64).sum();
        assert_eq!(decided, TABLES as u64, "{round}");
        // A table was broken in each of them.
        assert_eq!(round["health_sync_code"], 1, "{round}");
    }
    let last = &rounds[rounds.len() - 1]["run"];
    assert_eq!(last["jobs_submitted"], 0, "{last}");
}

#[test]
fn the_programs_complain_about_broken_tables_alone() {
    let complaints = list(told(), "complaints").iter();
    let lines: Vec<&str> = complaints.filter_map(|one| one["line"].as_str()).collect();
    assert!(!lines.is_empty(), "nobody reported the broken tables");
    let unexpected = testkit::unexpected_lines(&lines.join("\n"), ANNOUNCED);
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
}
