//! What a process took so far, as Linux counts it below /proc.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Of /proc/ID/stat; the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory and processor time of one process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Usage {
    pub(super) resident_bytes: u64,
    /// The most that was resident at any time.
    pub(super) peak_bytes: u64,
    pub(super) cpu_seconds: f64,
}

impl Usage {
    pub(super) fn of(process: u32) -> Result<Self> {
        let folder = Path::new("/proc").join(process.to_string());
        let read = |name: &str| {
            std::fs::read_to_string(folder.join(name))
                .with_context(|| format!("read {}/{name}", folder.display()))
        };
        let (status, stat) = (read("status")?, read("stat")?);
        let bytes = |name| {
            let kib = status_kib(&status, name);
            kib.with_context(|| format!("{}/status has no {name}", folder.display()))
        };
        Ok(Self {
            resident_bytes: bytes("VmRSS")? * 1024,
            peak_bytes: bytes("VmHWM")? * 1024,
            cpu_seconds: cpu_ticks(&stat).context("understand its stat")? / TICKS_PER_SECOND,
        })
    }
}

fn status_kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.strip_prefix(':')?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Of the program and the system on its behalf: fields 14 and 15.
fn cpu_ticks(stat: &str) -> Option<f64> {
    Some(field(stat, 14)? + field(stat, 15)?)
}

/// Counted from 1, as proc(5) does. The name, field 2, may hold blanks and parentheses.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let text = behind_name.split_whitespace().nth(number - 3)?;
    text.parse().ok()
}

/// The process that `parent` started and that runs `program`.
pub(super) fn child_of(parent: u32, program: &Path) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut ours = numbers.filter(|process| {
        let folder = Path::new("/proc").join(process.to_string());
        let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
        let runs = std::fs::read_link(folder.join("exe")).ok();
        field(&stat, 4) == Some(f64::from(parent)) && runs.as_deref() == Some(program)
    });
    ours.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes_is_read() {
        let stat = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 9";
        assert_eq!(cpu_ticks(stat), Some(200.0));
        assert_eq!(field(stat, 4), Some(7.0));
        let status = "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(status_kib(status, "VmHWM"), Some(2048));
        assert_eq!(status_kib(status, "VmSwap"), None);
    }

    #[test]
    fn our_own_usage_is_no_nonsense() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(0 < usage.resident_bytes && usage.resident_bytes <= usage.peak_bytes);
        assert!(Usage::of(u32::MAX).is_err());
    }
}
