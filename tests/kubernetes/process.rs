//! The cluster's own processes, stopped and started.

use std::path::Path;

use testkit::until;

use crate::cluster::{folder, run};

/// A process of the cluster that was stopped. Started again when dropped.
#[derive(Debug)]
pub(crate) struct Stopped {
    name: &'static str,
}

/// Ends a process of the cluster, as in `postgres`, by this signal.
pub(crate) async fn stop(name: &'static str, signal: &str) -> Stopped {
    let file = folder().join(format!("{name}.pid"));
    let pid = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let pid = pid.trim();
    run("sh", &["-c", &format!("kill -s {signal} {pid}")], "").unwrap_or_else(|e| panic!("{e}"));
    until(&format!("{name} ends"), async || {
        !Path::new("/proc").join(pid).join("exe").exists()
    })
    .await;
    Stopped { name }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let script = folder().join(format!("{}.sh", self.name));
        let script = script.display().to_string();
        if let Err(why) = run("setsid", &["--fork", "bash", &script], "") {
            eprintln!("{why}");
        }
    }
}
