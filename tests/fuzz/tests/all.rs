//! A bounded run of every target of the fuzzer, in a process that may not take much memory.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the process may take, in KiB; an allocation beyond it ends it.
const MEMORY_KIB: u32 = 2 << 20;
const FOLDERS: [&str; 2] = ["corpus", "../fixtures/spark"];

fn corpus() -> impl Iterator<Item = PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    FOLDERS.iter().map(move |folder| here.join(folder))
}

/// Feeds so many inputs, then the files that once led to a finding.
#[track_caller]
fn nothing_is_found(target: &str, inputs: u32) {
    let seed = testkit::seed();
    for more in [
        vec!["--inputs".to_owned(), inputs.to_string()],
        vec!["--replay".to_owned()],
    ] {
        let found = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        let limited = format!("ulimit -v {MEMORY_KIB} && exec \"$0\" \"$@\"");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_snowpack-fuzz")]);
        command.args(["--target", target, "--seed", &seed.to_string(), "--found"]);
        command.arg(found.path()).args(&more);
        for folder in corpus() {
            command.arg("--corpus").arg(folder);
        }
        let output = command.output().expect("the fuzzer runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        print!("{said}");
        if !output.status.success() {
            let kept = found.keep();
            panic!(
                "{}: {said}{complained}\nthe inputs are in {}",
                output.status,
                kept.display()
            );
        }
    }
}

#[test]
fn no_metadata_document_is_too_broken() {
    nothing_is_found("metadata", 2_000);
}

#[test]
fn no_manifest_list_is_too_broken() {
    nothing_is_found("manifest-list", 2_000);
}

#[test]
fn no_manifest_is_too_broken() {
    nothing_is_found("manifest", 1_500);
}

#[test]
fn no_footer_is_too_broken() {
    nothing_is_found("footer", 10_000);
}

#[test]
fn no_page_is_too_broken() {
    nothing_is_found("page", 10_000);
}

#[test]
fn no_position_delete_file_is_too_broken() {
    nothing_is_found("positions", 10_000);
}

#[test]
fn no_equality_delete_file_is_too_broken() {
    nothing_is_found("keys", 8_000);
}
