//! What the allocator, mimalloc, is told: it reads the environment, and only before `main`.

/// How long freed memory is kept, in milliseconds. Its own default is a second, in which a rewrite
/// frees more than it ever holds.
#[cfg(unix)]
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "0");

/// Has the allocator give freed memory back at once, for it counts against a pod's limit: starts the
/// program anew in this process, unless the environment says how long to keep it. To be called
/// first in `main`. A program that cannot be started anew goes on as it is.
pub fn give_freed_memory_back() {
    #[cfg(unix)]
    {
        use std::env;
        use std::os::unix::process::CommandExt as _;
        use std::process::Command;

        let (name, delay) = PURGE_DELAY;
        if env::var_os(name).is_some() {
            return;
        }
        let Ok(program) = env::current_exe() else {
            return;
        };
        let mut words = env::args_os();
        let mut command = Command::new(program);
        if let Some(called) = words.next() {
            command.arg0(called);
        }
        let _ = command.args(words).env(name, delay).exec();
    }
}
