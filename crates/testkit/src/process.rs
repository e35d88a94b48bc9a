//! One of our programs as a process: started with a clean environment, its log kept, stopped by
//! signals, and never outliving its test.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tempfile::{NamedTempFile, TempPath};

use crate::{unexpected_lines, until};

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Mutex<Child>,
    log: PathBuf,
    /// Goes with it, unless the caller said where its log is.
    _temporary: Option<TempPath>,
}

impl Process {
    /// Starts `program` with no `SNOWPACK_` variable but `variables`. It logs JSON, which
    /// [`Process::log`] gives back.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(
        program: impl AsRef<Path>,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        let log = NamedTempFile::new().expect("create a log file");
        let log = log.into_temp_path();
        let path = log.to_path_buf();
        Self::start_logging(program, variables, arguments, path, Some(log))
    }

    /// The same with a log that outlives it: at `log`, or after what is there.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start_with_log(
        program: impl AsRef<Path>,
        variables: &[(&str, &str)],
        arguments: &[&str],
        log: &Path,
    ) -> Self {
        Self::start_logging(program, variables, arguments, log.to_owned(), None)
    }

    #[track_caller]
    fn start_logging(
        program: impl AsRef<Path>,
        variables: &[(&str, &str)],
        arguments: &[&str],
        log: PathBuf,
        temporary: Option<TempPath>,
    ) -> Self {
        let stderr = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .expect("open the log file");
        let mut command = Command::new(program.as_ref());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SNOWPACK_") {
                command.env_remove(name);
            }
        }
        let child = command
            .env("SNOWPACK_LOG_FORMAT", "json")
            .envs(variables.iter().copied())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.as_ref().display()));
        Self {
            child: Mutex::new(child),
            log,
            _temporary: temporary,
        }
    }

    /// What it has written to stderr so far.
    pub fn log(&self) -> String {
        let mut text = String::new();
        File::open(&self.log)
            .and_then(|mut file| file.read_to_string(&mut text))
            .expect("read the log file");
        text
    }

    /// The first log entry whose message is `message`, once it is there.
    pub async fn logged(&self, message: &str) -> Value {
        let mut found = None;
        until(&format!("`{message}` is logged"), async || {
            found = self.log().lines().find_map(|line| {
                let entry: Value = serde_json::from_str(line).ok()?;
                (entry["message"] == message).then_some(entry)
            });
            if found.is_none() {
                assert!(
                    self.running(),
                    "it ended before `{message}`:\n{}",
                    self.log()
                );
            }
            found.is_some()
        })
        .await;
        found.expect("just found")
    }

    /// Waits until the log contains `text`.
    pub async fn mentions(&self, text: &str) {
        until(&format!("the log mentions `{text}`"), async || {
            let log = self.log();
            assert!(
                log.contains(text) || self.running(),
                "it ended without `{text}`:\n{log}"
            );
            log.contains(text)
        })
        .await;
    }

    /// The address in the log entry `message`.
    pub async fn address(&self, message: &str) -> SocketAddr {
        let entry = self.logged(message).await;
        let text = entry["address"]
            .as_str()
            .unwrap_or_else(|| panic!("no address in {entry}"));
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The number the kernel knows it by.
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// Sends a signal by name, as in `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.id();
        let status = Command::new("sh")
            .args(["-c", &format!("kill -s {name} {pid}")])
            .status()
            .expect("run sh");
        assert!(status.success(), "kill -s {name} {pid}");
    }

    /// True until it has ended.
    pub fn running(&self) -> bool {
        self.child()
            .try_wait()
            .expect("look at the process")
            .is_none()
    }

    /// How it ended, once it has.
    pub async fn ended(&self) -> ExitStatus {
        until("the process ends", async || !self.running()).await;
        self.child().wait().expect("wait for the process")
    }

    /// Waits for the end and demands this exit code, and no WARN or ERROR line but `announced`.
    pub async fn ended_with(&self, code: i32, announced: &[&str]) {
        let status = self.ended().await;
        assert_eq!(status.code(), Some(code), "{status}:\n{}", self.log());
        let unexpected = unexpected_lines(&self.log(), announced);
        assert!(
            unexpected.is_empty(),
            "lines nobody announced: {unexpected:#?}"
        );
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have ended already, and a stopped process dies of SIGKILL too.
        let _ = child.kill();
        let _ = child.wait();
    }
}
