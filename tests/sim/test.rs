//! A bounded run of the simulation; `snowpack-sim --help` says how to run more.

use std::process::Command;

#[test]
fn m10_m11_m18_i3_no_job_is_lost_or_done_twice_and_no_row_changes_whatever_befalls_a_fleet() {
    let seed = testkit::seed().to_string();
    let output = Command::new(testkit::binary("snowpack-sim"))
        .args(["--seed", &seed, "--workers=4", "--tables=8", "--jobs=60"])
        .arg("--fire-seconds=45")
        .output()
        .expect("run the simulation");
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    print!("{told}");
    assert!(output.status.success(), "{errors}");
    // A fire that hit nobody proves nothing.
    for blow in [
        "SIGKILL",
        "SIGSTOP",
        "Postgres ",
        "connections cut",
        "completed",
    ] {
        assert!(told.contains(blow), "nothing was {blow}: {told}");
    }
}
