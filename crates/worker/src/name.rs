//! Who this worker is: a name people recognise and a part nobody else has.

/// As long as a name may be in `claimed_by`.
const HOST_BYTES_MAX: usize = 253;

/// `NAME-RANDOM`. The random part is new for every process: a pod that comes back under its
/// old name is another worker, and the old one's jobs wait for their leases to run out.
pub(crate) fn worker_id(name: Option<&str>) -> String {
    let host = host();
    format!("{}-{:08x}", name.unwrap_or(&host), rand::random::<u32>())
}

fn host() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = text.trim();
    if name.is_empty() || name.len() > HOST_BYTES_MAX {
        "worker"
    } else {
        name
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q11_two_processes_of_one_name_are_two_workers() {
        let (one, two) = (worker_id(Some("pod-0")), worker_id(Some("pod-0")));
        assert!(
            one.starts_with("pod-0-") && two.starts_with("pod-0-"),
            "{one} {two}"
        );
        assert_ne!(one, two);
        assert!(!worker_id(None).starts_with('-'));
    }
}
