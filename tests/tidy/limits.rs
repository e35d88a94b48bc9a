//! Function and file lengths.

use crate::tree::{none, rust};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Longer than the limit for now, as `path` or `path::function`. This list only shrinks.
const ALLOWED: &[&str] = &[];

#[test]
fn files_and_functions_are_short() {
    let mut complaints = Vec::new();
    let mut used = Vec::new();
    for file in rust() {
        let lines: Vec<&str> = file.text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            if ALLOWED.contains(&file.path.as_str()) {
                used.push(file.path.clone());
            } else {
                complaints.push(format!(
                    "{}: {} lines, at most {FILE_LINES_MAX}; split it",
                    file.path,
                    lines.len()
                ));
            }
        }
        for (start, name, length) in functions(&lines) {
            if length > FUNCTION_LINES_MAX {
                let key = format!("{}::{name}", file.path);
                if ALLOWED.contains(&key.as_str()) {
                    used.push(key);
                } else {
                    complaints.push(format!(
                        "{}:{start}: `{name}` has {length} lines, at most {FUNCTION_LINES_MAX}; split it",
                        file.path
                    ));
                }
            }
        }
    }
    for allowed in ALLOWED {
        if !used.iter().any(|key| key == allowed) {
            complaints.push(format!(
                "tests/tidy/limits.rs: `{allowed}` is short enough now; take it off the list"
            ));
        }
    }
    none(&complaints);
}

/// First line, name and length of every function with a body, by rustfmt's indentation.
fn functions(lines: &[&str]) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| *word == "fn") else {
            continue;
        };
        let qualifiers = &words[..at];
        if !qualifiers
            .iter()
            .all(|w| w.starts_with("pub") || matches!(*w, "async" | "const" | "unsafe" | "extern"))
        {
            continue;
        }
        let Some(signature) = words.get(at + 1) else {
            continue;
        };
        let name: String = signature
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let close = format!("{}}}", " ".repeat(indent));
        // A signature ends where its body begins, or with a semicolon in a trait.
        let ends = |line: &&&str| [";", "{", "{}"].iter().any(|end| line.ends_with(end));
        if lines[index..]
            .iter()
            .find(ends)
            .is_some_and(|line| line.ends_with('{'))
            && let Some(length) = lines[index..].iter().position(|line| **line == close)
        {
            found.push((index + 1, name, length + 1));
        }
    }
    found
}
