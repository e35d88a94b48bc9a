//! Where the workspace's built binaries are.

use std::path::PathBuf;

/// The path of a binary of this workspace, built by `tests/run` before the tests start.
///
/// # Panics
/// When it is not there.
#[track_caller]
pub fn binary(name: &str) -> PathBuf {
    let ours = std::env::current_exe().expect("a test has a path");
    let folder = ours.parent().expect("a test lies in a folder");
    // A test lies in target/<profile>/deps, a program in target/<profile>.
    let profile = match folder.parent() {
        Some(above) if folder.ends_with("deps") => above,
        _ => folder,
    };
    let path = profile.join(name);
    assert!(
        path.exists(),
        "{} is not built; run `cargo build` first",
        path.display()
    );
    path
}
