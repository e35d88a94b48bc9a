//! A program's run: the asynchronous runtime, the last message, the exit code.

use std::error::Error as StdError;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use crate::Error;

/// Exit code of bad usage, as clap's.
pub(crate) const USAGE: u8 = 2;

/// How a program of many parts ended that did not break itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Code 0.
    Done,
    /// Some of it failed or was left: code 1.
    Partial,
    /// None of it worked: code 2.
    Nothing,
}

impl From<()> for Exit {
    fn from((): ()) -> Self {
        Self::Done
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Partial => 1,
            Exit::Nothing => 2,
        })
    }
}

/// Runs `program` on a multi-threaded runtime. Ok exits 0, or as its [`Exit`] says; an error is
/// said once on stderr, with everything that led to it, and exits 1, or 2 when it is
/// [`Error::Usage`].
///
/// Returns as soon as the program has: threads that still compute something nobody waits for
/// end with the process.
pub fn run<T: Into<Exit>>(
    name: &str,
    program: impl Future<Output = anyhow::Result<T>>,
) -> ExitCode {
    without_huge_pages();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(name, &format!("start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(program);
    runtime.shutdown_background();
    match result {
        Ok(ended) => ended.into().into(),
        Err(error) => {
            say(name, &chain(error.as_ref()));
            code(&error)
        }
    }
}

/// Has the kernel hand out memory in pages of the usual size. The allocator asks for huge ones, and
/// then a program holds, and the kernel clears, much that nobody ever touches.
fn without_huge_pages() {
    // A kernel that cannot be told goes on as before.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// An error and its sources in one line. A source whose text its parent repeats is left out.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = source.source();
    }
    line
}

fn code(error: &anyhow::Error) -> ExitCode {
    let usage = error
        .chain()
        .any(|cause| matches!(cause.downcast_ref(), Some(Error::Usage(_))));
    if usage {
        ExitCode::from(USAGE)
    } else {
        ExitCode::FAILURE
    }
}

/// One line for whoever started the process. A closed stderr is no reason to fail further.
pub(crate) fn say(name: &str, message: &str) {
    let _ = writeln!(std::io::stderr(), "{name}: {message}");
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_exit_code_follows_the_error() {
        let code_of = |result: anyhow::Result<()>| format!("{:?}", run("test", async { result }));
        assert_eq!(code_of(Ok(())), format!("{:?}", ExitCode::SUCCESS));
        for (exit, code) in [(Exit::Done, 0), (Exit::Partial, 1), (Exit::Nothing, 2)] {
            let ended = format!("{:?}", run("test", async { Ok(exit) }));
            assert_eq!(ended, format!("{:?}", ExitCode::from(code)), "{exit:?}");
        }
        assert_eq!(
            code_of(Err(anyhow::anyhow!("broke"))),
            format!("{:?}", ExitCode::FAILURE)
        );
        let usage = Err(Error::Usage("s3 is not built".to_owned())).context("read settings");
        assert_eq!(code_of(usage), format!("{:?}", ExitCode::from(2)));
    }

    #[test]
    fn a_message_holds_the_whole_chain_once() {
        let error = anyhow::anyhow!("connection refused")
            .context("connect to Postgres: connection refused")
            .context("start");
        assert_eq!(
            chain(error.as_ref()),
            "start: connect to Postgres: connection refused"
        );
    }
}
