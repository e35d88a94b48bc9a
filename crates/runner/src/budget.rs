//! How much memory a process may give to its jobs when nobody said: one rule for worker and CLI.

/// Smallest budget: below it no plan could run.
pub const MEMORY_BYTES_MIN: u64 = 64 * MIB;
/// When the system does not say how much memory there is.
const BYTES_UNKNOWN: u64 = 1024 * MIB;
const MIB: u64 = 1 << 20;

/// Three quarters of the container's limit, or of the machine; the rest is for the program
/// itself and for the pages of files being written.
pub fn memory_bytes() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let container = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    let machine = read("/proc/meminfo").and_then(|text| total_bytes(&text));
    let limit: Option<u64> = [container, machine].into_iter().flatten().min();
    limit
        .map_or(BYTES_UNKNOWN, |limit| limit / 4 * 3)
        .max(MEMORY_BYTES_MIN)
}

fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_how_much_memory_it_has() {
        assert_eq!(
            total_bytes("MemTotal:  2048 kB\nMemFree: 1 kB\n"),
            Some(2048 * 1024)
        );
        assert_eq!(total_bytes("nothing"), None);
        assert!(memory_bytes() >= MEMORY_BYTES_MIN);
    }
}
