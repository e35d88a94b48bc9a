//! Bounded runs of the simulation; `snowpack-sim --help` says how to run more.

use std::process::Command;

#[track_caller]
fn round(places: [&str; 2], faults: &[&str]) {
    let seed = testkit::seed().to_string();
    let output = Command::new(testkit::binary("snowpack-sim"))
        .args(["--seed", &seed, "--workers=4", "--tables=6", "--jobs=600"])
        .arg("--fire-seconds=22")
        .args(places)
        .output()
        .expect("run the simulation");
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    print!("{told}");
    assert!(output.status.success(), "{errors}");
    // A fire that hit nobody proves nothing.
    assert!(!told.contains("hit nobody"), "{told}");
    for said in ["SIGKILL", "orchestrators killed", "completed"] {
        assert!(told.contains(said), "no {said}: {told}");
    }
    for fault in faults {
        assert!(told.contains(fault), "no {fault}: {told}");
    }
}

#[test]
fn m10_m11_m18_i3_no_job_is_lost_or_done_twice_and_no_row_changes_whatever_befalls_a_fleet() {
    round(
        ["--storage=folder", "--catalog=within"],
        &["Postgres crashed"],
    );
    let faults = [
        "S3 answers lost",
        "catalog crashed",
        "answers of swaps lost",
    ];
    round(["--storage=s3", "--catalog=elsewhere"], &faults);
}
