//! How many replicas a Deployment is asked to have, and when that changed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use testkit::WAIT_MAX;

/// The replicas of a Deployment as they change.
#[derive(Debug)]
pub(crate) struct Replicas {
    child: Child,
    seen: Receiver<(Instant, u32)>,
}

impl Replicas {
    /// How many replicas a Deployment is asked to have, from now on.
    pub(crate) fn watch(namespace: &str, deployment: &str) -> Self {
        let mut child = Command::new("kubectl")
            .args(["--namespace", namespace, "get", "deployment", deployment])
            .args(["--watch", "--output", "jsonpath={.spec.replicas}{\"\\n\"}"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start kubectl: {error}"));
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let (send, seen) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let replicas = line.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
                if send.send((Instant::now(), replicas)).is_err() {
                    return;
                }
            }
        });
        Self { child, seen }
    }

    /// When they first were as wanted.
    #[track_caller]
    pub(crate) fn when(&self, what: &str, wanted: impl Fn(u32) -> bool) -> Instant {
        loop {
            let next = self.seen.recv_timeout(WAIT_MAX);
            let (at, replicas) = next.unwrap_or_else(|e| panic!("{what}: {e}"));
            if wanted(replicas) {
                return at;
            }
        }
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
