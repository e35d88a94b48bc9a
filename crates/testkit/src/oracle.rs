//! Independent programs that judge ours: PyIceberg and DuckDB behind small scripts.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The Python that has PyIceberg and DuckDB.
pub fn python() -> String {
    std::env::var("SNOWPACK_TEST_PYTHON")
        .expect("SNOWPACK_TEST_PYTHON names a python with the oracles; tests/run sets it")
}

/// Runs `tests/oracle/<script>.py` with `input` as JSON on its standard input and returns the
/// JSON it prints.
///
/// # Panics
/// When the script fails; its error output is in the message.
#[track_caller]
pub fn oracle(script: &str, input: &Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/oracle")
        .join(format!("{script}.py"));
    let mut child = Command::new(python())
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start {}: {error}", path.display()));
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(input.to_string().as_bytes())
        .expect("write to the oracle");
    let output = child.wait_with_output().expect("wait for the oracle");
    assert!(
        output.status.success(),
        "oracle {script} with {input}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "oracle {script} printed no JSON ({error}): {}",
            String::from_utf8_lossy(&output.stdout)
        )
    })
}
