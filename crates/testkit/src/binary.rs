//! Where the workspace's built binaries are.

use std::path::PathBuf;

/// The path of a binary of this workspace, built by `tests/run` before the tests start.
///
/// # Panics
/// When it is not there.
#[track_caller]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("a test lies in target/<profile>/deps");
    let path = profile.join(name);
    assert!(
        path.exists(),
        "{} is not built; run `cargo build` first",
        path.display()
    );
    path
}
