//! Log scan: a test fails on any WARN or ERROR line that it did not announce.

use serde_json::Value;

/// The WARN and ERROR lines of a JSON log that contain none of `announced`. Lines that are not
/// JSON are returned too: a process that logs JSON prints nothing else.
pub fn unexpected_lines(log: &str, announced: &[&str]) -> Vec<String> {
    log.lines()
        .filter(|line| !line.trim().is_empty())
        .filter(|line| {
            let level = serde_json::from_str::<Value>(line).ok().and_then(|entry| {
                entry
                    .get("level")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            });
            !matches!(level.as_deref(), Some("TRACE" | "DEBUG" | "INFO"))
        })
        .filter(|line| !announced.iter().any(|text| line.contains(text)))
        .map(str::to_owned)
        .collect()
}
