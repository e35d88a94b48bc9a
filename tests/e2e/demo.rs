//! The README's first command, in a smaller size where a debug build would make people wait.

use std::process::{Command, Output};

use serde_json::Value;

fn demo(arguments: &[&str]) -> Output {
    Command::new(testkit::binary("snowpack"))
        .arg("demo")
        .args(arguments)
        .env_remove("SNOWPACK_DATABASE_URL")
        .env_remove("SNOWPACK_TEST_DATABASE_URL")
        .env_remove("SNOWPACK_TEST_PYTHON")
        .output()
        .expect("run the demo")
}

fn number(report: &Value, key: &str) -> u64 {
    report[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} is missing in {report}"))
}

#[test]
fn the_demo_compacts_a_streaming_table_frees_its_files_and_keeps_every_row() {
    let output = demo(&["--output", "json"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)));

    assert!(number(&report, "files_before") >= 400, "{report}");
    assert!(
        number(&report, "files_after") * 4 < number(&report, "files_before"),
        "{report}"
    );
    assert!(number(&report, "rows_before") > 0, "{report}");
    assert_eq!(report["rows_before"], report["rows_after"], "{report}");
    assert!(report["fingerprint_before"].is_string(), "{report}");
    assert_eq!(
        report["fingerprint_before"], report["fingerprint_after"],
        "{report}"
    );
    assert!(number(&report, "snapshots_before") >= 100, "{report}");
    assert!(
        number(&report["disk"]["after"], "files") * 2 < number(&report["disk"]["before"], "files"),
        "{report}"
    );
    assert!(
        number(&report["disk"]["after"], "bytes") < number(&report["disk"]["before"], "bytes"),
        "{report}"
    );
    let jobs = report["jobs"].as_array().expect("jobs is a list");
    assert!(!jobs.is_empty(), "{report}");
    for job in jobs {
        assert_eq!(job["status"], "completed", "{report}");
    }
}
