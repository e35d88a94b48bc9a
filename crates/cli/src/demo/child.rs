//! Programs the demo starts, each below a shell that stops it when this process is gone.
//!
//! The shell reads a pipe whose other end we hold: closing it (by [`Child::stop`], by a panic, or
//! because this process was killed outright) ends the program with its own stop signal. So
//! nothing the demo starts outlives it.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::account::Account;

/// `$0` is the stop signal, the rest is the command.
const KEEPER: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
{ read -r line <&3; kill -s "$0" "$child"; } 2>/dev/null &
keeper=$!
exec 3<&-
wait "$child"
code=$?
kill "$keeper" 2>/dev/null
exit "$code"
"#;

/// How long a program may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines of its log shown when a program fails.
const LOG_LINES_MAX: usize = 15;

/// A running program.
#[derive(Debug)]
pub(crate) struct Child {
    shell: std::process::Child,
    log: PathBuf,
}

/// What to start and how to stop it.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: Vec<String>,
    /// Signal name for `kill -s`: what the program takes for "stop in good order".
    pub(crate) stop_signal: &'static str,
    /// Set for the program, on top of ours less every `SNOWPACK_` setting: what the demo's
    /// caller set for other programs is not meant for these.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) account: Option<&'a Account>,
    /// Where standard error goes.
    pub(crate) log: PathBuf,
    /// Where standard output goes, when not into the log too.
    pub(crate) output: Option<PathBuf>,
}

impl Child {
    pub(crate) fn start(start: Start<'_>) -> io::Result<Self> {
        let log = File::create(&start.log)?;
        let output = match &start.output {
            Some(path) => File::create(path)?,
            None => log.try_clone()?,
        };
        let mut shell = Command::new("/bin/sh");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SNOWPACK_") {
                shell.env_remove(name);
            }
        }
        shell
            .args(["-c", KEEPER, start.stop_signal])
            .arg(start.program)
            .args(&start.arguments)
            .envs(start.environment)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(log)
            // A group of its own: Ctrl-C in the terminal is for us, we stop it in good order.
            .process_group(0);
        if let Some(account) = start.account {
            shell.uid(account.uid).gid(account.gid).current_dir("/");
        }
        Ok(Self {
            shell: shell.spawn()?,
            log: start.log,
        })
    }

    /// The shell's; the program is its child.
    pub(crate) fn shell_id(&self) -> u32 {
        self.shell.id()
    }

    /// How it ended, when it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.shell.try_wait()
    }

    /// Asks it to stop and waits until it has; kills it when it takes too long.
    pub(crate) fn stop(&mut self) -> io::Result<ExitStatus> {
        drop(self.shell.stdin.take());
        let asked = Instant::now();
        loop {
            if let Some(status) = self.shell.try_wait()? {
                return Ok(status);
            }
            if STOP_MAX < asked.elapsed() {
                let group = format!("-{}", self.shell.id());
                Command::new("/bin/sh")
                    .args(["-c", "kill -s KILL -- \"$0\"", &group])
                    .status()?;
                return self.shell.wait();
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The last lines it logged.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "a program of the demo may still be running");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str, folder: &Path) -> Child {
        Child::start(Start {
            program: Path::new("/bin/sh"),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            stop_signal: "TERM",
            environment: vec![("WORD".to_owned(), "from the environment".to_owned())],
            account: None,
            log: folder.join("log"),
            output: None,
        })
        .unwrap()
    }

    #[track_caller]
    fn until(mut true_at_last: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !true_at_last() {
            assert!(begun.elapsed() < Duration::from_secs(30), "waited too long");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    #[test]
    fn a_program_that_ends_by_itself_gives_its_code_and_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = start("echo $WORD; exit 7", folder.path());
        until(|| child.ended().unwrap().is_some());
        assert_eq!(child.ended().unwrap().unwrap().code(), Some(7));
        assert_eq!(child.last_words(), "from the environment");
    }

    #[test]
    fn stop_lets_a_program_end_in_good_order() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap 'echo stopping; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
        let mut child = start(script, folder.path());
        until(|| child.last_words() == "ready");
        assert_eq!(child.stop().unwrap().code(), Some(3));
        assert_eq!(child.last_words(), "ready\nstopping");
    }

    #[test]
    fn a_dropped_program_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let child = start("echo $$; exec sleep 600", folder.path());
        until(|| !child.last_words().is_empty());
        let process = PathBuf::from(format!("/proc/{}", child.last_words()));
        assert!(process.exists());
        drop(child);
        until(|| !process.exists());
    }
}
